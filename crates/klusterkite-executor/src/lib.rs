//! Runs the migrators of one migrator template for the manager.
//!
//! It is started in a service directory that was made from the template, takes JSON-RPC requests from its stdin, one per
//! line (`describe`, `currentPoint`, `migrate`, `shutdown`), and answers on its stdout. Each migrator is a process of its
//! own, started when it is first needed and again after it broke.
//!
//! Whatever a migrator does (hang, crash, babble, flood), it becomes an error of that migrator that names the resource;
//! the others are asked all the same.
//!
//! Nothing of a migrator outlives the executor. A migrator runs below a small [`guard`] process; the guard watches the
//! executor by its pidfd and kills everything below itself when the executor is gone, however it went. Executor and
//! guard adopt orphans, so that nobody leaves by a session of its own.
//!
//! Moves are one at a time, over all executors with the same lock file ([`lock`]), each by a process that is started for
//! it and gone before the lock is given back, and journalled before and after ([`journal`]).

pub mod guard;
pub mod journal;
pub mod lock;
pub mod settings;

mod answer;
mod directory;
mod error;
mod moves;
mod process;
mod session;

pub use error::Error;

/// What the program says when it is started wrongly.
pub const USAGE: &str = "usage: klusterkite-executor (no arguments, in a service directory; \
    takes JSON-RPC requests on stdin, one per line)";

/// Serves the service directory in the current directory on stdin and stdout until stdin closes or `shutdown` was answered.
///
/// A service directory that cannot be used does not end it: every request is answered with the reason.
pub fn run_in_current_directory() -> Result<(), Error> {
    let settings = std::env::current_dir()
        .map_err(Error::CurrentDirectory)
        .and_then(|directory| directory::load(&directory));
    session::run(settings)
}

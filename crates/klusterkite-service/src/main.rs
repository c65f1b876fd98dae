//! Service host: the program that a launcher starts in a service directory, its working directory.
//!
//! It merges the settings of all packages, runs and watches their processes, and is the member of the cluster. What
//! it does and expects is described in this crate's `README.md`.

mod containment;
mod directory;
mod host;
mod journal;
mod launcher;
mod node;
mod output;
mod probe;
mod process;
mod run;
mod sockets;

use std::process::ExitCode;

fn main() -> ExitCode {
    run::main()
}

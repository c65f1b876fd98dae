//! Runs in each container: asks the manager what to be, fetches the packages, starts the service
//! host, and starts over when it has ended.
//!
//! `klusterkite-launcher [CONFIG]`: CONFIG is `./config.hocon` if it is not given. Exit codes: 0
//! stopped by a signal (or the stop action succeeded), 1 cannot go on, 2 the configuration or the
//! arguments are wrong.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

mod answer;
mod config;
mod console;
mod containment;
mod cycle;
mod directory;
mod event;
mod host;
mod launcher;
mod manager;
mod node_token;
mod random;
mod release;
mod shim;
mod signals;
mod socket;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next();
    match first.as_ref().and_then(|first| first.to_str()) {
        Some(shim::ARGUMENT) => shim::run(arguments),
        Some("--help" | "-h") => console::usage(),
        Some("--version" | "-V") => console::version(),
        Some(option) if option.starts_with('-') => console::usage_error(option),
        _ => {
            let path = first.unwrap_or_else(|| OsString::from("config.hocon"));
            launcher::run(&PathBuf::from(path))
        }
    }
}

//! `klusterkite-executor`: see the crate's documentation.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::process::ExitCode;

use klusterkite_executor::{guard, run_in_current_directory};
use klusterkite_migrator::chain;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let ended = match arguments.next() {
        None => run_in_current_directory().map(|()| ExitCode::SUCCESS),
        Some(word) if word == OsStr::new(guard::ARGUMENT) => guard::run(arguments),
        Some(_) => {
            let _ = writeln!(io::stderr(), "{}", klusterkite_executor::USAGE);
            return ExitCode::from(2);
        }
    };
    ended.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "{}", chain(&error));
        ExitCode::FAILURE
    })
}

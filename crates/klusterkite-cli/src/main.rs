//! The operator's command line; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    klusterkite_cli::main()
}

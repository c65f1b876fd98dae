//! See the library for settings and exit codes.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use klusterkite_seeder::{Moment, Outcome, run, settings};

/// Creates the configuration database of a new cluster, its credentials and fallback files.
///
/// Running it again changes nothing. Exit codes: 0 created or unchanged, 1 failure, 2 unusable settings.
#[derive(Parser)]
#[command(name = "klusterkite-seeder", version)]
struct Arguments {
    /// Settings file (HOCON).
    #[arg(default_value = "seeder.hocon")]
    settings: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = settings::read(&arguments.settings, &std::env::vars().collect())
        .and_then(|settings| run(&settings, &Moment::now(), &mut io::stdout()));
    match outcome {
        Ok(Outcome::Created | Outcome::Changed | Outcome::Unchanged) => ExitCode::SUCCESS,
        Err(failure) => {
            // There is nobody left to tell when stderr is closed.
            let _ = writeln!(io::stderr(), "error: {:#}", failure.error());
            ExitCode::from(failure.exit_code())
        }
    }
}

//! The `main` of a migrator or seeder: the protocol on this process's stdin and stdout.
//!
//! The one place of this crate that touches the process. The protocol gets a copy of stdout, and stdout itself is pointed
//! at stderr, so that a stray `println!` anywhere in the program becomes a log line and not a broken message.

use std::fs::File;
use std::io::{self, BufReader, Stdin, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::serve::{serve_failure, serve_migrator, serve_seeder};
use crate::{Error, Failure, Migrator, Seeder, chain};

/// Variable that names the file with the merged settings as JSON.
pub const SETTINGS_VARIABLE: &str = "KLUSTERKITE_CONFIG";

/// Reads the merged settings of the template as one JSON object, from the file that [`SETTINGS_VARIABLE`] names.
pub fn settings() -> Result<Value, Error> {
    let path = PathBuf::from(std::env::var_os(SETTINGS_VARIABLE).ok_or(Error::NoSettings)?);
    let text = std::fs::read(&path).map_err(|source| Error::ReadSettings {
        path: path.clone(),
        source,
    })?;
    serde_json::from_slice(&text).map_err(|source| Error::ParseSettings { path, source })
}

/// Reads one section of the merged settings, named by its dotted path: `Acme.OrdersDb`.
///
/// A program that several packages use gets the path as an argument of its command, so that each has its own section.
pub fn section<T: DeserializeOwned>(path: &str) -> Result<T, Error> {
    let mut found = settings()?;
    for key in path.split('.') {
        found = match found.get_mut(key) {
            Some(inner) => inner.take(),
            None => return Err(Error::NoSection(path.to_owned())),
        };
    }
    serde_path_to_error::deserialize(found).map_err(|source| Error::Section {
        path: path.to_owned(),
        source,
    })
}

/// Serves a migrator on stdin and stdout until stdin closes.
///
/// Takes the outcome of making it: with an error every call is answered by that error, where an operator sees it.
pub fn run_migrator<M: Migrator, E: Into<Failure>>(made: Result<M, E>) -> ExitCode {
    run(|stdin, stdout| match made {
        Ok(mut migrator) => serve_migrator(&mut migrator, stdin, stdout),
        Err(error) => serve_failure(&error.into(), stdin, stdout),
    })
}

/// Serves a seeder on stdin and stdout until stdin closes; see [`run_migrator`].
pub fn run_seeder<S: Seeder, E: Into<Failure>>(made: Result<S, E>) -> ExitCode {
    run(|stdin, stdout| match made {
        Ok(mut seeder) => serve_seeder(&mut seeder, stdin, stdout),
        Err(error) => serve_failure(&error.into(), stdin, stdout),
    })
}

fn run(serve: impl FnOnce(BufReader<Stdin>, File) -> Result<(), Error>) -> ExitCode {
    let served = take_stdout()
        .map_err(Error::Write)
        .and_then(|stdout| serve(BufReader::new(io::stdin()), stdout));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when stderr is closed as well.
            let _ = writeln!(io::stderr(), "{}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Takes stdout for the protocol and leaves stderr in its place.
fn take_stdout() -> io::Result<File> {
    let stdout = io::stdout().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdout(io::stderr())?;
    Ok(File::from(stdout))
}

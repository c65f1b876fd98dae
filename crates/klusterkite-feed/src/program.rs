//! The command line.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;

use crate::maintain::{Report, check, reindex};
use crate::settings::Settings;
use crate::{Error, serve};

const USAGE: &str = "\
klusterkite-feed SETTINGS        serves the feed that the settings file describes
klusterkite-feed check DIR       compares every package of a stopped feed with its index
klusterkite-feed reindex DIR     makes the index of a stopped feed anew from its packages

Exit codes: 0 done, 1 failed or something is wrong in DIR, 2 cannot start with these arguments,
settings or this address.
";

/// Runs the program; returns its exit code.
pub async fn run(arguments: Vec<OsString>) -> anyhow::Result<u8> {
    let words: Vec<&str> = arguments
        .iter()
        .filter_map(|argument| argument.to_str())
        .collect();
    match words.as_slice() {
        ["-h" | "--help"] => {
            std::io::stdout().write_all(USAGE.as_bytes())?;
            Ok(0)
        }
        ["check", directory] => report(check(Path::new(directory)).await),
        ["reindex", directory] => report(reindex(Path::new(directory)).await),
        [settings] if !settings.starts_with('-') => start(Path::new(settings)).await,
        _ => {
            std::io::stderr().write_all(USAGE.as_bytes())?;
            Ok(2)
        }
    }
}

async fn start(path: &Path) -> anyhow::Result<u8> {
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let settings = match Settings::read(path, &environment) {
        Ok(settings) => settings,
        Err(error) => {
            tracing::error!("{:#}", anyhow::Error::new(error));
            return Ok(2);
        }
    };
    match serve(settings).await {
        Err(error @ Error::Listen { .. }) => {
            tracing::error!("{:#}", anyhow::Error::new(error));
            Ok(2)
        }
        ended => ended.map(|()| 0).context("the feed stopped"),
    }
}

fn report(found: Result<Report, Error>) -> anyhow::Result<u8> {
    let report = found?;
    let mut out = std::io::stdout().lock();
    for finding in &report.findings {
        writeln!(out, "{finding}")?;
    }
    for repair in &report.repairs {
        writeln!(out, "{repair}")?;
    }
    writeln!(
        out,
        "{} packages intact, {} findings, {} repairs",
        report.intact,
        report.findings.len(),
        report.repairs.len()
    )?;
    Ok(u8::from(!report.findings.is_empty()))
}

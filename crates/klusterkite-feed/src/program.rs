//! The command line.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;

use crate::error::chain;
use crate::maintain::{Report, check, reindex};
use crate::retain::dry_run;
use crate::retention::Verdict;
use crate::settings::Settings;
use crate::{Error, Feed, serve};

const USAGE: &str = "\
klusterkite-feed SETTINGS        serves the feed that the settings file describes
klusterkite-feed check DIR       compares every package of a stopped feed with its index
klusterkite-feed reindex DIR     makes the index of a stopped feed anew from its packages
klusterkite-feed retain SETTINGS
                                 removes what the rules of retention name from a stopped feed
klusterkite-feed retain --dry-run SETTINGS
                                 says what would go and why everything else stays, also of a
                                 running feed

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
        ["retain", settings] => retain(Path::new(settings), false).await,
        ["retain", "--dry-run", settings] | ["retain", settings, "--dry-run"] => {
            retain(Path::new(settings), true).await
        }
        [settings] if !settings.starts_with('-') => start(Path::new(settings)).await,
        _ => {
            std::io::stderr().write_all(USAGE.as_bytes())?;
            Ok(2)
        }
    }
}

/// Reads settings; what is wrong with them is logged.
fn read_settings(path: &Path) -> Option<Settings> {
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    Settings::read(path, &environment)
        .inspect_err(|error| tracing::error!("{}", chain(error)))
        .ok()
}

async fn start(path: &Path) -> anyhow::Result<u8> {
    let Some(settings) = read_settings(path) else {
        return Ok(2);
    };
    match serve(settings).await {
        Err(error @ (Error::Listen { .. } | Error::Tls(_))) => {
            tracing::error!("{:#}", anyhow::Error::new(error));
            Ok(2)
        }
        ended => ended.map(|()| 0).context("the feed stopped"),
    }
}

async fn retain(path: &Path, is_dry: bool) -> anyhow::Result<u8> {
    let Some(mut settings) = read_settings(path) else {
        return Ok(2);
    };
    let Some(retention) = settings.retention.take() else {
        tracing::error!("setting `retention` is missing: there are no rules to apply");
        return Ok(2);
    };
    if is_dry {
        let decisions = dry_run(&settings.directory, &retention.rules).await?;
        let mut out = std::io::stdout().lock();
        let (mut versions, mut bytes) = (0, 0);
        for decision in &decisions {
            writeln!(out, "{decision}")?;
            if let Verdict::Goes(..) = decision.verdict {
                versions += 1;
                bytes += decision.size;
            }
        }
        let all = decisions.len();
        writeln!(out, "{versions} of {all} versions would go, {bytes} bytes")?;
        return Ok(0);
    }
    let feed = Feed::open(settings).await?;
    let removed = feed.retain(&retention.rules).await;
    feed.close().await;
    let removed = removed?;
    writeln!(
        std::io::stdout(),
        "{} versions removed, {} bytes",
        removed.versions,
        removed.bytes
    )?;
    Ok(0)
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

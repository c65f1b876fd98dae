//! The command line.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use klusterkite_wire::chain;

use crate::import::{Import, Outcome, arguments, import};
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
klusterkite-feed import SETTINGS FROM [--id ID]...
                                 takes the packages of a folder, or of another feed whose service
                                 index is at the URL FROM, into a stopped feed; what is there
                                 already is passed over, so a run that broke off is continued by
                                 the next. Of another feed: --credential-file FILE, --user NAME,
                                 --ca FILE

Exit codes: 0 done, 1 failed, something is wrong in DIR or a package was refused, 2 cannot start with these arguments,
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
        ["import", settings, from, options @ ..] => match arguments::parse(from, options) {
            Ok(source) => run_import(Path::new(settings), source).await,
            Err(error) => {
                tracing::error!("{error}");
                Ok(2)
            }
        },
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

async fn run_import(path: &Path, source: Import) -> anyhow::Result<u8> {
    let Some(settings) = read_settings(path) else {
        return Ok(2);
    };
    let feed = Arc::new(Feed::open(settings).await?);
    let mut failed = Ok(());
    let summary = import(&feed, source, &mut |name, outcome| {
        let mut out = std::io::stdout().lock();
        let told = match outcome {
            Outcome::Imported => writeln!(out, "imported  {name}"),
            Outcome::Refused(reason) => writeln!(out, "refused   {name}: {reason}"),
            Outcome::Known => Ok(()),
        };
        if let Err(error) = told {
            failed = Err(error);
        }
    })
    .await;
    feed.close().await;
    failed?;
    let summary = summary?;
    writeln!(
        std::io::stdout(),
        "{} imported, {} there already, {} refused",
        summary.imported,
        summary.known,
        summary.refused
    )?;
    Ok(u8::from(summary.refused > 0))
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

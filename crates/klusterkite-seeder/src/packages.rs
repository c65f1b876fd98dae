//! Packages of the first configuration: found, resolved, checked.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use klusterkite_client::feed::FeedClient;
use klusterkite_client::{Error, Kind};
use klusterkite_core::check::{self, CheckContext, FactsByPackage, Finding, Severity};
use klusterkite_core::release::FrozenPackages;
use klusterkite_core::settings::Settings;
use klusterkite_nuget::{PackageId, Version};

/// Version in settings that stands for the newest one of the feed.
const NEWEST: &str = "newest";

/// Settings that passed the check, with exact versions and frozen packages.
pub(crate) struct Checked {
    pub(crate) settings: Settings,
    pub(crate) frozen: FrozenPackages,
    pub(crate) warnings: Vec<String>,
}

/// Why there is no checked configuration.
pub(crate) enum Missing {
    /// The feed or a package is not there; it may come.
    NotYet(anyhow::Error),
    /// Waiting does not help.
    Never(anyhow::Error),
}

/// Resolves and checks the packages of the settings against the feed.
pub(crate) fn resolve(feed: &FeedClient, settings: &Settings) -> Result<Checked, Missing> {
    let mut settings = settings.clone();
    for package in &mut settings.packages {
        if package.version.eq_ignore_ascii_case(NEWEST) {
            package.version = newest(feed, &package.id)?.full();
        }
    }
    let mut facts = FactsByPackage::new();
    for (id, version) in check::needed(&settings) {
        let context = || format!("package `{id} {version}` cannot be looked up");
        match feed
            .facts(&id, &version)
            .map_err(|error| sorted(error, context()))?
        {
            Some(found) => facts.insert((id, version), Arc::new(found)),
            None => return Err(not_there(feed, &format!("{id} {version}"))),
        };
    }
    let context = CheckContext {
        single_manager: true,
    };
    match check::check(&settings, &facts, context) {
        Ok(checked) => Ok(Checked {
            settings,
            frozen: checked.frozen,
            warnings: checked.warnings.iter().map(sentence).collect(),
        }),
        Err(findings) => {
            let errors = findings
                .iter()
                .filter(|finding| finding.severity == Severity::Error);
            let errors: Vec<String> = errors
                .map(|error| format!("\n  {}", sentence(error)))
                .collect();
            Err(Missing::Never(anyhow::anyhow!(
                "the configuration does not pass the check:{}",
                errors.concat()
            )))
        }
    }
}

/// Says a finding with its place.
fn sentence(finding: &Finding) -> String {
    let field = finding
        .field
        .as_deref()
        .map_or(String::new(), |field| format!("{field}: "));
    let place = match (finding.line, finding.column) {
        (Some(line), Some(column)) => format!(" (line {line}, column {column})"),
        _ => String::new(),
    };
    format!("{field}{}{place}", finding.message)
}

fn newest(feed: &FeedClient, id: &str) -> Result<Version, Missing> {
    let id: PackageId = id
        .parse()
        .context("a package of the configuration cannot be used")
        .map_err(Missing::Never)?;
    let context = || format!("package `{id}` cannot be looked up");
    let newest = feed.newest(&id).map_err(|error| sorted(error, context()))?;
    newest.ok_or_else(|| not_there(feed, id.as_str()))
}

fn not_there(feed: &FeedClient, package: &str) -> Missing {
    Missing::NotYet(anyhow::anyhow!(
        "package `{package}` is not in the feed `{}`",
        feed.url()
    ))
}

/// A feed that is away, or still starting, may come; a key that it refuses stays refused.
fn sorted(error: Error, context: String) -> Missing {
    let may_come = matches!(error.kind(), Kind::Away | Kind::NotFound | Kind::Server);
    let error = anyhow::Error::new(error).context(context);
    if may_come {
        Missing::NotYet(error)
    } else {
        Missing::Never(error)
    }
}

/// Refuses settings whose packages are not even named.
pub(crate) fn check_named(settings: &Settings) -> anyhow::Result<()> {
    for package in &settings.packages {
        if package.version.is_empty() {
            bail!(
                "package `{}` has no version; give one, or `{NEWEST}`",
                package.id
            );
        }
    }
    Ok(())
}

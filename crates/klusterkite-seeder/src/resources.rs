//! Seeders of packages: each a process of its own, in the order of the settings, again and again until it has worked.
//!
//! An entry of the settings names a migrator template of the configuration. Its packages, frozen by the check, are
//! assembled like those of its executor, with the entry's own settings on top, which nobody but the seeder sees.

mod directory;
mod process;

use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::Instant;

use anyhow::Context as _;
use klusterkite_client::Trust;
use klusterkite_core::release::Release;
use klusterkite_install::{
    Cancel, ContentStore, FeedCredential, FeedSource, FetchLimits, ServiceDirectory, install,
};
use klusterkite_wire::Runtime;
use klusterkite_wire::start::StartConfiguration;
use serde_json::json;

use crate::pause::Pauses;
use crate::settings::{SeederEntry, SeederSettings};

/// Runtime that this program was built for.
const RUNTIME: &str = if cfg!(target_arch = "aarch64") {
    "linux-arm64"
} else {
    "linux-x64"
};

/// Runs every seeder of the settings; tells whether one of them has changed anything.
pub(crate) fn seed(
    settings: &SeederSettings,
    release: &Release,
    out: &mut dyn Write,
) -> anyhow::Result<bool> {
    let place = tempfile::Builder::new()
        .prefix("klusterkite-seeder")
        .tempdir()
        .context("cannot make a directory for the packages of the seeders")?;
    let mut changed = false;
    for (number, entry) in settings.seeders.iter().enumerate() {
        let directory = place.path().join(number.to_string());
        let start = start(entry, release)?;
        patiently(settings, out, || {
            assemble(settings, entry, &start, place.path(), &directory)
        })?;
        let launches = directory::load(&directory)?;
        for name in &entry.run {
            let launch = launches.find(name)?;
            let result = patiently(settings, out, || {
                let seeded = process::run(&launch, entry.timeout);
                seeded.with_context(|| format!("seeder `{name}`"))
            })?;
            for line in &result.log {
                crate::seed::say(out, &format!("seeder `{name}`: {line}"));
            }
            let what = if result.seed.changed {
                "changed"
            } else {
                "unchanged"
            };
            crate::seed::say(
                out,
                &format!("seeder `{name}` {what}: {}", result.seed.message),
            );
            changed |= result.seed.changed;
        }
    }
    Ok(changed)
}

/// Tries until it works, or for as long as the settings say.
fn patiently<T>(
    settings: &SeederSettings,
    out: &mut dyn Write,
    mut work: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let start = Instant::now();
    let mut pauses = Pauses::new();
    loop {
        let error = match work() {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let pause = pauses.next();
        if let Some(limit) = settings.wait
            && start.elapsed() + pause > limit
        {
            return Err(error.context(format!("gave up after {} seconds", limit.as_secs())));
        }
        crate::seed::say(
            out,
            &format!(
                "waiting: {error:#}; next try in {:.1} s",
                pause.as_secs_f64()
            ),
        );
        thread::sleep(pause);
    }
}

/// Returns what the executor of the entry's template would be started with.
fn start(entry: &SeederEntry, release: &Release) -> anyhow::Result<StartConfiguration> {
    let template = &entry.migrator_template;
    let start = release.executor_configuration(template, &RUNTIME.parse()?);
    start.with_context(|| {
        format!("the configuration has no packages of the migrator template `{template}` for the runtime `{RUNTIME}`")
    })
}

fn assemble(
    settings: &SeederSettings,
    entry: &SeederEntry,
    start: &StartConfiguration,
    place: &Path,
    directory: &Path,
) -> anyhow::Result<()> {
    let runtime: Runtime = RUNTIME.parse()?;
    let feed = settings.feed.clone();
    let credential = settings.feed_credential_file.as_deref();
    let source = FeedSource {
        service_index: feed.unwrap_or_else(|| start.package_source.clone()),
        mirrors: Vec::new(),
        credential: credential.map(FeedCredential::read).transpose()?,
        trust: Trust::from_files(settings.tls.ca.clone()),
        limits: FetchLimits::STANDARD,
    };
    let store = ContentStore::open(place.join("store"))?;
    let mut start_settings = json!({ "KlusterKite": { "NodeManager": {
        "ConfigurationId": start.configuration_id,
        "NodeTemplate": start.node_template,
        "Runtime": runtime,
    } } });
    merge(&mut start_settings, &entry.settings);
    let service_directory = ServiceDirectory {
        store: &store,
        start,
        runtime: &runtime,
        start_settings: &start_settings.to_string(),
        path: directory,
    };
    install(&service_directory, &source, &|_| {}, &Cancel::new())?;
    Ok(())
}

/// Puts one object over another, key by key.
fn merge(low: &mut serde_json::Value, high: &serde_json::Value) {
    use serde_json::Value;
    match (low, high) {
        (Value::Object(low), Value::Object(high)) => {
            for (key, value) in high {
                merge(low.entry(key.as_str()).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (low, high) => *low = high.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_an_entry_lie_over_those_of_the_start() {
        let mut low = json!({ "a": { "b": 1, "c": 2 }, "d": 3 });
        merge(&mut low, &json!({ "a": { "c": 4 }, "e": [5] }));
        assert_eq!(low, json!({ "a": { "b": 1, "c": 4 }, "d": 3, "e": [5] }));
        merge(&mut low, &serde_json::Value::Null);
        assert_eq!(low["d"], 3);
    }
}

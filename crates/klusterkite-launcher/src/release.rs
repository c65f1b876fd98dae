//! Releases: the service directories below `releases/`, and the packages they are made of.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use klusterkite_install::{
    Cancel, ContentStore, FeedCredential, FeedSource, FetchLimits, FetchProgress, ServiceDirectory,
    file, install, read_release, restore,
};
use klusterkite_tls::Trust;
use klusterkite_wire::Runtime;
use klusterkite_wire::start::{PackageReference, ProgressPhase, StartConfiguration};

use crate::console;
use crate::cycle::{Install, ReleaseNumber};

/// Largest fallback configuration.
const FALLBACK_BYTES_MAX: u64 = 16 << 20;

/// Where releases are, and how new ones are made.
#[derive(Debug, Clone)]
pub(crate) struct Releases {
    pub(crate) directory: PathBuf,
    pub(crate) store: ContentStore,
    pub(crate) runtime: Runtime,
    pub(crate) fallback: Option<PathBuf>,
    pub(crate) feed_credential_file: Option<PathBuf>,
    pub(crate) trust: Trust,
    pub(crate) mirrors: Vec<String>,
    pub(crate) connect_timeout: Duration,
}

/// How far an installation is; read by whoever reports it.
pub(crate) type Progress = Mutex<Option<(ProgressPhase, FetchProgress)>>;

impl Releases {
    pub(crate) fn path(&self, release: ReleaseNumber) -> PathBuf {
        self.directory.join(release.0.to_string())
    }

    /// Makes or finds the release that is to run.
    pub(crate) fn install(
        &self,
        what: &Install,
        progress: &Progress,
        cancel: &Cancel,
    ) -> Result<ReleaseNumber> {
        match what {
            Install::Answer(start) | Install::Next(start) => self.make(start, progress, cancel),
            Install::Fallback => self.make(&self.read_fallback()?, progress, cancel),
            Install::Release(release) => {
                let path = self.path(*release);
                let start = read_release(&path)?
                    .with_context(|| format!("release {} is gone", release.0))?;
                if matches!(restore(&path), Ok(true)) {
                    return Ok(*release);
                }
                console::warn(format_args!(
                    "release {} is damaged: making it again",
                    release.0
                ));
                self.make_new(&start, progress, cancel)
            }
        }
    }

    /// Fetches the packages of a start configuration into the content store.
    pub(crate) fn fetch(
        &self,
        start: &StartConfiguration,
        progress: &(dyn Fn(FetchProgress) + Sync),
        cancel: &Cancel,
    ) -> Result<()> {
        let source = self.source(start)?;
        let damaged = self
            .store
            .ensure(&start.packages, &source, progress, cancel)?;
        say_damaged(&damaged);
        Ok(())
    }

    /// Reads the packages of the store again whose hash is older than `age`, says which are damaged,
    /// and fetches those again that the running release was made of.
    pub(crate) fn check_store(
        &self,
        running: Option<ReleaseNumber>,
        age: Duration,
        pause: Duration,
        cancel: &Cancel,
    ) -> Result<()> {
        let damaged = self.store.check_again(age, pause, cancel)?;
        for package in &damaged {
            console::warn(format_args!(
                "package `{package}` is damaged in the content store and was removed"
            ));
        }
        let Some(running) = running.filter(|_| !damaged.is_empty()) else {
            return Ok(());
        };
        let start = read_release(&self.path(running))?.context("the release is gone")?;
        self.fetch(&start, &|_| {}, cancel)
    }

    /// Removes all releases but those in `keep`.
    pub(crate) fn remove_others(&self, keep: &BTreeSet<ReleaseNumber>) -> Result<()> {
        for (release, path) in self.list()? {
            if release.is_none_or(|release| !keep.contains(&release)) {
                file::remove_directory(&path)?;
            }
        }
        Ok(())
    }

    /// Removes packages beyond `cache_bytes` that neither the releases in `keep` nor `pinned` need.
    pub(crate) fn collect_garbage(
        &self,
        keep: &BTreeSet<ReleaseNumber>,
        mut pinned: Vec<PackageReference>,
        cache_bytes: u64,
    ) -> Result<()> {
        for release in keep {
            let start = read_release(&self.path(*release))?;
            pinned.extend(start.into_iter().flat_map(|start| start.packages));
        }
        // What is needed when nothing else is there; one that cannot be read needs nothing.
        if let Ok(fallback) = self.read_fallback() {
            pinned.extend(fallback.packages);
        }
        self.store.collect_garbage(cache_bytes, &pinned)?;
        Ok(())
    }

    /// Finds a release that was made of the same start configuration and is still what it was, or
    /// makes a new one.
    fn make(
        &self,
        start: &StartConfiguration,
        progress: &Progress,
        cancel: &Cancel,
    ) -> Result<ReleaseNumber> {
        let plain = StartConfiguration {
            node_token: None,
            ..start.clone()
        };
        let mut releases = self.list()?;
        releases.sort();
        for (release, path) in releases.into_iter().rev() {
            // One that cannot be read is none; a new one is made and it is removed.
            if let (Some(release), Ok(Some(made_of))) = (release, read_release(&path))
                && made_of == plain
                && matches!(restore(&path), Ok(true))
            {
                return Ok(release);
            }
        }
        self.make_new(&plain, progress, cancel)
    }

    fn make_new(
        &self,
        start: &StartConfiguration,
        progress: &Progress,
        cancel: &Cancel,
    ) -> Result<ReleaseNumber> {
        let on_progress = |fetched: FetchProgress| {
            let phase = if fetched.bytes < fetched.total {
                ProgressPhase::Download
            } else {
                ProgressPhase::Extract
            };
            let mut progress = progress
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            *progress = Some((phase, fetched));
        };
        let numbers = self.list()?.into_iter().filter_map(|(release, _)| release);
        let release = ReleaseNumber(numbers.max().map_or(1, |last| last.0.saturating_add(1)));
        let directory = ServiceDirectory {
            store: &self.store,
            start,
            runtime: &self.runtime,
            // The start settings are written before each start: they hold the incarnation.
            start_settings: "",
            path: &self.path(release),
        };
        let source = self.source(start)?;
        let damaged = install(&directory, &source, &on_progress, cancel)?;
        say_damaged(&damaged);
        Ok(release)
    }

    fn source(&self, start: &StartConfiguration) -> Result<FeedSource> {
        // Without a feed nothing is needed of it if everything is here.
        let credential = if self.store.holds_all(&start.packages)? {
            None
        } else {
            let file = self.feed_credential_file.as_deref();
            file.map(FeedCredential::read).transpose()?
        };
        Ok(FeedSource {
            service_index: start.package_source.clone(),
            mirrors: self.mirrors.clone(),
            credential,
            trust: self.trust.clone(),
            limits: FetchLimits {
                connect: self.connect_timeout,
                ..FetchLimits::STANDARD
            },
        })
    }

    fn read_fallback(&self) -> Result<StartConfiguration> {
        let Some(path) = &self.fallback else {
            bail!("there is no `fallbackConfiguration`")
        };
        let shown = path.display();
        let content = file::read_bounded(path, FALLBACK_BYTES_MAX)?
            .with_context(|| format!("the fallback configuration `{shown}` does not exist"))?;
        serde_json::from_slice(&content).with_context(|| {
            format!("the fallback configuration `{shown}` is no start configuration")
        })
    }

    /// Lists what is in the directory; what has no number is a left-over.
    fn list(&self) -> Result<Vec<(Option<ReleaseNumber>, PathBuf)>> {
        let context = || format!("cannot list `{}`", self.directory.display());
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.directory).with_context(context)? {
            let path = entry.with_context(context)?.path();
            found.push((number_of(&path), path));
        }
        Ok(found)
    }
}

fn say_damaged(packages: &[String]) {
    for package in packages {
        console::warn(format_args!(
            "package `{package}` was damaged in the content store and was fetched again"
        ));
    }
}

fn number_of(path: &Path) -> Option<ReleaseNumber> {
    path.file_name()?.to_str()?.parse().ok().map(ReleaseNumber)
}

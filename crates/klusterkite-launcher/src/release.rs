//! Releases: the service directories below `releases/`, and the packages they are made of.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use klusterkite_install::{
    Cancel, ContentStore, FeedCredential, FeedSource, FetchLimits, FetchProgress, assemble, file,
    is_whole, read_release,
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
                if is_whole(&self.store, &start, &self.runtime, &path)? {
                    return Ok(*release);
                }
                console::warn(format_args!(
                    "release {} is damaged: making it again",
                    release.0
                ));
                self.make(&start, progress, cancel)
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
        // Without a feed nothing is needed of it if everything is here.
        if self.store.holds_all(&start.packages)? {
            return Ok(());
        }
        let credential = self
            .feed_credential_file
            .as_deref()
            .map(FeedCredential::read);
        let limits = FetchLimits {
            connect: self.connect_timeout,
            ..FetchLimits::STANDARD
        };
        let source = FeedSource {
            service_index: start.package_source.clone(),
            credential: credential.transpose()?,
            trust: self.trust.clone(),
            limits,
        };
        Ok(self
            .store
            .ensure(&start.packages, &source, progress, cancel)?)
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
        self.store.collect_garbage(cache_bytes, &pinned)?;
        Ok(())
    }

    fn make(
        &self,
        start: &StartConfiguration,
        progress: &Progress,
        cancel: &Cancel,
    ) -> Result<ReleaseNumber> {
        let report = |phase, fetched| {
            let mut progress = progress
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            *progress = Some((phase, fetched));
        };
        self.fetch(
            start,
            &|fetched| report(ProgressPhase::Download, fetched),
            cancel,
        )?;
        let total = start.packages.iter().map(|package| package.size).sum();
        report(
            ProgressPhase::Extract,
            FetchProgress {
                bytes: total,
                total,
            },
        );
        let numbers = self.list()?.into_iter().filter_map(|(release, _)| release);
        let release = ReleaseNumber(numbers.max().map_or(1, |last| last.0.saturating_add(1)));
        let path = self.path(release);
        // The start settings are written before each start: they hold the incarnation.
        assemble(&self.store, start, &self.runtime, "", &path, cancel)?;
        Ok(release)
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

fn number_of(path: &Path) -> Option<ReleaseNumber> {
    path.file_name()?.to_str()?.parse().ok().map(ReleaseNumber)
}

//! Packages of other feeds: looked for when this feed does not have them, kept when they were
//! fetched, and served from here from then on.
//!
//! Decisions are in the modules without a clock or socket: which upstream may be asked
//! ([`policy`]), whether it is alive ([`breaker`]), what was answered lately ([`memory`]), whether
//! a download moves ([`pace`]). This module and [`client`] carry them out.

mod breaker;
pub(crate) mod client;
mod flights;
mod memory;
mod pace;
mod policy;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use klusterkite_nuget::v3::{
    CatalogEntry, PackageFacts, SearchAnswer, SearchHit, flat_package_path,
};
use klusterkite_nuget::{PackageId, Version};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::blobs::{Durable, Received, Upload};
use crate::counters::count;
use crate::feed::is_symbols;
use crate::index::NewPackage;
use crate::{Error, Feed};
use breaker::Breaker;
use client::Broken;
pub(crate) use client::Client;
pub use client::{Failure, Remote};
use flights::Flights;
use memory::Memory;
pub use policy::Policy;

/// Documents and packages that are fetched from one upstream at the same time; further requests
/// wait for their turn as long as for an answer.
const DOCUMENTS_MAX: usize = 32;
const DOWNLOADS_MAX: usize = 8;

/// How long a download waits for its turn.
const TURN_MAX: Duration = Duration::from_mins(1);

/// Packages whose versions are remembered, and packages with all their metadata.
const VERSIONS_REMEMBERED: usize = 10_000;
const ENTRIES_REMEMBERED: usize = 200;

/// How long a package that was fetched and is not usable is not fetched again.
const REFUSED_FOR: Duration = Duration::from_mins(5);

/// An upstream as the settings describe it.
#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    /// Its name in logs and in the index.
    pub name: String,
    /// How it is reached.
    pub remote: Remote,
    /// What it is asked for.
    pub policy: Policy,
    /// How long its answers are taken for true.
    pub fresh: Duration,
    /// How long it is not asked again for what it did not have.
    pub absent: Duration,
}

/// All upstreams of a feed, in the order in which they are asked.
#[derive(Debug)]
pub(crate) struct Upstreams {
    all: Vec<Arc<Upstream>>,
    fetches: Flights<Result<bool, Arc<Error>>>,
    refused: Mutex<Memory<Arc<Error>>>,
    started: Instant,
}

#[derive(Debug)]
struct Upstream {
    settings: UpstreamSettings,
    client: Arc<Client>,
    breaker: Mutex<Breaker>,
    versions: Mutex<Memory<Vec<Version>>>,
    entries: Mutex<Memory<Arc<Vec<CatalogEntry>>>>,
    version_flights: Flights<Result<Vec<Version>, Failure>>,
    entry_flights: Flights<Result<Arc<Vec<CatalogEntry>>, Failure>>,
    documents: Arc<Semaphore>,
    downloads: Semaphore,
    started: Instant,
}

/// What the upstreams answered, and which of them did not.
#[derive(Debug)]
pub(crate) struct Asked<T> {
    pub(crate) found: Vec<T>,
    /// The first failure; then something may be missing.
    pub(crate) away: Option<Error>,
}

impl Upstreams {
    pub(crate) fn new(settings: Vec<UpstreamSettings>) -> Self {
        let started = Instant::now();
        let all = settings.into_iter().map(|settings| {
            Arc::new(Upstream {
                client: Arc::new(Client::new(settings.remote.clone())),
                settings,
                breaker: Mutex::default(),
                versions: Mutex::new(Memory::new(VERSIONS_REMEMBERED)),
                entries: Mutex::new(Memory::new(ENTRIES_REMEMBERED)),
                version_flights: Flights::default(),
                entry_flights: Flights::default(),
                documents: Arc::new(Semaphore::new(DOCUMENTS_MAX)),
                downloads: Semaphore::new(DOWNLOADS_MAX),
                started,
            })
        });
        Self {
            all: all.collect(),
            fetches: Flights::default(),
            refused: Mutex::new(Memory::new(VERSIONS_REMEMBERED)),
            started,
        }
    }

    /// Tells whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Lists the upstreams that may be asked for an id.
    async fn of(&self, feed: &Feed, id: &PackageId) -> Result<Vec<Arc<Upstream>>, Error> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        let (lower, is_local) = (id.lower(), feed.index.is_local(id).await?);
        let allowed = self.all.iter();
        let allowed = allowed.filter(|upstream| upstream.settings.policy.allows(&lower, is_local));
        Ok(allowed.cloned().collect())
    }

    /// Lists the versions of a package that the upstreams have, without those that somebody
    /// removed here.
    pub(crate) async fn versions(
        &self,
        feed: &Feed,
        id: &PackageId,
    ) -> Result<Asked<Version>, Error> {
        let mut asked = Asked::new();
        for upstream in self.of(feed, id).await? {
            asked.add(feed, &upstream, upstream.versions(id).await);
        }
        if !asked.found.is_empty() {
            let removed = feed.index.removed_by_hand(id).await?;
            asked.found.retain(|version| !removed.contains(version));
            asked.found.sort();
            asked.found.dedup();
        }
        Ok(asked)
    }

    /// Lists the versions of a package with their metadata, of the first upstream that has each.
    pub(crate) async fn entries(
        &self,
        feed: &Feed,
        id: &PackageId,
    ) -> Result<Asked<CatalogEntry>, Error> {
        let mut asked = Asked::new();
        for upstream in self.of(feed, id).await? {
            let entries = upstream.entries(id).await;
            asked.add(
                feed,
                &upstream,
                entries.map(|entries| entries.as_ref().clone()),
            );
        }
        if !asked.found.is_empty() {
            let removed = feed.index.removed_by_hand(id).await?;
            asked
                .found
                .retain(|entry| !removed.contains(&entry.version));
            // Stable: of equal versions that of the first upstream stays.
            asked.found.sort_by(|a, b| a.version.cmp(&b.version));
            asked.found.dedup_by(|a, b| a.version == b.version);
        }
        Ok(asked)
    }

    /// Searches each upstream in turn: `skip` and `take` go over all of them as over one list.
    /// `query` is the encoded rest of the query. Returns the number of all hits too.
    pub(crate) async fn search(
        &self,
        feed: &Feed,
        query: &str,
        mut skip: u64,
        mut take: u64,
    ) -> Result<(u64, Asked<SearchHit>), Error> {
        let mut asked = Asked::new();
        let mut total: u64 = 0;
        for upstream in &self.all {
            // Nobody answers "none of them, please": the number of all is needed.
            let query = format!("{query}&skip={skip}&take={}", take.max(1));
            let answer = upstream.search(query).await;
            let SearchAnswer { total_hits, data } = match answer {
                Ok(answer) => answer,
                Err(failure) => {
                    asked.add(feed, upstream, Err(failure));
                    continue;
                }
            };
            let mut hits = Vec::new();
            for hit in data.into_iter().take(usize::try_from(take).unwrap_or(0)) {
                let is_local = feed.index.is_local(&hit.id).await?;
                let policy = &upstream.settings.policy;
                let is_new = |hits: &[SearchHit]| hits.iter().all(|known| known.id != hit.id);
                if !is_local
                    && policy.allows(&hit.id.lower(), false)
                    && is_new(&hits)
                    && is_new(&asked.found)
                {
                    hits.push(hit);
                }
            }
            total = total.saturating_add(total_hits);
            skip = skip.saturating_sub(total_hits);
            take = take.saturating_sub(hits.len() as u64);
            asked.add(feed, upstream, Ok(hits));
        }
        Ok((total, asked))
    }

    /// Fetches a version that this feed does not have, if an upstream has it; returns whether it
    /// is here now. All who ask for it at the same time wait for one download.
    pub(crate) async fn fetch(
        &self,
        feed: &Arc<Feed>,
        id: &PackageId,
        version: &Version,
    ) -> Result<bool, Error> {
        if self.is_empty() {
            return Ok(false);
        }
        let name = format!("{} {}", id.lower(), version.lower());
        let known = lock(&self.refused)
            .get(&name, self.started.elapsed(), REFUSED_FOR)
            .cloned();
        if let Some(refused) = known {
            return Err(Error::Shared(refused));
        }
        let work = {
            let (feed, id, version) = (Arc::clone(feed), id.clone(), version.clone());
            async move { fetch_now(&feed, &id, &version).await.map_err(Arc::new) }
        };
        let fetched = self.fetches.join(name.clone(), work).await;
        let fetched = fetched.ok_or(Error::UpstreamAway {
            upstream: "all".to_owned(),
            source: Failure::new("a task of the feed failed"),
        })?;
        if let Err(error) = &fetched
            && matches!(**error, Error::UpstreamAway { .. })
        {
            count(&feed.counters.upstream_failures);
        }
        if let Err(error) = &fetched
            && matches!(**error, Error::UpstreamPackage { .. })
        {
            let now = self.started.elapsed();
            lock(&self.refused).put(name, now, Arc::clone(error));
        }
        fetched.map_err(Error::Shared)
    }
}

impl<T> Asked<T> {
    fn new() -> Self {
        Self {
            found: Vec::new(),
            away: None,
        }
    }

    fn add(&mut self, feed: &Feed, upstream: &Upstream, answer: Result<Vec<T>, Failure>) {
        match answer {
            Ok(found) => self.found.extend(found),
            Err(failure) => {
                count(&feed.counters.upstream_failures);
                self.away.get_or_insert(upstream.away(failure));
            }
        }
    }
}

/// Asks one upstream after the other for a version and keeps the first that is usable.
async fn fetch_now(feed: &Arc<Feed>, id: &PackageId, version: &Version) -> Result<bool, Error> {
    // The download that this request came too late for may have ended just now.
    if feed.index.blob(id, version).await?.is_some() {
        return Ok(true);
    }
    if feed.index.removed_by_hand(id).await?.contains(version) {
        return Ok(false);
    }
    let mut away = None;
    for upstream in feed.upstreams.of(feed, id).await? {
        match upstream.has(id, version).await {
            Ok(true) => {}
            Ok(false) => continue,
            Err(failure) => {
                away.get_or_insert(upstream.away(failure));
                continue;
            }
        }
        match upstream.fetch(feed, id, version).await {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(error @ Error::UpstreamAway { .. }) => {
                away.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    match away {
        Some(error) => Err(error),
        None => Ok(false),
    }
}

impl Upstream {
    fn away(&self, source: Failure) -> Error {
        Error::UpstreamAway {
            upstream: self.settings.name.clone(),
            source,
        }
    }

    /// Lists the versions of a package: what was answered lately, or a new answer.
    async fn versions(self: &Arc<Self>, id: &PackageId) -> Result<Vec<Version>, Failure> {
        let known = self.known(id, self.settings.fresh);
        let known = known.filter(|versions| !versions.is_empty());
        match known.or_else(|| self.known(id, self.settings.absent)) {
            Some(versions) => Ok(versions),
            None => self.ask_versions(id).await,
        }
    }

    /// Tells whether the upstream has a version. That it had none is believed for a shorter time
    /// than that it had one: versions come and never change.
    async fn has(self: &Arc<Self>, id: &PackageId, version: &Version) -> Result<bool, Failure> {
        let known = self.known(id, self.settings.fresh);
        let known = known.filter(|versions| versions.contains(version));
        let versions = match known.or_else(|| self.known(id, self.settings.absent)) {
            Some(versions) => versions,
            None => self.ask_versions(id).await?,
        };
        Ok(versions.contains(version))
    }

    fn known(&self, id: &PackageId, age_max: Duration) -> Option<Vec<Version>> {
        let now = self.started.elapsed();
        let versions = lock(&self.versions);
        versions.get(&id.lower(), now, age_max).cloned()
    }

    async fn ask_versions(self: &Arc<Self>, id: &PackageId) -> Result<Vec<Version>, Failure> {
        let work = {
            let (upstream, id) = (Arc::clone(self), id.clone());
            async move {
                let name = id.lower();
                let versions = upstream.ask(move |client| client.versions(&id)).await?;
                let now = upstream.started.elapsed();
                lock(&upstream.versions).put(name, now, versions.clone());
                Ok(versions)
            }
        };
        let answer = self.version_flights.join(id.lower(), work).await;
        answer.unwrap_or_else(|| Err(Failure::new("a task of the feed failed")))
    }

    /// Lists the versions of a package with their metadata.
    async fn entries(self: &Arc<Self>, id: &PackageId) -> Result<Arc<Vec<CatalogEntry>>, Failure> {
        let name = id.lower();
        let known = {
            let now = self.started.elapsed();
            let entries = lock(&self.entries);
            let fresh = entries.get(&name, now, self.settings.fresh);
            let fresh = fresh.filter(|entries| !entries.is_empty());
            fresh
                .or_else(|| entries.get(&name, now, self.settings.absent))
                .cloned()
        };
        if let Some(known) = known {
            return Ok(known);
        }
        let work = {
            let (upstream, id, name) = (Arc::clone(self), id.clone(), name.clone());
            async move {
                let entries = upstream.ask(move |client| client.entries(&id)).await?;
                let entries = Arc::new(entries);
                let now = upstream.started.elapsed();
                lock(&upstream.entries).put(name, now, Arc::clone(&entries));
                Ok(entries)
            }
        };
        let answer = self.entry_flights.join(name, work).await;
        answer.unwrap_or_else(|| Err(Failure::new("a task of the feed failed")))
    }

    async fn search(self: &Arc<Self>, query: String) -> Result<SearchAnswer, Failure> {
        self.ask(move |client| client.search(&query)).await
    }

    /// Runs a question on a thread of its own, if the upstream is not away.
    async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        question: impl FnOnce(&Client) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        self.check_alive()?;
        let turn = Arc::clone(&self.documents).acquire_owned();
        let turn = tokio::time::timeout(self.settings.remote.timeout, turn).await;
        let turn = turn
            .map_err(|_| Failure::new("too many requests wait for its answers"))?
            .expect("the semaphore is never closed");
        let client = Arc::clone(&self.client);
        let answer = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            question(&client)
        });
        let answer = answer
            .await
            .map_err(|_| Failure::new("a task of the feed failed"))?;
        self.note(answer.as_ref().map(drop));
        answer
    }

    fn check_alive(&self) -> Result<(), Failure> {
        if lock(&self.breaker).may_ask(self.started.elapsed()) {
            return Ok(());
        }
        Err(Failure::new(
            "it failed several times and is left alone for a while",
        ))
    }

    fn note(&self, answer: Result<(), &Failure>) {
        let name = &self.settings.name;
        match answer {
            Ok(()) => lock(&self.breaker).answered(),
            Err(failure) => {
                if lock(&self.breaker).failed(self.started.elapsed()) {
                    tracing::warn!(upstream = %name, %failure, "the upstream counts as away");
                } else {
                    tracing::debug!(upstream = %name, %failure, "the upstream failed");
                }
            }
        }
    }

    /// Downloads a version, checks it and keeps it; returns whether it is here now.
    async fn fetch(
        self: &Arc<Self>,
        feed: &Arc<Feed>,
        id: &PackageId,
        version: &Version,
    ) -> Result<bool, Error> {
        let turn = tokio::time::timeout(TURN_MAX, self.downloads.acquire()).await;
        let busy = |_| self.away(Failure::new("too many downloads wait for their turn"));
        let _turn = turn.map_err(busy)?.expect("the semaphore is never closed");
        self.check_alive().map_err(|failure| self.away(failure))?;
        let refused = |source: Error| Error::UpstreamPackage {
            upstream: self.settings.name.clone(),
            id: id.clone(),
            version: version.clone(),
            source: Box::new(source),
        };
        let (upload, facts, listed) = match self.download(feed, id, version).await? {
            Download::Whole(upload, facts, listed) => (upload, facts, listed),
            Download::Absent => {
                // The list of versions was older than the removal.
                lock(&self.versions).remove(&id.lower());
                return Ok(false);
            }
            Download::TooLarge(limit) => return Err(refused(Error::PackageTooLarge { limit })),
        };
        let received = upload.finish().await?;
        let checked = check(feed, received, id, version, facts.as_deref()).await;
        let (durable, mut package) = checked.map_err(|error| {
            if error.is_storage_full() {
                error
            } else {
                refused(error)
            }
        })?;
        package.upstream = Some(self.settings.name.clone());
        package.listed = listed;
        let bytes = package.size;
        match feed.store(durable, package).await {
            Ok(()) => {
                count(&feed.counters.upstream_fetches);
                tracing::info!(%id, %version, upstream = %self.settings.name, bytes,
                    "fetched from upstream");
                Ok(true)
            }
            // Pushed meanwhile.
            Err(Error::VersionExists { .. }) => Ok(true),
            Err(error @ Error::VersionPurged { .. }) => Err(refused(error)),
            Err(error) => Err(error),
        }
    }

    async fn download(
        self: &Arc<Self>,
        feed: &Arc<Feed>,
        id: &PackageId,
        version: &Version,
    ) -> Result<Download, Error> {
        let file = flat_package_path(id, version);
        let downloaded = download(feed, &self.client, file, {
            let (id, version) = (id.clone(), version.clone());
            move |client| about(client, &id, &version)
        });
        match downloaded.await? {
            Ok(download) => {
                self.note(Ok(()));
                Ok(download)
            }
            Err(failure) => {
                self.note(Err(&failure));
                Err(self.away(failure))
            }
        }
    }
}

/// Asks for what a feed of our kind says about a package, and whether searches show it.
pub(crate) fn about(
    client: &Client,
    id: &PackageId,
    version: &Version,
) -> Result<(Option<Box<PackageFacts>>, bool), Failure> {
    let facts = client.facts(id, version)?;
    let listed = match &facts {
        Some(facts) => facts.listed,
        // Not to know it is no reason to refuse the package.
        None => client.is_listed(id, version).unwrap_or(true),
    };
    Ok((facts.map(Box::new), listed))
}

/// Downloads a file of the flat container and asks what there is to know about it.
pub(crate) async fn download(
    feed: &Arc<Feed>,
    client: &Arc<Client>,
    file: String,
    about: impl FnOnce(&Client) -> Result<(Option<Box<PackageFacts>>, bool), Failure> + Send + 'static,
) -> Result<Result<Download, Failure>, Error> {
    let mut upload = feed.receive().await?;
    let (client, runtime) = (Arc::clone(client), Handle::current());
    let limit = feed.package_bytes_max;
    let task = tokio::task::spawn_blocking(move || {
        let take = |bytes: &[u8]| runtime.block_on(upload.write(bytes));
        if !client.download(&file, limit, take)? {
            return Ok(Download::Absent);
        }
        let (facts, listed) = about(&client).map_err(Broken::Remote)?;
        Ok(Download::Whole(Box::new(upload), facts, listed))
    });
    match task.await.map_err(Error::Task)? {
        Ok(download) => Ok(Ok(download)),
        Err(Broken::TooLarge) => Ok(Ok(Download::TooLarge(limit))),
        Err(Broken::Here(error)) => Err(error),
        Err(Broken::Remote(failure)) => Ok(Err(failure)),
    }
}

/// How a download ended.
pub(crate) enum Download {
    /// With what a feed of our kind says about it, and whether searches show it.
    Whole(Box<Upload>, Option<Box<PackageFacts>>, bool),
    Absent,
    TooLarge(u64),
}

/// Reads a downloaded package whole; it must be the one that was asked for.
pub(crate) async fn check(
    feed: &Feed,
    received: Received,
    id: &PackageId,
    version: &Version,
    facts: Option<&PackageFacts>,
) -> Result<(Durable, NewPackage), Error> {
    let (durable, package) = feed.inspect(received).await?;
    let nuspec = &package.nuspec;
    if nuspec.id != *id || nuspec.version != *version {
        return Err(Error::OtherPackage {
            found: format!("package `{}` `{}`", nuspec.id, nuspec.version),
        });
    }
    if let Some(facts) = facts
        && facts.sha512 != package.sha512
    {
        return Err(Error::OtherPackage {
            found: format!("a package with SHA-512 {}", package.sha512),
        });
    }
    if is_symbols(&package) {
        return Err(Error::SymbolsAsPackage {
            id: id.clone(),
            version: version.clone(),
        });
    }
    Ok((durable, package))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a thread that panicked left is whole: each change is one call.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

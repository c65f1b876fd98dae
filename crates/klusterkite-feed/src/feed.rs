//! The feed itself: bytes on disk and their index, changed together.

mod everywhere;
mod symbols;
mod together;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use klusterkite_nuget::v3::FileFacts;
use klusterkite_nuget::{Limits, Package, PackageId, Sha512Hash, Version};
use klusterkite_wire::chain;
use tokio::sync::{Mutex, Semaphore};

use crate::Error;
use crate::access_log::AccessLog;
use crate::blobs::{Blobs, Durable, Kind, Received, Upload};
use crate::counters::Counters;
use crate::http::{Documents, Observer};
use crate::index::{Index, NewPackage};
use crate::keys::{Key, Keys};
use crate::proxies::Proxies;
use crate::settings::Settings;
use crate::upstream::Upstreams;
use crate::wrong_keys::WrongKeys;

pub(crate) use symbols::{check_symbols, is_symbols};
use together::Queue;

/// Packages that are checked at the same time: each takes one core and some megabytes.
const CHECKS_MAX: usize = 4;

/// How long the answer that the feed is ready holds: it costs a write, and anybody may ask.
const READY_FOR: Duration = Duration::from_secs(2);

/// A feed that is open: it owns its directory until it is dropped.
#[derive(Debug)]
pub struct Feed {
    pub(crate) blobs: Arc<Blobs>,
    pub(crate) index: Index,
    pub(crate) keys: Keys,
    pub(crate) public_url: Option<String>,
    /// Whether clients speak TLS to this process.
    pub(crate) is_secure: bool,
    pub(crate) proxies: Proxies,
    pub(crate) wrong_keys: WrongKeys,
    pub(crate) observer: Arc<Observer>,
    pub(crate) counters: Counters,
    pub(crate) documents: Documents,
    pub(crate) package_bytes_max: u64,
    pub(crate) upstreams: Upstreams,
    limits: Limits,
    /// Held while bytes and rows change together.
    pub(crate) writing: Mutex<()>,
    /// Counts the changes of pins and listings: what a decision about removals depends on.
    pub(crate) changes: AtomicU64,
    checks: Semaphore,
    queue: Queue,
    /// When packages could be taken the last time.
    ready: Mutex<Option<Instant>>,
    /// Keeps other processes out.
    _lock: fs::File,
}

impl Feed {
    /// Opens the feed's directory, makes what is missing and finishes what a crash interrupted.
    pub async fn open(settings: Settings) -> Result<Self, Error> {
        let directory = settings.directory;
        // Whoever may not read the feed may not read its files either.
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory);
        made.map_err(Error::file("create directory", &directory))?;
        let lock = lock(&directory)?;
        let blobs = Blobs::open(&directory, settings.free_bytes_min)?;
        let index_path = index_path(&directory);
        if !index_path.exists() {
            for kind in Kind::ALL {
                if !blobs.list(kind)?.is_empty() {
                    return Err(Error::IndexMissing { directory });
                }
            }
        }
        let index = Index::open(&index_path).await?;
        let feed = Self {
            blobs: Arc::new(blobs),
            index,
            keys: settings.keys,
            public_url: settings.public_url,
            is_secure: settings.tls.is_some(),
            proxies: Proxies::new(settings.trusted_proxies),
            wrong_keys: WrongKeys::default(),
            observer: Arc::new(Observer::new(AccessLog::open(&settings.access_log)?)),
            counters: Counters::default(),
            documents: Documents::default(),
            package_bytes_max: settings.package_bytes_max,
            upstreams: Upstreams::new(settings.upstream),
            limits: settings.limits,
            writing: Mutex::new(()),
            changes: AtomicU64::new(0),
            checks: Semaphore::new(CHECKS_MAX),
            queue: Queue::default(),
            ready: Mutex::new(None),
            _lock: lock,
        };
        feed.finish_interrupted().await?;
        feed.index.catch_up().await?;
        Ok(feed)
    }

    /// Removes the bytes of interrupted pushes and purges.
    async fn finish_interrupted(&self) -> Result<(), Error> {
        for (kind, hash) in self.index.undecided().await? {
            // A row is written in the transaction that decides, so these have none.
            self.blobs.remove(kind, &hash)?;
            self.index.undecided_remove(kind, &hash).await?;
            tracing::info!(sha512 = %hash, "removed the bytes of an interrupted push or purge");
        }
        self.warn_of_differences().await
    }

    /// Says at the start what only a person can have caused: files lost, copied or restored.
    async fn warn_of_differences(&self) -> Result<(), Error> {
        let (mut unknown, mut missing) = (0, 0);
        for kind in Kind::ALL {
            let files: BTreeSet<Sha512Hash> = self.blobs.list(kind)?.into_iter().collect();
            let rows = self.index.all_hashes(kind).await?;
            let rows: BTreeSet<Sha512Hash> = rows.into_iter().collect();
            unknown += files.difference(&rows).count();
            missing += rows.difference(&files).count();
        }
        if unknown + missing > 0 {
            tracing::warn!(
                unknown,
                missing,
                "files and index differ; run `klusterkite-feed check`"
            );
        }
        Ok(())
    }

    /// Checks that a package could be stored: the disk has room and the index can be written.
    pub(crate) async fn check_ready(&self) -> Result<(), Error> {
        let mut ready = self.ready.lock().await;
        if ready.is_some_and(|since| since.elapsed() < READY_FOR) {
            return Ok(());
        }
        *ready = None;
        self.blobs.check_free_space()?;
        self.index.check_writable().await?;
        *ready = Some(Instant::now());
        Ok(())
    }

    /// Starts to receive a package.
    pub(crate) async fn receive(&self) -> Result<Upload, Error> {
        self.blobs.receive().await
    }

    /// Checks a received package and publishes it; afterwards it is there whole and durably, or
    /// not at all.
    pub(crate) async fn publish(
        &self,
        received: Received,
        key: &Key,
    ) -> Result<(PackageId, Version), Error> {
        let (durable, package) = self.inspect(received).await?;
        let (id, version) = (package.nuspec.id.clone(), package.nuspec.version.clone());
        key.check_id(&id)?;
        if is_symbols(&package) {
            return Err(Error::SymbolsAsPackage { id, version });
        }

        self.store(durable, package).await?;
        Ok((id, version))
    }

    /// Reads a received package whole, and makes its bytes durable meanwhile.
    pub(crate) async fn inspect(&self, received: Received) -> Result<(Durable, NewPackage), Error> {
        let syncing = received.sync();
        let limits = self.limits;
        let inspecting = async {
            let turn = self.checks.acquire().await;
            let _turn = turn.expect("the semaphore is never closed");
            let task = tokio::task::spawn_blocking(move || {
                let package = inspect(
                    received.open()?,
                    received.sha512,
                    received.size,
                    SystemTime::now(),
                    &limits,
                )?;
                Ok::<_, Error>((received, package))
            });
            task.await.map_err(Error::Task)?
        };
        // Also the sync of what is refused is waited for, so that they cannot pile up.
        let (inspected, synced) = tokio::join!(inspecting, syncing.done());
        let (received, package) = inspected?;
        Ok((received.durable(synced?), package))
    }

    /// Keeps durable bytes and runs the insertion of their row; both happen or none. Must be
    /// called while `writing` is held.
    async fn list(
        &self,
        kind: Kind,
        durable: Durable,
        insertion: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), Error> {
        let hash = durable.sha512;
        self.index.undecided_add(kind, &hash).await?;
        let blobs = Arc::clone(&self.blobs);
        let kept = tokio::task::spawn_blocking(move || blobs.keep(kind, durable))
            .await
            .map_err(Error::Task)?;
        let listed = match kept {
            Ok(()) => insertion.await,
            Err(error) => Err(error),
        };
        if listed.is_err() {
            self.take_back(kind, &hash).await;
        }
        listed
    }

    /// Removes the bytes of a failed push. What cannot be removed now is removed at the next start.
    async fn take_back(&self, kind: Kind, hash: &Sha512Hash) {
        let removed = async {
            // A failed commit may have happened all the same; then the hash is decided.
            if self.index.undecided().await?.contains(&(kind, *hash)) {
                self.blobs.remove(kind, hash)?;
                self.index.undecided_remove(kind, hash).await?;
            }
            Ok::<_, Error>(())
        };
        if let Err(error) = removed.await {
            tracing::warn!(sha512 = %hash, error = chain(&error), "cannot remove the bytes of a failed push yet");
        }
    }

    /// Hides a version from searches or shows it again.
    pub(crate) async fn set_listed(
        &self,
        id: &PackageId,
        version: &Version,
        listed: bool,
        key: &Key,
    ) -> Result<(), Error> {
        key.check_id(id)?;
        let _writing = self.writing.lock().await;
        self.changes.fetch_add(1, Ordering::SeqCst);
        if self.index.set_listed(id, version, listed).await? {
            Ok(())
        } else {
            Err(not_found(id, version))
        }
    }

    /// Removes a version with its bytes and symbols, unless a cluster pins it.
    pub(crate) async fn purge(
        &self,
        id: &PackageId,
        version: &Version,
        key: &Key,
    ) -> Result<(), Error> {
        key.check_id(id)?;
        let _writing = self.writing.lock().await;
        self.remove(id, version, true).await
    }

    /// Removes a version with its bytes and symbols, unless a cluster pins it; must be called
    /// while `writing` is held.
    pub(crate) async fn remove(
        &self,
        id: &PackageId,
        version: &Version,
        by_hand: bool,
    ) -> Result<(), Error> {
        let mut removed = self.index.purge(id, version, by_hand).await;
        // On a full disk there is room for nothing but for making room.
        if removed.as_ref().is_err_and(Error::is_storage_full) && self.blobs.reserve_release() {
            removed = self.index.purge(id, version, by_hand).await;
        }
        let removed = removed?;
        // What was served lately may hold the file open, and with it its room on the disk.
        self.documents.forget_before(self.index.generation());
        if removed.is_empty() {
            return Err(not_found(id, version));
        }
        for (kind, hash) in removed {
            let blobs = Arc::clone(&self.blobs);
            tokio::task::spawn_blocking(move || blobs.remove(kind, &hash))
                .await
                .map_err(Error::Task)??;
            self.index.undecided_remove(kind, &hash).await?;
        }
        self.blobs.reserve_take();
        Ok(())
    }

    /// Replaces the versions that a cluster pins.
    pub(crate) async fn pin(
        &self,
        cluster: &str,
        pins: &[(PackageId, Version)],
        key: &Key,
    ) -> Result<(), Error> {
        for (id, _) in pins {
            key.check_id(id)?;
        }
        let _writing = self.writing.lock().await;
        // What it replaces is changed too.
        for id in self.index.pinned_by(cluster).await? {
            key.check_id(&id)?;
        }
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.index.pins_replace(cluster, pins).await
    }

    /// Waits for running changes and closes the index.
    pub async fn close(&self) {
        let _writing = self.writing.lock().await;
        self.index.close().await;
    }
}

/// Says that there is no such version.
pub(crate) fn not_found(id: &PackageId, version: &Version) -> Error {
    Error::NotFound {
        what: format!("package `{id}` `{version}`"),
    }
}

/// Returns where a feed's index is.
pub(crate) fn index_path(directory: &Path) -> PathBuf {
    directory.join("index.sqlite")
}

/// Locks a feed's directory for this process.
pub(crate) fn lock(directory: &Path) -> Result<fs::File, Error> {
    let path = directory.join("lock");
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let file = file.map_err(Error::file("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(Error::DirectoryInUse {
            directory: directory.to_owned(),
        }),
        Err(fs::TryLockError::Error(source)) => Err(Error::file("lock", &path)(source)),
    }
}

/// Reads a package whole, and makes the row that lists it.
pub(crate) fn inspect(
    file: fs::File,
    sha512: Sha512Hash,
    size: u64,
    published: SystemTime,
    limits: &Limits,
) -> Result<NewPackage, Error> {
    let mut package =
        Package::open(std::io::BufReader::new(file), limits).map_err(Error::PackageInvalid)?;
    let hashes = package.hash_files().map_err(Error::PackageInvalid)?;
    let files = package.files().iter().zip(hashes);
    let files = files.map(|(file, sha256)| FileFacts {
        path: file.path.clone(),
        size: file.size,
        sha256,
    });
    let files = files.collect();
    let nuspec = package.nuspec().clone();
    let manifest = package.manifest().map(str::to_owned);
    if let Some(text) = &manifest {
        klusterkite_manifest::parse(nuspec.id.as_str(), text).map_err(Error::ManifestInvalid)?;
    }
    Ok(NewPackage {
        sha512,
        size,
        published,
        nuspec_text: package.nuspec_text().to_owned(),
        nuspec,
        manifest,
        files,
        listed: true,
        upstream: None,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use klusterkite_nuget::{Nuspec, PackageBuilder};
    use klusterkite_wire::Secret;

    use super::*;
    use crate::access_log::AccessLogTarget;
    use crate::keys::Scope;

    async fn open(directory: &Path) -> Feed {
        let settings = Settings {
            listen: String::new(),
            directory: directory.to_owned(),
            tls: None,
            public_url: None,
            keys: Keys::new(Vec::new(), BTreeSet::new()),
            address_file: None,
            package_bytes_max: 1 << 20,
            limits: Limits::STANDARD,
            connections_max: 1,
            head_time_max: Duration::from_secs(1),
            free_bytes_min: 0,
            retention: None,
            upstream: Vec::new(),
            trusted_proxies: Vec::new(),
            access_log: AccessLogTarget::None,
        };
        Feed::open(settings).await.unwrap()
    }

    fn key() -> Key {
        Key::new(
            "any".to_owned(),
            &Secret::new("0123456789abcdef"),
            BTreeSet::from([Scope::Push]),
            None,
        )
    }

    fn package() -> (PackageId, Version, Vec<u8>) {
        let (id, version): (PackageId, Version) =
            ("Acme".parse().unwrap(), "1.0.0".parse().unwrap());
        let bytes =
            PackageBuilder::new(Nuspec::new(id.clone(), version.clone(), "a", "b")).to_bytes();
        (id, version, bytes.unwrap())
    }

    async fn received(feed: &Feed, bytes: &[u8]) -> Received {
        let mut upload = feed.receive().await.unwrap();
        upload.write(bytes).await.unwrap();
        upload.finish().await.unwrap()
    }

    /// What is there after a restart: versions in the index, files of packages, and uploads.
    async fn after_restart(directory: &Path) -> (usize, usize, usize) {
        let feed = open(directory).await;
        let versions = feed.index.versions(&package().0).await.unwrap().len();
        assert!(feed.index.undecided().await.unwrap().is_empty());
        let uploads = fs::read_dir(directory.join("incoming")).unwrap().count();
        (
            versions,
            feed.blobs.list(Kind::Package).unwrap().len(),
            uploads,
        )
    }

    /// Each crash is a feed that is dropped after some of the steps of a push.
    #[tokio::test]
    async fn a_push_that_stops_after_any_step_is_whole_or_absent() {
        let bytes = package().2;
        for steps in 0..4 {
            let directory = tempfile::tempdir().unwrap();
            let feed = open(directory.path()).await;
            let received = received(&feed, &bytes).await;
            let (durable, package) = feed.inspect(received).await.unwrap();
            let mut durable = Some(durable);
            if steps >= 1 {
                feed.index
                    .undecided_add(Kind::Package, &package.sha512)
                    .await
                    .unwrap();
            }
            if steps >= 2 {
                feed.blobs
                    .keep(Kind::Package, durable.take().unwrap())
                    .unwrap();
            }
            if steps >= 3 {
                feed.index.insert(&package).await.unwrap();
            }
            // A killed process runs no destructors.
            std::mem::forget(durable);
            drop(feed);
            let expected = if steps == 3 { (1, 1, 0) } else { (0, 0, 0) };
            assert_eq!(
                after_restart(directory.path()).await,
                expected,
                "after {steps} steps"
            );
        }
    }

    #[tokio::test]
    async fn a_purge_that_stops_after_any_step_is_finished_at_the_next_start() {
        let (id, version, bytes) = package();
        for steps in 1..3 {
            let directory = tempfile::tempdir().unwrap();
            let feed = open(directory.path()).await;
            feed.publish(received(&feed, &bytes).await, &key())
                .await
                .unwrap();
            let removed = feed.index.purge(&id, &version, true).await.unwrap();
            if steps >= 2 {
                feed.blobs.remove(Kind::Package, &removed[0].1).unwrap();
            }
            drop(feed);
            assert_eq!(
                after_restart(directory.path()).await,
                (0, 0, 0),
                "after {steps} steps"
            );
        }
    }

    #[tokio::test]
    async fn a_package_that_no_row_knows_is_kept_at_the_start() {
        let directory = tempfile::tempdir().unwrap();
        drop(open(directory.path()).await);
        let (_, _, bytes) = package();
        let path = directory
            .path()
            .join("blobs")
            .join(Sha512Hash::of(&bytes).hex() + ".nupkg");
        fs::File::create(&path).unwrap().write_all(&bytes).unwrap();
        assert_eq!(after_restart(directory.path()).await, (0, 1, 0));
    }

    fn numbered(id: &str, number: u32) -> Vec<u8> {
        let (id, version) = (
            id.parse().unwrap(),
            format!("1.{number}.0").parse().unwrap(),
        );
        let nuspec = Nuspec::new(id, version, "a", "b");
        PackageBuilder::new(nuspec).to_bytes().unwrap()
    }

    #[tokio::test]
    async fn pushes_that_come_together_are_stored_or_refused_each_for_itself() {
        let directory = tempfile::tempdir().unwrap();
        let feed = Arc::new(open(directory.path()).await);
        feed.publish(received(&feed, &numbered("Acme", 7)).await, &key())
            .await
            .unwrap();
        // All of them wait until the lock is free.
        let held = feed.writing.lock().await;
        let pushes = (0..100).map(|number| {
            let feed = Arc::clone(&feed);
            tokio::spawn(async move {
                // Every version comes twice.
                let received = received(&feed, &numbered("Acme", number / 2)).await;
                (number / 2, feed.publish(received, &key()).await)
            })
        });
        let pushes: Vec<_> = pushes.collect();
        while feed.queue.len() < 100 {
            tokio::task::yield_now().await;
        }
        drop(held);
        let mut stored = BTreeSet::new();
        for push in pushes {
            match push.await.unwrap() {
                (number, Ok(_)) => assert!(stored.insert(number), "{number} was stored twice"),
                (_, Err(error)) => assert!(matches!(error, Error::VersionExists { .. }), "{error}"),
            }
        }
        let expected: BTreeSet<u32> = (0..50).filter(|number| *number != 7).collect();
        assert_eq!(stored, expected);
        drop(feed);
        assert_eq!(after_restart(directory.path()).await, (50, 50, 0));
    }

    #[tokio::test]
    async fn a_push_that_the_index_refuses_does_not_spoil_those_that_came_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let feed = open(directory.path()).await;
        feed.index.break_package("broken").await;
        let held = feed.writing.lock().await;
        let (good, bad) = (numbered("Acme", 1), numbered("Broken", 1));
        let (good, bad) = (received(&feed, &good).await, received(&feed, &bad).await);
        let (key_a, key_b) = (key(), key());
        let both = async { tokio::join!(feed.publish(bad, &key_a), feed.publish(good, &key_b)) };
        let release = async {
            while feed.queue.len() < 2 {
                tokio::task::yield_now().await;
            }
            drop(held);
        };
        let ((bad, good), ()) = tokio::join!(both, release);
        assert!(matches!(bad, Err(Error::Index { .. })), "{bad:?}");
        assert!(good.is_ok(), "{good:?}");
        drop(feed);
        assert_eq!(after_restart(directory.path()).await, (1, 1, 0));
    }

    #[tokio::test]
    async fn a_push_that_fails_in_the_index_leaves_no_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let feed = open(directory.path()).await;
        feed.index.break_packages().await;
        let received = received(&feed, &package().2).await;
        let error = feed.publish(received, &key()).await.unwrap_err();
        assert!(matches!(error, Error::Index { .. }), "{error}");
        assert!(feed.blobs.list(Kind::Package).unwrap().is_empty());
        assert!(feed.index.undecided().await.unwrap().is_empty());
    }
}

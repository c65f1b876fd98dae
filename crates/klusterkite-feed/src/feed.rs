//! The feed itself: bytes on disk and their index, changed together.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use klusterkite_nuget::v3::FileFacts;
use klusterkite_nuget::{Limits, MANIFEST_FILE, Package, PackageId, Sha512Hash, Version};
use tokio::sync::{Mutex, Semaphore};

use crate::Error;
use crate::blobs::{Blobs, Received, Upload};
use crate::error::chain;
use crate::index::{Index, NewPackage};
use crate::keys::{Key, Keys};
use crate::settings::Settings;

/// Packages that are checked at the same time: each takes one core and some megabytes.
const CHECKS_MAX: usize = 4;

/// A feed that is open: it owns its directory until it is dropped.
#[derive(Debug)]
pub struct Feed {
    pub(crate) blobs: Arc<Blobs>,
    pub(crate) index: Index,
    pub(crate) keys: Keys,
    pub(crate) public_url: Option<String>,
    pub(crate) package_bytes_max: u64,
    limits: Limits,
    /// Held while bytes and rows change together.
    writing: Mutex<()>,
    checks: Semaphore,
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
        if !index_path.exists() && !blobs.list()?.is_empty() {
            return Err(Error::IndexMissing { directory });
        }
        let index = Index::open(&index_path).await?;
        let feed = Self {
            blobs: Arc::new(blobs),
            index,
            keys: settings.keys,
            public_url: settings.public_url,
            package_bytes_max: settings.package_bytes_max,
            limits: settings.limits,
            writing: Mutex::new(()),
            checks: Semaphore::new(CHECKS_MAX),
            _lock: lock,
        };
        feed.finish_interrupted().await?;
        Ok(feed)
    }

    /// Removes the bytes of interrupted pushes and purges.
    async fn finish_interrupted(&self) -> Result<(), Error> {
        for hash in self.index.undecided().await? {
            // A row is written in the transaction that decides, so these have none.
            self.blobs.remove(&hash)?;
            self.index.undecided_remove(&hash).await?;
            tracing::info!(sha512 = %hash, "removed the bytes of an interrupted push or purge");
        }
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
        let (received, package) = {
            let _turn = self
                .checks
                .acquire()
                .await
                .expect("the semaphore is never closed");
            let limits = self.limits;
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
            task.await.map_err(Error::Task)??
        };
        let (id, version) = (package.nuspec.id.clone(), package.nuspec.version.clone());
        key.check_id(&id)?;

        let _writing = self.writing.lock().await;
        self.index
            .check_new(&id, &version, &received.sha512)
            .await?;
        let hash = received.sha512;
        self.index.undecided_add(&hash).await?;
        let blobs = Arc::clone(&self.blobs);
        let kept = tokio::task::spawn_blocking(move || blobs.keep(received))
            .await
            .map_err(Error::Task)?;
        let listed = match kept {
            Ok(()) => self.index.insert(&package).await,
            Err(error) => Err(error),
        };
        match listed {
            Ok(()) => Ok((id, version)),
            Err(error) => {
                self.take_back(&hash).await;
                Err(error)
            }
        }
    }

    /// Removes the bytes of a failed push. What cannot be removed now is removed at the next start.
    async fn take_back(&self, hash: &Sha512Hash) {
        let removed = async {
            // A failed commit may have happened all the same; then the hash is decided.
            if self.index.undecided().await?.contains(hash) {
                self.blobs.remove(hash)?;
                self.index.undecided_remove(hash).await?;
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
        if self.index.set_listed(id, version, listed).await? {
            Ok(())
        } else {
            Err(not_found(id, version))
        }
    }

    /// Removes a version with its bytes, unless a cluster pins it.
    pub(crate) async fn purge(
        &self,
        id: &PackageId,
        version: &Version,
        key: &Key,
    ) -> Result<(), Error> {
        key.check_id(id)?;
        let _writing = self.writing.lock().await;
        let hash = self
            .index
            .purge(id, version)
            .await?
            .ok_or_else(|| not_found(id, version))?;
        let blobs = Arc::clone(&self.blobs);
        tokio::task::spawn_blocking(move || blobs.remove(&hash))
            .await
            .map_err(Error::Task)??;
        self.index.undecided_remove(&hash).await
    }

    /// Replaces the versions that a cluster pins.
    pub(crate) async fn pin(
        &self,
        cluster: &str,
        pins: &[(PackageId, Version)],
    ) -> Result<(), Error> {
        let _writing = self.writing.lock().await;
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
        klusterkite_hocon::Document::parse(text, MANIFEST_FILE).map_err(|source| {
            Error::ManifestInvalid {
                id: nuspec.id.clone(),
                source,
            }
        })?;
    }
    Ok(NewPackage {
        sha512,
        size,
        published,
        nuspec_text: package.nuspec_text().to_owned(),
        nuspec,
        manifest,
        files,
    })
}

//! The bytes of packages and symbols on disk: one file each, named by its SHA-512.
//!
//! A file under its final name is complete and durable: it is written under another name, synced,
//! renamed, and the directory is synced. Nothing is ever changed in place.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use klusterkite_nuget::{Sha512Hash, Sha512Hasher};
use tokio::task::JoinHandle;

use crate::Error;

/// What the bytes of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A package that was pushed here, `blobs/<hash>.nupkg`.
    Package,
    /// A package that was fetched from another feed, `upstream/<hash>.nupkg`.
    Upstream,
    /// The symbols of a package, `symbols/<hash>.snupkg`.
    Symbols,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Package, Self::Upstream, Self::Symbols];

    /// Returns the kind of a package's bytes.
    pub(crate) fn of_package(is_upstream: bool) -> Self {
        if is_upstream {
            Self::Upstream
        } else {
            Self::Package
        }
    }

    /// Returns the kind's name in the index.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Package => "package",
            Self::Upstream => "upstream",
            Self::Symbols => "symbols",
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Package | Self::Upstream => ".nupkg",
            Self::Symbols => ".snupkg",
        }
    }
}

/// Size of the file that holds room for making room: what the index writes when a package is
/// purged, ten times over.
const RESERVE_BYTES: u64 = 256 << 10;

/// Bytes of an upload that are hashed and written at once: enough that the change of threads does
/// not count, little enough for hundreds of uploads at the same time.
const WRITE_BYTES: usize = 256 << 10;

/// The directories of a feed's bytes.
#[derive(Debug)]
pub(crate) struct Blobs {
    packages: PathBuf,
    upstream: PathBuf,
    symbols: PathBuf,
    incoming: PathBuf,
    reserve: PathBuf,
    /// Free bytes below which nothing is accepted.
    free_bytes_min: u64,
    counter: AtomicU64,
}

impl Blobs {
    /// Opens the directories and removes what interrupted uploads left.
    pub(crate) fn open(directory: &Path, free_bytes_min: u64) -> Result<Self, Error> {
        let packages = directory.join("blobs");
        let upstream = directory.join("upstream");
        let symbols = directory.join("symbols");
        let incoming = directory.join("incoming");
        for path in [&packages, &upstream, &symbols, &incoming] {
            fs::create_dir_all(path).map_err(Error::file("create directory", path))?;
        }
        for entry in fs::read_dir(&incoming).map_err(Error::file("list", &incoming))? {
            let path = entry.map_err(Error::file("list", &incoming))?.path();
            fs::remove_file(&path).map_err(Error::file("remove", &path))?;
        }
        sync_directory(directory)?;
        let blobs = Self {
            packages,
            upstream,
            symbols,
            incoming,
            reserve: directory.join("reserve"),
            free_bytes_min,
            counter: AtomicU64::new(0),
        };
        blobs.reserve_take();
        Ok(blobs)
    }

    /// Takes the reserve from the disk again, if there is room for it; without it purges may fail
    /// on a full disk.
    pub(crate) fn reserve_take(&self) {
        let taken = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&self.reserve)
            .and_then(|file| {
                let mode = rustix::fs::FallocateFlags::empty();
                rustix::fs::fallocate(&file, mode, 0, RESERVE_BYTES).map_err(io::Error::from)
            });
        if let Err(error) = taken {
            tracing::debug!(path = %self.reserve.display(), %error, "no room is kept in reserve");
        }
    }

    /// Gives the reserve back to the disk; returns whether there was one.
    pub(crate) fn reserve_release(&self) -> bool {
        fs::remove_file(&self.reserve).is_ok()
    }

    /// Returns where the bytes of a package or of symbols are, or would be.
    pub(crate) fn path(&self, kind: Kind, hash: &Sha512Hash) -> PathBuf {
        self.folder(kind).join(hash.hex() + kind.suffix())
    }

    fn folder(&self, kind: Kind) -> &Path {
        match kind {
            Kind::Package => &self.packages,
            Kind::Upstream => &self.upstream,
            Kind::Symbols => &self.symbols,
        }
    }

    /// Starts an upload.
    pub(crate) async fn receive(&self) -> Result<Upload, Error> {
        self.check_free_space()?;
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        let path = self.incoming.join(format!("{number}.part"));
        let create = move || {
            let file = File::options().write(true).create_new(true).open(&path);
            let file = file.map_err(Error::file("create", &path))?;
            Ok::<_, Error>(Upload {
                size: 0,
                held: Vec::new(),
                writer: Some(Writer {
                    part: Part(path),
                    file,
                    hasher: Sha512Hasher::new(),
                }),
            })
        };
        let created = tokio::task::spawn_blocking(create).await;
        created.map_err(Error::Task)?
    }

    /// Gives a durable file its final name, durably.
    pub(crate) fn keep(&self, kind: Kind, durable: Durable) -> Result<(), Error> {
        self.keep_all(vec![(kind, durable)])
    }

    /// Gives durable files their final names, durably.
    pub(crate) fn keep_all(&self, all: Vec<(Kind, Durable)>) -> Result<(), Error> {
        let mut kinds = BTreeSet::new();
        for (kind, durable) in all {
            let path = self.path(kind, &durable.sha512);
            fs::rename(&durable.part.0, &path).map_err(Error::file("rename to", &path))?;
            kinds.insert(kind);
        }
        kinds
            .into_iter()
            .try_for_each(|kind| sync_directory(self.folder(kind)))
    }

    /// Removes the bytes of a package or of symbols; they may be gone already.
    pub(crate) fn remove(&self, kind: Kind, hash: &Sha512Hash) -> Result<(), Error> {
        let path = self.path(kind, hash);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::file("remove", &path)(error))
            }
            _ => sync_directory(self.folder(kind)),
        }
    }

    /// Lists the hashes of all packages or symbols on disk, in order; other files are not ours.
    pub(crate) fn list(&self, kind: Kind) -> Result<Vec<Sha512Hash>, Error> {
        let folder = self.folder(kind);
        let failed = || Error::file("list", folder);
        let mut hashes = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed())? {
            let name = entry.map_err(failed())?.file_name();
            let hex = name
                .to_str()
                .and_then(|name| name.strip_suffix(kind.suffix()));
            hashes.extend(hex.and_then(|hex| Sha512Hash::from_hex(hex).ok()));
        }
        hashes.sort();
        Ok(hashes)
    }

    /// Refuses when less is free than has to stay so.
    pub(crate) fn check_free_space(&self) -> Result<(), Error> {
        let stat = rustix::fs::statvfs(&self.incoming).map_err(io::Error::from);
        let stat = stat.map_err(Error::file("ask the free space of", &self.incoming))?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if free < self.free_bytes_min {
            return Err(Error::DiskFull {
                free,
                needed: self.free_bytes_min,
            });
        }
        Ok(())
    }
}

/// A file that is being received.
#[derive(Debug)]
pub(crate) struct Upload {
    size: u64,
    /// Bytes that are not written yet.
    held: Vec<u8>,
    /// Always there between calls, unless one was cancelled.
    writer: Option<Writer>,
}

/// Where an upload goes; used on threads that may wait for the disk.
#[derive(Debug)]
struct Writer {
    part: Part,
    file: File,
    hasher: Sha512Hasher,
}

impl Writer {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.hasher.update(bytes);
        let written = self.file.write_all(bytes);
        written.map_err(Error::file("write", &self.part.0))
    }
}

impl Upload {
    /// Returns how many bytes came.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Takes the next bytes.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.size += bytes.len() as u64;
        self.held.extend_from_slice(bytes);
        if self.held.len() < WRITE_BYTES {
            return Ok(());
        }
        let mut writer = self.writer.take().ok_or(Error::Interrupted)?;
        let mut held = std::mem::take(&mut self.held);
        let work = move || {
            writer.write(&held)?;
            held.clear();
            Ok::<_, Error>((writer, held))
        };
        let (writer, held) = tokio::task::spawn_blocking(work)
            .await
            .map_err(Error::Task)??;
        (self.writer, self.held) = (Some(writer), held);
        Ok(())
    }

    /// Writes what is held.
    pub(crate) async fn finish(mut self) -> Result<Received, Error> {
        let mut writer = self.writer.take().ok_or(Error::Interrupted)?;
        let work = move || {
            writer.write(&self.held)?;
            Ok::<_, Error>(Received {
                part: writer.part,
                file: Arc::new(writer.file),
                sha512: writer.hasher.finish(),
                size: self.size,
            })
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(Error::Task)?
    }
}

/// A received file under its temporary name, which the machine may still lose; removed with its owner.
#[derive(Debug)]
pub(crate) struct Received {
    part: Part,
    /// Open since the first byte, so that a sync tells of every byte that could not be written.
    file: Arc<File>,
    pub(crate) sha512: Sha512Hash,
    pub(crate) size: u64,
}

impl Received {
    /// Opens the file for reading.
    pub(crate) fn open(&self) -> Result<File, Error> {
        File::open(&self.part.0).map_err(Error::file("open", &self.part.0))
    }

    /// Starts to make the file durable, beside other work on it.
    pub(crate) fn sync(&self) -> Syncing {
        let (file, path) = (Arc::clone(&self.file), self.part.0.clone());
        // The size is part of the data; the times of the file may be lost.
        let sync = move || file.sync_data().map_err(Error::file("sync", &path));
        Syncing(tokio::task::spawn_blocking(sync))
    }

    /// Makes of it what may get its final name.
    pub(crate) fn durable(self, _: Synced) -> Durable {
        Durable {
            part: self.part,
            sha512: self.sha512,
        }
    }
}

/// A received file is being made durable.
#[derive(Debug)]
pub(crate) struct Syncing(JoinHandle<Result<(), Error>>);

impl Syncing {
    /// Waits until it is.
    pub(crate) async fn done(self) -> Result<Synced, Error> {
        self.0.await.map_err(Error::Task)??;
        Ok(Synced(()))
    }
}

/// Says that a received file is durable.
#[derive(Debug)]
pub(crate) struct Synced(());

/// A received file that the machine cannot lose any more, under its temporary name; removed unless it is kept.
#[derive(Debug)]
pub(crate) struct Durable {
    part: Part,
    pub(crate) sha512: Sha512Hash,
}

/// A temporary file that goes away with its owner.
#[derive(Debug)]
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        // After a rename there is nothing to remove; what stays is removed at the next start.
        if let Err(error) = fs::remove_file(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove a temporary file");
        }
    }
}

/// Makes renames and removals in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(Error::file("sync", path))
}

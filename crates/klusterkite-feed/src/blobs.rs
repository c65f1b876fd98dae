//! The packages' bytes on disk: one file per package, named by its SHA-512.
//!
//! A file under its final name is complete and durable: it is written under another name, synced,
//! renamed, and the directory is synced. Nothing is ever changed in place.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use klusterkite_nuget::{Sha512Hash, Sha512Hasher};
use tokio::io::AsyncWriteExt as _;

use crate::Error;

const SUFFIX: &str = ".nupkg";

/// The directories of a feed's bytes.
#[derive(Debug)]
pub(crate) struct Blobs {
    complete: PathBuf,
    incoming: PathBuf,
    /// Free bytes below which nothing is accepted.
    free_bytes_min: u64,
    counter: AtomicU64,
}

impl Blobs {
    /// Opens the directories and removes what interrupted uploads left.
    pub(crate) fn open(directory: &Path, free_bytes_min: u64) -> Result<Self, Error> {
        let complete = directory.join("blobs");
        let incoming = directory.join("incoming");
        for path in [&complete, &incoming] {
            fs::create_dir_all(path).map_err(Error::file("create directory", path))?;
        }
        for entry in fs::read_dir(&incoming).map_err(Error::file("list", &incoming))? {
            let path = entry.map_err(Error::file("list", &incoming))?.path();
            fs::remove_file(&path).map_err(Error::file("remove", &path))?;
        }
        sync_directory(directory)?;
        Ok(Self {
            complete,
            incoming,
            free_bytes_min,
            counter: AtomicU64::new(0),
        })
    }

    /// Returns where a package's bytes are, or would be.
    pub(crate) fn path(&self, hash: &Sha512Hash) -> PathBuf {
        self.complete.join(hash.hex() + SUFFIX)
    }

    /// Starts an upload.
    pub(crate) async fn receive(&self) -> Result<Upload, Error> {
        self.check_free_space()?;
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        let path = self.incoming.join(format!("{number}.part"));
        let file = tokio::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .await;
        let file = file.map_err(Error::file("create", &path))?;
        Ok(Upload {
            file,
            part: Part(path),
            hasher: Sha512Hasher::new(),
            size: 0,
        })
    }

    /// Gives a received file its final name, durably.
    pub(crate) fn keep(&self, received: Received) -> Result<(), Error> {
        let path = self.path(&received.sha512);
        fs::rename(&received.part.0, &path).map_err(Error::file("rename to", &path))?;
        sync_directory(&self.complete)
    }

    /// Removes a package's bytes; they may be gone already.
    pub(crate) fn remove(&self, hash: &Sha512Hash) -> Result<(), Error> {
        let path = self.path(hash);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::file("remove", &path)(error))
            }
            _ => sync_directory(&self.complete),
        }
    }

    /// Lists the hashes of all packages on disk, in order; other files are not ours.
    pub(crate) fn list(&self) -> Result<Vec<Sha512Hash>, Error> {
        let failed = || Error::file("list", &self.complete);
        let mut hashes = Vec::new();
        for entry in fs::read_dir(&self.complete).map_err(failed())? {
            let name = entry.map_err(failed())?.file_name();
            let hex = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
            hashes.extend(hex.and_then(|hex| Sha512Hash::from_hex(hex).ok()));
        }
        hashes.sort();
        Ok(hashes)
    }

    fn check_free_space(&self) -> Result<(), Error> {
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
    file: tokio::fs::File,
    part: Part,
    hasher: Sha512Hasher,
    size: u64,
}

impl Upload {
    /// Returns how many bytes came.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Takes the next bytes.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        self.file
            .write_all(bytes)
            .await
            .map_err(Error::file("write", &self.part.0))
    }

    /// Makes what came durable, still under its temporary name.
    pub(crate) async fn finish(mut self) -> Result<Received, Error> {
        // A write error of tokio's file comes with the next operation: flush asks for it.
        self.file
            .flush()
            .await
            .map_err(Error::file("write", &self.part.0))?;
        self.file
            .sync_all()
            .await
            .map_err(Error::file("sync", &self.part.0))?;
        Ok(Received {
            part: self.part,
            sha512: self.hasher.finish(),
            size: self.size,
        })
    }
}

/// A received file under its temporary name; removed unless it is kept.
#[derive(Debug)]
pub(crate) struct Received {
    part: Part,
    pub(crate) sha512: Sha512Hash,
    pub(crate) size: u64,
}

impl Received {
    /// Opens the file for reading.
    pub(crate) fn open(&self) -> Result<File, Error> {
        File::open(&self.part.0).map_err(Error::file("open", &self.part.0))
    }
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

//! Files beside the database: its lock, and the way in which a new one appears.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::Error;

/// The database holds hashes of secrets: nobody but its owner reads it.
const MODE: u32 = 0o600;

/// Holds the database for one process; the kernel lets go when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    /// Open as long as the lock is held.
    _file: File,
}

impl Lock {
    /// Takes the lock of the database at `path`, or says that somebody has it.
    pub(crate) fn take(path: &Path) -> Result<Self, Error> {
        let path = beside(path, ".lock");
        let failed = |source| file_error("lock", &path, source);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(MODE);
        let file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(Error::Locked {
                path: path.display().to_string(),
            }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

/// Returns the size of the database file; `None` when there is none.
pub(crate) fn size(path: &Path) -> Result<Option<u64>, Error> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(file_error("look at", path, source)),
    }
}

/// Makes an empty file in which the new database grows; what a killed seeder left is removed.
pub(crate) fn start(path: &Path) -> Result<PathBuf, Error> {
    let draft = beside(path, ".seeding");
    for leftover in [draft.clone(), beside(&draft, "-journal")] {
        match fs::remove_file(&leftover) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(file_error("remove", &leftover, error));
            }
            _ => {}
        }
    }
    let mut options = OpenOptions::new();
    options.create_new(true).write(true).mode(MODE);
    options
        .open(&draft)
        .map_err(|source| file_error("create", &draft, source))?;
    Ok(draft)
}

/// Makes the finished database visible under its name, durably.
pub(crate) fn finish(draft: &Path, path: &Path) -> Result<(), Error> {
    let synced = |path: &Path| File::open(path).and_then(|file| file.sync_all());
    synced(draft).map_err(|source| file_error("write", draft, source))?;
    fs::rename(draft, path).map_err(|source| file_error("create", path, source))?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    synced(directory).map_err(|source| file_error("write", directory, source))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn file_error(action: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File {
        action,
        path: path.display().to_string(),
        source,
    }
}

//! What the store knows about its packages: which were verified, and when they were used.
//!
//! Everything here can be lost: a package without a record is hashed before it is used.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::stamp::Stamp;
use crate::{Error, file};

/// Name of the index in the store's directory.
const INDEX_FILE: &str = "verified.json";

/// Largest index: a record has about 300 bytes, and a store some thousand packages.
const INDEX_BYTES_MAX: u64 = 16 << 20;

/// What is known of the packages, by their file's name without extension.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Index {
    packages: BTreeMap<String, Record>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Id and version, for people.
    pub(crate) package: String,
    /// The file as it was when its hash was right and it was on the disk.
    pub(crate) stamp: Stamp,
    /// When the hash was computed last, in milliseconds since 1970.
    pub(crate) checked: u64,
    /// When the package was used last, in milliseconds since 1970.
    pub(crate) used: u64,
}

impl Index {
    /// Reads the index of a store; one that cannot be understood knows nothing.
    pub(crate) fn read(directory: &Path) -> Self {
        let content = file::read_bounded(&directory.join(INDEX_FILE), INDEX_BYTES_MAX);
        let content = content.ok().flatten().unwrap_or_default();
        serde_json::from_slice(&content).unwrap_or_default()
    }

    /// Changes the index of a store that others may change at the same time.
    pub(crate) fn update(directory: &Path, change: impl FnOnce(&mut Self)) -> Result<(), Error> {
        let failed = || Error::file("write", directory);
        let lock = File::open(directory).map_err(failed())?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| failed()(error.into()))?;
        let mut index = Self::read(directory);
        change(&mut index);
        let path = directory.join(INDEX_FILE);
        let content = serde_json::to_vec(&index).map_err(|error| Error::Content {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        // Not synced: it may be lost, and a file that a crash left half written is not understood.
        let temporary = file::sibling(&path, "tmp");
        fs::write(&temporary, content).map_err(failed())?;
        fs::rename(&temporary, &path).map_err(failed())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Record> {
        self.packages.get(name)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Record> {
        self.packages.get_mut(name)
    }

    pub(crate) fn insert(&mut self, name: String, record: Record) {
        self.packages.insert(name, record);
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.packages.remove(name);
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = (&String, &Record)> {
        self.packages.iter()
    }
}

/// Returns milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    milliseconds(since.unwrap_or_default())
}

pub(crate) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

//! Reading stored packages again, to find what a disk has lost.

use std::fs::{self, File};
use std::io::{self, Read};
use std::time::Duration;

use klusterkite_nuget::{Sha512Hash, Sha512Hasher};
use rustix::fs::{Advice, fadvise};

use super::index::{Index, milliseconds, now};
use super::{ContentStore, PACKAGE_EXTENSION};
use crate::stamp::Stamp;
use crate::{Cancel, Error, file};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 64 << 10;

/// Bytes between two pauses.
const STRETCH_BYTES: u64 = 1 << 20;

impl ContentStore {
    /// Computes the hashes of packages again that were verified longer than `age` ago, and removes
    /// those that are damaged, so that they are fetched again. Returns their ids and versions.
    ///
    /// Rests for `pause` after each MiB, and leaves the memory of the machine to others.
    pub fn check_again(
        &self,
        age: Duration,
        pause: Duration,
        cancel: &Cancel,
    ) -> Result<Vec<String>, Error> {
        let before = now().saturating_sub(milliseconds(age));
        let mut damaged = Vec::new();
        let index = Index::read(&self.directory);
        for (name, record) in index.records() {
            if record.checked > before {
                continue;
            }
            let Ok(expected) = Sha512Hash::from_hex(name) else {
                continue;
            };
            let path = self.directory.join(name).with_extension(PACKAGE_EXTENSION);
            let Ok(package) = File::open(&path) else {
                continue;
            };
            let is_known = || {
                let metadata = package.metadata();
                metadata.is_ok_and(|metadata| Stamp::of(&metadata) == record.stamp)
            };
            // One that has changed is not trusted anyway.
            if !is_known() {
                continue;
            }
            let found = hash(&package, pause, cancel);
            // Of what a broken disk does not give back nothing can be used either.
            let is_right = match found {
                Ok(hash) => hash == expected,
                Err(_) if cancel.is_cancelled() => return Err(Error::Cancelled),
                Err(_) => false,
            };
            if is_right {
                Index::update(&self.directory, |index| {
                    if let Some(record) = index.get_mut(name) {
                        record.checked = now();
                    }
                })?;
            } else if is_known() {
                fs::remove_file(&path).map_err(Error::file("remove", &path))?;
                Index::update(&self.directory, |index| index.remove(name))?;
                damaged.push(record.package.clone());
            }
        }
        if !damaged.is_empty() {
            file::sync_directory(&self.directory)?;
        }
        Ok(damaged)
    }
}

fn hash(mut package: &File, pause: Duration, cancel: &Cancel) -> io::Result<Sha512Hash> {
    // What lies in memory hides what the disk has; only a hint, and so are its failures.
    let _ = fadvise(package, 0, None, Advice::DontNeed);
    let mut hasher = Sha512Hasher::new();
    let mut piece = vec![0; PIECE_BYTES];
    let mut stretch = 0;
    loop {
        match package.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => {
                hasher.update(&piece[..count]);
                stretch += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if stretch >= STRETCH_BYTES {
            stretch = 0;
            if cancel.wait(pause) {
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
    }
    let _ = fadvise(package, 0, None, Advice::DontNeed);
    Ok(hasher.finish())
}

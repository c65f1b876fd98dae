//! Packages that are published at the same time share their writes.
//!
//! What makes a push slow is waiting for the disk. Who comes while others are being stored waits
//! for its turn; the first of those who waited stores all of them with one announcement, one sync
//! of the directory and one transaction. Each is told only when all of that is durable.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use klusterkite_nuget::Sha512Hash;
use klusterkite_wire::chain;
use tokio::sync::oneshot;

use super::Feed;
use crate::Error;
use crate::blobs::{Durable, Kind};
use crate::index::NewPackage;

/// Most packages that are stored together: each has its bytes on disk and some kilobytes of
/// metadata in memory already.
const BATCH_MAX: usize = 64;

/// Packages that wait to be stored.
#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<Vec<Waiting>>);

#[derive(Debug)]
struct Waiting {
    durable: Durable,
    package: NewPackage,
    done: oneshot::Sender<Result<(), Error>>,
}

impl Queue {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        // A list is whole whenever somebody else could see it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Takes those who wait longest.
    fn take(&self) -> Vec<Waiting> {
        let mut queue = self.lock();
        let count = queue.len().min(BATCH_MAX);
        queue.drain(..count).collect()
    }
}

impl Feed {
    /// Keeps a package that was checked, unless its version is or was there.
    pub(crate) async fn store(&self, durable: Durable, package: NewPackage) -> Result<(), Error> {
        let (done, mut answer) = oneshot::channel();
        self.queue.lock().push(Waiting {
            durable,
            package,
            done,
        });
        let _writing = self.writing.lock().await;
        loop {
            match answer.try_recv() {
                Ok(stored) => return stored,
                Err(oneshot::error::TryRecvError::Empty) => self.store_all(self.queue.take()).await,
                // Whoever had taken it was stopped in the middle: the next start tells.
                Err(oneshot::error::TryRecvError::Closed) => return Err(Error::Interrupted),
            }
        }
    }

    /// Stores packages and tells each who waits; must be called while `writing` is held.
    async fn store_all(&self, waiting: Vec<Waiting>) {
        let mut versions = BTreeSet::new();
        let (mut files, mut packages, mut waiters) = (Vec::new(), Vec::new(), Vec::new());
        for one in waiting {
            let (id, version) = (&one.package.nuspec.id, &one.package.nuspec.version);
            let hash = &one.durable.sha512;
            let is_first = versions.insert((id.lower(), version.lower()));
            let checked = if is_first {
                self.index.check_new(id, version, hash).await
            } else {
                Err(Error::VersionExists {
                    id: id.clone(),
                    version: version.clone(),
                })
            };
            match checked {
                Ok(()) => {
                    files.push((one.package.kind(), one.durable));
                    packages.push(one.package);
                    waiters.push(one.done);
                }
                // Nobody waits any more if this fails.
                Err(error) => drop(one.done.send(Err(error))),
            }
        }
        let blobs: Vec<(Kind, Sha512Hash)> = packages
            .iter()
            .map(|package| (package.kind(), package.sha512))
            .collect();
        let stored = match self.keep_all(&blobs, files).await {
            Ok(()) => self.list_all(&packages).await,
            Err(error) => {
                let error = Arc::new(error);
                let shared = || Err(Error::Shared(Arc::clone(&error)));
                packages.iter().map(|_| shared()).collect()
            }
        };
        for ((stored, (kind, hash)), waiter) in stored.into_iter().zip(&blobs).zip(waiters) {
            if stored.is_err() {
                self.take_back(*kind, hash).await;
            }
            drop(waiter.send(stored));
        }
        if let Err(error) = self.index.catch_up().await {
            tracing::warn!(
                error = chain(&error),
                "searches do not know the newest packages yet"
            );
        }
    }

    /// Announces the bytes and gives them their final names.
    async fn keep_all(
        &self,
        hashes: &[(Kind, Sha512Hash)],
        files: Vec<(Kind, Durable)>,
    ) -> Result<(), Error> {
        if files.is_empty() {
            return Ok(());
        }
        self.index.undecided_add_all(hashes).await?;
        let blobs = Arc::clone(&self.blobs);
        let kept = tokio::task::spawn_blocking(move || blobs.keep_all(files)).await;
        kept.map_err(Error::Task)?
    }

    /// Lists all packages in one transaction; if that fails each in its own, so that one does not
    /// spoil the others.
    async fn list_all(&self, packages: &[NewPackage]) -> Vec<Result<(), Error>> {
        let all: Vec<&NewPackage> = packages.iter().collect();
        if self.index.insert_all(&all).await.is_ok() {
            return packages.iter().map(|_| Ok(())).collect();
        }
        let mut listed = Vec::new();
        for package in packages {
            listed.push(self.index.insert(package).await);
        }
        listed
    }
}

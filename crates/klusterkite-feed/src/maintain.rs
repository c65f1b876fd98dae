//! Looking after a feed that is not running: does the index agree with the bytes, and can it be
//! made anew from them?

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use klusterkite_nuget::{Limits, Sha512Hash};

use crate::Error;
use crate::blobs::Blobs;
use crate::error::chain;
use crate::feed::{index_path, inspect, lock};
use crate::index::Index;

/// What a check or a repair found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Packages whose row and bytes agree.
    pub intact: usize,
    /// One sentence for each thing that is wrong.
    pub findings: Vec<String>,
    /// One sentence for each thing that was put right.
    pub repairs: Vec<String>,
}

/// Reads every package and compares it with the index; changes nothing but leftovers of
/// interrupted uploads.
pub async fn check(directory: &Path) -> Result<Report, Error> {
    let (index, blobs, _lock) = open(directory).await?;
    let undecided: BTreeSet<_> = index.undecided().await?.into_iter().collect();
    let listed: BTreeSet<_> = index.all_hashes().await?.into_iter().collect();
    let mut report = Report::default();
    for hash in blobs.list()? {
        match read(&blobs, &hash) {
            Err(error) => report.findings.push(format!(
                "`{}`: {}",
                blobs.path(&hash).display(),
                chain(&error)
            )),
            Ok(_) if listed.contains(&hash) => report.intact += 1,
            // The next start of the feed removes these.
            Ok(_) if undecided.contains(&hash) => {}
            Ok(_) => report.findings.push(format!(
                "`{}` is in no row of the index",
                blobs.path(&hash).display()
            )),
        }
    }
    for hash in listed {
        if !blobs.path(&hash).exists() {
            report
                .findings
                .push(format!("`{}` is missing", blobs.path(&hash).display()));
        }
    }
    index.close().await;
    Ok(report)
}

/// Adds a row for every package that has none and removes the rows whose bytes are lost or wrong.
/// New rows are listed, with the file's time as the time of publishing.
pub async fn reindex(directory: &Path) -> Result<Report, Error> {
    let (index, blobs, _lock) = open(directory).await?;
    let undecided: BTreeSet<_> = index.undecided().await?.into_iter().collect();
    let listed: BTreeSet<_> = index.all_hashes().await?.into_iter().collect();
    let mut report = Report::default();
    let mut intact = BTreeSet::new();
    for hash in blobs.list()? {
        if undecided.contains(&hash) {
            continue;
        }
        let path = blobs.path(&hash);
        match read(&blobs, &hash) {
            Err(error) => report
                .findings
                .push(format!("`{}`: {}", path.display(), chain(&error))),
            Ok(_) if listed.contains(&hash) => {
                report.intact += 1;
                intact.insert(hash);
            }
            Ok(package) => match index.insert(&package).await {
                Ok(()) => {
                    let (id, version) = (&package.nuspec.id, &package.nuspec.version);
                    report
                        .repairs
                        .push(format!("listed package `{id}` `{version}`"));
                }
                Err(error) => {
                    report
                        .findings
                        .push(format!("`{}`: {}", path.display(), chain(&error)));
                }
            },
        }
    }
    for hash in listed.difference(&intact) {
        index.remove(hash).await?;
        report.repairs.push(format!(
            "removed the row of `{}`",
            blobs.path(hash).display()
        ));
    }
    index.close().await;
    Ok(report)
}

async fn open(directory: &Path) -> Result<(Index, Blobs, fs::File), Error> {
    // A typing mistake must not make a new feed.
    fs::read_dir(directory.join("blobs")).map_err(Error::file("list", &directory.join("blobs")))?;
    let lock = lock(directory)?;
    let blobs = Blobs::open(directory, 0)?;
    let index = Index::open(&index_path(directory)).await?;
    Ok((index, blobs, lock))
}

/// Reads a package's bytes whole; they must have the hash that names them.
fn read(blobs: &Blobs, hash: &Sha512Hash) -> Result<crate::index::NewPackage, Error> {
    // What was accepted once may be larger than today's limits allow.
    const UNLIMITED: Limits = Limits {
        entries_max: usize::MAX,
        entry_bytes_max: u64::MAX,
        total_bytes_max: u64::MAX,
        ratio_max: u64::MAX,
    };
    let path = blobs.path(hash);
    let mut file = fs::File::open(&path).map_err(Error::file("open", &path))?;
    let (found, size) = Sha512Hash::of_reader(&mut file).map_err(Error::file("read", &path))?;
    if found != *hash {
        return Err(Error::BlobDamaged { path });
    }
    let metadata = file.metadata().map_err(Error::file("read", &path))?;
    let published = metadata.modified().unwrap_or_else(|_| SystemTime::now());
    inspect(file, found, size, published, &UNLIMITED)
}

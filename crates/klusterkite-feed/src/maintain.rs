//! Looking after a feed that is not running: does the index agree with the bytes, and can it be
//! made anew from them?

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use klusterkite_nuget::{Limits, Sha512Hash};
use klusterkite_wire::chain;

use crate::Error;
use crate::blobs::{Blobs, Kind};
use crate::feed::{check_symbols, index_path, inspect, lock};
use crate::index::{Index, NewPackage, NewSymbols};

/// What a check or a repair found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Packages and symbols whose row and bytes agree.
    pub intact: usize,
    /// One sentence for each thing that is wrong.
    pub findings: Vec<String>,
    /// One sentence for each thing that was put right.
    pub repairs: Vec<String>,
}

/// Reads every package with its symbols and compares them with the index; changes nothing but
/// leftovers of interrupted uploads.
pub async fn check(directory: &Path) -> Result<Report, Error> {
    let (index, blobs, _lock) = open(directory).await?;
    let undecided: BTreeSet<_> = index.undecided().await?.into_iter().collect();
    let mut report = Report::default();
    for kind in Kind::ALL {
        let listed: BTreeSet<_> = index.all_hashes(kind).await?.into_iter().collect();
        for hash in blobs.list(kind)? {
            let path = blobs.path(kind, &hash);
            match read(&path, kind, &hash) {
                Err(error) => report.finding(&path, &error),
                Ok(_) if listed.contains(&hash) => report.intact += 1,
                // The next start of the feed removes these.
                Ok(_) if undecided.contains(&(kind, hash)) => {}
                Ok(_) => report
                    .findings
                    .push(format!("`{}` is in no row of the index", path.display())),
            }
        }
        for hash in listed {
            let path = blobs.path(kind, &hash);
            if !path.exists() {
                report
                    .findings
                    .push(format!("`{}` is missing", path.display()));
            }
        }
    }
    for (id, version) in index.symbols_alone().await? {
        report
            .findings
            .push(format!("the symbols of `{id}` `{version}` have no package"));
    }
    index.close().await;
    Ok(report)
}

/// Adds a row for every package and its symbols that have none and removes the rows whose bytes
/// are lost or wrong. New rows are listed, with the file's time as the time of publishing.
pub async fn reindex(directory: &Path) -> Result<Report, Error> {
    let (index, blobs, _lock) = open(directory).await?;
    let undecided: BTreeSet<_> = index.undecided().await?.into_iter().collect();
    let mut report = Report::default();
    // Packages come first: symbols belong to one.
    for kind in Kind::ALL {
        let listed: BTreeSet<_> = index.all_hashes(kind).await?.into_iter().collect();
        let mut intact = BTreeSet::new();
        for hash in blobs.list(kind)? {
            if undecided.contains(&(kind, hash)) {
                continue;
            }
            let path = blobs.path(kind, &hash);
            match read(&path, kind, &hash) {
                Err(error) => report.finding(&path, &error),
                Ok(_) if listed.contains(&hash) => {
                    report.intact += 1;
                    intact.insert(hash);
                }
                Ok(package) => match relist(&index, kind, &package).await {
                    Ok(repair) => report.repairs.push(repair),
                    Err(error) => report.finding(&path, &error),
                },
            }
        }
        for hash in listed.difference(&intact) {
            index.remove(kind, hash).await?;
            report.repairs.push(format!(
                "removed the row of `{}`",
                blobs.path(kind, hash).display()
            ));
        }
    }
    index.close().await;
    Ok(report)
}

/// Makes the row of a package or of symbols; returns what was done.
async fn relist(index: &Index, kind: Kind, package: &NewPackage) -> Result<String, Error> {
    let (id, version) = (&package.nuspec.id, &package.nuspec.version);
    match kind {
        Kind::Package | Kind::Upstream => {
            index.insert(package).await?;
            Ok(format!("listed package `{id}` `{version}`"))
        }
        Kind::Symbols => {
            let symbols = NewSymbols::from(package);
            index.check_new_symbols(&symbols).await?;
            index.symbols_insert(&symbols).await?;
            Ok(format!("listed the symbols of `{id}` `{version}`"))
        }
    }
}

impl Report {
    fn finding(&mut self, path: &Path, error: &Error) {
        self.findings
            .push(format!("`{}`: {}", path.display(), chain(error)));
    }
}

async fn open(directory: &Path) -> Result<(Index, Blobs, fs::File), Error> {
    // A typing mistake must not make a new feed.
    fs::read_dir(directory.join("blobs")).map_err(Error::file("list", &directory.join("blobs")))?;
    let lock = lock(directory)?;
    let blobs = Blobs::open(directory, 0)?;
    let index = Index::open(&index_path(directory)).await?;
    Ok((index, blobs, lock))
}

/// Reads the bytes of a package or of symbols whole; they must have the hash that names them.
fn read(path: &Path, kind: Kind, hash: &Sha512Hash) -> Result<NewPackage, Error> {
    // What was accepted once may be larger than today's limits allow.
    const UNLIMITED: Limits = Limits {
        entries_max: usize::MAX,
        entry_bytes_max: u64::MAX,
        total_bytes_max: u64::MAX,
        ratio_max: u64::MAX,
    };
    let mut file = fs::File::open(path).map_err(Error::file("open", path))?;
    let (found, size) = Sha512Hash::of_reader(&mut file).map_err(Error::file("read", path))?;
    if found != *hash {
        return Err(Error::BlobDamaged {
            path: path.to_owned(),
        });
    }
    let metadata = file.metadata().map_err(Error::file("read", path))?;
    let published = metadata.modified().unwrap_or_else(|_| SystemTime::now());
    let mut package = inspect(file, found, size, published, &UNLIMITED)?;
    match kind {
        Kind::Package => Ok(package),
        Kind::Upstream => {
            // Which one it was stood in the index only.
            package.upstream = Some("upstream".to_owned());
            Ok(package)
        }
        Kind::Symbols => check_symbols(package),
    }
}

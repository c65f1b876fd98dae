//! The content store: a directory with one file per package, named by its SHA-512.
//!
//! A package is believed to have that hash while the index has a record of its file, made when the
//! hash was computed and the file was on the disk. Every other one is hashed before it is used.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use klusterkite_nuget::Sha512Hash;
use klusterkite_wire::start::PackageReference;
use rustix::fs::{FlockOperation, flock};

use crate::job::Job;
use crate::wanted::Wanted;
use crate::{Cancel, Error, FeedSource, file};

mod check;
pub(crate) mod index;

use index::{Index, milliseconds};

/// How often a package that another thread or process fetches is looked at.
const CLAIM_PAUSE: Duration = Duration::from_millis(20);

pub(crate) const PACKAGE_EXTENSION: &str = "nupkg";
const PARTIAL_EXTENSION: &str = "partial";

/// A directory of packages by content. Several stores may use one directory, also from several
/// processes.
#[derive(Debug, Clone)]
pub struct ContentStore {
    pub(crate) directory: PathBuf,
}

/// How far [`ContentStore::ensure`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchProgress {
    /// Bytes fetched, those of earlier tries included.
    pub bytes: u64,
    /// Bytes of all packages that were missing.
    pub total: u64,
}

impl ContentStore {
    /// Opens a store and makes its directory if it is missing.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, Error> {
        let directory = directory.into();
        file::create_directory(&directory)?;
        Ok(Self { directory })
    }

    /// Tells whether all packages are here, by their sizes.
    pub fn holds_all(&self, packages: &[PackageReference]) -> Result<bool, Error> {
        for wanted in Wanted::parse_all(packages)? {
            if !self.holds(&wanted)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Fetches the packages that are missing. A package that is here is not fetched again; a
    /// download that broke off is resumed. Nothing is stored whose size and SHA-512 are not the
    /// expected ones. Returns id and version of packages that were here, but damaged.
    ///
    /// `progress` is called after each piece that was fetched, from several threads.
    pub fn ensure(
        &self,
        packages: &[PackageReference],
        source: &FeedSource,
        progress: &(dyn Fn(FetchProgress) + Sync),
        cancel: &Cancel,
    ) -> Result<Vec<String>, Error> {
        let wanted = Wanted::parse_all(packages)?;
        let mut job = Job::new(self, &wanted, Some((source, progress)), cancel)?;
        job.run(None)?;
        job.finish()
    }

    /// Removes packages, those first that were not used for longest, until at most `bytes_max`
    /// bytes are left. Packages in `pinned` and those being fetched stay. Returns the bytes freed.
    pub fn collect_garbage<'a>(
        &self,
        bytes_max: u64,
        pinned: impl IntoIterator<Item = &'a PackageReference>,
    ) -> Result<u64, Error> {
        let pinned: BTreeSet<String> = pinned
            .into_iter()
            .filter_map(|package| package.sha512.parse::<Sha512Hash>().ok())
            .map(|hash| hash.hex())
            .collect();
        let index = Index::read(&self.directory);
        let mut files = Vec::new();
        let mut total = 0;
        let entries =
            fs::read_dir(&self.directory).map_err(Error::file("list", &self.directory))?;
        for entry in entries {
            let path = entry.map_err(Error::file("list", &self.directory))?.path();
            let Ok(metadata) = fs::metadata(&path) else {
                continue;
            };
            let extension = path.extension().unwrap_or_default();
            let is_package = extension == PACKAGE_EXTENSION || extension == PARTIAL_EXTENSION;
            if !is_package || !metadata.is_file() {
                continue;
            }
            total += metadata.len();
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            if !pinned.contains(&*name) && !is_being_fetched(&path) {
                let used = index.get(&name).map(|record| record.used);
                let used = used.unwrap_or_else(|| modified(&metadata));
                files.push((used, metadata.len(), path));
            }
        }
        files.sort();
        let mut removed = Vec::new();
        let mut freed = 0;
        for (_, size, path) in files {
            if total - freed <= bytes_max {
                break;
            }
            fs::remove_file(&path).map_err(Error::file("remove", &path))?;
            freed += size;
            removed.push(path);
        }
        if !removed.is_empty() {
            Index::update(&self.directory, |index| {
                for path in &removed {
                    index.remove(&path.file_stem().unwrap_or_default().to_string_lossy());
                }
            })?;
        }
        Ok(freed)
    }

    pub(crate) fn path(&self, wanted: &Wanted) -> PathBuf {
        self.directory
            .join(wanted.hash.hex())
            .with_extension(PACKAGE_EXTENSION)
    }

    pub(crate) fn partial_path(&self, wanted: &Wanted) -> PathBuf {
        self.directory
            .join(wanted.hash.hex())
            .with_extension(PARTIAL_EXTENSION)
    }

    /// Tells whether a package is here, by its size.
    pub(crate) fn holds(&self, wanted: &Wanted) -> Result<bool, Error> {
        let path = self.path(wanted);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.len() == wanted.size => Ok(true),
            // Cut by a crash of the machine, or by a hand: it is fetched again.
            Ok(_) => fs::remove_file(&path)
                .map_err(Error::file("remove", &path))
                .map(|()| false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(Error::File {
                operation: "open",
                path,
                source,
            }),
        }
    }

    /// Takes the right to fetch a package and returns its partial file; `None` if it is here by
    /// now. Waits while somebody else fetches it.
    pub(crate) fn claim(&self, wanted: &Wanted, cancel: &Cancel) -> Result<Option<File>, Error> {
        let path = self.partial_path(wanted);
        loop {
            cancel.check()?;
            if self.holds(wanted)? {
                return Ok(None);
            }
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            let partial = options.open(&path).map_err(Error::file("write", &path))?;
            match flock(&partial, FlockOperation::NonBlockingLockExclusive) {
                // The one who had the lock may have finished and renamed the file meanwhile.
                Ok(()) if is_at(&partial, &path) => return Ok(Some(partial)),
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    cancel.wait(CLAIM_PAUSE);
                }
                Err(error) => return Err(Error::file("lock", &path)(error.into())),
            }
        }
    }
}

fn modified(file: &fs::Metadata) -> u64 {
    let modified = file.modified().ok();
    let since = modified.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    milliseconds(since.unwrap_or_default())
}

/// Tells whether a path still leads to an open file.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

fn is_being_fetched(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == PARTIAL_EXTENSION)
        && File::open(path)
            .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_err())
}

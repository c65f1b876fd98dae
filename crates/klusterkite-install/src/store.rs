//! The content store: a directory with one file per package, named by its SHA-512.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use klusterkite_nuget::{PackageId, Sha512Hash, Version};
use klusterkite_wire::start::PackageReference;
use rustix::fs::{FlockOperation, flock};

use crate::feed::Feed;
use crate::{Cancel, Error, FeedSource, file};

mod fetch;

/// Packages that are fetched at the same time: enough to fill a line, few enough not to crowd out
/// other containers of the feed.
const PARALLEL_MAX: usize = 4;

/// Stack of a fetching thread; it holds buffers on the heap.
const FETCH_STACK_BYTES: usize = 256 << 10;

/// Packages in one start configuration: a service with its libraries has some hundreds at most.
const PACKAGES_MAX: usize = 2_000;

/// Largest package: what the standard limits let one unpack to, so nothing larger could be used.
const PACKAGE_BYTES_MAX: u64 = 4 << 30;

/// How often a package that another thread or process fetches is looked at.
const CLAIM_PAUSE: Duration = Duration::from_millis(20);

const PACKAGE_EXTENSION: &str = "nupkg";
const PARTIAL_EXTENSION: &str = "partial";

/// A directory of packages by content. Several stores may use one directory, also from several
/// processes.
#[derive(Debug, Clone)]
pub struct ContentStore {
    directory: PathBuf,
}

/// How far [`ContentStore::ensure`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchProgress {
    /// Bytes fetched, those of earlier tries included.
    pub bytes: u64,
    /// Bytes of all packages that were missing.
    pub total: u64,
}

/// A package reference whose texts are valid.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) id: PackageId,
    pub(crate) version: Version,
    pub(crate) hash: Sha512Hash,
    pub(crate) size: u64,
}

impl Wanted {
    /// Id and version, as messages show them.
    pub(crate) fn label(&self) -> String {
        format!("{} {}", self.id, self.version)
    }

    /// Parses references; refuses what could not be verified or is there twice.
    pub(crate) fn parse_all(packages: &[PackageReference]) -> Result<Vec<Self>, Error> {
        let refuse = |reason: String| Err(Error::Configuration { reason });
        if packages.len() > PACKAGES_MAX {
            return refuse(format!("it has more than {PACKAGES_MAX} packages"));
        }
        let mut ids = BTreeSet::new();
        let mut all = Vec::with_capacity(packages.len());
        for package in packages {
            let wanted = Self::parse(package)?;
            let label = wanted.label();
            if wanted.size == 0 || wanted.size > PACKAGE_BYTES_MAX {
                let limit = PACKAGE_BYTES_MAX;
                return refuse(format!(
                    "package `{label}` has a size that is not 1 to {limit} bytes"
                ));
            }
            if !ids.insert(wanted.id.clone()) {
                return refuse(format!("package `{}` is there twice", wanted.id));
            }
            all.push(wanted);
        }
        Ok(all)
    }

    fn parse(package: &PackageReference) -> Result<Self, Error> {
        let refuse = |source| Error::Reference {
            package: format!("{} {}", package.id, package.version),
            source,
        };
        Ok(Self {
            id: package.id.parse().map_err(refuse)?,
            version: package.version.parse().map_err(refuse)?,
            hash: package.sha512.parse().map_err(refuse)?,
            size: package.size,
        })
    }
}

impl ContentStore {
    /// Opens a store and makes its directory if it is missing.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, Error> {
        let directory = directory.into();
        file::create_directory(&directory)?;
        Ok(Self { directory })
    }

    /// Tells whether all packages are here, so that [`ensure`](Self::ensure) needs no feed.
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
    /// expected ones.
    ///
    /// `progress` is called after each piece that was fetched, from several threads.
    pub fn ensure(
        &self,
        packages: &[PackageReference],
        source: &FeedSource,
        progress: &(dyn Fn(FetchProgress) + Sync),
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let mut missing = Vec::new();
        for wanted in Wanted::parse_all(packages)? {
            if self.holds(&wanted)? {
                self.touch(&wanted);
            } else {
                missing.push(wanted);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }

        let job = Job {
            store: self,
            feed: Feed::new(source),
            total: missing.iter().map(|wanted| wanted.size).sum(),
            missing,
            next: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
            first_error: Mutex::new(None),
            progress,
            cancel,
        };
        let workers = job.missing.len().min(PARALLEL_MAX);
        thread::scope(|scope| -> io::Result<()> {
            for _ in 1..workers {
                let builder = thread::Builder::new().stack_size(FETCH_STACK_BYTES);
                builder.spawn_scoped(scope, || job.work())?;
            }
            job.work();
            Ok(())
        })
        .map_err(Error::file("start a thread to fetch to", &self.directory))?;
        job.finish()?;
        file::sync_directory(&self.directory)
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
        let mut files = Vec::new();
        let mut total = 0;
        let entries =
            fs::read_dir(&self.directory).map_err(Error::file("list", &self.directory))?;
        for entry in entries {
            let path = entry.map_err(Error::file("list", &self.directory))?.path();
            let Ok(metadata) = fs::metadata(&path) else {
                continue;
            };
            if !metadata.is_file() {
                continue;
            }
            total += metadata.len();
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            if !pinned.contains(&*name) && !is_being_fetched(&path) {
                let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                files.push((used, metadata.len(), path));
            }
        }
        files.sort();
        let mut freed = 0;
        for (_, size, path) in files {
            if total - freed <= bytes_max {
                break;
            }
            fs::remove_file(&path).map_err(Error::file("remove", &path))?;
            freed += size;
        }
        Ok(freed)
    }

    /// Opens a stored package at its first byte, after a check of its SHA-512. A package that does
    /// not have it any more is removed, so that it is fetched again.
    pub(crate) fn open_verified(&self, wanted: &Wanted) -> Result<File, Error> {
        let path = self.path(wanted);
        let mut package = match File::open(&path) {
            Ok(package) => package,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let store = self.directory.clone();
                return Err(Error::NotStored {
                    package: wanted.label(),
                    store,
                });
            }
            Err(source) => {
                return Err(Error::File {
                    operation: "open",
                    path,
                    source,
                });
            }
        };
        if let Err(error) = verify(&mut package, wanted, &path, &path.display().to_string()) {
            if matches!(error, Error::WrongHash { .. } | Error::WrongSize { .. }) {
                file::remove_durably(&path)?;
            }
            return Err(error);
        }
        package
            .seek(SeekFrom::Start(0))
            .map_err(Error::file("read", &path))?;
        Ok(package)
    }

    /// Opens a stored package without a check of its content.
    pub(crate) fn open_unverified(&self, wanted: &Wanted) -> Option<File> {
        File::open(self.path(wanted)).ok()
    }

    fn path(&self, wanted: &Wanted) -> PathBuf {
        self.directory
            .join(wanted.hash.hex())
            .with_extension(PACKAGE_EXTENSION)
    }

    fn partial_path(&self, wanted: &Wanted) -> PathBuf {
        self.directory
            .join(wanted.hash.hex())
            .with_extension(PARTIAL_EXTENSION)
    }

    fn holds(&self, wanted: &Wanted) -> Result<bool, Error> {
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

    /// Remembers the use of a package for the garbage collection.
    fn touch(&self, wanted: &Wanted) {
        // Only an order of removal hangs on it, so a failure does not matter.
        let file = File::open(self.path(wanted));
        let _ = file.and_then(|file| file.set_modified(SystemTime::now()));
    }

    /// Takes the right to fetch a package and returns its partial file; `None` if it is here by
    /// now. Waits while somebody else fetches it.
    fn claim(&self, wanted: &Wanted, cancel: &Cancel) -> Result<Option<File>, Error> {
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

/// One call of [`ContentStore::ensure`], shared by its threads.
struct Job<'a> {
    store: &'a ContentStore,
    feed: Feed<'a>,
    missing: Vec<Wanted>,
    /// Index of the next package that no thread has taken.
    next: AtomicUsize,
    bytes: AtomicU64,
    total: u64,
    first_error: Mutex<Option<Error>>,
    progress: &'a (dyn Fn(FetchProgress) + Sync),
    cancel: &'a Cancel,
}

impl Job<'_> {
    /// Fetches packages until none is left or one has failed.
    fn work(&self) {
        while let Some(wanted) = self.missing.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = self.fetch(wanted) {
                // No thread takes another package; those under way go on and can be resumed.
                self.next.store(self.missing.len(), Ordering::Relaxed);
                let mut first = self
                    .first_error
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert(error);
            }
        }
    }

    fn finish(self) -> Result<(), Error> {
        match self
            .first_error
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
        {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// Checks size and hash of an open package; `place` says in messages where it is from.
fn verify(package: &mut File, wanted: &Wanted, path: &Path, place: &str) -> Result<(), Error> {
    package
        .seek(SeekFrom::Start(0))
        .map_err(Error::file("read", path))?;
    let (hash, size) = Sha512Hash::of_reader(package).map_err(Error::file("read", path))?;
    let (package, place) = (wanted.label(), place.to_owned());
    if size != wanted.size {
        return Err(Error::WrongSize {
            package,
            place,
            expected: wanted.size,
            got: size,
        });
    }
    if hash != wanted.hash {
        let (expected, got) = (wanted.hash.to_string(), hash.to_string());
        return Err(Error::WrongHash {
            package,
            place,
            expected,
            got,
        });
    }
    Ok(())
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

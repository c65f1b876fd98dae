//! Getting packages, and unpacking each as soon as it is here, in a few threads.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use klusterkite_nuget::Sha512Hash;

use crate::feed::Feeds;
use crate::stamp::Stamp;
use crate::store::index::{Index, Record, now};
use crate::tree::{Chunk, Hands, Tree};
use crate::wanted::Wanted;
use crate::{Cancel, ContentStore, Error, FeedSource, FetchProgress};

/// Threads of a job: enough to fill a line and to unpack meanwhile, few enough not to crowd out
/// other containers of the feed or the machine.
pub(crate) const PARALLEL_MAX: usize = 4;

/// Stack of a thread of a job; it holds buffers on the heap.
const STACK_BYTES: usize = 256 << 10;

/// How often the use of a package is noted, in milliseconds: an order of removal hangs on it.
const USE_NOTED_EVERY: u64 = 3_600_000;

/// Called with how far the fetching is, from several threads.
pub(crate) type OnProgress<'a> = &'a (dyn Fn(FetchProgress) + Sync);

/// One call that gets packages, shared by its threads.
pub(crate) struct Job<'a> {
    pub(crate) store: &'a ContentStore,
    pub(crate) cancel: &'a Cancel,
    wanted: &'a [Wanted],
    feeds: Option<(Feeds<'a>, OnProgress<'a>)>,
    index: Index,
    /// Which packages were not here at the start.
    missing: Vec<bool>,
    /// Packages whose hash this job has computed, by position.
    verified: Mutex<BTreeMap<usize, Stamp>>,
    damaged: Mutex<Vec<String>>,
    bytes: AtomicU64,
    total: AtomicU64,
    queue: Mutex<Queue>,
    changed: Condvar,
}

/// What is to be done.
#[derive(Default)]
struct Queue {
    /// Position of the next package that no thread has taken.
    next: usize,
    /// Threads that get a package and may bring chunks.
    getting: usize,
    chunks: VecDeque<Chunk>,
    first_error: Option<Error>,
}

enum Task {
    Get(usize),
    Unpack(Chunk),
}

impl<'a> Job<'a> {
    /// Prepares a job; without a source everything has to be in the store.
    pub(crate) fn new(
        store: &'a ContentStore,
        wanted: &'a [Wanted],
        source: Option<(&'a FeedSource, OnProgress<'a>)>,
        cancel: &'a Cancel,
    ) -> Result<Self, Error> {
        let mut missing = Vec::with_capacity(wanted.len());
        let mut total = 0;
        for wanted in wanted {
            let is_missing = !store.holds(wanted)?;
            total += if is_missing { wanted.size } else { 0 };
            missing.push(is_missing);
        }
        Ok(Self {
            store,
            cancel,
            wanted,
            feeds: source.map(|(source, progress)| (Feeds::new(source), progress)),
            index: Index::read(&store.directory),
            missing,
            verified: Mutex::default(),
            damaged: Mutex::default(),
            bytes: AtomicU64::new(0),
            total: AtomicU64::new(total),
            queue: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Gets all packages and, if there is a tree, unpacks them into it.
    ///
    /// Without a tree each package is on the disk when this returns; with one the caller has to
    /// see to it before [`finish`](Self::finish).
    pub(crate) fn run(&mut self, tree: Option<&Tree<'_>>) -> Result<(), Error> {
        self.queue = Mutex::default();
        let workers = if tree.is_some() {
            PARALLEL_MAX
        } else {
            self.wanted.len().min(PARALLEL_MAX)
        };
        let job = &*self;
        thread::scope(|scope| -> io::Result<()> {
            for _ in 1..workers {
                let builder = thread::Builder::new().stack_size(STACK_BYTES);
                builder.spawn_scoped(scope, || job.work(tree))?;
            }
            job.work(tree);
            Ok(())
        })
        .map_err(Error::file(
            "start a thread to fetch to",
            &self.store.directory,
        ))?;
        match self.queue().first_error.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Tells whether there are packages that the store will believe in from now on.
    pub(crate) fn has_verified(&self) -> bool {
        !lock(&self.verified).is_empty()
    }

    /// Records what was verified, which has to be on the disk, and used. Returns id and version of
    /// packages that were damaged.
    pub(crate) fn finish(self) -> Result<Vec<String>, Error> {
        let verified = lock(&self.verified);
        let time = now();
        let names: Vec<String> = self.wanted.iter().map(|wanted| wanted.hash.hex()).collect();
        let is_unused = |name: &String| {
            let used = self.index.get(name).map(|record| record.used);
            used.is_none_or(|used| used.saturating_add(USE_NOTED_EVERY) < time)
        };
        if !verified.is_empty() || names.iter().any(is_unused) {
            let noted = Index::update(&self.store.directory, |index| {
                for (position, stamp) in &*verified {
                    let record = Record {
                        package: self.wanted[*position].label(),
                        stamp: *stamp,
                        checked: time,
                        used: time,
                    };
                    index.insert(names[*position].clone(), record);
                }
                for name in &names {
                    if let Some(record) = index.get_mut(name) {
                        record.used = time;
                    }
                }
            });
            // A full disk, say: the packages are here all the same and will be hashed once more.
            let _ = noted;
        }
        drop(verified);
        Ok(self
            .damaged
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts bytes of missing packages that are here now, or were found to be none.
    pub(crate) fn advance(&self, before: u64, after: u64) {
        let change = after.wrapping_sub(before);
        let bytes = self.bytes.fetch_add(change, Ordering::Relaxed);
        if let Some((_, progress)) = &self.feeds {
            progress(FetchProgress {
                bytes: bytes.wrapping_add(change),
                total: self.total.load(Ordering::Relaxed),
            });
        }
    }

    /// Does what there is to do until nothing is left or something has failed.
    fn work(&self, tree: Option<&Tree<'_>>) {
        let mut hands = None;
        while let Some(task) = self.next() {
            let hands = hands.get_or_insert_with(|| Hands::new(tree.is_some()));
            match (task, tree) {
                (Task::Get(position), tree) => {
                    let chunks = self.get_and_plan(position, tree, hands);
                    let mut queue = self.queue();
                    queue.getting -= 1;
                    match chunks {
                        Ok(chunks) if queue.first_error.is_none() => queue.chunks.extend(chunks),
                        Ok(_) => {}
                        Err(error) => queue.fail(error, self.wanted.len()),
                    }
                    self.changed.notify_all();
                }
                (Task::Unpack(chunk), Some(tree)) => {
                    if let Err(error) = tree.unpack(&chunk, hands, self.cancel) {
                        self.queue().fail(error, self.wanted.len());
                        self.changed.notify_all();
                    }
                }
                (Task::Unpack(_), None) => unreachable!("chunks are of a tree"),
            }
        }
    }

    fn next(&self) -> Option<Task> {
        let mut queue = self.queue();
        loop {
            // Chunks first: each holds a file open.
            if let Some(chunk) = queue.chunks.pop_front() {
                return Some(Task::Unpack(chunk));
            }
            if queue.next < self.wanted.len() {
                queue.next += 1;
                queue.getting += 1;
                return Some(Task::Get(queue.next - 1));
            }
            if queue.getting == 0 {
                return None;
            }
            let waited = self.changed.wait(queue);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn get_and_plan(
        &self,
        position: usize,
        tree: Option<&Tree<'_>>,
        hands: &mut Hands,
    ) -> Result<Vec<Chunk>, Error> {
        let package = self.get(position, tree.is_none())?;
        match tree {
            Some(tree) => tree.plan(position, package, hands),
            None => Ok(Vec::new()),
        }
    }

    /// Opens a package that has the frozen hash, from the store or from the feed.
    fn get(&self, position: usize, synced: bool) -> Result<Arc<File>, Error> {
        let wanted = &self.wanted[position];
        let (package, stamp) = loop {
            self.cancel.check()?;
            if let Some((package, stamp)) = self.open_stored(position)? {
                if self.missing[position] {
                    self.advance(0, wanted.size);
                }
                break (package, stamp);
            }
            let Some((feeds, _)) = &self.feeds else {
                return Err(Error::NotStored {
                    package: wanted.label(),
                    store: self.store.directory.clone(),
                });
            };
            if let Some(package) = self.fetch(wanted, feeds)? {
                let path = self.store.path(wanted);
                fs::rename(self.store.partial_path(wanted), &path)
                    .map_err(Error::file("write", &path))?;
                // Only now: the rename has changed the times.
                let metadata = package.metadata().map_err(Error::file("read", &path))?;
                break (package, Some(Stamp::of(&metadata)));
            }
        };
        if let Some(stamp) = stamp {
            if synced {
                let path = self.store.path(wanted);
                package.sync_data().map_err(Error::file("sync", &path))?;
            }
            lock(&self.verified).insert(position, stamp);
        }
        Ok(Arc::new(package))
    }

    /// Opens a package of the store, with its stamp if it had to be hashed. One that is not what
    /// it should be is removed.
    fn open_stored(&self, position: usize) -> Result<Option<(File, Option<Stamp>)>, Error> {
        let wanted = &self.wanted[position];
        if !self.store.holds(wanted)? {
            return Ok(None);
        }
        let path = self.store.path(wanted);
        let mut package = match File::open(&path) {
            Ok(package) => package,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file("open", &path)(error)),
        };
        let metadata = package.metadata().map_err(Error::file("read", &path))?;
        let stamp = Stamp::of(&metadata);
        let recorded = self.index.get(&wanted.hash.hex());
        if recorded.is_some_and(|record| record.stamp == stamp)
            || lock(&self.verified).get(&position) == Some(&stamp)
        {
            return Ok(Some((package, None)));
        }
        let (hash, _) = Sha512Hash::of_reader(&mut package).map_err(Error::file("read", &path))?;
        if hash == wanted.hash {
            return Ok(Some((package, Some(stamp))));
        }
        fs::remove_file(&path).map_err(Error::file("remove", &path))?;
        if self.feeds.is_none() {
            return Err(wrong_hash(wanted, path.display().to_string(), hash));
        }
        lock(&self.damaged).push(wanted.label());
        if !self.missing[position] {
            self.total.fetch_add(wanted.size, Ordering::Relaxed);
        }
        Ok(None)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }
}

impl Queue {
    /// No thread takes anything more; downloads under way go on and can be resumed.
    fn fail(&mut self, error: Error, packages: usize) {
        self.next = packages;
        self.chunks.clear();
        self.first_error.get_or_insert(error);
    }
}

pub(crate) fn wrong_hash(wanted: &Wanted, place: String, got: Sha512Hash) -> Error {
    Error::WrongHash {
        package: wanted.label(),
        place,
        expected: wanted.hash.to_string(),
        got: got.to_string(),
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

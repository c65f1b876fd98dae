//! The tree of a service directory while it is being filled, by several threads.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::mem;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use klusterkite_nuget::{Asset, Executable, Limits, Package, RidGraph, Unpacker};
use klusterkite_wire::Runtime;
use klusterkite_wire::service_directory as names;
use rustix::fs::{Mode, OFlags, mkdirat, openat};

use crate::job::lock;
use crate::reader::PackageReader;
use crate::stamp::Stamp;
use crate::wanted::Wanted;
use crate::{Cancel, ContentStore, Error, file};

/// Names at the root of a service directory that no package may bring.
const RESERVED: [&str; 10] = [
    names::START_SETTINGS,
    names::TEMPLATE_SETTINGS,
    names::RELEASE,
    names::PACKAGES,
    names::NODE_TOKEN,
    names::LAUNCHER_SOCKET,
    names::MEMBERS_SOCKET,
    names::SETTINGS_JSON,
    names::SETTINGS_HOCON,
    names::FILES,
];

/// What one thread unpacks at once: enough that handing it over costs nothing, little enough that
/// a large package keeps several threads busy.
const CHUNK_FILES: usize = 64;
const CHUNK_BYTES: u64 = 2 << 20;

const DIRECTORY_MODE: u32 = 0o777;
const FILE_MODE: u32 = 0o644;
const PROGRAM_MODE: u32 = 0o755;

/// A tree that is being filled.
pub(crate) struct Tree<'a> {
    root: PathBuf,
    directory: OwnedFd,
    wanted: &'a [Wanted],
    runtime: &'a Runtime,
    graph: &'a RidGraph,
    state: Mutex<State>,
}

/// What is known of the tree's files, with the positions of the packages that brought them.
#[derive(Default)]
struct State {
    files: BTreeMap<String, usize>,
    directories: BTreeMap<String, usize>,
    /// Files that another package brings too.
    again: Vec<Again>,
    stamps: BTreeMap<String, Stamp>,
    /// What packages add to the graph of runtimes.
    graphs: BTreeMap<usize, RidGraph>,
}

struct Again {
    position: usize,
    package: Arc<Package<()>>,
    asset: Asset,
}

/// Some files of a package that are to be unpacked.
pub(crate) struct Chunk {
    package: Arc<Planned>,
    files: Range<usize>,
}

struct Planned {
    position: usize,
    file: Arc<File>,
    package: Arc<Package<()>>,
    assets: Vec<Asset>,
}

/// What one thread unpacks with.
pub(crate) struct Hands(Option<(PackageReader, Unpacker)>);

impl Hands {
    /// Makes them; a thread that only fetches needs none.
    pub(crate) fn new(unpacks: bool) -> Self {
        Self(unpacks.then(|| (PackageReader::new(), Unpacker::new())))
    }

    fn get(&mut self) -> &mut (PackageReader, Unpacker) {
        self.0
            .get_or_insert_with(|| (PackageReader::new(), Unpacker::new()))
    }
}

impl<'a> Tree<'a> {
    /// Starts with an empty directory, made anew.
    pub(crate) fn new(
        root: &Path,
        wanted: &'a [Wanted],
        runtime: &'a Runtime,
        graph: &'a RidGraph,
    ) -> Result<Self, Error> {
        file::remove_directory(root)?;
        file::create_directory(root)?;
        let directory = File::open(root).map_err(Error::file("open", root))?;
        Ok(Self {
            root: root.to_owned(),
            directory: directory.into(),
            wanted,
            runtime,
            graph,
            state: Mutex::default(),
        })
    }

    /// Takes a package's files into the tree: writes its manifest, makes the directories, and
    /// returns what is to be unpacked.
    pub(crate) fn plan(
        &self,
        position: usize,
        file: Arc<File>,
        hands: &mut Hands,
    ) -> Result<Vec<Chunk>, Error> {
        let wanted = &self.wanted[position];
        let refuse = |source| Error::Package {
            package: wanted.label(),
            source,
        };
        let (reader, _) = hands.get();
        reader.open(&file);
        let mut package = Package::open(&mut *reader, &Limits::STANDARD).map_err(refuse)?;
        if package.id() != &wanted.id || package.version() != &wanted.version {
            let actual = format!("{} {}", package.id(), package.version());
            return Err(Error::Misnamed {
                package: wanted.label(),
                actual,
            });
        }
        let graph = package.runtime_graph().map_err(refuse)?;
        let package = Arc::new(package.detach());
        reader.close();
        if let Some(manifest) = package.manifest() {
            let directory = Path::new(names::PACKAGES).join(wanted.id.as_str());
            file::create_directory(&self.root.join(&directory))?;
            self.write(&directory.join(names::MANIFEST), manifest.as_bytes())?;
        }
        let selected = package
            .assets(self.runtime.as_str(), self.graph)
            .map_err(refuse)?;

        let mut assets = Vec::with_capacity(selected.len());
        let mut state = lock(&self.state);
        if let Some(graph) = graph {
            state.graphs.insert(position, graph);
        }
        for asset in selected {
            if self.place(&mut state, position, &asset)? {
                assets.push(asset);
            } else {
                state.again.push(Again {
                    position,
                    package: Arc::clone(&package),
                    asset,
                });
            }
        }
        drop(state);
        Ok(chunks(Planned {
            position,
            file,
            package,
            assets,
        }))
    }

    /// Unpacks some files of a package.
    pub(crate) fn unpack(
        &self,
        chunk: &Chunk,
        hands: &mut Hands,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let planned = &chunk.package;
        let (reader, unpacker) = hands.get();
        reader.open(&planned.file);
        let assets = &planned.assets[chunk.files.clone()];
        let mut stamps = Vec::with_capacity(assets.len());
        for asset in assets {
            cancel.check()?;
            let target = asset.target_path.as_str();
            let mut out = NewFile {
                directory: &self.directory,
                target,
                executable: asset.executable,
                file: None,
            };
            let unpacked = planned
                .package
                .unpack(&asset.entry, reader, unpacker, &mut out);
            unpacked.map_err(|error| self.failed(planned.position, target, error))?;
            let stamp = out.finish();
            stamps.push(stamp.map_err(Error::file("write", &self.root.join(target)))?);
        }
        reader.close();
        let targets = assets.iter().map(|asset| asset.target_path.clone());
        lock(&self.state).stamps.extend(targets.zip(stamps));
        Ok(())
    }

    /// Returns the portable graph of runtimes with what the packages add, in their order.
    pub(crate) fn merged_graph(&self) -> RidGraph {
        let mut merged = RidGraph::portable();
        for graph in lock(&self.state).graphs.values() {
            merged.merge(graph);
        }
        merged
    }

    /// Compares the files that several packages bring, when everything is unpacked.
    pub(crate) fn compare(&self, store: &ContentStore) -> Result<(), Error> {
        let mut again = mem::take(&mut lock(&self.state).again);
        again.sort_by_key(|again| again.position);
        let mut hands = Hands::new(true);
        let (reader, unpacker) = hands.get();
        let mut open = None;
        for Again {
            position,
            package,
            asset,
        } in again
        {
            if open != Some(position) {
                let path = store.path(&self.wanted[position]);
                let file = File::open(&path).map_err(Error::file("open", &path))?;
                reader.open(&Arc::new(file));
                open = Some(position);
            }
            let target = asset.target_path.as_str();
            let path = self.root.join(target);
            let mut comparison = Comparison::with(&path)?;
            package
                .unpack(&asset.entry, reader, unpacker, &mut comparison)
                .map_err(|error| self.failed(position, target, error))?;
            let executable = asset.executable.decide(&comparison.head);
            if !comparison.finish().map_err(Error::file("read", &path))? {
                let first = lock(&self.state).files.get(target).copied();
                return Err(self.conflict(first.unwrap_or(position), position, target));
            }
            if executable {
                let mode = fs::Permissions::from_mode(PROGRAM_MODE);
                fs::set_permissions(&path, mode).map_err(Error::file("write", &path))?;
                let metadata = fs::symlink_metadata(&path).map_err(Error::file("read", &path))?;
                let stamp = Stamp::of(&metadata);
                lock(&self.state).stamps.insert(target.to_owned(), stamp);
            }
        }
        Ok(())
    }

    /// Writes a file of the service directory itself.
    pub(crate) fn write(&self, name: &Path, content: &[u8]) -> Result<(), Error> {
        let target = name.to_str().unwrap_or_default();
        let mut file = NewFile {
            directory: &self.directory,
            target,
            executable: Executable::No,
            file: None,
        };
        let written = file.write_all(content).and_then(|()| file.finish());
        let stamp = written.map_err(Error::file("write", &self.root.join(name)))?;
        lock(&self.state).stamps.insert(target.to_owned(), stamp);
        Ok(())
    }

    /// Returns the stamps of all files so far.
    pub(crate) fn stamps(&self) -> BTreeMap<String, Stamp> {
        lock(&self.state).stamps.clone()
    }

    /// Puts everything on the disk by one call instead of one per file: there may be thousands.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        rustix::fs::syncfs(&self.directory)
            .map_err(|error| Error::file("sync", &self.root)(error.into()))
    }

    /// Makes room for one file; `false` if another package has brought it.
    fn place(&self, state: &mut State, position: usize, asset: &Asset) -> Result<bool, Error> {
        let target = asset.target_path.as_str();
        let first_part = target.split('/').next().unwrap_or_default();
        // Names are compared without case, so that a package works on every file system or none.
        if RESERVED
            .iter()
            .any(|name| name.eq_ignore_ascii_case(first_part))
        {
            return Err(Error::Reserved {
                package: self.wanted[position].label(),
                path: target.to_owned(),
            });
        }
        if let Some(&first) = state.directories.get(target) {
            return Err(self.conflict(first, position, target));
        }
        for (end, _) in target.match_indices('/') {
            let parent = &target[..end];
            if let Some(&first) = state.files.get(parent) {
                return Err(self.conflict(first, position, parent));
            }
            if !state.directories.contains_key(parent) {
                let mode = Mode::from_raw_mode(DIRECTORY_MODE);
                mkdirat(&self.directory, parent, mode).map_err(|error| {
                    Error::file("create the directory", &self.root.join(parent))(error.into())
                })?;
                state.directories.insert(parent.to_owned(), position);
            }
        }
        if state.files.contains_key(target) {
            return Ok(false);
        }
        state.files.insert(target.to_owned(), position);
        Ok(true)
    }

    /// Names the packages in their order, whichever came first by chance.
    fn conflict(&self, one: usize, other: usize, path: &str) -> Error {
        Error::Conflict {
            first: self.wanted[one.min(other)].label(),
            second: self.wanted[one.max(other)].label(),
            path: path.to_owned(),
        }
    }

    fn failed(&self, position: usize, target: &str, error: klusterkite_nuget::Error) -> Error {
        match error {
            // The path on the disk says more than the name in the package.
            klusterkite_nuget::Error::Write { source, .. } => {
                Error::file("write", &self.root.join(target))(source)
            }
            source => Error::Package {
                package: self.wanted[position].label(),
                source,
            },
        }
    }
}

fn chunks(planned: Planned) -> Vec<Chunk> {
    let package = Arc::new(planned);
    let mut chunks = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    let count = package.assets.len();
    for (index, asset) in package.assets.iter().enumerate() {
        bytes += asset.entry.size;
        let end = index + 1;
        if end == count || end - start == CHUNK_FILES || bytes >= CHUNK_BYTES {
            chunks.push(Chunk {
                package: Arc::clone(&package),
                files: start..end,
            });
            (start, bytes) = (end, 0);
        }
    }
    chunks
}

/// A file that is made when its first bytes, which may decide its mode, are known.
struct NewFile<'a> {
    directory: &'a OwnedFd,
    target: &'a str,
    executable: Executable,
    file: Option<File>,
}

impl NewFile<'_> {
    fn open(&mut self, head: &[u8]) -> io::Result<&mut File> {
        if self.file.is_none() {
            let mode = if self.executable.decide(head) {
                PROGRAM_MODE
            } else {
                FILE_MODE
            };
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let mode = Mode::from_raw_mode(mode);
            let file = openat(self.directory, self.target, flags, mode)?;
            self.file = Some(file.into());
        }
        self.file
            .as_mut()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn finish(mut self) -> io::Result<Stamp> {
        Ok(Stamp::of(&self.open(&[])?.metadata()?))
    }
}

impl Write for NewFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.open(bytes)?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Compares what is written to it with a file.
struct Comparison {
    file: io::BufReader<File>,
    /// The first bytes that were written.
    head: Vec<u8>,
    differs: bool,
}

/// First bytes of a file that tell a program.
const HEAD_BYTES: usize = 4;

impl Comparison {
    fn with(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::file("open", path))?;
        Ok(Self {
            file: io::BufReader::new(file),
            head: Vec::new(),
            differs: false,
        })
    }

    /// Tells whether everything was the same, the end included.
    fn finish(mut self) -> io::Result<bool> {
        let mut rest = [0; 1];
        Ok(!self.differs && self.file.read(&mut rest)? == 0)
    }
}

impl Write for Comparison {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let missing = HEAD_BYTES.saturating_sub(self.head.len());
        self.head.extend(bytes.iter().take(missing));
        let mut expected = vec![0; bytes.len()];
        match self.file.read_exact(&mut expected) {
            Ok(()) => self.differs |= expected != bytes,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => self.differs = true,
            Err(error) => return Err(error),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! Service directories: the files of all packages in one tree, with the settings beside them.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use klusterkite_nuget::{Asset, Limits, Package, RidGraph};
use klusterkite_wire::Runtime;
use klusterkite_wire::service_directory as names;
use klusterkite_wire::start::StartConfiguration;

use crate::store::Wanted;
use crate::{Cancel, ContentStore, Error, file};

/// Names at the root of a service directory that no package may bring.
const RESERVED: [&str; 9] = [
    names::START_SETTINGS,
    names::TEMPLATE_SETTINGS,
    names::RELEASE,
    names::PACKAGES,
    names::NODE_TOKEN,
    names::LAUNCHER_SOCKET,
    names::MEMBERS_SOCKET,
    names::SETTINGS_JSON,
    names::SETTINGS_HOCON,
];

/// Largest `release.json`: a start configuration of the wire fits with room to spare.
const RELEASE_BYTES_MAX: u64 = 16 << 20;

const FILE_MODE: u32 = 0o644;
const PROGRAM_MODE: u32 = 0o755;

/// First bytes of a file that tell a program.
const PROGRAM_MARK_BYTES: u64 = 4;

/// Makes the service directory `into` of a start configuration whose packages are all in the
/// store, and of the start settings (HOCON text of the highest priority).
///
/// The directory appears under its name when it is complete and on the disk; until then, and after
/// an error, nothing of that name exists. Fails if it is there already, if a package is not the
/// frozen one, if two packages bring different files of one name, or if a limit is exceeded.
pub fn assemble(
    store: &ContentStore,
    start: &StartConfiguration,
    runtime: &Runtime,
    start_settings: &str,
    into: &Path,
    cancel: &Cancel,
) -> Result<(), Error> {
    if fs::symlink_metadata(into).is_ok() {
        return Err(Error::Exists {
            path: into.to_owned(),
        });
    }
    let partial = file::sibling(into, "partial");
    file::remove_directory(&partial)?;
    file::create_directory(&partial)?;
    let made = fill(store, start, runtime, start_settings, &partial, cancel)
        .and_then(|()| fs::rename(&partial, into).map_err(Error::file("create", into)));
    if let Err(error) = made {
        // The first error is the one to tell; the next call removes what is left.
        let _ = file::remove_directory(&partial);
        return Err(error);
    }
    file::sync_parent(into)
}

/// Reads the start configuration that a service directory was made of; `None` if it has none.
pub fn read_release(service_directory: &Path) -> Result<Option<StartConfiguration>, Error> {
    let path = service_directory.join(names::RELEASE);
    let Some(content) = file::read_bounded(&path, RELEASE_BYTES_MAX)? else {
        return Ok(None);
    };
    match serde_json::from_slice(&content) {
        Ok(start) => Ok(Some(start)),
        Err(error) => Err(Error::Content {
            path,
            reason: error.to_string(),
        }),
    }
}

/// Tells whether a service directory has every file of its packages, by size. What the store does
/// not have, or cannot read, cannot be looked at and counts as whole: it could not be made again.
pub fn is_whole(
    store: &ContentStore,
    start: &StartConfiguration,
    runtime: &Runtime,
    service_directory: &Path,
) -> Result<bool, Error> {
    for wanted in Wanted::parse_all(&start.packages)? {
        let Some(package) = store.open_unverified(&wanted) else {
            continue;
        };
        let Ok(package) = Package::open(BufReader::new(package), &Limits::STANDARD) else {
            continue;
        };
        for asset in package
            .assets(runtime.as_str(), &RidGraph::portable())
            .unwrap_or_default()
        {
            let file = fs::metadata(service_directory.join(&asset.target_path));
            if file.map_or(true, |file| file.len() != asset.entry.size) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn fill(
    store: &ContentStore,
    start: &StartConfiguration,
    runtime: &Runtime,
    start_settings: &str,
    directory: &Path,
    cancel: &Cancel,
) -> Result<(), Error> {
    let mut tree = Tree {
        root: directory,
        files: BTreeMap::new(),
        directories: BTreeMap::new(),
    };
    for wanted in Wanted::parse_all(&start.packages)? {
        cancel.check()?;
        extract(store, &wanted, runtime, &mut tree, cancel)?;
    }
    let release = StartConfiguration {
        node_token: None,
        ..start.clone()
    };
    let release = serde_json::to_vec_pretty(&release).map_err(|error| Error::Content {
        path: directory.join(names::RELEASE),
        reason: error.to_string(),
    })?;
    write_file(
        &directory.join(names::TEMPLATE_SETTINGS),
        start.configuration.as_bytes(),
    )?;
    write_file(
        &directory.join(names::START_SETTINGS),
        start_settings.as_bytes(),
    )?;
    write_file(&directory.join(names::RELEASE), &release)?;
    // One call instead of one per file: there may be thousands.
    let root = File::open(directory).map_err(Error::file("open", directory))?;
    rustix::fs::syncfs(&root).map_err(|error| Error::file("sync", directory)(error.into()))
}

fn extract(
    store: &ContentStore,
    wanted: &Wanted,
    runtime: &Runtime,
    tree: &mut Tree<'_>,
    cancel: &Cancel,
) -> Result<(), Error> {
    let refuse = |source| Error::Package {
        package: wanted.label(),
        source,
    };
    let file = BufReader::new(store.open_verified(wanted)?);
    let mut package = Package::open(file, &Limits::STANDARD).map_err(refuse)?;
    if package.id() != &wanted.id || package.version() != &wanted.version {
        let actual = format!("{} {}", package.id(), package.version());
        return Err(Error::Misnamed {
            package: wanted.label(),
            actual,
        });
    }
    if let Some(manifest) = package.manifest() {
        let directory = tree.root.join(names::PACKAGES).join(wanted.id.as_str());
        file::create_directory(&directory)?;
        write_file(&directory.join(names::MANIFEST), manifest.as_bytes())?;
    }
    for asset in package
        .assets(runtime.as_str(), &RidGraph::portable())
        .map_err(refuse)?
    {
        cancel.check()?;
        tree.add(&mut package, &asset, &wanted.label())?;
    }
    Ok(())
}

/// The files of the packages so far, with the packages that brought them.
struct Tree<'a> {
    root: &'a Path,
    files: BTreeMap<String, String>,
    directories: BTreeMap<String, String>,
}

impl Tree<'_> {
    /// Extracts one file, or checks that it is the same as the one that is there.
    fn add<R: io::Read + io::Seek>(
        &mut self,
        package: &mut Package<R>,
        asset: &Asset,
        label: &str,
    ) -> Result<(), Error> {
        let target = asset.target_path.as_str();
        let path = self.root.join(target);
        let first_part = target.split('/').next().unwrap_or_default();
        // Names are compared without case, so that a package works on every file system or none.
        if RESERVED
            .iter()
            .any(|name| name.eq_ignore_ascii_case(first_part))
        {
            return Err(Error::Reserved {
                package: label.to_owned(),
                path: target.to_owned(),
            });
        }
        let conflict = |first: &str| Error::Conflict {
            first: first.to_owned(),
            second: label.to_owned(),
            path: target.to_owned(),
        };
        if let Some(first) = self.directories.get(target) {
            return Err(conflict(first));
        }
        for (end, _) in target.match_indices('/') {
            if let Some(first) = self.files.get(&target[..end]) {
                return Err(conflict(first));
            }
            self.directories
                .entry(target[..end].to_owned())
                .or_insert_with(|| label.to_owned());
        }
        if let Some(first) = self.files.get(target) {
            let mut comparison = Comparison::with(&path)?;
            copy(package, asset, label, &path, &mut comparison)?;
            if !comparison.finish().map_err(Error::file("read", &path))? {
                return Err(conflict(first));
            }
            return make_executable(asset, &path);
        }

        if let Some(parent) = path.parent() {
            file::create_directory(parent)?;
        }
        let mut out = create(&path, FILE_MODE)?;
        copy(package, asset, label, &path, &mut out)?;
        self.files.insert(target.to_owned(), label.to_owned());
        make_executable(asset, &path)
    }
}

/// Makes an unpacked file a program if it is one.
fn make_executable(asset: &Asset, path: &Path) -> Result<(), Error> {
    let mut head = Vec::new();
    let file = File::open(path).map_err(Error::file("open", path))?;
    file.take(PROGRAM_MARK_BYTES)
        .read_to_end(&mut head)
        .map_err(Error::file("read", path))?;
    if !asset.executable.decide(&head) {
        return Ok(());
    }
    let mode = fs::Permissions::from_mode(PROGRAM_MODE);
    fs::set_permissions(path, mode).map_err(Error::file("write", path))
}

fn copy<R: io::Read + io::Seek>(
    package: &mut Package<R>,
    asset: &Asset,
    label: &str,
    path: &Path,
    out: &mut impl Write,
) -> Result<(), Error> {
    match package.copy_file(&asset.entry, out) {
        Ok(_) => Ok(()),
        // The path on the disk says more than the name in the package.
        Err(klusterkite_nuget::Error::Write { source, .. }) => {
            Err(Error::file("write", path)(source))
        }
        Err(source) => Err(Error::Package {
            package: label.to_owned(),
            source,
        }),
    }
}

fn create(path: &Path, mode: u32) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    options.open(path).map_err(Error::file("write", path))
}

fn write_file(path: &Path, content: &[u8]) -> Result<(), Error> {
    create(path, FILE_MODE)?
        .write_all(content)
        .map_err(Error::file("write", path))
}

/// Compares what is written to it with a file.
struct Comparison {
    file: BufReader<File>,
    differs: bool,
}

impl Comparison {
    fn with(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::file("open", path))?;
        Ok(Self {
            file: BufReader::new(file),
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

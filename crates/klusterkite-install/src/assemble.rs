//! Service directories: the files of all packages in one tree, with the settings beside them.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use klusterkite_nuget::RidGraph;
use klusterkite_wire::Runtime;
use klusterkite_wire::service_directory as names;
use klusterkite_wire::start::StartConfiguration;

use crate::job::{Job, OnProgress};
use crate::tree::Tree;
use crate::wanted::Wanted;
use crate::{Cancel, ContentStore, Error, FeedSource, file};

/// Largest `release.json`: a start configuration of the wire fits with room to spare.
const RELEASE_BYTES_MAX: u64 = 16 << 20;

/// A service directory to be made.
#[derive(Debug, Clone, Copy)]
pub struct ServiceDirectory<'a> {
    /// Where the packages are kept.
    pub store: &'a ContentStore,
    /// What it is made of.
    pub start: &'a StartConfiguration,
    /// The runtime whose files of the packages are used.
    pub runtime: &'a Runtime,
    /// HOCON text of the highest priority.
    pub start_settings: &'a str,
    /// The directory, which must not be there.
    pub path: &'a Path,
}

/// Makes a service directory of packages that are all in the store.
///
/// The directory appears under its name when it is complete and on the disk; until then, and after
/// an error, nothing of that name exists. Fails if it is there already, if a package is not the
/// frozen one, if two packages bring different files of one name, or if a limit is exceeded.
pub fn assemble(directory: &ServiceDirectory<'_>, cancel: &Cancel) -> Result<(), Error> {
    make(directory, None, cancel).map(drop)
}

/// Makes a service directory as [`assemble`] does, and fetches what is missing as
/// [`ContentStore::ensure`] does; each package is unpacked while others are still fetched. Returns
/// id and version of packages that were in the store, but damaged.
pub fn install(
    directory: &ServiceDirectory<'_>,
    source: &FeedSource,
    progress: OnProgress<'_>,
    cancel: &Cancel,
) -> Result<Vec<String>, Error> {
    make(directory, Some((source, progress)), cancel)
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

fn make(
    directory: &ServiceDirectory<'_>,
    source: Option<(&FeedSource, OnProgress<'_>)>,
    cancel: &Cancel,
) -> Result<Vec<String>, Error> {
    let into = directory.path;
    if fs::symlink_metadata(into).is_ok() {
        return Err(Error::Exists {
            path: into.to_owned(),
        });
    }
    let wanted = Wanted::parse_all(&directory.start.packages)?;
    let mut job = Job::new(directory.store, &wanted, source, cancel)?;
    let partial = file::sibling(into, "partial");
    let made = fill(directory, &wanted, &mut job, &partial)
        .and_then(|()| fs::rename(&partial, into).map_err(Error::file("create", into)));
    if let Err(error) = made {
        // The first error is the one to tell; the next call removes what is left.
        let _ = file::remove_directory(&partial);
        return Err(error);
    }
    file::sync_parent(into)?;
    job.finish()
}

/// Fills a new directory and puts it on the disk, with the packages.
fn fill(
    directory: &ServiceDirectory<'_>,
    wanted: &[Wanted],
    job: &mut Job<'_>,
    partial: &Path,
) -> Result<(), Error> {
    let runtime = directory.runtime;
    let mut graph = RidGraph::portable();
    loop {
        let tree = Tree::new(partial, wanted, runtime, &graph)?;
        job.run(Some(&tree))?;
        let merged = tree.merged_graph();
        if merged.expand(runtime.as_str()) == graph.expand(runtime.as_str()) {
            tree.compare(directory.store)?;
            finish(&tree, directory)?;
            break;
        }
        // What packages say of this runtime is known only when all are here. It is rarely needed:
        // the runtimes of the portable graph do not change by it.
        drop(tree);
        graph = merged;
    }
    let store = &directory.store.directory;
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    if job.has_verified() && device(store) != device(partial) {
        let opened = File::open(store).map_err(Error::file("open", store))?;
        rustix::fs::syncfs(opened).map_err(|error| Error::file("sync", store)(error.into()))?;
    }
    Ok(())
}

/// Writes what belongs to the service directory itself.
fn finish(tree: &Tree<'_>, directory: &ServiceDirectory<'_>) -> Result<(), Error> {
    let content = |name: &str, written: Result<Vec<u8>, serde_json::Error>| {
        written.map_err(|error| Error::Content {
            path: directory.path.join(name),
            reason: error.to_string(),
        })
    };
    let start = directory.start;
    let release = StartConfiguration {
        node_token: None,
        ..start.clone()
    };
    let release = content(names::RELEASE, serde_json::to_vec_pretty(&release))?;
    tree.write(
        Path::new(names::TEMPLATE_SETTINGS),
        start.configuration.as_bytes(),
    )?;
    tree.write(Path::new(names::RELEASE), &release)?;
    // Not in the list: the start settings are written again before each start.
    let files = content(names::FILES, serde_json::to_vec(&tree.stamps()))?;
    tree.write(
        Path::new(names::START_SETTINGS),
        directory.start_settings.as_bytes(),
    )?;
    tree.write(Path::new(names::FILES), &files)?;
    tree.sync()
}

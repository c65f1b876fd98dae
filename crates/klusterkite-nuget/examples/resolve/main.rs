//! Resolves 1,000 packages with some 3,000 references; run by `cargo xtask bench check`.
//!
//! ```text
//! resolve index       rounds with everything in memory: the milliseconds of each, one a line
//! resolve make DIR    makes the packages in a directory
//! resolve cold DIR    reads the packages of a directory and resolves them once, for who times the process
//! ```
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it measures for a person at a terminal, who sees its errors"
)]

mod graph;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Instant;

use graph::{PACKAGES, id, needs, package};
use klusterkite_nuget::resolve::{
    FeedVersion, Lookup, Outcome, PackageFeed, ResolveLimits, resolve,
};
use klusterkite_nuget::v3::{Dependency, DependencyGroup};
use klusterkite_nuget::{Framework, Limits, Package, PackageId, Version, VersionRange};

const ROUNDS: usize = 15;

/// A feed that has one version of each package.
struct Feed(BTreeMap<PackageId, Vec<DependencyGroup>>);

impl PackageFeed for Feed {
    fn versions(&self, id: &PackageId) -> Lookup<Vec<FeedVersion>> {
        if !self.0.contains_key(id) {
            return Lookup::Absent;
        }
        Lookup::Found(vec![FeedVersion {
            version: Version::new(1, 0, 0),
            is_listed: true,
        }])
    }

    fn dependency_groups(&self, id: &PackageId, _: &Version) -> Lookup<Vec<DependencyGroup>> {
        let groups = self.0.get(id);
        groups.map_or(Lookup::Absent, |groups| Lookup::Found(groups.clone()))
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["index"] => {
            let feed = in_memory();
            // The first round warms caches and does not count.
            resolve_all(&feed);
            for _ in 0..ROUNDS {
                let start = Instant::now();
                resolve_all(&feed);
                println!("{:.3}", start.elapsed().as_secs_f64() * 1000.0);
            }
        }
        ["make", directory] => {
            for number in 0..PACKAGES {
                let path = Path::new(directory).join(format!("{number:04}.nupkg"));
                fs::write(path, package(number)).unwrap();
            }
        }
        ["cold", directory] => resolve_all(&from_files(Path::new(directory))),
        _ => panic!("say `index`, `make DIR` or `cold DIR`"),
    }
}

fn resolve_all(feed: &Feed) {
    let references = BTreeMap::from([(id(0), VersionRange::at_least(Version::new(1, 0, 0)))]);
    let outcome = resolve(
        &references,
        &Framework::any(),
        feed,
        &ResolveLimits::STANDARD,
    );
    let Outcome::Resolved(resolution) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(resolution.packages.len(), PACKAGES);
}

fn in_memory() -> Feed {
    let groups = needs().into_iter().enumerate().map(|(number, needs)| {
        let dependencies = needs.into_iter().map(|number| Dependency {
            id: id(number),
            range: Some(VersionRange::at_least(Version::new(1, 0, 0))),
        });
        let group = DependencyGroup {
            target_framework: None,
            dependencies: dependencies.collect(),
        };
        (id(number), vec![group])
    });
    Feed(groups.collect())
}

/// Reads packages with as many threads as there are processors.
fn from_files(directory: &Path) -> Feed {
    let entries = fs::read_dir(directory).unwrap();
    let paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let parts = paths.chunks(paths.len().div_ceil(threads));
    let read = |paths: &[PathBuf]| -> Vec<(PackageId, Vec<DependencyGroup>)> {
        let packages = paths.iter().map(|path| {
            let package = Package::open(File::open(path).unwrap(), &Limits::STANDARD).unwrap();
            let groups = package.nuspec().dependency_groups.iter();
            (
                package.id().clone(),
                groups.map(DependencyGroup::from).collect(),
            )
        });
        packages.collect()
    };
    let groups = std::thread::scope(|scope| {
        let readers: Vec<_> = parts.map(|part| scope.spawn(|| read(part))).collect();
        let groups = readers
            .into_iter()
            .flat_map(|reader| reader.join().unwrap());
        groups.collect()
    });
    Feed(groups)
}

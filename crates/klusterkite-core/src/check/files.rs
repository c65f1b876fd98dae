//! The files that a template's packages put into one service directory, for every runtime.
//!
//! Which files of a package a runtime uses, and which packages are in each other's way, does not
//! depend on the template. So it is looked up once for all packages; a template only asks whether it
//! has both sides of a collision.

use std::collections::BTreeSet;

use klusterkite_nuget::{RidGraph, Sha256Hash, select_assets};
use klusterkite_wire::Runtime;
use klusterkite_wire::service_directory;

use super::Template;
use super::finding::{FindingCode, Findings};
use super::packages::{Package, World, requirement_field};
use crate::release::PackagesByRuntime;
use crate::settings::Settings;

/// Names in the service directory that belong to the launcher and the host.
const RESERVED: [&str; 10] = [
    service_directory::START_SETTINGS,
    service_directory::TEMPLATE_SETTINGS,
    service_directory::RELEASE,
    service_directory::PACKAGES,
    service_directory::NODE_TOKEN,
    service_directory::LAUNCHER_SOCKET,
    service_directory::MEMBERS_SOCKET,
    service_directory::SETTINGS_JSON,
    service_directory::SETTINGS_HOCON,
    service_directory::FILES,
];

/// The files of all packages, for each runtime of the settings.
pub(super) struct Files(Vec<(Runtime, Tree)>);

/// What all packages together would put into a service directory of one runtime.
#[derive(Default)]
struct Tree {
    /// Sorted by path, then by package.
    files: Vec<File>,
    collisions: Vec<Collision>,
    /// Packages whose files cannot be used, or may not be there, with a sentence about it.
    refused: Vec<(usize, FindingCode, String)>,
}

/// A file of a service directory.
struct File {
    target: String,
    /// Place of the package that brings it.
    package: usize,
    sha256: Sha256Hash,
}

/// A path that packages bring with different content.
struct Collision {
    target: String,
    /// The packages that bring the file.
    files: Vec<(usize, Sha256Hash)>,
    /// The packages that bring files below it, as if it were a directory.
    below: BTreeSet<usize>,
}

impl Files {
    /// Looks at the files of all packages.
    pub(super) fn new(settings: &Settings, world: &World<'_>) -> Self {
        let runtimes: Vec<Runtime> = settings
            .runtimes
            .iter()
            .filter_map(|runtime| runtime.parse().ok())
            .collect();
        let trees = runtimes.into_iter().map(|runtime| {
            let tree = Tree::new(&world.packages, &runtime);
            (runtime, tree)
        });
        Self(trees.collect())
    }

    /// Returns the packages to freeze for each runtime on which the template can start; `packages`
    /// are sorted.
    pub(super) fn by_runtime(
        &self,
        world: &World<'_>,
        template: &Template<'_>,
        packages: &[usize],
        findings: &mut Findings,
    ) -> PackagesByRuntime {
        let mut by_runtime = PackagesByRuntime::new();
        if packages.is_empty() {
            return by_runtime;
        }
        let mut has = vec![false; world.packages.len()];
        for place in packages {
            has[*place] = true;
        }
        let mut without_entry_point = Vec::new();
        for (runtime, tree) in &self.0 {
            tree.report(world, template, &has, findings);
            if tree.has_program(template.entry_point, &has) {
                let references = packages
                    .iter()
                    .map(|place| &world.packages[*place].reference);
                by_runtime.insert(runtime.clone(), references.cloned().collect());
            } else {
                without_entry_point.push(runtime.as_str());
            }
        }
        say_entry_point_missing(
            template,
            &without_entry_point,
            by_runtime.is_empty(),
            findings,
        );
        by_runtime
    }
}

fn say_entry_point_missing(
    template: &Template<'_>,
    runtimes: &[&str],
    on_every_one: bool,
    findings: &mut Findings,
) {
    if runtimes.is_empty() {
        return;
    }
    let field = template.field("entryPoint");
    let message = format!(
        "no package of the template brings `{}` for {}",
        template.entry_point,
        runtimes.join(", ")
    );
    if on_every_one {
        findings.error(FindingCode::EntryPointMissing, field, message);
    } else {
        let message = format!("{message}; it does not run there");
        findings.warning(FindingCode::EntryPointMissing, field, message);
    }
}

impl Tree {
    fn new(packages: &[Package<'_>], runtime: &Runtime) -> Self {
        let mut tree = Self::default();
        let graph = RidGraph::portable();
        for (place, package) in packages.iter().enumerate() {
            if let Err((code, message)) = tree.add(place, package, runtime, &graph) {
                tree.refused.push((place, code, message));
            }
        }
        let order = |file: &File| (file.package, file.sha256);
        tree.files.sort_by(|a, b| {
            a.target
                .cmp(&b.target)
                .then_with(|| order(a).cmp(&order(b)))
        });
        tree.collisions = collisions(&tree.files);
        tree
    }

    fn add(
        &mut self,
        place: usize,
        package: &Package<'_>,
        runtime: &Runtime,
        graph: &RidGraph,
    ) -> Result<(), (FindingCode, String)> {
        let facts = package.facts;
        let unusable = |error: &dyn std::fmt::Display| {
            let message = format!(
                "the files of `{}` {} cannot be used: {error}",
                facts.id, facts.version
            );
            (FindingCode::FilesInvalid, message)
        };
        let paths = facts.files.iter().map(|file| file.path.as_str());
        let assets =
            select_assets(paths, runtime.as_str(), graph).map_err(|error| unusable(&error))?;
        let mut by_path: Vec<usize> = (0..facts.files.len()).collect();
        by_path.sort_by(|a, b| facts.files[*a].path.cmp(&facts.files[*b].path));
        let mut reserved = None;
        for asset in assets {
            if is_reserved(&asset.target) {
                reserved.get_or_insert(asset.target);
                continue;
            }
            let entry =
                by_path.binary_search_by(|file| facts.files[*file].path.as_str().cmp(&asset.entry));
            if let Ok(found) = entry {
                self.files.push(File {
                    target: asset.target,
                    package: place,
                    sha256: facts.files[by_path[found]].sha256,
                });
            }
        }
        match reserved {
            None => Ok(()),
            Some(target) => {
                let message = format!(
                    "`{}` brings `{target}`, a name of the launcher or the host; rename it",
                    facts.id
                );
                Err((FindingCode::FileReserved, message))
            }
        }
    }

    /// Tells whether one of the template's packages brings a program.
    fn has_program(&self, entry_point: &str, has: &[bool]) -> bool {
        let names = [entry_point.to_owned(), format!("{entry_point}.exe")];
        names.iter().any(|name| {
            let files = self.files_at(name);
            files.iter().any(|file| has[file.package])
        })
    }

    fn files_at(&self, target: &str) -> &[File] {
        files_at(&self.files, target)
    }

    /// Reports what a template's packages cannot bring, each kind once for a package.
    fn report(
        &self,
        world: &World<'_>,
        template: &Template<'_>,
        has: &[bool],
        findings: &mut Findings,
    ) {
        for (place, code, message) in self.refused.iter().filter(|(place, ..)| has[*place]) {
            let field = requirement_field(template, world.packages[*place].facts.id.as_str());
            findings.error_once(*code, field, || message.clone());
        }
        for collision in &self.collisions {
            for (first, second) in collision.among(has) {
                let id = |place: usize| &world.packages[place].facts.id;
                let field = requirement_field(template, id(second).as_str());
                findings.error_once(FindingCode::FileCollision, field, || {
                    format!(
                        "`{}` and `{}` both bring `{}`, with different content",
                        id(first),
                        id(second),
                        collision.target
                    )
                });
            }
        }
    }
}

impl Collision {
    /// Returns packages that are in the way of another one of those that a template has; the later
    /// one by id comes second and is to blame.
    fn among(&self, has: &[bool]) -> Vec<(usize, usize)> {
        let mut files = self.files.iter().filter(|(place, _)| has[*place]);
        let Some((first, sha256)) = files.next() else {
            return Vec::new();
        };
        let others = files
            .filter(|(_, other)| other != sha256)
            .map(|(place, _)| *place);
        let below = self
            .below
            .iter()
            .copied()
            .filter(|place| has[*place] && place != first);
        let pairs = others
            .chain(below)
            .map(|other| (other.min(*first), other.max(*first)));
        pairs.collect()
    }
}

/// Finds the paths that are not the same for all packages that bring them.
fn collisions(files: &[File]) -> Vec<Collision> {
    let mut collisions = Vec::new();
    for same in files.chunk_by(|a, b| a.target == b.target) {
        let below = below(files, &same[0].target);
        let differ = same.iter().any(|file| file.sha256 != same[0].sha256);
        if differ || !below.is_empty() {
            collisions.push(Collision {
                target: same[0].target.clone(),
                files: same
                    .iter()
                    .map(|file| (file.package, file.sha256))
                    .collect(),
                below,
            });
        }
    }
    collisions
}

/// Returns the packages that bring files below a path.
fn below(files: &[File], target: &str) -> BTreeSet<usize> {
    let directory = format!("{target}/");
    let start = files.partition_point(|file| *file.target < *directory);
    let below = files[start..].iter();
    below
        .take_while(|file| file.target.starts_with(&directory))
        .map(|file| file.package)
        .collect()
}

fn files_at<'f>(files: &'f [File], target: &str) -> &'f [File] {
    let start = files.partition_point(|file| *file.target < *target);
    let end = files[start..].partition_point(|file| file.target == target);
    &files[start..start + end]
}

fn is_reserved(target: &str) -> bool {
    let first = target.split('/').next().unwrap_or_default();
    RESERVED.iter().any(|name| name.eq_ignore_ascii_case(first))
}

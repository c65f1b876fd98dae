//! The files that a template's packages put into one service directory, for every runtime.

use std::collections::BTreeMap;

use klusterkite_nuget::v3::{FileFacts, PackageFacts};
use klusterkite_nuget::{RidGraph, Sha256Hash, select_assets};
use klusterkite_wire::Runtime;
use klusterkite_wire::service_directory;
use klusterkite_wire::start::PackageReference;

use super::Template;
use super::finding::{FindingCode, Findings};
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

/// Returns the packages to freeze for each runtime on which the template can start.
pub(super) fn by_runtime(
    settings: &Settings,
    template: &Template<'_>,
    packages: &[&PackageFacts],
    findings: &mut Findings,
) -> PackagesByRuntime {
    let mut by_runtime = PackagesByRuntime::new();
    if packages.is_empty() {
        return by_runtime;
    }
    let mut without_entry_point = Vec::new();
    let runtimes: Vec<Runtime> = settings
        .runtimes
        .iter()
        .filter_map(|runtime| runtime.parse().ok())
        .collect();
    for runtime in &runtimes {
        let tree = tree(template, packages, runtime, findings);
        if tree.has_program(template.entry_point) {
            by_runtime.insert(
                runtime.clone(),
                packages.iter().map(|package| reference(package)).collect(),
            );
        } else {
            without_entry_point.push(runtime.as_str());
        }
    }
    if without_entry_point.is_empty() {
        return by_runtime;
    }
    let message = format!(
        "no package of the template brings `{}` for {}",
        template.entry_point,
        without_entry_point.join(", ")
    );
    if by_runtime.is_empty() {
        findings.error(
            FindingCode::EntryPointMissing,
            template.field("entryPoint"),
            message,
        );
    } else {
        let message = format!("{message}; it does not run there");
        findings.warning(
            FindingCode::EntryPointMissing,
            template.field("entryPoint"),
            message,
        );
    }
    by_runtime
}

/// The files of a service directory and who brings them.
#[derive(Default)]
struct Tree<'a> {
    files: BTreeMap<String, (&'a PackageFacts, Sha256Hash)>,
    directories: BTreeMap<String, &'a PackageFacts>,
}

impl Tree<'_> {
    fn has_program(&self, entry_point: &str) -> bool {
        self.files.contains_key(entry_point)
            || self.files.contains_key(&format!("{entry_point}.exe"))
    }
}

fn tree<'a>(
    template: &Template<'_>,
    packages: &[&'a PackageFacts],
    runtime: &Runtime,
    findings: &mut Findings,
) -> Tree<'a> {
    let mut tree = Tree::default();
    for package in packages {
        let files: BTreeMap<&str, &FileFacts> = package
            .files
            .iter()
            .map(|file| (file.path.as_str(), file))
            .collect();
        let graph = RidGraph::portable();
        let assets = match select_assets(files.keys().copied(), runtime.as_str(), &graph) {
            Ok(assets) => assets,
            Err(error) => {
                let message = format!(
                    "the files of `{}` {} cannot be used: {error}",
                    package.id, package.version
                );
                say_once(
                    FindingCode::FilesInvalid,
                    template,
                    package,
                    message,
                    findings,
                );
                continue;
            }
        };
        for asset in assets {
            if let Some(file) = files.get(asset.entry.as_str()) {
                add(
                    &mut tree,
                    template,
                    package,
                    &asset.target,
                    file.sha256,
                    findings,
                );
            }
        }
    }
    tree
}

/// Puts one file into the tree, by the rules by which a launcher extracts it.
fn add<'a>(
    tree: &mut Tree<'a>,
    template: &Template<'_>,
    package: &'a PackageFacts,
    target: &str,
    sha256: Sha256Hash,
    findings: &mut Findings,
) {
    let first = target.split('/').next().unwrap_or_default();
    if RESERVED.iter().any(|name| name.eq_ignore_ascii_case(first)) {
        let message = format!(
            "`{}` brings `{target}`, a name of the launcher or the host; rename it",
            package.id
        );
        say_once(
            FindingCode::FileReserved,
            template,
            package,
            message,
            findings,
        );
        return;
    }
    let parents = target.match_indices('/').map(|(end, _)| &target[..end]);
    let file_in_the_way = parents
        .clone()
        .find_map(|parent| tree.files.get(parent))
        .map(|(other, _)| *other);
    let directory_in_the_way = tree.directories.get(target).copied();
    let other_content = tree
        .files
        .get(target)
        .filter(|(_, hash)| *hash != sha256)
        .map(|(other, _)| *other);
    if let Some(other) = file_in_the_way.or(directory_in_the_way).or(other_content) {
        let message = format!(
            "`{}` and `{}` both bring `{target}`, with different content",
            other.id, package.id
        );
        say_once(
            FindingCode::FileCollision,
            template,
            package,
            message,
            findings,
        );
        return;
    }
    for parent in parents {
        tree.directories.entry(parent.to_owned()).or_insert(package);
    }
    tree.files
        .entry(target.to_owned())
        .or_insert((package, sha256));
}

/// Says one thing about a package of a template once, not for every runtime and file.
fn say_once(
    code: FindingCode,
    template: &Template<'_>,
    package: &PackageFacts,
    message: String,
    findings: &mut Findings,
) {
    let field = template.field(&format!("packageRequirements[\"{}\"]", package.id));
    if !findings.has(code, &field) {
        findings.error(code, field, message);
    }
}

fn reference(package: &PackageFacts) -> PackageReference {
    PackageReference {
        id: package.id.to_string(),
        version: package.version.to_string(),
        sha512: package.sha512.to_string(),
        size: package.size,
    }
}

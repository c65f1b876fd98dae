//! Which files of a package a project of some framework uses, and for what.
//!
//! This is how .NET tools choose. [`select_assets`] applies it to a node, which has no framework of
//! its own.

mod folders;
mod node;

use crate::error::Error;
use crate::{Framework, PackageId, RidGraph};

use folders::{File, Folders, Groups};
pub use node::{AssetPath, node_dependencies, select_assets};

/// What a package's files are chosen for.
#[derive(Clone, Copy, Debug)]
pub struct AssetTarget<'a> {
    /// The framework of the project.
    pub framework: &'a Framework,
    /// The runtime; `None` for a project that is to run on every runtime.
    pub rid: Option<&'a str>,
    /// How runtimes are related: the portable graph with what the packages add to it
    /// ([`RidGraph::merge`]).
    pub graph: &'a RidGraph,
}

/// The files of a package that a project uses. All are paths inside the package, sorted; the
/// placeholder `_._` ("empty on purpose") is left out, but the folder that holds it is chosen
/// like any other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameworkAssets {
    /// Assemblies to compile against: of `ref/<framework>/`, else of `lib/<framework>/`.
    pub compile: Vec<String>,
    /// Assemblies to run with: of `runtimes/<rid>/lib/<framework>/`, else of `lib/<framework>/`,
    /// else right below `lib/`, which stands for .NET Framework.
    pub runtime: Vec<String>,
    /// Files of `runtimes/<rid>/nativeassets/<framework>/` or `runtimes/<rid>/native/`.
    pub native: Vec<String>,
    /// Translations: `….resources.dll` in folders of languages below those for `runtime`.
    pub resources: Vec<ResourceAsset>,
    /// Files of `contentFiles/<language>/<framework>/`, for every programming language.
    pub content_files: Vec<ContentAsset>,
    /// Files of `content/`, or of `content/<framework>/` if one fits. Only projects with a
    /// `packages.config` use them.
    pub content: Vec<String>,
    /// `<id>.props` and `<id>.targets` of `build/` or `build/<framework>/`.
    pub build: Vec<String>,
    /// The same of `buildTransitive/`, for projects that need the package indirectly.
    pub build_transitive: Vec<String>,
    /// Files of `tools/<framework>/<rid>/`, for packages that are tools.
    pub tools: Vec<String>,
    /// If no runtime was given: the files for single runtimes, to choose from when it starts.
    pub runtime_targets: Vec<RuntimeAsset>,
    /// Whether the package is any use for the framework. It is not if it has assemblies, but
    /// nothing of it was chosen (NU1202).
    pub is_supported: bool,
}

/// A translation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResourceAsset {
    /// The path inside the package.
    pub path: String,
    /// The language, such as `fr` or `zh-Hans`.
    pub locale: String,
}

/// A file that becomes part of the project.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContentAsset {
    /// The path inside the package.
    pub path: String,
    /// The programming language that it is for, `any` for all.
    pub language: String,
    /// The path inside the project.
    pub target: String,
}

/// A file for one runtime.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuntimeAsset {
    /// The path inside the package.
    pub path: String,
    /// The runtime, in lower case.
    pub rid: String,
    /// What it is.
    pub kind: RuntimeAssetKind,
}

/// What a file for one runtime is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuntimeAssetKind {
    /// An assembly.
    Runtime,
    /// A native library or program.
    Native,
    /// A translation.
    Resource,
}

impl FrameworkAssets {
    /// Chooses among the paths of a package.
    ///
    /// Of each kind of folder only the best one is used. A folder for a runtime wins over one for
    /// all; among those for runtimes the nearest framework decides and then the nearest runtime.
    /// Folders are compared without regard to case; those of unknown frameworks are ignored.
    /// Fails if there are folders of one kind for more than 128 frameworks, or more than 1024.
    pub fn select<'a>(
        id: &PackageId,
        paths: impl IntoIterator<Item = &'a str>,
        target: &AssetTarget<'_>,
    ) -> Result<Self, Error> {
        let folders = Folders::sort(paths);
        let rids = match target.rid {
            Some(rid) => target.graph.expand(rid),
            None => Vec::new(),
        };
        let best = |groups: &Groups<'a>| -> Result<Vec<File<'a>>, Error> {
            Ok(groups.best(target.framework, &rids)?.unwrap_or_default())
        };

        let compile = match folders.reference.best(target.framework, &[])? {
            Some(files) => files,
            None => folders.lib.best(target.framework, &[])?.unwrap_or_default(),
        };
        // A tool runs on the machine that it was installed on: without a runtime, `any` it is.
        let tool_rids = if rids.is_empty() {
            target.graph.expand("any")
        } else {
            rids.clone()
        };
        let tools = folders.tools.best(target.framework, &tool_rids)?;
        let mut content_files = Vec::new();
        for (language, groups) in &folders.content_files {
            content_files.extend(best(groups)?.iter().map(|file| ContentAsset {
                path: file.path.to_owned(),
                language: language.clone(),
                target: file.rest.to_owned(),
            }));
        }

        let mut assets = Self {
            compile: paths_of(&compile, is_assembly),
            runtime: paths_of(&best(&folders.lib)?, is_assembly),
            native: paths_of(&best(&folders.native)?, |_| true),
            resources: resources_of(&best(&folders.resources)?),
            content_files,
            content: paths_of(&best(&folders.content)?, |_| true),
            build: paths_of(&best(&folders.build)?, |rest| is_build_file(id, rest)),
            build_transitive: paths_of(&best(&folders.build_transitive)?, |rest| {
                is_build_file(id, rest)
            }),
            tools: paths_of(&tools.unwrap_or_default(), |_| true),
            runtime_targets: Vec::new(),
            is_supported: true,
        };
        if target.rid.is_none() {
            assets.runtime_targets = runtime_targets(&folders, target.framework)?;
        }
        assets.is_supported = folders.is_supported(target.framework, &rids)?;
        assets.sort();
        Ok(assets)
    }

    fn sort(&mut self) {
        for paths in [
            &mut self.compile,
            &mut self.runtime,
            &mut self.native,
            &mut self.content,
            &mut self.build,
            &mut self.build_transitive,
            &mut self.tools,
        ] {
            paths.sort_unstable();
        }
        self.resources.sort_unstable();
        self.content_files.sort_unstable();
        self.runtime_targets.sort_unstable();
    }
}

/// Lists what single runtimes would use.
fn runtime_targets(
    folders: &Folders<'_>,
    framework: &Framework,
) -> Result<Vec<RuntimeAsset>, Error> {
    let mut assets = Vec::new();
    for (groups, kind) in [
        (&folders.lib, RuntimeAssetKind::Runtime),
        (&folders.native, RuntimeAssetKind::Native),
        (&folders.resources, RuntimeAssetKind::Resource),
    ] {
        for (rid, files) in groups.best_of_each_runtime(framework)? {
            let paths = match kind {
                RuntimeAssetKind::Runtime => paths_of(&files, is_assembly),
                RuntimeAssetKind::Native => paths_of(&files, |_| true),
                RuntimeAssetKind::Resource => {
                    let resources = resources_of(&files).into_iter();
                    resources.map(|resource| resource.path).collect()
                }
            };
            assets.extend(paths.into_iter().map(|path| RuntimeAsset {
                path,
                rid: rid.clone(),
                kind,
            }));
        }
    }
    Ok(assets)
}

/// Returns the paths of files whose part below the folder is wanted.
fn paths_of(files: &[File<'_>], wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let wanted = files
        .iter()
        .filter(|file| !file.is_placeholder() && wanted(file.rest));
    wanted.map(|file| file.path.to_owned()).collect()
}

fn resources_of(files: &[File<'_>]) -> Vec<ResourceAsset> {
    files.iter().filter_map(resource_of).collect()
}

fn resource_of(file: &File<'_>) -> Option<ResourceAsset> {
    let (locale, name) = file.rest.split_once('/')?;
    let is_resource = !name.contains('/') && ends_with(name, ".resources.dll");
    is_resource.then(|| ResourceAsset {
        path: file.path.to_owned(),
        locale: locale.to_owned(),
    })
}

/// Assemblies are right in the folder.
fn is_assembly(rest: &str) -> bool {
    !rest.contains('/')
        && [".dll", ".exe", ".winmd"]
            .iter()
            .any(|ending| ends_with(rest, ending))
}

/// Only files with the package's own name take part in a build.
fn is_build_file(id: &PackageId, rest: &str) -> bool {
    let name = [".props", ".targets"]
        .iter()
        .find(|ending| ends_with(rest, ending))
        .and_then(|ending| rest.get(..rest.len() - ending.len()));
    name.is_some_and(|name| name.eq_ignore_ascii_case(id.as_str()))
}

fn ends_with(text: &str, ending: &str) -> bool {
    let start = text.len().checked_sub(ending.len());
    start
        .and_then(|start| text.get(start..))
        .is_some_and(|end| end.eq_ignore_ascii_case(ending))
}

#[cfg(test)]
mod tests;

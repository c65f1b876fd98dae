//! Which files of a package a node uses, and where they go.

use super::folders::{File, Folders, Groups};
use super::{is_assembly, resource_of};
use crate::error::{Error, shown};
use crate::v3::{Dependency, DependencyGroup};
use crate::zip::PathSet;
use crate::{Framework, RidGraph};

/// The frameworks that a node can run assemblies of, the preferred one first: a node has no
/// project that names one. What has nothing for .NET may have something for .NET Framework, as
/// .NET itself falls back to it (`AssetTargetFallback`).
const NODE_FRAMEWORKS: [&str; 2] = ["net10.0", "net481"];

/// The folder of `contentFiles/` that is for every programming language; the others hold sources.
const EVERY_LANGUAGE: &str = "any";

/// A file of a package that a node of some runtime uses, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AssetPath {
    /// The path inside the package.
    pub entry: String,
    /// The path below the service directory.
    pub target: String,
    /// Whether it is from a folder for programs: native files and tools.
    pub is_native: bool,
}

/// Chooses which of a package's paths a node of a runtime uses, in the order of their targets.
///
/// The graph says how runtimes are related: [`RidGraph::portable`], with what the `runtime.json` of
/// the node's packages add to it by [`RidGraph::merge`] in the order of the packages.
///
/// The files are those that [`FrameworkAssets`](super::FrameworkAssets) has for a project that
/// runs: assemblies and their translations of `runtimes/<rid>/lib/<framework>/` or
/// `lib/<framework>/`, the nearest `runtimes/<rid>/native/`, `contentFiles/any/<framework>/`,
/// `content/` and `tools/<framework>/<rid>/`, one folder of each kind. The folder's name is
/// removed, sub-folders are kept; `_._` stands for "empty on purpose". Two files with one target,
/// or a file where another needs a directory, are an error.
pub fn select_assets<'a>(
    paths: impl IntoIterator<Item = &'a str>,
    rid: &str,
    graph: &RidGraph,
) -> Result<Vec<AssetPath>, Error> {
    let folders = Folders::sort(paths);
    let rids = graph.expand(rid);
    let framework = node_framework(&folders, &rids)?;
    let best = |groups: &Groups<'a>| -> Result<Vec<File<'a>>, Error> {
        let files = groups.best(&framework, &rids)?.unwrap_or_default();
        Ok(files
            .into_iter()
            .filter(|file| !file.is_placeholder())
            .collect())
    };

    let mut assets = Vec::new();
    let mut add = |files: Vec<File<'a>>, is_native| {
        assets.extend(files.into_iter().map(|file| AssetPath {
            entry: file.path.to_owned(),
            target: file.rest.to_owned(),
            is_native,
        }));
    };
    let mut assemblies = best(&folders.lib)?;
    assemblies.retain(|file| is_assembly(file.rest));
    let mut resources = best(&folders.resources)?;
    resources.retain(|file| resource_of(file).is_some());
    add(assemblies, false);
    add(resources, false);
    add(best(&folders.native)?, true);
    if let Some(content) = folders.content_files.get(EVERY_LANGUAGE) {
        add(best(content)?, false);
    }
    add(best(&folders.content)?, false);
    add(best(&folders.tools)?, true);
    assets.sort_by(|a, b| a.target.cmp(&b.target));
    check_targets(&assets)?;
    Ok(assets)
}

/// Returns the framework whose files of the package a node uses.
fn node_framework(folders: &Folders<'_>, rids: &[String]) -> Result<Framework, Error> {
    let [preferred, fallback] = NODE_FRAMEWORKS.map(str::parse::<Framework>);
    let preferred = preferred?;
    if folders.is_supported(&preferred, rids)? {
        Ok(preferred)
    } else {
        fallback
    }
}

/// Returns what a node needs of a package's dependencies: those of the group for the nearest
/// framework that a node can run, and of no other.
///
/// Fails if there are groups for more than 128 frameworks.
pub fn node_dependencies(groups: &[DependencyGroup]) -> Result<&[Dependency], Error> {
    for framework in NODE_FRAMEWORKS {
        let framework: Framework = framework.parse()?;
        let nearest = framework.nearest_of(groups, |group| group.target_framework.as_deref())?;
        if let Some(group) = nearest {
            return Ok(&group.dependencies);
        }
    }
    Ok(&[])
}

fn check_targets(assets: &[AssetPath]) -> Result<(), Error> {
    for pair in assets.windows(2) {
        if let [first, second] = pair
            && first.target == second.target
        {
            return Err(Error::Clash {
                first: shown(&first.entry),
                second: shown(&second.entry),
                reason: "both would become the same file of the service directory",
            });
        }
    }
    let mut targets = PathSet::default();
    for asset in assets {
        targets.add(&asset.target);
    }
    targets.check()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(paths: &[&str], rid: &str) -> Result<Vec<String>, Error> {
        let assets = select_assets(paths.iter().copied(), rid, &RidGraph::portable())?;
        Ok(assets
            .into_iter()
            .map(|asset| format!("{} <- {}", asset.target, asset.entry))
            .collect())
    }

    #[test]
    fn only_the_nearest_runtime_folder_is_used() {
        let paths = [
            "A.nuspec",
            "runtimes/any/native/readme.txt",
            "runtimes/linux/native/tool",
            "runtimes/linux-x64/native/bin/tool",
            "Runtimes/Linux-X64/Native/data",
            "runtimes/win-x64/native/tool.exe",
        ];
        let near = [
            "bin/tool <- runtimes/linux-x64/native/bin/tool",
            "data <- Runtimes/Linux-X64/Native/data",
        ];
        assert_eq!(targets(&paths, "linux-x64").unwrap(), near);
        assert_eq!(targets(&paths, "linux-musl-x64").unwrap(), near);
        assert_eq!(
            targets(&paths, "linux-arm64").unwrap(),
            ["tool <- runtimes/linux/native/tool"]
        );
        assert_eq!(
            targets(&paths, "osx-x64").unwrap(),
            ["readme.txt <- runtimes/any/native/readme.txt"]
        );
        assert!(targets(&paths, "nosuch").unwrap().is_empty());
    }

    #[test]
    fn content_is_used_on_every_runtime() {
        let paths = [
            "content/site/index.html",
            "contentFiles/any/any/b.txt",
            "contentFiles/cs/any/c.cs",
            "ref/net8.0/a.dll",
            "build/A.props",
        ];
        let found = [
            "b.txt <- contentFiles/any/any/b.txt",
            "site/index.html <- content/site/index.html",
        ];
        assert_eq!(targets(&paths, "linux-x64").unwrap(), found);
    }

    #[test]
    fn an_empty_marker_hides_farther_folders() {
        let paths = [
            "runtimes/linux-x64/native/_._",
            "runtimes/linux/native/tool",
        ];
        assert!(targets(&paths, "linux-x64").unwrap().is_empty());
    }

    #[test]
    fn assemblies_of_the_nearest_framework_and_tools_are_used() {
        let paths = [
            "lib/net8.0/a.dll",
            "lib/net8.0/fr/a.resources.dll",
            "lib/net8.0/a.xml",
            "lib/netstandard2.0/a.dll",
            "lib/net48/a.dll",
            "runtimes/win/lib/net8.0/a.dll",
            "tools/net6.0/any/tool",
        ];
        let portable = [
            "a.dll <- lib/net8.0/a.dll",
            "fr/a.resources.dll <- lib/net8.0/fr/a.resources.dll",
            "tool <- tools/net6.0/any/tool",
        ];
        assert_eq!(targets(&paths, "linux-x64").unwrap(), portable);
        let windows = targets(&paths, "win-x64").unwrap();
        assert_eq!(windows[0], "a.dll <- runtimes/win/lib/net8.0/a.dll");
        let old = ["lib/net48/a.dll", "lib/net20/a.dll"];
        assert_eq!(
            targets(&old, "linux-x64").unwrap(),
            ["a.dll <- lib/net48/a.dll"]
        );
    }

    #[test]
    fn a_graph_of_packages_leads_to_folders_that_the_portable_one_does_not_know() {
        let paths = [
            "runtimes/debian/native/tool",
            "runtimes/linux-x64/native/tool",
        ];
        let json = r##"{"runtimes": {"debian.12-x64": {"#import": ["debian", "linux-x64"]}}}"##;
        let mut graph = RidGraph::portable();
        graph.merge(&RidGraph::parse(json).unwrap());
        let assets = select_assets(paths, "debian.12-x64", &graph).unwrap();
        assert_eq!(assets[0].entry, "runtimes/debian/native/tool");
        assert!(targets(&paths, "debian.12-x64").unwrap().is_empty());
    }

    #[test]
    fn two_files_with_one_target_are_an_error_that_names_both() {
        let error = targets(&["content/a", "contentFiles/any/any/a"], "linux-x64")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("content/a") && error.contains("contentFiles/any/any/a"),
            "{error}"
        );
        assert!(targets(&["content/a", "runtimes/linux-x64/native/A/b"], "linux-x64").is_err());
    }
}

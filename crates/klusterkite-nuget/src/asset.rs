use crate::error::{Error, shown};
use crate::rid::RidGraph;
use crate::zip::PathSet;

/// A file of a package that a node of some runtime uses, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AssetPath {
    /// The path inside the package.
    pub entry: String,
    /// The path below the service directory.
    pub target: String,
    /// Whether it comes from `runtimes/<rid>/native/`.
    pub is_native: bool,
}

/// Chooses which of a package's paths a runtime uses, in the order of their targets.
///
/// These are the files of the nearest `runtimes/<rid>/native/` by the portable runtime graph (one
/// folder only, as NuGet does), of `content/` and of `contentFiles/any/any/`; the prefix is
/// removed, sub-folders are kept, `_._` stands for "empty on purpose". Two files with one target,
/// or a file where another needs a directory, are an error.
pub fn select_assets<'a>(
    paths: impl IntoIterator<Item = &'a str>,
    rid: &str,
) -> Result<Vec<AssetPath>, Error> {
    let expanded = RidGraph::portable().expand(rid);
    let mut shared = Vec::new();
    let mut native = Vec::new();
    let mut nearest = usize::MAX;
    for path in paths {
        if path.ends_with('/') || path.rsplit('/').next() == Some("_._") {
            // A folder that holds only `_._` still is the nearest one.
            if let Some((distance, _)) = native_target(path, &expanded) {
                nearest = nearest.min(distance);
            }
            continue;
        }
        if let Some((distance, target)) = native_target(path, &expanded) {
            nearest = nearest.min(distance);
            native.push((distance, asset(path, target, true)));
        } else if let Some(target) = shared_target(path) {
            shared.push(asset(path, target, false));
        }
    }

    let mut assets = shared;
    assets.extend(
        native
            .into_iter()
            .filter(|(distance, _)| *distance == nearest)
            .map(|(_, asset)| asset),
    );
    assets.sort_by(|a, b| a.target.cmp(&b.target));
    check_targets(&assets)?;
    Ok(assets)
}

fn asset(entry: &str, target: &str, is_native: bool) -> AssetPath {
    AssetPath {
        entry: entry.to_owned(),
        target: target.to_owned(),
        is_native,
    }
}

/// Returns how near the path's runtime is and the path below `native/`.
fn native_target<'a>(path: &'a str, expanded: &[String]) -> Option<(usize, &'a str)> {
    let rest = strip_folders(path, &["runtimes"])?;
    let (rid, rest) = rest.split_once('/')?;
    let target = strip_folders(rest, &["native"])?;
    let distance = expanded
        .iter()
        .position(|candidate| candidate.eq_ignore_ascii_case(rid))?;
    Some((distance, target))
}

fn shared_target(path: &str) -> Option<&str> {
    strip_folders(path, &["content"])
        .or_else(|| strip_folders(path, &["contentFiles", "any", "any"]))
}

/// Removes leading folders, whose names NuGet compares without regard to case.
fn strip_folders<'a>(path: &'a str, folders: &[&str]) -> Option<&'a str> {
    let mut rest = path;
    for folder in folders {
        let (first, tail) = rest.split_once('/')?;
        if !first.eq_ignore_ascii_case(folder) {
            return None;
        }
        rest = tail;
    }
    Some(rest)
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
        let assets = select_assets(paths.iter().copied(), rid)?;
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
            "runtimes/linux-x64/lib/net8.0/a.dll",
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
            "lib/a.dll",
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

//! Making a package of a directory.
//!
//! `pack.hocon` says what the nuspec needs and which programs to take; every other file of the directory
//! goes into the package under its own path, hidden ones excepted.
//!
//! ```hocon
//! id = Acme.Orders
//! version = 1.4.0                     # or `--version`
//! description = "Orders"
//! authors = Acme                      # default: the id
//! tags = [orders]
//! dependencies { "Acme.Core" = "[1.2, 2)" }
//! binaries = [orders-server]          # from `--binaries`, to `runtimes/<rid>/native/`
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use klusterkite_hocon::Document;
use klusterkite_nuget::{
    Dependency, DependencyGroup, Nuspec, PackageBuilder, PackageId, Version, VersionRange,
};
use serde::Deserialize;

use crate::exit::{Exit, Stop};
use crate::input::read_text;

/// Name of the file that describes the package.
const PACK_FILE: &str = "pack.hocon";

/// Largest file of that name, in bytes: it has a dozen lines.
const PACK_FILE_BYTES_MAX: u64 = 1 << 20;

/// Name of the manifest; it is checked here, because a configuration's check would find the mistake much later.
const MANIFEST_FILE: &str = "klusterkite.hocon";

/// Most files of a package: what a reader accepts.
const FILES_MAX: usize = klusterkite_nuget::Limits::STANDARD.entries_max;

/// Deepest directory below the package's.
const DEPTH_MAX: usize = 64;

/// What a package is made of.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Directory with `pack.hocon`.
    pub directory: &'a Path,
    /// Directory with the programs.
    pub binaries: Option<&'a Path>,
    /// Version that wins over the file's.
    pub version: Option<&'a str>,
    /// Runtime of the programs.
    pub runtime: &'a str,
}

/// A package.
#[derive(Debug, Clone)]
pub struct Made {
    /// Its id.
    pub id: PackageId,
    /// Its version.
    pub version: Version,
    /// The `.nupkg`; the same source gives the same bytes.
    pub bytes: Vec<u8>,
}

/// Content of `pack.hocon`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PackFile {
    id: String,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    authors: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    dependencies: BTreeMap<String, String>,
    #[serde(default)]
    binaries: Vec<String>,
}

/// Makes a package.
pub fn make(source: &Source<'_>) -> anyhow::Result<Made> {
    let path = source.directory.join(PACK_FILE);
    let pack_file = read_pack_file(&path)?;
    let unusable = |what: &str, error: klusterkite_nuget::Error| {
        Stop::new(
            Exit::Usage,
            format!("the {what} of `{}` cannot be used: {error}", path.display()),
        )
    };
    let id: PackageId = pack_file
        .id
        .parse()
        .map_err(|error| unusable("id", error))?;
    let version = source
        .version
        .or(pack_file.version.as_deref())
        .ok_or_else(|| {
            Stop::new(
                Exit::Usage,
                format!("`{}` names no version; give `--version`", path.display()),
            )
        })?;
    let version: Version = version
        .parse()
        .map_err(|error| unusable("version", error))?;
    let authors = pack_file.authors.as_deref().unwrap_or(id.as_str());
    let mut nuspec = Nuspec::new(id.clone(), version.clone(), authors, &pack_file.description);
    nuspec.tags = pack_file.tags;
    let mut dependencies = Vec::new();
    for (id, range) in &pack_file.dependencies {
        dependencies.push(Dependency {
            id: id.parse().map_err(|error| unusable("dependency", error))?,
            range: range
                .parse::<VersionRange>()
                .map_err(|error| unusable("dependency", error))?,
            include: None,
            exclude: None,
        });
    }
    if !dependencies.is_empty() {
        nuspec.dependency_groups = vec![DependencyGroup {
            target_framework: None,
            dependencies,
        }];
    }

    let mut files = BTreeMap::new();
    collect(source.directory, "", 0, &mut files)?;
    files.remove(PACK_FILE);
    for name in &pack_file.binaries {
        let directory = source.binaries.ok_or_else(|| {
            let sentence = format!(
                "`{}` names programs; give their directory with `--binaries`",
                path.display()
            );
            Stop::new(Exit::Usage, sentence)
        })?;
        ensure!(
            !name.contains('/'),
            "program `{name}` of `{}` is not a file name",
            path.display()
        );
        let program = fs::read(directory.join(name)).with_context(|| {
            format!(
                "cannot read the program `{}`",
                directory.join(name).display()
            )
        })?;
        files.insert(
            format!("runtimes/{}/native/{name}", source.runtime),
            (program, true),
        );
    }
    if let Some((manifest, _)) = files.get(MANIFEST_FILE) {
        let path = source.directory.join(MANIFEST_FILE);
        check_manifest(&id, manifest).map_err(|reason| {
            let sentence = format!("`{}` cannot be used: {reason}", path.display());
            Stop::new(Exit::Usage, sentence)
        })?;
    }

    let mut builder = PackageBuilder::new(nuspec);
    for (path, (contents, is_executable)) in files {
        builder = builder.file(&path, contents, is_executable);
    }
    let bytes = builder
        .to_bytes()
        .with_context(|| format!("`{id} {version}` cannot be packed"))?;
    Ok(Made { id, version, bytes })
}

fn read_pack_file(path: &Path) -> anyhow::Result<PackFile> {
    let shown = path.display().to_string();
    let text = read_text(path, PACK_FILE_BYTES_MAX)?;
    let parse = || {
        Document::parse(&text, &shown)?
            .resolve(&BTreeMap::new())?
            .deserialize("")
    };
    parse().map_err(|error| Stop::new(Exit::Usage, error.to_string()).into())
}

fn check_manifest(id: &PackageId, manifest: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(manifest).map_err(|error| error.to_string())?;
    let checked = klusterkite_manifest::parse(id.as_str(), text);
    checked.map(drop).map_err(|error| error.full_message())
}

/// Reads all files below a directory, by their paths with `/`.
fn collect(
    directory: &Path,
    prefix: &str,
    depth: usize,
    files: &mut BTreeMap<String, (Vec<u8>, bool)>,
) -> anyhow::Result<()> {
    let shown = directory.display();
    ensure!(
        depth < DEPTH_MAX,
        "`{shown}` lies deeper than {DEPTH_MAX} directories"
    );
    let entries = fs::read_dir(directory).with_context(|| format!("cannot read `{shown}`"))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read `{shown}`"))?;
        let name = entry.file_name();
        let name = name
            .to_str()
            .with_context(|| format!("a name in `{shown}` is not UTF-8"))?;
        if name.starts_with('.') {
            continue;
        }
        let (path, below) = (entry.path(), format!("{prefix}{name}"));
        // Links are followed: a package holds no links.
        let metadata =
            fs::metadata(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        if metadata.is_dir() {
            collect(&path, &format!("{below}/"), depth + 1, files)?;
        } else {
            let contents =
                fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
            files.insert(
                below,
                (contents, metadata.permissions().mode() & 0o100 != 0),
            );
            ensure!(
                files.len() <= FILES_MAX,
                "`{shown}` has more than {FILES_MAX} files"
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use klusterkite_nuget::{Executable, Limits, Package, RidGraph};
    use tempfile::TempDir;

    use super::*;

    fn directory(files: &[(&str, &str)]) -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (path, contents) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, contents).unwrap();
        }
        directory
    }

    fn source<'a>(directory: &'a TempDir, binaries: Option<&'a Path>) -> Source<'a> {
        Source {
            directory: directory.path(),
            binaries,
            version: None,
            runtime: "linux-x64",
        }
    }

    #[test]
    fn a_directory_becomes_a_package() {
        let directory = directory(&[
            (
                "pack.hocon",
                "id = Acme.Orders, version = 1.4, description = d, binaries = [server]\ndependencies { \"Acme.Core\" = \"[1.2, 2)\" }",
            ),
            ("klusterkite.hocon", "priority = role"),
            ("content/a/b.txt", "b"),
            (".hidden/x", "x"),
            ("target/server", "#!/bin/sh\n"),
        ]);
        let binaries = directory.path().join("target");
        let made = make(&source(&directory, Some(&binaries))).unwrap();
        let package = Package::open(Cursor::new(&made.bytes), &Limits::STANDARD).unwrap();
        let paths: Vec<_> = package
            .files()
            .iter()
            .map(|file| file.path.clone())
            .collect();
        assert_eq!(
            paths,
            [
                "Acme.Orders.nuspec",
                "content/a/b.txt",
                "klusterkite.hocon",
                "runtimes/linux-x64/native/server",
                "target/server"
            ]
        );
        assert_eq!(package.manifest(), Some("priority = role"));
        assert_eq!(package.version().to_string(), "1.4.0");
        let group = &package.nuspec().dependency_groups[0];
        assert_eq!(group.dependencies[0].id.as_str(), "Acme.Core");
        let assets = package.assets("linux-x64", &RidGraph::portable()).unwrap();
        let server = assets
            .iter()
            .find(|asset| asset.target_path == "server")
            .unwrap();
        assert_eq!(server.executable, Executable::Yes);
        assert_eq!(
            make(&source(&directory, Some(&binaries))).unwrap().bytes,
            made.bytes
        );
    }

    #[test]
    fn the_version_of_the_command_wins() {
        let directory = directory(&[("pack.hocon", "id = A, version = 1.0.0")]);
        let made = make(&Source {
            version: Some("2.0.0-rc.1"),
            ..source(&directory, None)
        })
        .unwrap();
        assert_eq!(made.version.to_string(), "2.0.0-rc.1");
    }

    #[test]
    fn what_cannot_be_packed_is_named() {
        let cases = [
            ("id = A", "names no version"),
            ("version = 1", "`id`"),
            ("id = \"a b\", version = 1", "id of"),
            ("id = A, version = x", "version of"),
            ("id = A, version = 1, binary = [x]", "binary"),
            ("id = A, version = 1, binaries = [x]", "--binaries"),
            (
                "id = A, version = 1, dependencies { B = \"[\" }",
                "dependency of",
            ),
            ("id = {", "pack.hocon"),
        ];
        for (text, expected) in cases {
            let directory = directory(&[("pack.hocon", text)]);
            let error = make(&source(&directory, None)).unwrap_err();
            assert!(format!("{error:#}").contains(expected), "{text}: {error:#}");
            assert_eq!(Exit::of(&error), Exit::Usage, "{text}");
        }
        for manifest in [
            "processes {",
            "proceses {}",
            "processes { a { command = 5 } }",
        ] {
            let broken = directory(&[
                ("pack.hocon", "id = A, version = 1"),
                ("klusterkite.hocon", manifest),
            ]);
            let error = make(&source(&broken, None)).unwrap_err();
            assert!(
                format!("{error:#}").contains("klusterkite.hocon` cannot be used"),
                "{manifest}: {error:#}"
            );
        }
        let missing = directory(&[("pack.hocon", "id = A, version = 1, binaries = [nothing]")]);
        let error = make(&source(&missing, Some(missing.path()))).unwrap_err();
        assert!(format!("{error:#}").contains("nothing"), "{error:#}");
    }
}

//! A package's files by the folders that they are in.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Error;
use crate::{Family, Framework};

/// How many folders of one kind a package may have: the largest runtime graph has about 400
/// runtimes, and packages with folders for several frameworks have them for some dozens.
const GROUPS_MAX: usize = 1024;

/// A file and its path below the folder that is chosen as a whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct File<'a> {
    pub(super) path: &'a str,
    pub(super) rest: &'a str,
}

impl File<'_> {
    /// Tells whether the file only says that its folder is empty on purpose.
    pub(super) fn is_placeholder(&self) -> bool {
        self.rest.rsplit('/').next() == Some("_._")
    }
}

/// Folders of one kind, by framework and runtime (in lower case).
#[derive(Debug, Default)]
pub(super) struct Groups<'a> {
    groups: BTreeMap<(Framework, Option<String>), Vec<File<'a>>>,
}

/// What `any` means as the name of a framework's folder.
#[derive(Clone, Copy)]
enum AnyFolder {
    /// `dotnet`, as in the first packages for .NET Core.
    Dotnet,
    /// Every framework.
    Every,
}

impl<'a> Groups<'a> {
    /// Returns the files of the best folder: one for a runtime, the nearest framework first and
    /// then the nearest of `rids`, else one for every runtime. `None` if none fits.
    pub(super) fn best(
        &self,
        target: &Framework,
        rids: &[String],
    ) -> Result<Option<Vec<File<'a>>>, Error> {
        let distance = |rid: &Option<String>| {
            let rid = rid.as_deref()?;
            rids.iter()
                .position(|other| other.eq_ignore_ascii_case(rid))
        };
        if let Some(framework) = self.nearest(target, |rid| distance(rid).is_some())? {
            let own = self
                .groups
                .iter()
                .filter(|((other, rid), _)| *other == framework && distance(rid).is_some());
            let nearest = own.min_by_key(|((_, rid), _)| distance(rid));
            return Ok(nearest.map(|(_, files)| files.clone()));
        }
        let framework = self.nearest(target, Option::is_none)?;
        Ok(framework.and_then(|framework| self.groups.get(&(framework, None)).cloned()))
    }

    /// Returns the files of the best folder of each runtime.
    pub(super) fn best_of_each_runtime(
        &self,
        target: &Framework,
    ) -> Result<Vec<(String, Vec<File<'a>>)>, Error> {
        self.check_size()?;
        let mut runtimes: BTreeMap<&String, BTreeSet<&Framework>> = BTreeMap::new();
        for (framework, rid) in self.groups.keys() {
            if let Some(rid) = rid {
                runtimes.entry(rid).or_default().insert(framework);
            }
        }
        let mut found = Vec::new();
        for (rid, frameworks) in runtimes {
            if let Some(framework) = target.nearest_bounded(&frameworks)?
                && let Some(files) = self.groups.get(&(framework, Some(rid.clone())))
            {
                found.push((rid.clone(), files.clone()));
            }
        }
        Ok(found)
    }

    fn nearest(
        &self,
        target: &Framework,
        wanted: impl Fn(&Option<String>) -> bool,
    ) -> Result<Option<Framework>, Error> {
        self.check_size()?;
        let frameworks = self.groups.keys().filter(|(framework, rid)| {
            // A project without a framework uses only what needs none.
            wanted(rid) && (!target.is_any() || framework.is_any())
        });
        let frameworks: BTreeSet<&Framework> = frameworks.map(|(framework, _)| framework).collect();
        target.nearest_bounded(&frameworks)
    }

    fn check_size(&self) -> Result<(), Error> {
        if self.groups.len() > GROUPS_MAX {
            return Err(Error::Limit {
                what: "the number of folders for frameworks and runtimes",
                actual: self.groups.len() as u64,
                limit: GROUPS_MAX as u64,
            });
        }
        Ok(())
    }

    fn add(&mut self, framework: Framework, rid: Option<&str>, path: &'a str, rest: &'a str) {
        let key = (framework, rid.map(str::to_ascii_lowercase));
        self.groups
            .entry(key)
            .or_default()
            .push(File { path, rest });
    }

    /// Adds a file whose next folder names a framework; tells whether it does.
    fn add_below_framework(
        &mut self,
        any: AnyFolder,
        rid: Option<&str>,
        path: &'a str,
        below: &'a str,
    ) -> bool {
        let Some((folder, rest)) = below.split_once('/') else {
            return false;
        };
        let Some(framework) = folder_framework(folder, any) else {
            return false;
        };
        self.add(framework, rid, path, rest);
        true
    }
}

/// Reads a folder's name; `None` if NuGet does not know it.
fn folder_framework(folder: &str, any: AnyFolder) -> Option<Framework> {
    let framework: Framework = folder.parse().ok()?;
    match any {
        AnyFolder::Dotnet if framework.is_any() => Family::NetPlatform.short_name().parse().ok(),
        _ => Some(framework),
    }
}

/// All files of a package that have a use.
#[derive(Debug, Default)]
pub(super) struct Folders<'a> {
    pub(super) reference: Groups<'a>,
    pub(super) lib: Groups<'a>,
    pub(super) resources: Groups<'a>,
    pub(super) native: Groups<'a>,
    /// By programming language in lower case.
    pub(super) content_files: BTreeMap<String, Groups<'a>>,
    pub(super) content: Groups<'a>,
    pub(super) build: Groups<'a>,
    pub(super) build_transitive: Groups<'a>,
    pub(super) tools: Groups<'a>,
    /// Whether anything is below `lib/` or `ref/`, also for unknown frameworks.
    has_assemblies: bool,
}

impl<'a> Folders<'a> {
    /// Sorts the paths of a package.
    pub(super) fn sort(paths: impl IntoIterator<Item = &'a str>) -> Self {
        let mut folders = Self::default();
        for path in paths {
            folders.add(path);
        }
        folders
    }

    /// Tells whether a folder with files that count was chosen, or the package has no assemblies.
    pub(super) fn is_supported(&self, target: &Framework, rids: &[String]) -> Result<bool, Error> {
        if !self.has_assemblies {
            return Ok(true);
        }
        let content_files = self.content_files.values();
        for groups in [
            &self.reference,
            &self.lib,
            &self.resources,
            &self.native,
            &self.build,
            &self.tools,
        ]
        .into_iter()
        .chain(content_files)
        {
            if groups.best(target, rids)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn add(&mut self, path: &'a str) {
        // Directories and what is at the root are no assets.
        let Some((first, below)) = path.split_once('/') else {
            return;
        };
        if path.ends_with('/') {
            return;
        }
        match first.to_ascii_lowercase().as_str() {
            "ref" => {
                self.has_assemblies = true;
                self.reference
                    .add_below_framework(AnyFolder::Dotnet, None, path, below);
            }
            "lib" => {
                self.has_assemblies = true;
                self.add_lib(None, path, below);
            }
            "runtimes" => self.add_runtime(path, below),
            "contentfiles" => self.add_content_file(path, below),
            "content" => {
                let content = &mut self.content;
                if !content.add_below_framework(AnyFolder::Every, None, path, below) {
                    content.add(Framework::any(), None, path, below);
                }
            }
            "build" => add_build(&mut self.build, path, below),
            "buildtransitive" => add_build(&mut self.build_transitive, path, below),
            "tools" => self.add_tool(path, below),
            _ => {}
        }
    }

    fn add_lib(&mut self, rid: Option<&str>, path: &'a str, below: &'a str) {
        let Some((folder, rest)) = below.split_once('/') else {
            // Right below `lib/` is what was made before there were folders.
            if rid.is_none() {
                self.lib.add(Framework::net_framework(), None, path, below);
            }
            return;
        };
        let Some(framework) = folder_framework(folder, AnyFolder::Dotnet) else {
            return;
        };
        if rest
            .split_once('/')
            .is_some_and(|(locale, _)| is_locale(locale))
        {
            self.resources.add(framework.clone(), rid, path, rest);
        }
        self.lib.add(framework, rid, path, rest);
    }

    fn add_runtime(&mut self, path: &'a str, below: &'a str) {
        let Some((rid, below)) = below.split_once('/') else {
            return;
        };
        let Some((kind, below)) = below.split_once('/') else {
            return;
        };
        let rid = Some(rid);
        match kind.to_ascii_lowercase().as_str() {
            "lib" if below.contains('/') => self.add_lib(rid, path, below),
            "native" => self.native.add(Framework::any(), rid, path, below),
            "nativeassets" => {
                self.native
                    .add_below_framework(AnyFolder::Dotnet, rid, path, below);
            }
            _ => {}
        }
    }

    fn add_content_file(&mut self, path: &'a str, below: &'a str) {
        let Some((language, below)) = below.split_once('/') else {
            return;
        };
        if language.chars().all(char::is_alphanumeric) {
            self.content_files
                .entry(language.to_ascii_lowercase())
                .or_default()
                .add_below_framework(AnyFolder::Every, None, path, below);
        }
    }

    fn add_tool(&mut self, path: &'a str, below: &'a str) {
        let Some((folder, below)) = below.split_once('/') else {
            return;
        };
        if let Some(framework) = folder_framework(folder, AnyFolder::Every)
            && let Some((rid, rest)) = below.split_once('/')
        {
            self.tools.add(framework, Some(rid), path, rest);
        }
    }
}

fn add_build<'a>(groups: &mut Groups<'a>, path: &'a str, below: &'a str) {
    if below.contains('/') {
        groups.add_below_framework(AnyFolder::Dotnet, None, path, below);
    } else {
        groups.add(Framework::any(), None, path, below);
    }
}

/// Tells whether NuGet takes a folder's name for a language: `fr`, `zh-Hans`.
fn is_locale(folder: &str) -> bool {
    folder.chars().count() == 2 || (folder.len() >= 4 && folder.as_bytes()[2] == b'-')
}

use std::collections::BTreeMap;
use std::io::{Read, Seek, Write};

use crate::error::{Error, shown};
use crate::hash::{Sha256Hash, Sha256Hasher};
use crate::zip::{Archive, Entry, Unpacker};
use crate::{
    AssetTarget, FrameworkAssets, Limits, Nuspec, PackageId, RidGraph, Version, select_assets,
};

/// The name of the manifest at the root of a package.
pub const MANIFEST_FILE: &str = "klusterkite.hocon";

/// The name of the runtime graph at the root of a package.
const RUNTIME_FILE: &str = "runtime.json";

/// The largest nuspec, manifest and runtime graph that are read into memory: 1 MiB, a hundred times the largest
/// ones in use.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// An open package: a `.nupkg` whose structure was checked against [`Limits`].
#[derive(Debug)]
pub struct Package<R> {
    archive: Archive<R>,
    files: Vec<PackageFile>,
    nuspec: Nuspec,
    nuspec_text: String,
    manifest: Option<String>,
}

/// A file of a package, as its directory declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageFile {
    /// The path inside the package, with `/`.
    pub path: String,
    /// The unpacked size in bytes.
    pub size: u64,
    /// The permission bits, if a Unix system wrote the package.
    pub mode: Option<u32>,
    /// The position in the archive's directory.
    index: usize,
}

/// A file of a package that a node of one runtime uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    /// The file inside the package.
    pub entry: PackageFile,
    /// The path below the service directory, with `/`; relative and without `..`.
    pub target_path: String,
    /// Whether the file is to be a program.
    pub executable: Executable,
}

/// Whether a file is to be a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Executable {
    /// Its mode says so.
    Yes,
    /// It has a mode that says otherwise.
    No,
    /// Only its content can say it: the archive has no mode for it, or it is a native file, and
    /// several packing tools write one mode for all files.
    ByContent,
}

impl Executable {
    /// Decides, given the first bytes of the file: programs start with ELF's mark or `#!`.
    pub fn decide(self, head: &[u8]) -> bool {
        match self {
            Self::Yes => true,
            Self::No => false,
            Self::ByContent => head.starts_with(b"\x7fELF") || head.starts_with(b"#!"),
        }
    }
}

impl<R: Read + Seek> Package<R> {
    /// Opens a package and checks everything but its files' contents.
    pub fn open(reader: R, limits: &Limits) -> Result<Self, Error> {
        let mut archive = Archive::open(reader, limits)?;
        let is_nuspec = |entry: &Entry| {
            !entry.path.contains('/') && entry.path.to_ascii_lowercase().ends_with(".nuspec")
        };
        let nuspecs: Vec<usize> = positions(&archive, is_nuspec);
        let &[nuspec] = nuspecs.as_slice() else {
            return Err(Error::NuspecCount {
                count: nuspecs.len(),
            });
        };
        let mut unpacker = Unpacker::new();
        let nuspec_text = read_text(&mut archive, nuspec, &mut unpacker)?;
        let nuspec = Nuspec::parse(&nuspec_text)?;
        let manifest = match positions(&archive, |entry| entry.path == MANIFEST_FILE).first() {
            Some(&index) => Some(read_text(&mut archive, index, &mut unpacker)?),
            None => None,
        };
        let files = archive
            .entries()
            .iter()
            .enumerate()
            .filter(|(_, entry)| is_payload(entry));
        let files = files.map(|(index, entry)| PackageFile {
            path: entry.path.clone(),
            size: entry.size,
            mode: entry.mode,
            index,
        });
        Ok(Self {
            files: files.collect(),
            archive,
            nuspec,
            nuspec_text,
            manifest,
        })
    }

    /// Reads what the package adds to the runtime graph, its root `runtime.json`, if it has one.
    pub fn runtime_graph(&mut self) -> Result<Option<RidGraph>, Error> {
        let is_graph = |entry: &Entry| entry.path.eq_ignore_ascii_case(RUNTIME_FILE);
        match positions(&self.archive, is_graph).first() {
            Some(&index) => {
                let text = read_text(&mut self.archive, index, &mut Unpacker::new())?;
                RidGraph::parse(&text).map(Some)
            }
            None => Ok(None),
        }
    }

    /// Unpacks a file of this package and returns its size in bytes; see
    /// [`unpack`](Self::unpack).
    pub fn copy_file(&mut self, file: &PackageFile, out: &mut impl Write) -> Result<u64, Error> {
        self.entry(file)?;
        self.archive.copy(file.index, &mut Unpacker::new(), out)
    }

    /// Unpacks every file to nowhere and returns their hashes in the order of
    /// [`files`](Self::files): proves that the whole package can be unpacked.
    pub fn hash_files(&mut self) -> Result<Vec<Sha256Hash>, Error> {
        let mut hashes = Vec::new();
        let mut unpacker = Unpacker::new();
        for file in &self.files {
            let mut hasher = Sha256Hasher::new();
            self.archive.copy(file.index, &mut unpacker, &mut hasher)?;
            hashes.push(hasher.finish());
        }
        Ok(hashes)
    }
}

impl<R> Package<R> {
    /// Returns the package's id.
    pub fn id(&self) -> &PackageId {
        &self.nuspec.id
    }

    /// Returns the package's version.
    pub fn version(&self) -> &Version {
        &self.nuspec.version
    }

    /// Returns the package's description of itself.
    pub fn nuspec(&self) -> &Nuspec {
        &self.nuspec
    }

    /// Returns the nuspec's text, without a byte order mark.
    pub fn nuspec_text(&self) -> &str {
        &self.nuspec_text
    }

    /// Returns the text of the root `klusterkite.hocon`, if the package has one.
    pub fn manifest(&self) -> Option<&str> {
        self.manifest.as_deref()
    }

    /// Returns the package's files in the order of its directory, without directories and without
    /// what the packaging format itself needs.
    pub fn files(&self) -> &[PackageFile] {
        &self.files
    }

    /// Chooses the files that a node of a runtime uses; see [`select_assets`] for the rule.
    pub fn assets(&self, rid: &str, graph: &RidGraph) -> Result<Vec<Asset>, Error> {
        let paths = self.files.iter().map(|file| file.path.as_str());
        let selected = select_assets(paths, rid, graph)?;
        let by_path: BTreeMap<&str, &PackageFile> = self
            .files
            .iter()
            .map(|file| (file.path.as_str(), file))
            .collect();
        let mut assets = Vec::new();
        for path in selected {
            let file = by_path.get(path.entry.as_str()).copied().cloned();
            let entry = file.expect("assets are selected from the files");
            let executable = match entry.mode {
                Some(mode) if mode & 0o111 != 0 => Executable::Yes,
                Some(_) if !path.is_native => Executable::No,
                _ => Executable::ByContent,
            };
            assets.push(Asset {
                entry,
                target_path: path.target,
                executable,
            });
        }
        Ok(assets)
    }

    /// Chooses the files that a project of a framework uses; see [`FrameworkAssets::select`].
    pub fn framework_assets(&self, target: &AssetTarget<'_>) -> Result<FrameworkAssets, Error> {
        let paths = self.files.iter().map(|file| file.path.as_str());
        FrameworkAssets::select(&self.nuspec.id, paths, target)
    }

    /// Unpacks a file of this package through another reader of the same bytes and returns its
    /// size in bytes, so that several threads can unpack one package.
    ///
    /// Fails if the contents are not as many bytes as declared or have another checksum; never
    /// writes more than declared, which the limits allowed. What was written before a failure is
    /// to be thrown away.
    pub fn unpack<S: Read + Seek>(
        &self,
        file: &PackageFile,
        reader: &mut S,
        unpacker: &mut Unpacker,
        out: &mut impl Write,
    ) -> Result<u64, Error> {
        unpacker.unpack(self.entry(file)?, reader, out)
    }

    /// Gives up the reader: what the package is stays known, and its files can be
    /// [unpacked](Self::unpack) through other readers.
    pub fn detach(self) -> Package<()> {
        Package {
            archive: self.archive.detach(),
            files: self.files,
            nuspec: self.nuspec,
            nuspec_text: self.nuspec_text,
            manifest: self.manifest,
        }
    }

    /// Returns the reader.
    pub fn into_inner(self) -> R {
        self.archive.into_inner()
    }

    fn entry(&self, file: &PackageFile) -> Result<&Entry, Error> {
        let entry = self.archive.entries().get(file.index);
        let entry = entry.filter(|entry| entry.path == file.path);
        entry.ok_or_else(|| Error::Entry {
            entry: shown(&file.path),
            reason: "it belongs to another package",
        })
    }
}

fn positions<R: Read + Seek>(archive: &Archive<R>, wanted: impl Fn(&Entry) -> bool) -> Vec<usize> {
    let entries = archive.entries().iter().enumerate();
    entries
        .filter(|(_, entry)| wanted(entry))
        .map(|(index, _)| index)
        .collect()
}

fn read_text<R: Read + Seek>(
    archive: &mut Archive<R>,
    index: usize,
    unpacker: &mut Unpacker,
) -> Result<String, Error> {
    let entry = &archive.entries()[index];
    if entry.size > TEXT_BYTES_MAX {
        return Err(Error::Limit {
            what: "the size of its nuspec, manifest or runtime graph in bytes",
            actual: entry.size,
            limit: TEXT_BYTES_MAX,
        });
    }
    let path = shown(&entry.path);
    let mut bytes = Vec::new();
    archive.copy(index, unpacker, &mut bytes)?;
    let text = String::from_utf8(bytes).map_err(|_| Error::NotText { entry: path })?;
    Ok(text
        .strip_prefix('\u{feff}')
        .map(str::to_owned)
        .unwrap_or(text))
}

/// Tells files from what the Open Packaging Conventions and signatures add.
fn is_payload(entry: &Entry) -> bool {
    let path = entry.path.to_ascii_lowercase();
    let is_packaging = path == "[content_types].xml"
        || path == ".signature.p7s"
        || path.starts_with("_rels/")
        || path.starts_with("package/services/metadata/");
    !entry.is_directory() && !is_packaging
}

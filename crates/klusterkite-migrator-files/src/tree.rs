//! A directory with everything in it.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use sha2::{Digest, Sha256};

/// Deepest directory of a site.
const DEPTH_MAX: usize = 32;

/// Most files and directories of a site.
const ENTRIES_MAX: usize = 1_000_000;

const BUFFER_BYTES: usize = 64 << 10;

/// Returns the digest of a directory: SHA-256 over names and contents, in hexadecimal digits.
pub(crate) fn digest(directory: &Path) -> anyhow::Result<String> {
    let mut walk = Walk {
        hash: Sha256::new(),
        entries: 0,
    };
    walk.directory(directory, None, DEPTH_MAX)?;
    Ok(walk.finish())
}

/// Copies a directory to a place where nothing is, onto the disk, and returns its digest.
pub(crate) fn copy(from: &Path, to: &Path) -> anyhow::Result<String> {
    let mut walk = Walk {
        hash: Sha256::new(),
        entries: 0,
    };
    walk.directory(from, Some(to), DEPTH_MAX)?;
    Ok(walk.finish())
}

/// Makes sure that names in a directory are on the disk.
pub(crate) fn sync_directory(path: &Path) -> anyhow::Result<()> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    synced.with_context(|| format!("cannot sync `{}`", path.display()))
}

struct Walk {
    hash: Sha256,
    entries: usize,
}

impl Walk {
    fn directory(&mut self, from: &Path, to: Option<&Path>, depth: usize) -> anyhow::Result<()> {
        ensure!(depth > 0, "`{}` is nested too deeply", from.display());
        if let Some(to) = to {
            fs::create_dir(to).with_context(|| format!("cannot make `{}`", to.display()))?;
        }
        let unreadable = || format!("cannot read `{}`", from.display());
        let entries = fs::read_dir(from).with_context(unreadable)?;
        let mut entries: Vec<fs::DirEntry> =
            entries.collect::<Result<_, _>>().with_context(unreadable)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            self.entries += 1;
            ensure!(
                self.entries <= ENTRIES_MAX,
                "there are more than {ENTRIES_MAX} files in the site"
            );
            let source = entry.path();
            let target = to.map(|to| to.join(entry.file_name()));
            let kind = entry.file_type().with_context(unreadable)?;
            if kind.is_dir() {
                self.name(b'd', &entry);
                self.directory(&source, target.as_deref(), depth - 1)?;
                self.hash.update(b"/");
            } else if kind.is_file() {
                self.name(b'f', &entry);
                let read = self.file(&source, target.as_deref());
                read.with_context(|| match &target {
                    Some(target) => format!(
                        "cannot copy `{}` to `{}`",
                        source.display(),
                        target.display()
                    ),
                    None => format!("cannot read `{}`", source.display()),
                })?;
            } else {
                bail!("`{}` is neither a file nor a directory", source.display());
            }
        }
        to.map_or(Ok(()), sync_directory)
    }

    fn name(&mut self, kind: u8, entry: &fs::DirEntry) {
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        self.hash.update([kind]);
        self.hash.update((name.len() as u64).to_le_bytes());
        self.hash.update(name);
    }

    fn file(&mut self, source: &Path, target: Option<&Path>) -> io::Result<()> {
        let mut file = File::open(source)?;
        let mut copy = target.map(File::create_new).transpose()?;
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut length: u64 = 0;
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            self.hash.update(&buffer[..read]);
            length += read as u64;
            if let Some(copy) = &mut copy {
                copy.write_all(&buffer[..read])?;
            }
        }
        self.hash.update(length.to_le_bytes());
        if let Some(copy) = copy {
            copy.set_permissions(file.metadata()?.permissions())?;
            copy.sync_all()?;
        }
        Ok(())
    }

    fn finish(self) -> String {
        self.hash
            .finalize()
            .iter()
            .fold(String::new(), |mut text, byte| {
                for digit in [byte >> 4, byte & 15] {
                    text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
                }
                text
            })
    }
}

//! Files that are whole or absent after a crash.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::Error;

/// Replaces a file's content so that a crash at any moment leaves the old content or the new one.
/// `mode` holds the permission bits of the new file.
pub fn write_durably(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    replace(path, content, mode, File::sync_all)?;
    sync_parent(path)
}

/// Replaces a file's content in one step for whoever reads it; after a crash of the machine it may
/// hold anything. For files that are written again before they are used then.
pub fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    replace(path, content, mode, |_| Ok(()))
}

fn replace(
    path: &Path,
    content: &[u8],
    mode: u32,
    sync: impl FnOnce(&File) -> io::Result<()>,
) -> Result<(), Error> {
    let temporary = sibling(path, "tmp");
    let written = write_new(&temporary, content, mode).and_then(|file| sync(&file));
    if let Err(source) = written {
        // The error that matters is the first one; a left-over is replaced by the next write.
        let _ = fs::remove_file(&temporary);
        return Err(Error::File {
            operation: "write",
            path: path.to_owned(),
            source,
        });
    }
    fs::rename(&temporary, path).map_err(Error::file("replace", path))
}

/// Removes a file so that it stays removed after a crash; a file that is not there is no error.
pub fn remove_durably(path: &Path) -> Result<(), Error> {
    if remove(path)? {
        sync_parent(path)?;
    }
    Ok(())
}

/// Removes a file and tells whether it was there.
pub fn remove(path: &Path) -> Result<bool, Error> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Error::File {
            operation: "remove",
            path: path.to_owned(),
            source,
        }),
    }
}

/// Makes `link` point to `target` in one step, whatever it pointed to before. Not durable: after a
/// crash of the machine it may point to what it did before.
pub fn switch_link(link: &Path, target: &Path) -> Result<(), Error> {
    let temporary = sibling(link, "tmp");
    remove(&temporary)?;
    std::os::unix::fs::symlink(target, &temporary).map_err(Error::file("write", link))?;
    fs::rename(&temporary, link).map_err(Error::file("replace", link))
}

/// Reads a file of at most `bytes_max` bytes; `None` if there is none.
pub fn read_bounded(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, Error> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(Error::File {
                operation: "open",
                path: path.to_owned(),
                source,
            });
        }
    };
    let mut content = Vec::new();
    file.take(bytes_max + 1)
        .read_to_end(&mut content)
        .map_err(Error::file("read", path))?;
    if content.len() as u64 > bytes_max {
        let reason = format!("it is larger than {bytes_max} bytes");
        return Err(Error::Content {
            path: path.to_owned(),
            reason,
        });
    }
    Ok(Some(content))
}

/// Makes a directory with all that lead to it.
pub fn create_directory(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(Error::file("create the directory", path))
}

/// Removes a directory with everything in it; one that is not there is no error.
pub fn remove_directory(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::File {
            operation: "remove the directory",
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

/// Makes the names in a directory durable.
pub fn sync_directory(path: &Path) -> Result<(), Error> {
    let directory = File::open(path).map_err(Error::file("open", path))?;
    directory.sync_all().map_err(Error::file("sync", path))
}

/// Makes the name of a file durable.
pub(crate) fn sync_parent(path: &Path) -> Result<(), Error> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_directory(parent),
        _ => sync_directory(Path::new(".")),
    }
}

/// Returns `.<name>.<suffix>` beside a path: names that start with a dot are never final ones.
pub(crate) fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".");
    name.push(suffix);
    path.with_file_name(name)
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<File> {
    // Removed first: an old file would keep its mode.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(content)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_that_cannot_be_written_keeps_its_old_content_and_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        write_durably(&path, b"old", 0o600).unwrap();
        // A directory in the place of the temporary file stands for any failure to write.
        fs::create_dir(directory.path().join(".state.json.tmp")).unwrap();
        let error = write_durably(&path, b"new", 0o600).unwrap_err().to_string();
        assert!(error.contains("state.json"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }

    #[test]
    fn a_secret_file_is_never_readable_by_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        fs::write(directory.path().join(".secret.tmp"), "left over, mode 0644").unwrap();
        write_durably(&path, b"x", 0o600).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn a_link_is_switched_even_over_a_left_over_of_a_crash() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("current");
        switch_link(&link, Path::new("releases/1")).unwrap();
        std::os::unix::fs::symlink("x", directory.path().join(".current.tmp")).unwrap();
        switch_link(&link, Path::new("releases/2")).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("releases/2"));
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        assert!(read_bounded(&path, 3).unwrap().is_none());
        fs::write(&path, "abc").unwrap();
        assert_eq!(read_bounded(&path, 3).unwrap().unwrap(), b"abc");
        assert!(
            read_bounded(&path, 2)
                .unwrap_err()
                .to_string()
                .contains("larger than 2 bytes")
        );
    }
}

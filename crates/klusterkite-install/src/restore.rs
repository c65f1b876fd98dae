//! Using a service directory once more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use klusterkite_wire::service_directory as names;

use crate::stamp::Stamp;
use crate::{Error, file};

/// Largest list of files: 50,000 files with long names.
const FILES_BYTES_MAX: u64 = 64 << 20;

/// Puts a service directory back to what was made of its packages, by removing everything that was
/// added since; tells whether it is that again. It is not if a file that belongs to it is gone, or
/// was written to or exchanged: then it has to be made anew. Links are not followed.
pub fn restore(service_directory: &Path) -> Result<bool, Error> {
    let list = service_directory.join(names::FILES);
    let Some(content) = file::read_bounded(&list, FILES_BYTES_MAX)? else {
        return Ok(false);
    };
    let Ok(files) = serde_json::from_slice::<BTreeMap<String, Stamp>>(&content) else {
        return Ok(false);
    };
    let mut directories = BTreeSet::from([""]);
    for name in files.keys() {
        directories.extend(name.match_indices('/').map(|(end, _)| &name[..end]));
    }
    let mut known = 0;
    let mut added = Vec::new();
    for directory in &directories {
        let path = service_directory.join(directory);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(Error::file("list", &path)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(Error::file("list", &path))?;
            let name = entry.file_name();
            let name = match (name.to_str(), *directory) {
                (Some(name), "") => name.to_owned(),
                (Some(name), directory) => format!("{directory}/{name}"),
                (None, _) => String::new(),
            };
            if let Some(stamp) = files.get(&name) {
                let found = entry.metadata();
                if !found.is_ok_and(|found| Stamp::of(&found) == *stamp) {
                    return Ok(false);
                }
                known += 1;
            } else if directories.contains(&*name) && !name.is_empty() {
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    return Ok(false);
                }
            } else if name != names::FILES {
                added.push(entry);
            }
        }
    }
    if known < files.len() {
        return Ok(false);
    }
    for entry in added {
        remove(&entry)?;
    }
    Ok(true)
}

fn remove(entry: &fs::DirEntry) -> Result<(), Error> {
    let path = entry.path();
    let removed = entry.file_type().and_then(|kind| {
        if kind.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        }
    });
    removed.map_err(Error::file("remove", &path))
}

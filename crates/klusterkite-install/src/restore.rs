//! Using a service directory once more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
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
    for (name, stamp) in &files {
        let found = fs::symlink_metadata(service_directory.join(name));
        if !found.is_ok_and(|found| Stamp::of(&found) == *stamp) {
            return Ok(false);
        }
        directories.extend(name.match_indices('/').map(|(end, _)| &name[..end]));
    }
    for directory in &directories {
        let path = service_directory.join(directory);
        let entries = fs::read_dir(&path).map_err(Error::file("list", &path))?;
        for entry in entries {
            let entry = entry.map_err(Error::file("list", &path))?;
            let name = entry.file_name();
            let is_known = name.to_str().is_some_and(|name| {
                let name = match *directory {
                    "" => name.to_owned(),
                    directory => format!("{directory}/{name}"),
                };
                name == names::FILES || files.contains_key(&name) || directories.contains(&*name)
            });
            if !is_known {
                remove(&entry)?;
            }
        }
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

//! Packages in a folder, flat or as NuGet keeps them.

use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use klusterkite_nuget::{Limits, Package, PackageId, Sha512Hash};
use tokio::io::AsyncReadExt as _;

use crate::blobs::{Kind, Received};
use crate::{Error, Feed};

/// How deep folders are looked into: NuGet's own layout is two deep.
const DEPTH_MAX: usize = 16;

const CHUNK_BYTES: usize = 256 << 10;

/// A package or symbols in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) kind: Kind,
}

/// Lists packages and then symbols, each in the order of their paths. Links to folders are not
/// followed.
pub(super) fn list(folder: &Path) -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    let mut open = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = open.pop() {
        for entry in fs::read_dir(&folder).map_err(Error::file("list", &folder))? {
            let entry = entry.map_err(Error::file("list", &folder))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(Error::file("read", &path))?;
            if kind.is_dir() {
                if depth < DEPTH_MAX {
                    open.push((path, depth + 1));
                }
                continue;
            }
            let extension = path.extension().and_then(|extension| extension.to_str());
            match extension.map(str::to_ascii_lowercase).as_deref() {
                Some("nupkg") => found.push(Found {
                    path,
                    kind: Kind::Package,
                }),
                Some("snupkg") => found.push(Found {
                    path,
                    kind: Kind::Symbols,
                }),
                _ => {}
            }
        }
    }
    found.sort_by(|a, b| (a.kind, &a.path).cmp(&(b.kind, &b.path)));
    Ok(found)
}

/// Tells whether a file is of one of the packages; one that cannot be read may be.
pub(super) async fn is_of(file: &Found, ids: &[PackageId]) -> Result<bool, Error> {
    let (path, ids) = (file.path.clone(), ids.to_vec());
    let read = move || {
        let file = fs::File::open(&path).map_err(Error::file("open", &path))?;
        let package = Package::open(BufReader::new(file), &Limits::STANDARD);
        Ok(package.map_or(true, |package| ids.contains(package.id())))
    };
    tokio::task::spawn_blocking(read)
        .await
        .map_err(Error::Task)?
}

/// Copies a file to where uploads are, unless its bytes are in the feed already.
pub(super) async fn receive(feed: &Feed, file: &Found) -> Result<Option<Received>, Error> {
    let hash = {
        let path = file.path.clone();
        let read = move || {
            let mut file = fs::File::open(&path).map_err(Error::file("open", &path))?;
            let hash = Sha512Hash::of_reader(&mut file);
            hash.map_err(Error::file("read", &path))
        };
        tokio::task::spawn_blocking(read)
            .await
            .map_err(Error::Task)??
    };
    if feed.index.has_bytes(&hash.0).await? {
        return Ok(None);
    }
    let limit = feed.package_bytes_max;
    if hash.1 > limit {
        return Err(Error::PackageTooLarge { limit });
    }
    let failed = || Error::file("read", &file.path);
    let mut source = tokio::fs::File::open(&file.path).await.map_err(failed())?;
    let mut upload = feed.receive().await?;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = source.read(&mut chunk).await.map_err(failed())?;
        if count == 0 {
            return upload.finish().await.map(Some);
        }
        upload.write(&chunk[..count]).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_come_before_symbols_from_folders_of_any_layout() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("acme/1.0.0");
        fs::create_dir_all(&deep).unwrap();
        for path in [
            "a.snupkg",
            "b.NUPKG",
            "acme/1.0.0/acme.nupkg",
            "acme/1.0.0/acme.nuspec",
            "x",
        ] {
            fs::write(folder.path().join(path), "").unwrap();
        }
        std::os::unix::fs::symlink(folder.path(), deep.join("circle")).unwrap();
        let found = list(folder.path()).unwrap();
        let names: Vec<&str> = found
            .iter()
            .map(|file| file.path.file_name().unwrap().to_str().unwrap())
            .collect();
        assert_eq!(names, ["acme.nupkg", "b.NUPKG", "a.snupkg"]);
        assert!(list(&folder.path().join("none")).is_err());
    }
}

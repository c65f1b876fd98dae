//! Facts of packages in feeds of other products: downloaded once and looked at here.

use std::io::{Seek as _, SeekFrom};

use klusterkite_nuget::v3::{DependencyGroup, FileFacts, PackageFacts, flat_package_path};
use klusterkite_nuget::{Limits, Package, PackageId, Sha512Hash, Version};
use ureq::SendBody;
use ureq::http::Method;

use super::{FLAT_CONTAINER, FeedClient};
use crate::http::copy_bounded;
use crate::{Error, Kind};

/// Largest package that is downloaded to look at it, in bytes.
const PACKAGE_BYTES_MAX: u64 = 1 << 30;

impl FeedClient {
    /// Downloads a package and makes its facts.
    pub(super) fn foreign_facts(
        &self,
        id: &PackageId,
        version: &Version,
    ) -> Result<Option<PackageFacts>, Error> {
        let base = self.resource(&[FLAT_CONTAINER])?;
        let url = format!("{base}/{}", flat_package_path(id, version));
        let failed = |source| Error::File {
            path: "a temporary file".to_owned(),
            source,
        };
        let mut file = tempfile::tempfile().map_err(failed)?;
        let download = self.http.repeat(true, || {
            file.set_len(0)
                .and_then(|()| file.rewind())
                .map_err(failed)?;
            let mut response =
                self.http
                    .run(&Method::GET, &url, &self.read_headers(), SendBody::none())?;
            Ok(copy_bounded(
                response.body_mut(),
                &url,
                PACKAGE_BYTES_MAX,
                &mut file,
            )?)
        });
        match download {
            Ok(_) => {}
            Err(error) if error.kind() == Kind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let (sha512, size) = Sha512Hash::of_reader(&mut file).map_err(failed)?;
        let unusable = |source| Error::Package {
            package: format!("{id} {version}"),
            source,
        };
        let mut package = Package::open(file, &Limits::STANDARD).map_err(unusable)?;
        let hashes = package.hash_files().map_err(unusable)?;
        let files = package.files().iter().zip(hashes);
        let files = files.map(|(file, sha256)| FileFacts {
            path: file.path.clone(),
            size: file.size,
            sha256,
        });
        let files = files.collect();
        let nuspec = package.nuspec();
        Ok(Some(PackageFacts {
            id: nuspec.id.clone(),
            version: nuspec.version.clone(),
            sha512,
            size,
            listed: true,
            published: String::new(),
            authors: nuspec.authors.clone(),
            description: nuspec.description.clone(),
            title: nuspec.title.clone(),
            tags: nuspec.tags.clone(),
            dependency_groups: nuspec
                .dependency_groups
                .iter()
                .map(DependencyGroup::from)
                .collect(),
            files,
            manifest: package.manifest().map(str::to_owned),
        }))
    }
}

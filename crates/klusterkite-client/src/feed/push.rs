//! Publishing packages.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::Path;

use klusterkite_nuget::{Limits, Package, PackageId, Sha512Hash, Version};
use ureq::SendBody;
use ureq::http::Method;

use super::{FeedClient, PUBLISH};
use crate::{Error, Kind};

/// Separates the parts of the body; long and random enough not to stand in a package.
const BOUNDARY: &str = "klusterkite-5b0a4c1d7e2f48d39c16a3f0e8b7d254";

/// What became of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Id of the package.
    pub id: PackageId,
    /// Its version.
    pub version: Version,
    /// False when the feed held the very same bytes already.
    pub is_new: bool,
}

impl FeedClient {
    /// Publishes a package file, streaming it. Publishing the same bytes again changes nothing and succeeds.
    pub fn push(&self, path: &Path) -> Result<Pushed, Error> {
        let shown = || path.display().to_string();
        let failed = |source| Error::File {
            path: shown(),
            source,
        };
        let mut file = File::open(path).map_err(failed)?;
        // Opening it here refuses what the feed would refuse, before a byte travels.
        let package =
            Package::open(&mut file, &Limits::STANDARD).map_err(|source| Error::Package {
                package: shown(),
                source,
            })?;
        let (id, version) = (package.id().clone(), package.version().clone());

        let url = format!("{}/", self.resource(&[PUBLISH])?);
        let sent = self.http.repeat(true, || {
            file.rewind().map_err(failed)?;
            let size = file.metadata().map_err(failed)?.len();
            self.push_once(&url, &file, size)
        });
        match sent {
            Ok(()) => Ok(Pushed {
                id,
                version,
                is_new: true,
            }),
            Err(error) if error.kind() == Kind::Conflict => {
                file.rewind().map_err(failed)?;
                let (sha512, _) = Sha512Hash::of_reader(&mut file).map_err(failed)?;
                self.compare(id, version, &sha512, error)
            }
            Err(error) => Err(error),
        }
    }

    fn push_once(&self, url: &str, file: &File, size: u64) -> Result<(), crate::http::Failure> {
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"package\"; filename=\"package.nupkg\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        let tail = format!("\r\n--{BOUNDARY}--\r\n");
        let length = head.len() as u64 + size + tail.len() as u64;
        let mut headers = self.write_headers();
        headers.push((
            "content-type",
            format!("multipart/form-data; boundary={BOUNDARY}"),
        ));
        headers.push(("content-length", length.to_string()));
        // A feed that refuses the key says so before the package travels.
        headers.push(("expect", "100-continue".to_owned()));
        let mut body = head
            .as_bytes()
            .chain(file.take(size))
            .chain(tail.as_bytes());
        let body = SendBody::from_reader(&mut body);
        self.http.run(&Method::PUT, url, &headers, body).map(drop)
    }

    /// Tells a repeated push from an attempt to change a published version.
    fn compare(
        &self,
        id: PackageId,
        version: Version,
        sha512: &Sha512Hash,
        refusal: Error,
    ) -> Result<Pushed, Error> {
        match self.facts(&id, &version) {
            Ok(Some(facts)) if facts.sha512 == *sha512 => Ok(Pushed {
                id,
                version,
                is_new: false,
            }),
            Ok(Some(_)) => Err(Error::OtherContent {
                feed: self.url(),
                package: format!("{id} {version}"),
            }),
            Ok(None) | Err(_) => Err(refusal),
        }
    }
}

//! A feed in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use klusterkite_nuget::{Nuspec, PackageBuilder, Sha512Hash};
use klusterkite_wire::start::PackageReference;

use crate::server::{Request, Response, Server};

/// A package with files (path, content, executable) and perhaps a manifest.
pub(crate) fn pack(
    id: &str,
    version: &str,
    files: &[(&str, &str, bool)],
    manifest: Option<&str>,
) -> Vec<u8> {
    let (id, version) = (id.parse().unwrap(), version.parse().unwrap());
    let mut builder = PackageBuilder::new(Nuspec::new(id, version, "test", "a test package"));
    for (path, content, executable) in files {
        builder = builder.file(path, *content, *executable);
    }
    if let Some(manifest) = manifest {
        builder = builder.manifest(manifest);
    }
    builder.to_bytes().unwrap()
}

pub(crate) fn reference(id: &str, version: &str, bytes: &[u8]) -> PackageReference {
    PackageReference {
        id: id.to_owned(),
        version: version.to_owned(),
        sha512: Sha512Hash::of(bytes).to_string(),
        size: bytes.len() as u64,
    }
}

/// What the feed serves; tests change it while it runs.
#[derive(Clone, Default)]
pub(crate) struct Packages(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl Packages {
    pub(crate) fn add(&self, id: &str, version: &str, bytes: Vec<u8>) -> PackageReference {
        let reference = reference(id, version, &bytes);
        self.replace(id, version, bytes);
        reference
    }

    pub(crate) fn replace(&self, id: &str, version: &str, bytes: Vec<u8>) {
        let (id, version) = (id.to_lowercase(), version.to_lowercase());
        let path = format!("/flat/{id}/{version}/{id}.{version}.nupkg");
        self.0.lock().unwrap().insert(path, bytes);
    }

    /// Answers the service index and packages, ranges included.
    pub(crate) fn answer(&self, request: &Request) -> Option<Response> {
        let host = request.header("host").unwrap_or_default();
        if request.path == "/v3/index.json" {
            let index = format!(
                r#"{{"version": "3.0.0", "resources": [
                    {{"@id": "http://{host}/search", "@type": ["SearchQueryService", "x"]}},
                    {{"@id": "http://{host}/flat/", "@type": "PackageBaseAddress/3.0.0"}}]}}"#
            );
            return Some(Response::new(200, index));
        }
        let bytes = self.0.lock().unwrap().get(&request.path)?.clone();
        let range = request.header("range");
        let start = range.and_then(|range| {
            range
                .strip_prefix("bytes=")?
                .strip_suffix('-')?
                .parse::<usize>()
                .ok()
        });
        Some(match start {
            None => Response::new(200, bytes),
            Some(start) if start >= bytes.len() => Response::new(416, ""),
            Some(start) => {
                let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
                Response::new(206, &bytes[start..]).header("Content-Range", range)
            }
        })
    }

    /// Starts a feed that serves this and remembers the requests.
    pub(crate) fn serve(&self) -> (Server, Arc<Mutex<Vec<Request>>>) {
        let packages = self.clone();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let server = Server::start(move |request| {
            seen.lock().unwrap().push(request.clone());
            packages
                .answer(request)
                .unwrap_or_else(|| Response::new(404, ""))
        });
        (server, requests)
    }
}

//! Asking another feed, blocking and within bounds.

use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::MultiGzDecoder;
use klusterkite_nuget::v3::{
    CatalogEntry, FACTS_TYPE, FlatVersions, PackageFacts, REGISTRATION_TYPES, RegistrationItem,
    SEARCH_TYPES, SearchAnswer, ServiceIndex,
};
use klusterkite_nuget::{PackageId, Version};
use klusterkite_tls::{Agents, Trust};
use klusterkite_wire::{Secret, chain};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::http::Response;
use ureq::http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING};
use ureq::{Agent, Body};

use super::pace::is_fast_enough;

/// How long the service index of an upstream is kept.
const INDEX_LIFE: Duration = Duration::from_mins(5);

/// How long a connection may take to open.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// How long a download may stand still, and how long it may take.
const STALL_MAX: Duration = Duration::from_secs(30);
const DOWNLOAD_MAX: Duration = Duration::from_hours(1);

/// The largest document, in bytes, packed or not: registrations of old packages have some
/// megabytes.
const DOCUMENT_BYTES_MAX: u64 = 32 << 20;

/// Most pages of a registration that are fetched: 64 versions each.
const PAGES_MAX: usize = 200;

const REDIRECTS_MAX: u32 = 5;

const CHUNK_BYTES: usize = 256 << 10;

/// How another feed is reached.
#[derive(Clone, Debug)]
pub struct Remote {
    /// The address of its service index.
    pub url: String,
    /// The user of Basic authentication.
    pub user: String,
    /// The password or key of the user; without one nothing is sent.
    pub password: Option<Secret>,
    /// How long an answer may take that is no package.
    pub timeout: Duration,
    /// Whose certificates are accepted.
    pub trust: Trust,
}

/// Why no usable answer came.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(String);

impl Failure {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// Why a download ended.
pub(crate) enum Broken {
    /// The other feed is to blame.
    Remote(Failure),
    /// This feed could not take the bytes.
    Here(crate::Error),
    /// The package is larger than this feed takes.
    TooLarge,
}

/// A client of one other feed.
pub(crate) struct Client {
    remote: Remote,
    agents: Agents,
    index: Mutex<Option<(Instant, Arc<ServiceIndex>)>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({})", shown_url(&self.remote.url))
    }
}

/// A registration index or page whose entries are read one by one.
#[derive(Deserialize)]
struct Pages {
    items: Vec<Page>,
}

#[derive(Deserialize)]
struct Page {
    #[serde(rename = "@id", default)]
    id: String,
    items: Option<Vec<Value>>,
}

/// What a search found; the hits are read one by one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    total_hits: u64,
    data: Vec<Value>,
}

/// The part of a registration leaf that tells whether searches show the version.
#[derive(Deserialize)]
struct Listed {
    listed: Option<bool>,
}

impl Client {
    pub(crate) fn new(remote: Remote) -> Self {
        let settings = || {
            Agent::config_builder()
                .http_status_as_error(false)
                .timeout_connect(Some(CONNECT_MAX))
                .max_redirects(REDIRECTS_MAX)
                .user_agent(concat!("klusterkite-feed/", env!("CARGO_PKG_VERSION")))
                .proxy(None)
        };
        Self {
            agents: Agents::new(remote.trust.clone(), settings),
            remote,
            index: Mutex::default(),
        }
    }

    /// Lists the versions of a package; none if the feed does not know it.
    pub(crate) fn versions(&self, id: &PackageId) -> Result<Vec<Version>, Failure> {
        let url = format!("{}/{}/index.json", self.flat()?, id.lower());
        let flat: Option<FlatVersions> = self.document(&url)?;
        let texts = flat.unwrap_or_default().versions;
        let mut versions: Vec<Version> =
            texts.iter().filter_map(|text| text.parse().ok()).collect();
        versions.sort();
        versions.dedup();
        Ok(versions)
    }

    /// Lists the versions of a package with their metadata, lowest first; none if the feed does
    /// not know it.
    pub(crate) fn entries(&self, id: &PackageId) -> Result<Vec<CatalogEntry>, Failure> {
        let base = self.resource(REGISTRATION_TYPES)?;
        let url = format!("{base}/{}/index.json", id.lower());
        let Some(index) = self.document::<Pages>(&url)? else {
            return Ok(Vec::new());
        };
        let mut entries = Vec::new();
        for page in index.items.into_iter().take(PAGES_MAX) {
            let items = if let Some(items) = page.items {
                items
            } else {
                let page = self.document::<Page>(&page.id)?;
                page.and_then(|page| page.items).unwrap_or_default()
            };
            let of_page = readable(items).map(|item: RegistrationItem| item.catalog_entry);
            entries.extend(of_page.filter(|entry| entry.id == *id));
        }
        entries.sort_by(|a, b| a.version.cmp(&b.version));
        entries.dedup_by(|a, b| a.version == b.version);
        Ok(entries)
    }

    /// Searches; `query` is the encoded query of the protocol.
    pub(crate) fn search(&self, query: &str) -> Result<SearchAnswer, Failure> {
        let url = format!("{}?{query}", self.resource(SEARCH_TYPES)?);
        let found: Option<Found> = self.document(&url)?;
        let found = found.ok_or_else(|| Failure(format!("`{url}` is not there")))?;
        Ok(SearchAnswer {
            total_hits: found.total_hits,
            data: readable(found.data).collect(),
        })
    }

    /// Tells whether the feed is of our kind.
    pub(crate) fn is_ours(&self) -> Result<bool, Failure> {
        Ok(self.service_index()?.resource(&[FACTS_TYPE]).is_some())
    }

    /// Returns what a feed of our kind says about a package.
    pub(crate) fn facts(
        &self,
        id: &PackageId,
        version: &Version,
    ) -> Result<Option<PackageFacts>, Failure> {
        let Ok(base) = self.resource(&[FACTS_TYPE]) else {
            return Ok(None);
        };
        self.document(&format!("{base}/{}/{}.json", id.lower(), version.lower()))
    }

    /// Tells whether searches show a version, if the feed says.
    pub(crate) fn is_listed(&self, id: &PackageId, version: &Version) -> Option<bool> {
        let base = self.resource(REGISTRATION_TYPES).ok()?;
        let url = format!("{base}/{}/{}.json", id.lower(), version.lower());
        self.document::<Listed>(&url).ok()??.listed
    }

    /// Fetches a file of the flat container piece by piece; returns whether it is there.
    pub(crate) fn download(
        &self,
        file: &str,
        bytes_max: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), crate::Error>,
    ) -> Result<bool, Broken> {
        let base = self.flat().map_err(Broken::Remote)?;
        let url = format!("{base}/{file}");
        let response = self.get(&url, DOWNLOAD_MAX, false);
        let Some(mut response) = response.map_err(Broken::Remote)? else {
            return Ok(false);
        };
        let failed =
            |reason: String| Broken::Remote(Failure(format!("`{}` {reason}", shown_url(&url))));
        let started = Instant::now();
        let mut reader = response.body_mut().as_reader();
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut size = 0;
        loop {
            let count = match reader.read(&mut chunk) {
                Ok(0) => return Ok(true),
                Ok(count) => count,
                Err(error) => return Err(failed(format!("broke off: {}", chain(&error)))),
            };
            size += count as u64;
            if size > bytes_max {
                return Err(Broken::TooLarge);
            }
            if !is_fast_enough(size, started.elapsed()) {
                return Err(failed("came too slowly".to_owned()));
            }
            take(&chunk[..count]).map_err(Broken::Here)?;
        }
    }

    fn flat(&self) -> Result<String, Failure> {
        self.resource(&["PackageBaseAddress/3.0.0"])
    }

    /// Returns the URL of the first of the kinds that the feed has.
    fn resource(&self, kinds: &[&str]) -> Result<String, Failure> {
        let index = self.service_index()?;
        let found = index.resource(kinds).map(str::to_owned);
        found.ok_or_else(|| {
            Failure(format!(
                "`{}` lists no resource of type `{}`",
                shown_url(&self.remote.url),
                kinds[0]
            ))
        })
    }

    fn service_index(&self) -> Result<Arc<ServiceIndex>, Failure> {
        let known = || self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read, index)) = &*known()
            && read.elapsed() < INDEX_LIFE
        {
            return Ok(Arc::clone(index));
        }
        let url = &self.remote.url;
        let index: Option<ServiceIndex> = self.document(url)?;
        let index = index.ok_or_else(|| Failure(format!("`{url}` is not there")))?;
        let index = Arc::new(index);
        *known() = Some((Instant::now(), Arc::clone(&index)));
        Ok(index)
    }

    /// Reads a JSON document; nothing if it is not there.
    fn document<T: DeserializeOwned>(&self, url: &str) -> Result<Option<T>, Failure> {
        let Some(mut response) = self.get(url, self.remote.timeout, true)? else {
            return Ok(None);
        };
        let encoding = response.headers().get(CONTENT_ENCODING);
        let is_packed = encoding.is_some_and(|encoding| encoding == "gzip");
        let sent = response.body_mut().as_reader().take(DOCUMENT_BYTES_MAX + 1);
        let mut bytes = Vec::new();
        let read = if is_packed {
            let mut unpacked = MultiGzDecoder::new(sent).take(DOCUMENT_BYTES_MAX + 1);
            unpacked.read_to_end(&mut bytes)
        } else {
            let mut sent = sent;
            sent.read_to_end(&mut bytes)
        };
        let failed = |reason: String| Failure(format!("`{}` {reason}", shown_url(url)));
        let count = read.map_err(|error| failed(format!("broke off: {}", chain(&error))))?;
        if count as u64 > DOCUMENT_BYTES_MAX {
            return Err(failed(format!("has more than {DOCUMENT_BYTES_MAX} bytes")));
        }
        let document = serde_json::from_slice(&bytes);
        document
            .map(Some)
            .map_err(|error| failed(format!("is not what the protocol says: {error}")))
    }

    /// Sends a request; nothing if there is no such document.
    fn get(
        &self,
        url: &str,
        time_max: Duration,
        may_pack: bool,
    ) -> Result<Option<Response<Body>>, Failure> {
        let failed = |reason: String| Failure(format!("`{}` {reason}", shown_url(url)));
        let agent = self.agents.get(url);
        let agent = agent.map_err(|error| Failure(chain(&error)))?;
        let mut request = agent
            .get(url)
            .config()
            .timeout_global(Some(time_max))
            .timeout_recv_response(Some(self.remote.timeout))
            .timeout_per_read(Some(STALL_MAX.min(time_max)))
            .build();
        if may_pack {
            request = request.header(ACCEPT_ENCODING, "gzip");
        }
        // The key goes only to where the settings say: resources may be at other hosts.
        if let Some(password) = &self.remote.password
            && origin(url) == origin(&self.remote.url)
        {
            let pair = format!("{}:{}", self.remote.user, password.reveal());
            request = request.header(AUTHORIZATION, format!("Basic {}", STANDARD.encode(pair)));
        }
        let response =
            request
                .call()
                .map_err(|error| match self.agents.explain(&shown_url(url), &error) {
                    Some(error) => Failure(chain(&error)),
                    None => failed(format!("cannot be reached: {}", chain(&error))),
                })?;
        match response.status().as_u16() {
            200 => Ok(Some(response)),
            404 | 410 => Ok(None),
            status @ (401 | 403) => Err(failed(format!(
                "answered {status}; put the credentials of this upstream right"
            ))),
            status => Err(failed(format!("answered {status}"))),
        }
    }
}

/// Returns scheme, host and port of a URL as they are written.
fn origin(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '?', '#']);
    end.map_or(url, |end| &url[..start + end])
}

/// Returns a URL for messages, without user and password.
pub(crate) fn shown_url(url: &str) -> String {
    let origin = origin(url);
    match (origin.split_once("://"), origin.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => {
            format!("{scheme}://{host}{}", &url[origin.len()..])
        }
        _ => url.to_owned(),
    }
}

/// Keeps what can be read: one odd entry of an old package must not hide the others.
fn readable<T: DeserializeOwned>(values: Vec<Value>) -> impl Iterator<Item = T> {
    let read = |value| serde_json::from_value(value).ok();
    values.into_iter().filter_map(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_told_without_its_password_and_compared_by_its_origin() {
        for (url, expected_origin, shown) in [
            ("http://a:8/b/c?d", "http://a:8", "http://a:8/b/c?d"),
            ("http://u:p@a/b@c", "http://u:p@a", "http://a/b@c"),
            ("https://a", "https://a", "https://a"),
            ("https://a?b", "https://a", "https://a?b"),
        ] {
            assert_eq!(
                (origin(url), shown_url(url).as_str()),
                (expected_origin, shown)
            );
        }
    }
}

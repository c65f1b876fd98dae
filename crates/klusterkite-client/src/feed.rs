//! Client of a NuGet V3 feed.

mod credential;
mod facts;
mod foreign;
mod push;

pub use credential::FeedCredential;
pub use push::Pushed;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use klusterkite_nuget::v3::{
    CatalogEntry, FACTS_TYPE, FlatVersions, REGISTRATION_TYPES, RegistrationIndex,
    RegistrationPage, SEARCH_TYPES, SearchAnswer, ServiceIndex,
};
use klusterkite_nuget::{PackageId, Version};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::Method;

use crate::http::{Call, Http, checked_url, encoded, shown_url};
use crate::{Error, Kind, Retry, Trust};

/// How long the service index is kept: resources of a feed move only when it is set up anew.
const INDEX_LIFE: Duration = Duration::from_mins(5);

/// How long one document may take with all its bytes: the largest is a list of facts of 32 MB. A feed that is
/// slower than that, or that sends a byte now and then, is as good as away.
const DOCUMENT_TIME: Duration = Duration::from_secs(20);

/// Most pages of a registration that are fetched: 64 versions each, far above any private package.
const REGISTRATION_PAGES_MAX: usize = 200;

/// Path of the service index on our own feed; what the protocol does not know stands beside it.
const SERVICE_INDEX_PATH: &str = "/v3/index.json";

const FLAT_CONTAINER: &str = "PackageBaseAddress/3.0.0";
const PUBLISH: &str = "PackagePublish/2.0.0";

/// Reads and writes one feed; cheap to clone, may be used by several threads.
#[derive(Clone)]
pub struct FeedClient {
    /// URL of the service index.
    feed: String,
    http: Http,
    document_time: Duration,
    credential: Option<FeedCredential>,
    index: Arc<Mutex<Option<KeptIndex>>>,
}

/// A service index and when it was read.
struct KeptIndex {
    read: Instant,
    index: Arc<ServiceIndex>,
}

/// A version that a cluster needs.
#[derive(Serialize)]
struct Pin<'a> {
    id: &'a PackageId,
    version: &'a Version,
}

impl FeedClient {
    /// Makes a client of the feed whose service index is at `feed`; nothing is called yet.
    pub fn new(
        feed: &str,
        credential: Option<FeedCredential>,
        retry: Retry,
    ) -> Result<Self, Error> {
        checked_url(feed)?;
        Ok(Self {
            feed: feed.to_owned(),
            http: Http::new(retry),
            document_time: DOCUMENT_TIME,
            credential,
            index: Arc::default(),
        })
    }

    /// Says whose certificates are accepted; without it those of the system's authorities.
    #[must_use]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.http = self.http.with_trust(trust);
        self
    }

    /// Changes how long one document may take with all its bytes; packages take as long as they move.
    #[must_use]
    pub fn with_document_time(self, document_time: Duration) -> Self {
        Self {
            document_time,
            ..self
        }
    }

    /// Returns the URL of the service index without user and password.
    pub fn url(&self) -> String {
        shown_url(&self.feed)
    }

    /// Reads the service index.
    pub fn service_index(&self) -> Result<Arc<ServiceIndex>, Error> {
        let mut kept = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = &*kept
            && kept.read.elapsed() < INDEX_LIFE
        {
            return Ok(Arc::clone(&kept.index));
        }
        let index: ServiceIndex = self.read(&self.feed)?.json("a NuGet V3 service index")?;
        let index = Arc::new(index);
        *kept = Some(KeptIndex {
            read: Instant::now(),
            index: Arc::clone(&index),
        });
        Ok(index)
    }

    /// Lists all versions of a package, unlisted ones too, lowest first; none when the feed does not know it.
    pub fn versions(&self, id: &PackageId) -> Result<Vec<Version>, Error> {
        let base = self.resource(&[FLAT_CONTAINER])?;
        let url = format!("{base}/{}/index.json", id.lower());
        let flat: Option<FlatVersions> = self.read_if_there(&url, "a list of versions")?;
        let texts = flat.unwrap_or_default().versions;
        let mut versions: Vec<Version> =
            texts.iter().filter_map(|text| text.parse().ok()).collect();
        versions.sort();
        Ok(versions)
    }

    /// Lists all versions of a package with their metadata, lowest first; none when the feed does not know it.
    pub fn entries(&self, id: &PackageId) -> Result<Vec<CatalogEntry>, Error> {
        let base = self.resource(REGISTRATION_TYPES)?;
        let url = format!("{base}/{}/index.json", id.lower());
        let Some(index) = self.read_if_there::<RegistrationIndex>(&url, "a registration index")?
        else {
            return Ok(Vec::new());
        };
        let mut entries = Vec::new();
        for page in index.items.into_iter().take(REGISTRATION_PAGES_MAX) {
            let items = if let Some(items) = page.items {
                items
            } else {
                let page: RegistrationPage = self.read(&page.id)?.json("a registration page")?;
                page.items.unwrap_or_default()
            };
            entries.extend(items.into_iter().map(|item| item.catalog_entry));
        }
        entries.sort_by(|a, b| a.version.cmp(&b.version));
        Ok(entries)
    }

    /// Returns the newest listed version: the highest stable one, or the highest at all when none is stable.
    pub fn newest(&self, id: &PackageId) -> Result<Option<Version>, Error> {
        let entries = self.entries(id)?;
        let listed = || {
            entries
                .iter()
                .filter(|entry| entry.listed)
                .map(|entry| &entry.version)
                .rev()
        };
        let stable = listed().find(|version| !version.is_prerelease());
        Ok(stable.or_else(|| listed().next()).cloned())
    }

    /// Searches the listed packages; an empty text finds all of them.
    pub fn search(&self, text: &str, skip: u32, take: u32) -> Result<SearchAnswer, Error> {
        let base = self.resource(SEARCH_TYPES)?;
        let text = encoded(text);
        let url =
            format!("{base}?q={text}&skip={skip}&take={take}&prerelease=true&semVerLevel=2.0.0");
        self.read(&url)?.json("a search result")
    }

    /// Hides a version from searches; its bytes stay. Unlisting what is unlisted changes nothing.
    pub fn unlist(&self, id: &PackageId, version: &Version) -> Result<(), Error> {
        self.list_or_unlist(Method::DELETE, id, version)
    }

    /// Shows a version in searches again.
    pub fn relist(&self, id: &PackageId, version: &Version) -> Result<(), Error> {
        self.list_or_unlist(Method::POST, id, version)
    }

    /// Replaces the versions that a cluster needs, which the feed then does not purge.
    ///
    /// Returns false when the feed is another product, which knows no pins.
    pub fn pins_replace(
        &self,
        cluster: &str,
        pins: &[(PackageId, Version)],
    ) -> Result<bool, Error> {
        if self.service_index()?.resource(&[FACTS_TYPE]).is_none() {
            return Ok(false);
        }
        let base = self.feed.strip_suffix(SERVICE_INDEX_PATH);
        let base = base.ok_or_else(|| Error::NoResource {
            feed: self.url(),
            resource: "pins",
        })?;
        let url = format!("{base}/pins/{}", encoded(cluster));
        let pins: Vec<Pin<'_>> = pins
            .iter()
            .map(|(id, version)| Pin { id, version })
            .collect();
        let body = serde_json::to_vec(&pins).expect("ids and versions are texts");
        let call = Call {
            method: Method::PUT,
            url: &url,
            headers: self.write_headers(),
            body: Some(("application/json", &body)),
            is_idempotent: true,
            time: Some(self.document_time),
        };
        self.http.send(&call).map(|_| true)
    }

    fn list_or_unlist(
        &self,
        method: Method,
        id: &PackageId,
        version: &Version,
    ) -> Result<(), Error> {
        let url = format!("{}/{id}/{version}", self.resource(&[PUBLISH])?);
        let headers = self.write_headers();
        let call = Call {
            method,
            url: &url,
            headers,
            body: None,
            is_idempotent: true,
            time: Some(self.document_time),
        };
        self.http.send(&call).map(drop)
    }

    /// Returns the URL of the first of the kinds that the feed has.
    fn resource(&self, kinds: &[&'static str]) -> Result<String, Error> {
        let index = self.service_index()?;
        let found = index.resource(kinds).map(str::to_owned);
        found.ok_or_else(|| Error::NoResource {
            feed: self.url(),
            resource: kinds[0],
        })
    }

    fn read(&self, url: &str) -> Result<crate::http::Answer, Error> {
        self.http.send(&Call {
            headers: self.read_headers(),
            time: Some(self.document_time),
            ..Call::get(url)
        })
    }

    fn read_if_there<T: DeserializeOwned>(
        &self,
        url: &str,
        expected: &'static str,
    ) -> Result<Option<T>, Error> {
        match self.read(url) {
            Ok(answer) => answer.json(expected).map(Some),
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// NuGet sends keys only on writes; reads are authenticated as Basic, the key is the password.
    fn read_headers(&self) -> Vec<(&'static str, String)> {
        let Some(credential) = &self.credential else {
            return Vec::new();
        };
        let pair = format!("{}:{}", credential.user, credential.api_key.reveal());
        vec![("authorization", format!("Basic {}", STANDARD.encode(pair)))]
    }

    fn write_headers(&self) -> Vec<(&'static str, String)> {
        let key = self
            .credential
            .as_ref()
            .map(|credential| credential.api_key.reveal().to_owned());
        key.map(|key| ("x-nuget-apikey", key)).into_iter().collect()
    }
}

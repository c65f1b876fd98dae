//! The reading side of a NuGet V3 feed: service index and flat container.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use klusterkite_nuget::v3::ServiceIndex;
use klusterkite_nuget::{PackageId, Version};
use klusterkite_tls::{Agents, Trust};
use klusterkite_wire::Secret;
use serde::Deserialize;
use ureq::http::header::{AUTHORIZATION, RANGE};
use ureq::http::{Response, Uri};
use ureq::{Agent, Body};

use crate::job::{PARALLEL_MAX, lock};
use crate::{Error, file};

/// The largest service index: a hundred times the one of nuget.org.
const SERVICE_INDEX_BYTES_MAX: u64 = 1 << 20;

/// The largest credential file.
const CREDENTIAL_BYTES_MAX: u64 = 64 << 10;

/// The user name that goes with an API key: feeds look at the password only.
const CREDENTIAL_USER: &str = "klusterkite";

/// Bytes of a connection's buffers: what is read is what a package is written by; requests are
/// small.
const INPUT_BYTES: usize = 64 << 10;
const OUTPUT_BYTES: usize = 4 << 10;

/// A feed and how to read from it.
#[derive(Debug, Clone)]
pub struct FeedSource {
    /// URL of the service index.
    pub service_index: String,
    /// Service indexes of feeds that have the same packages. They are asked first, in this order,
    /// and without a credential: what comes from them is as good, because the hash is frozen.
    pub mirrors: Vec<String>,
    /// Sent to the service index's host only.
    pub credential: Option<FeedCredential>,
    /// Whose certificates are accepted.
    pub trust: Trust,
    /// When to give up.
    pub limits: FetchLimits,
}

/// When a download gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimits {
    /// Longest time to connect.
    pub connect: Duration,
    /// Longest time without a byte, and in which a feed has to bring some of them.
    pub idle: Duration,
    /// How many failures in a row, without a byte of progress, are tried again.
    pub retries_max: u32,
    /// Pause after the first failure; each further one doubles it, up to [`RETRY_PAUSE_MAX`].
    pub retry_pause: Duration,
}

/// Longest pause between two tries of a download.
pub(crate) const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);

impl FetchLimits {
    /// Limits for a feed in the same data centre or behind a slow line: a download that is given
    /// up is resumed by the next one, so patience gains little.
    pub const STANDARD: Self = Self {
        connect: Duration::from_secs(5),
        idle: Duration::from_secs(30),
        retries_max: 5,
        retry_pause: Duration::from_millis(200),
    };
}

/// User and token for reading a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedCredential {
    user: String,
    password: Secret,
}

impl FeedCredential {
    /// Makes the credential of an API key.
    pub fn from_api_key(key: Secret) -> Self {
        Self {
            user: CREDENTIAL_USER.to_owned(),
            password: key,
        }
    }

    /// Reads a credential file: JSON `{"apiKey": "…"}`.
    pub fn read(path: &Path) -> Result<Self, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct CredentialFile {
            api_key: Secret,
        }
        let refuse = |reason: String| Error::Content {
            path: path.to_owned(),
            reason,
        };
        let content = file::read_bounded(path, CREDENTIAL_BYTES_MAX)?
            .ok_or_else(|| refuse("the credential file does not exist".to_owned()))?;
        // The parser's own message could repeat the key.
        let parsed: CredentialFile = serde_json::from_slice(&content)
            .map_err(|_| refuse("a credential file is JSON like {\"apiKey\": \"…\"}".to_owned()))?;
        Ok(Self::from_api_key(parsed.api_key))
    }

    fn header(&self) -> String {
        let pair = format!("{}:{}", self.user, self.password.reveal());
        format!("Basic {}", BASE64.encode(pair))
    }
}

/// The feeds that have the packages.
pub(crate) struct Feeds<'a> {
    all: Vec<Feed<'a>>,
    /// Position of the one that served last.
    preferred: AtomicUsize,
    limits: FetchLimits,
}

impl<'a> Feeds<'a> {
    pub(crate) fn new(source: &'a FeedSource) -> Self {
        let limits = source.limits;
        let settings = move || {
            Agent::config_builder()
                .http_status_as_error(false)
                .proxy(None)
                .timeout_resolve(Some(limits.connect))
                .timeout_connect(Some(limits.connect))
                .timeout_per_read(Some(limits.idle))
                .timeout_per_write(Some(limits.idle))
                .timeout_recv_response(Some(limits.idle))
                .max_idle_connections_per_host(PARALLEL_MAX)
                .input_buffer_size(INPUT_BYTES)
                .output_buffer_size(OUTPUT_BYTES)
                .user_agent(concat!("klusterkite/", env!("CARGO_PKG_VERSION")))
        };
        let agents = Agents::new(source.trust.clone(), settings);
        let indexes = source.mirrors.iter().chain([&source.service_index]);
        let feeds = indexes.enumerate().map(|(position, service_index)| Feed {
            source,
            position,
            service_index,
            agents: agents.clone(),
            base: Mutex::new(None),
        });
        Self {
            all: feeds.collect(),
            preferred: AtomicUsize::new(0),
            limits,
        }
    }

    pub(crate) fn limits(&self) -> FetchLimits {
        self.limits
    }

    /// Returns each feed once, that first which served last.
    pub(crate) fn in_turn(&self) -> impl Iterator<Item = &Feed<'a>> {
        let first = self.preferred.load(Ordering::Relaxed);
        let (before, after) = self.all.split_at(first.min(self.all.len()));
        after.iter().chain(before)
    }

    /// Remembers that a feed has served.
    pub(crate) fn prefer(&self, feed: &Feed<'_>) {
        self.preferred.store(feed.position, Ordering::Relaxed);
    }
}

/// A feed that is being read; the service index is asked for once, when the first package needs it.
pub(crate) struct Feed<'a> {
    source: &'a FeedSource,
    position: usize,
    service_index: &'a str,
    agents: Agents,
    base: Mutex<Option<String>>,
}

impl Feed<'_> {
    pub(crate) fn limits(&self) -> FetchLimits {
        self.source.limits
    }

    /// Returns the URL of a package in the flat container.
    pub(crate) fn package_url(&self, id: &PackageId, version: &Version) -> Result<String, Error> {
        // The other threads wait for the first one: they need its answer.
        let mut base = lock(&self.base);
        let base = match &mut *base {
            Some(base) => base,
            unknown => unknown.insert(self.read_base()?),
        };
        let (id, version) = (id.lower(), version.lower());
        Ok(format!("{base}/{id}/{version}/{id}.{version}.nupkg"))
    }

    /// Sends a GET, from byte `start` on if that is not 0; answers of the status classes 2xx, 404
    /// and 416 come back, every other one is an error.
    pub(crate) fn get(&self, url: &str, start: u64) -> Result<Response<Body>, Error> {
        let mut request = self.agents.get(url)?.get(url);
        if start > 0 {
            request = request.header(RANGE, format!("bytes={start}-"));
        }
        if let Some(credential) = &self.source.credential
            && same_origin(url, &self.source.service_index)
        {
            request = request.header(AUTHORIZATION, credential.header());
        }
        let response = request.call().map_err(|source| {
            let explained = self.agents.explain(url, &source);
            explained.map_or_else(
                || Error::FeedAway {
                    url: url.to_owned(),
                    source: Box::new(source),
                },
                Error::Tls,
            )
        })?;
        let status = response.status().as_u16();
        let refuse = |hint| {
            Err(Error::FeedRefused {
                url: url.to_owned(),
                status,
                hint,
            })
        };
        match status {
            200..=299 | 404 | 410 | 416 => Ok(response),
            401 | 403 => refuse("check the feed's credential file and the rights of its key"),
            408 | 429 | 500.. => Err(Error::FeedBusy {
                url: url.to_owned(),
                status,
            }),
            _ => refuse("check the URL of the package source"),
        }
    }

    fn read_base(&self) -> Result<String, Error> {
        let url = self.service_index;
        let refuse = |reason: String| Error::ServiceIndex {
            url: url.to_owned(),
            reason,
        };
        let mut response = self.get(url, 0)?;
        if response.status() != 200 {
            return Err(refuse(format!(
                "the feed answered status {}",
                response.status().as_u16()
            )));
        }
        let body = response
            .body_mut()
            .with_config()
            .limit(SERVICE_INDEX_BYTES_MAX)
            .read_to_vec();
        let body = body.map_err(|source| Error::FeedAway {
            url: url.to_owned(),
            source: Box::new(source),
        })?;
        let index: ServiceIndex =
            serde_json::from_slice(&body).map_err(|error| refuse(error.to_string()))?;
        match index.package_base_address() {
            Some(base) => Ok(base.to_owned()),
            None => Err(refuse(
                "it has no resource `PackageBaseAddress/3.0.0`".to_owned(),
            )),
        }
    }
}

fn same_origin(a: &str, b: &str) -> bool {
    let (Ok(a), Ok(b)) = (a.parse::<Uri>(), b.parse::<Uri>()) else {
        return false;
    };
    a.authority().is_some() && a.scheme() == b.scheme() && a.authority() == b.authority()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_go_to_the_host_of_the_service_index_only() {
        let index = "http://feed:80/v3/index.json";
        for (url, same) in [
            ("http://feed:80/v3/flat/a", true),
            ("http://feed:81/v3/flat/a", false),
            ("https://feed:80/v3/flat/a", false),
            ("http://other/v3/flat/a", false),
            ("/v3/flat/a", false),
            ("", false),
        ] {
            assert_eq!(same_origin(url, index), same, "{url}");
        }
    }

    #[test]
    fn a_bad_credential_file_is_named_and_its_content_is_not_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("feed.json");
        let missing = FeedCredential::read(&path).unwrap_err().to_string();
        assert!(
            missing.contains("feed.json") && missing.contains("does not exist"),
            "{missing}"
        );
        std::fs::write(&path, "{\"apiKey\": hunter2}").unwrap();
        let bad = FeedCredential::read(&path).unwrap_err().to_string();
        assert!(
            bad.contains("feed.json") && !bad.contains("hunter2"),
            "{bad}"
        );
        std::fs::write(&path, "{\"apiKey\": \"hunter2\"}").unwrap();
        let good = FeedCredential::read(&path).unwrap();
        assert_eq!(good.header(), "Basic a2x1c3RlcmtpdGU6aHVudGVyMg==");
        assert!(!format!("{good:?}").contains("hunter2"));
    }
}

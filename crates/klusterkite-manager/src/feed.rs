//! What the manager asks the feed: facts of packages for the check, lists for operators.

mod facts;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use klusterkite_api::configurations::Package;
use klusterkite_client::feed::{FeedClient, FeedCredential};
use klusterkite_client::{Error, Kind, Retry, Trust};
use klusterkite_nuget::{PackageId, Version};

use crate::fault::Fault;
pub use facts::Freshness;
use facts::KeptFacts;

/// Questions to the feed at a time.
const QUESTIONS_MAX: usize = 8;

/// How long one document of a feed may take at most; a check waits for several.
const DOCUMENT_TIME_MAX: Duration = Duration::from_secs(20);

/// Feeds that are remembered with their service index; there is one, and another while a cluster moves to it.
const CLIENTS_MAX: usize = 8;

/// The feed as the manager sees it. Cheap to clone.
#[derive(Clone)]
pub struct Feed(Arc<Inner>);

struct Inner {
    credential_file: Option<PathBuf>,
    trust: Trust,
    /// How long a check waits for facts.
    timeout: Duration,
    clients: Mutex<BTreeMap<String, (Option<FeedCredential>, FeedClient)>>,
    facts: Mutex<KeptFacts>,
}

impl Feed {
    /// Makes a view of feeds that are read with the key in a credential file; a check waits no
    /// longer than `timeout` for what a feed has.
    pub fn new(credential_file: Option<PathBuf>, trust: Trust, timeout: Duration) -> Self {
        let inner = Inner {
            credential_file,
            trust,
            timeout,
            clients: Mutex::default(),
            facts: Mutex::default(),
        };
        Self(Arc::new(inner))
    }

    /// Returns the newest listed version of each package, stable ones first; a package without any is left out.
    pub async fn newest(
        &self,
        url: &str,
        ids: BTreeSet<PackageId>,
    ) -> Result<BTreeMap<PackageId, Version>, Fault> {
        let client = self.client(url)?;
        let asked = stream::iter(ids).map(|id| {
            let client = client.clone();
            async move {
                let asked = id.clone();
                let newest = ask(client, move |client| client.newest(&asked)).await?;
                Ok::<_, Fault>(newest.map(|version| (id, version)))
            }
        });
        let newest: Vec<_> = asked.buffer_unordered(QUESTIONS_MAX).try_collect().await?;
        Ok(newest.into_iter().flatten().collect())
    }

    /// Searches the feed; returns one page and the number of packages found.
    pub async fn search(
        &self,
        url: &str,
        text: String,
        limit: u32,
    ) -> Result<(Vec<Package>, u64), Fault> {
        let client = self.client(url)?;
        let found = ask(client, move |client| client.search(&text, 0, limit)).await?;
        let packages = found.data.into_iter().map(|package| {
            let mut versions: Vec<_> = package.versions.into_iter().map(|v| v.version).collect();
            versions.sort();
            Package {
                id: package.id.to_string(),
                version: package.version.to_string(),
                versions: versions.iter().map(Version::to_string).collect(),
                description: package.description,
            }
        });
        Ok((packages.collect(), found.total_hits))
    }

    /// Shows one package; `None`: the feed lists no version of it.
    pub async fn package(&self, url: &str, id: PackageId) -> Result<Option<Package>, Fault> {
        let client = self.client(url)?;
        let mut entries = ask(client, move |client| client.entries(&id)).await?;
        entries.retain(|entry| entry.listed);
        let stable = entries
            .iter()
            .rev()
            .find(|entry| !entry.version.is_prerelease());
        Ok(stable.or(entries.last()).map(|newest| Package {
            id: newest.id.to_string(),
            version: newest.version.to_string(),
            versions: entries
                .iter()
                .map(|entry| entry.version.to_string())
                .collect(),
            description: newest.description.clone(),
        }))
    }

    /// Replaces the versions that the feed keeps for a cluster; a feed that knows no pins is left alone.
    pub async fn pin(
        &self,
        url: &str,
        cluster: String,
        pins: Vec<(PackageId, Version)>,
    ) -> Result<(), Fault> {
        let client = self.client(url)?;
        ask(client, move |client| {
            client.pins_replace(&cluster, &pins).map(drop)
        })
        .await
    }

    /// Returns the client of a feed. The credential file is small and read each time: a new key works at once.
    fn client(&self, url: &str) -> Result<FeedClient, Fault> {
        let file = self.0.credential_file.as_deref();
        let credential = file.map(FeedCredential::read).transpose();
        let credential = credential.map_err(|error| Fault::Unavailable {
            code: "feedCredential",
            message: said(&error),
        })?;
        let clients = &self.0.clients;
        let mut clients = clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, client)) = clients.get(url)
            && *known == credential
        {
            return Ok(client.clone());
        }
        let client = FeedClient::new(url, credential.clone(), Retry::STANDARD).map_err(fault)?;
        let client = client
            .with_trust(self.0.trust.clone())
            .with_document_time(self.0.timeout.min(DOCUMENT_TIME_MAX));
        if clients.len() >= CLIENTS_MAX {
            clients.clear();
        }
        clients.insert(url.to_owned(), (credential, client.clone()));
        Ok(client)
    }
}

async fn ask<T: Send + 'static>(
    client: FeedClient,
    question: impl FnOnce(&FeedClient) -> Result<T, Error> + Send + 'static,
) -> Result<T, Fault> {
    let asked = tokio::task::spawn_blocking(move || question(&client)).await;
    match asked {
        Ok(answer) => answer.map_err(fault),
        Err(error) => Err(Fault::Unavailable {
            code: "feedUnavailable",
            message: format!("the question to the feed was not finished: {error}"),
        }),
    }
}

fn fault(error: Error) -> Fault {
    let code = match error.kind() {
        Kind::Away | Kind::NotFound | Kind::Conflict | Kind::Server => "feedUnavailable",
        Kind::Unauthenticated | Kind::Forbidden => "feedCredential",
        Kind::Invalid => return Fault::invalid("settings.nugetFeed", said(&error)),
    };
    Fault::Unavailable {
        code,
        message: said(&error),
    }
}

/// Writes an error with its causes; those of the client name URLs and no secrets.
fn said(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        write!(text, ": {cause}").expect("a String takes every text");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEED: &str = "http://feed/v3/index.json";

    #[test]
    fn a_new_key_in_the_credential_file_is_used_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.json");
        let feed = Feed::new(Some(path.clone()), Trust::System, Duration::from_secs(1));
        let Err(Fault::Unavailable { code, message }) = feed.client(FEED) else {
            panic!("there is no file yet");
        };
        assert_eq!(code, "feedCredential");
        assert!(message.contains("key.json"), "{message}");
        for key in ["first", "second"] {
            std::fs::write(&path, format!("{{\"apiKey\": \"{key}\"}}")).unwrap();
            feed.client(FEED).unwrap();
            let clients = feed.0.clients.lock().unwrap();
            let (credential, _) = &clients[FEED];
            assert_eq!(credential.as_ref().unwrap().api_key.reveal(), key);
        }
    }
}

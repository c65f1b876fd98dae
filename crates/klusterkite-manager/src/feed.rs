//! What the manager asks the feed: facts of packages for the check, lists for operators.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use klusterkite_api::configurations::Package;
use klusterkite_client::feed::{FeedClient, FeedCredential};
use klusterkite_client::{Error, Kind, Retry, Trust};
use klusterkite_core::check::FactsByPackage;
use klusterkite_nuget::v3::PackageFacts;
use klusterkite_nuget::{PackageId, Version};

use crate::fault::Fault;

/// Questions to the feed at a time.
const QUESTIONS_MAX: usize = 8;

/// Most files of packages whose facts are remembered: about 150 bytes each.
const FILES_KEPT_MAX: usize = 500_000;

/// Feeds that are remembered with their service index; there is one, and another while a cluster moves to it.
const CLIENTS_MAX: usize = 8;

/// The feed as the manager sees it. Cheap to clone.
#[derive(Clone)]
pub struct Feed(Arc<Inner>);

struct Inner {
    credential_file: Option<PathBuf>,
    trust: Trust,
    clients: Mutex<BTreeMap<String, (Option<FeedCredential>, FeedClient)>>,
    facts: Mutex<KeptFacts>,
}

/// Whether remembered facts are good enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Facts of a published version never change, so remembered ones are true.
    Remembered,
    /// The package must be in the feed now: it could have been purged since.
    Now,
}

impl Feed {
    /// Makes a view of feeds that are read with the key in a credential file.
    pub fn new(credential_file: Option<PathBuf>, trust: Trust) -> Self {
        let inner = Inner {
            credential_file,
            trust,
            clients: Mutex::default(),
            facts: Mutex::default(),
        };
        Self(Arc::new(inner))
    }

    /// Returns the facts of all packages that the feed has; a package that it does not have is left out.
    pub async fn facts(
        &self,
        url: &str,
        wanted: BTreeSet<(PackageId, Version)>,
        freshness: Freshness,
    ) -> Result<FactsByPackage, Fault> {
        let mut facts = FactsByPackage::new();
        let mut missing = Vec::new();
        for key in wanted {
            match self
                .remembered(url, &key)
                .filter(|_| freshness == Freshness::Remembered)
            {
                Some(known) => drop(facts.insert(key, PackageFacts::clone(&known))),
                None => missing.push(key),
            }
        }
        if missing.is_empty() {
            return Ok(facts);
        }
        let client = self.client(url)?;
        let asked = stream::iter(missing).map(|key| {
            let client = client.clone();
            async move {
                let (id, version) = key.clone();
                let found = ask(client, move |client| client.facts(&id, &version)).await?;
                Ok::<_, Fault>((key, found))
            }
        });
        let answers: Vec<_> = asked.buffer_unordered(QUESTIONS_MAX).try_collect().await?;
        for (key, found) in answers {
            if let Some(found) = found {
                self.remember(url, key.clone(), &found);
                facts.insert(key, found);
            }
        }
        Ok(facts)
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
        let client = client.with_trust(self.0.trust.clone());
        if clients.len() >= CLIENTS_MAX {
            clients.clear();
        }
        clients.insert(url.to_owned(), (credential, client.clone()));
        Ok(client)
    }

    fn remembered(&self, url: &str, key: &(PackageId, Version)) -> Option<Arc<PackageFacts>> {
        let facts = self.0.facts.lock().unwrap_or_else(PoisonError::into_inner);
        facts.by_feed.get(url)?.get(key).cloned()
    }

    fn remember(&self, url: &str, key: (PackageId, Version), found: &PackageFacts) {
        let mut facts = self.0.facts.lock().unwrap_or_else(PoisonError::into_inner);
        facts.files += found.files.len() + 1;
        if facts.files > FILES_KEPT_MAX {
            *facts = KeptFacts {
                files: found.files.len() + 1,
                ..KeptFacts::default()
            };
        }
        facts
            .by_feed
            .entry(url.to_owned())
            .or_default()
            .insert(key, Arc::new(found.clone()));
    }
}

/// Facts by feed, because two feeds may hold different packages under one name.
#[derive(Default)]
struct KeptFacts {
    by_feed: BTreeMap<String, BTreeMap<(PackageId, Version), Arc<PackageFacts>>>,
    /// At least the number of files in `by_feed`.
    files: usize,
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
        let feed = Feed::new(Some(path.clone()), Trust::System);
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

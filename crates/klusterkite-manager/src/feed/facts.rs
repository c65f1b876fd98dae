//! Facts of packages for the check: asked for in parallel, remembered because they never change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use klusterkite_client::feed::FeedClient;
use klusterkite_client::{Error, Kind};
use klusterkite_core::check::{FactsByPackage, FeedProblem, FindingCode};
use klusterkite_nuget::v3::PackageFacts;
use klusterkite_nuget::{PackageId, Version};

use super::{Feed, QUESTIONS_MAX, said};
use crate::fault::Fault;

/// Most bytes of facts that are remembered: those of some ten thousand usual packages.
const BYTES_KEPT_MAX: usize = 128 << 20;

/// Roughly what a file, and a package besides its files, takes in memory, in bytes.
const BYTES_PER_FILE: usize = 150;
const BYTES_PER_PACKAGE: usize = 1000;

/// How many packages are asked for at once, where the feed answers such questions: enough that
/// their number does not count, and few enough that all questions of a check run side by side.
const PACKAGES_AT_ONCE: usize = 128;

/// Whether remembered facts are good enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Facts of a published version never change, so remembered ones are true.
    Remembered,
    /// The package must be in the feed now: it could have been purged since.
    Now,
}

type Key = (PackageId, Version);

impl Feed {
    /// Returns the facts of all packages that the feed has; a package that it does not have is left out.
    pub async fn facts(
        &self,
        url: &str,
        wanted: BTreeSet<Key>,
        freshness: Freshness,
    ) -> Result<FactsByPackage, FeedProblem> {
        let mut facts = match freshness {
            Freshness::Remembered => self.kept().remembered(url, &wanted),
            Freshness::Now => FactsByPackage::new(),
        };
        let missing: Vec<Key> = wanted
            .into_iter()
            .filter(|key| !facts.contains_key(key))
            .collect();
        if missing.is_empty() {
            return Ok(facts);
        }
        let client = self.client(url).map_err(no_client)?;
        let (count, timeout) = (missing.len(), self.0.timeout);
        let asked = tokio::time::timeout(timeout, ask_all(&client, missing)).await;
        let found = asked.unwrap_or_else(|_| {
            Err(FeedProblem {
                code: FindingCode::FeedUnavailable,
                message: format!(
                    "the feed `{}` did not say within {} s what it has of {count} packages",
                    client.url(),
                    timeout.as_secs()
                ),
            })
        })?;
        self.kept().keep(url, &found);
        facts.extend(found);
        Ok(facts)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, KeptFacts> {
        self.0.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks for the facts of packages, some at once and several times in parallel.
async fn ask_all(client: &FeedClient, missing: Vec<Key>) -> Result<FactsByPackage, FeedProblem> {
    let at_once = question(client, FeedClient::facts_at_once).await?;
    let parts = missing
        .chunks(at_once.min(PACKAGES_AT_ONCE))
        .map(<[Key]>::to_vec);
    let asked = stream::iter(parts.collect::<Vec<_>>()).map(|part| async move {
        let wanted: BTreeSet<Key> = part.iter().cloned().collect();
        let found = question(client, move |client| client.facts_of_many(&part)).await?;
        for facts in &found {
            if !wanted.contains(&(facts.id.clone(), facts.version.clone())) {
                return Err(FeedProblem {
                    code: FindingCode::FeedAnswerInvalid,
                    message: format!(
                        "the feed `{}` answers with package `{}` {}, which was not asked for",
                        client.url(),
                        facts.id,
                        facts.version
                    ),
                });
            }
        }
        Ok(found)
    });
    let found: Vec<Vec<PackageFacts>> = asked.buffer_unordered(QUESTIONS_MAX).try_collect().await?;
    let found = found.into_iter().flatten();
    Ok(found
        .map(|facts| ((facts.id.clone(), facts.version.clone()), Arc::new(facts)))
        .collect())
}

async fn question<T: Send + 'static>(
    client: &FeedClient,
    question: impl FnOnce(&FeedClient) -> Result<T, Error> + Send + 'static,
) -> Result<T, FeedProblem> {
    let client = client.clone();
    let asked = tokio::task::spawn_blocking(move || question(&client)).await;
    match asked {
        Ok(answer) => answer.map_err(|error| problem(&error)),
        Err(error) => Err(FeedProblem {
            code: FindingCode::FeedUnavailable,
            message: format!("the question to the feed was not finished: {error}"),
        }),
    }
}

fn problem(error: &Error) -> FeedProblem {
    let code = match (error.kind(), error) {
        (Kind::Unauthenticated | Kind::Forbidden, _) => FindingCode::FeedCredential,
        // A server that refuses with 500 fails; one that answers something else is no feed.
        (Kind::Away, _) | (Kind::Server, Error::Refused { .. }) => FindingCode::FeedUnavailable,
        (_, Error::Url { .. }) => FindingCode::NugetFeedInvalid,
        _ => FindingCode::FeedAnswerInvalid,
    };
    FeedProblem {
        code,
        message: said(error),
    }
}

/// Says why there is no client: the credential file or the URL cannot be used.
fn no_client(fault: Fault) -> FeedProblem {
    let code = match fault {
        Fault::Unavailable { .. } => FindingCode::FeedCredential,
        _ => FindingCode::NugetFeedInvalid,
    };
    FeedProblem {
        code,
        message: fault.to_string(),
    }
}

/// Facts by feed, because two feeds may hold different packages under one name.
#[derive(Default)]
pub(super) struct KeptFacts {
    by_feed: BTreeMap<String, BTreeMap<Key, Arc<PackageFacts>>>,
    /// At least what `by_feed` takes.
    bytes: usize,
}

impl KeptFacts {
    fn remembered(&self, url: &str, wanted: &BTreeSet<Key>) -> FactsByPackage {
        let Some(known) = self.by_feed.get(url) else {
            return FactsByPackage::new();
        };
        let found = wanted.iter().filter_map(|key| known.get_key_value(key));
        found
            .map(|(key, facts)| (key.clone(), Arc::clone(facts)))
            .collect()
    }

    /// Keeps facts; when there are too many, all others are forgotten.
    fn keep(&mut self, url: &str, found: &FactsByPackage) {
        let bytes: usize = found.values().map(|facts| weight(facts)).sum();
        if self.bytes + bytes > BYTES_KEPT_MAX {
            *self = Self::default();
        }
        if bytes > BYTES_KEPT_MAX {
            return;
        }
        self.bytes += bytes;
        let found = found.iter();
        let found = found.map(|(key, facts)| (key.clone(), Arc::clone(facts)));
        let known = self.by_feed.entry(url.to_owned()).or_default();
        known.extend(found);
    }
}

fn weight(facts: &PackageFacts) -> usize {
    let texts = facts.description.len() + facts.manifest.as_ref().map_or(0, String::len);
    BYTES_PER_PACKAGE + texts + facts.files.len() * BYTES_PER_FILE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(id: &str, description_bytes: usize) -> FactsByPackage {
        let facts: PackageFacts = serde_json::from_value(serde_json::json!({
            "id": id, "version": "1.0.0", "sha512": klusterkite_nuget::Sha512Hash::of(b""), "size": 1, "listed": true,
            "published": "2026-01-01T00:00:00Z", "description": "x".repeat(description_bytes), "files": []
        }))
        .unwrap();
        let key = (facts.id.clone(), facts.version.clone());
        FactsByPackage::from([(key, Arc::new(facts))])
    }

    #[test]
    fn what_is_remembered_is_bounded_and_belongs_to_its_feed() {
        let mut kept = KeptFacts::default();
        let wanted: BTreeSet<Key> = ["A", "B", "C"]
            .map(|id| (id.parse().unwrap(), Version::new(1, 0, 0)))
            .into();
        let known = |kept: &KeptFacts, url: &str| {
            let known = kept.remembered(url, &wanted);
            let ids = known.keys().map(|(id, _)| id.to_string());
            ids.collect::<String>()
        };
        kept.keep("http://a", &facts("A", 1000));
        kept.keep("http://a", &facts("B", 1000));
        kept.keep("http://b", &facts("C", 1000));
        assert_eq!(
            [known(&kept, "http://a"), known(&kept, "http://b")],
            ["AB", "C"]
        );
        kept.keep("http://b", &facts("A", BYTES_KEPT_MAX - 2000));
        assert_eq!(
            [known(&kept, "http://a"), known(&kept, "http://b")],
            ["", "A"]
        );
        kept.keep("http://b", &facts("B", BYTES_KEPT_MAX));
        assert_eq!(known(&kept, "http://b"), "");
        assert_eq!(kept.bytes, 0);
    }
}

//! Everything about many packages at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::future::try_join_all;
use klusterkite_nuget::v3::{FACTS_QUERY_MAX, FactsAnswer, FactsQuery, PackageKey};

use super::Caller;
use super::answer::Refusal;
use super::document::Document;
use crate::Error;
use crate::feed::Feed;

/// Largest query: [`FACTS_QUERY_MAX`] packages with the longest ids and versions.
pub(super) const QUERY_BYTES_MAX: usize = 256 << 10;

/// How large an answer about many packages may become before the rest is left for another query, in
/// bytes: some thousand usual packages, and the next one may still have the most files of all.
const ANSWER_BYTES: usize = 4 << 20;

/// How many packages are fetched from upstreams for one question: whoever asks has to get an answer
/// in time.
const FETCHES_MAX: usize = 16;

/// Returns everything about those of many versions that are there.
pub(super) async fn of_many(
    State(feed): State<Arc<Feed>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let query: FactsQuery = serde_json::from_slice(&body).map_err(|error| {
        Error::BadRequest(format!("the body is no question for facts: {error}"))
    })?;
    if query.packages.len() > FACTS_QUERY_MAX {
        let reason = format!(
            "the question names {} packages; ask for at most {FACTS_QUERY_MAX} at once",
            query.packages.len()
        );
        return Err(Error::BadRequest(reason).into());
    }
    let wanted = query.packages.clone();
    let mut answer = feed
        .index
        .facts_of_many(query.packages, ANSWER_BYTES)
        .await?;
    if !feed.upstreams.is_empty() {
        add_from_upstreams(&feed, wanted, &mut answer).await?;
    }
    Ok(caller.answer_with(&feed, Document::json(&answer), &headers))
}

/// Fetches some of the packages that are not here; others are left for another question.
async fn add_from_upstreams(
    feed: &Arc<Feed>,
    wanted: Vec<PackageKey>,
    answer: &mut FactsAnswer,
) -> Result<(), Error> {
    let here = answer.packages.iter().map(|facts| PackageKey {
        id: facts.id.clone(),
        version: facts.version.clone(),
    });
    let known: BTreeSet<PackageKey> = here.chain(answer.left.iter().cloned()).collect();
    let mut absent = wanted;
    absent.retain(|key| !known.contains(key));
    let later = absent.split_off(absent.len().min(FETCHES_MAX));
    try_join_all(absent.iter().map(|key| feed.find(&key.id, &key.version))).await?;
    let fetched = feed.index.facts_of_many(absent, ANSWER_BYTES).await?;
    answer.packages.extend(fetched.packages);
    answer.left.extend(fetched.left);
    answer.left.extend(later);
    Ok(())
}

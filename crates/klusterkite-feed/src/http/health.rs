//! Whether the feed lives, whether it can take packages, and what it counts.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use super::answer::Refusal;
use super::observe::{family, sample};
use crate::Error;
use crate::feed::Feed;

/// Answers as long as the process can answer: whoever restarts feeds that do not would not help one
/// whose disk is full.
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// Answers whether packages can be pushed: the index can be written and the disk has room.
pub(super) async fn ready(State(feed): State<Arc<Feed>>) -> Result<&'static str, Refusal> {
    let ready = feed.check_ready().await;
    ready.map_err(|error| Error::NotReady(Box::new(error)))?;
    Ok("ready\n")
}

/// Writes everything that is counted as Prometheus reads it.
pub(super) async fn metrics(State(feed): State<Arc<Feed>>) -> Result<impl IntoResponse, Refusal> {
    let mut text = String::new();
    feed.observer.render(&mut text);
    let (packages, bytes) = feed.index.totals().await?;
    for (name, kind, help, value) in [
        (
            "packages",
            "gauge",
            "Versions of packages in the feed.",
            packages,
        ),
        ("package_bytes", "gauge", "Bytes of all packages.", bytes),
    ] {
        let name = format!("klusterkite_feed_{name}");
        family(&mut text, &name, kind, help);
        sample(&mut text, &name, &[], value as f64);
    }
    for (name, help, counter) in feed.counters.all() {
        let name = format!("klusterkite_feed_{name}_total");
        family(&mut text, &name, "counter", help);
        sample(
            &mut text,
            &name,
            &[],
            counter.load(Ordering::Relaxed) as f64,
        );
    }
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4")], text))
}

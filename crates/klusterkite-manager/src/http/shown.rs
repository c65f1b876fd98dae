//! Answers that many clients get at once, made by the first of them.
//!
//! Who follows a cluster of ten thousand nodes asks again after each change. The answer is the same for all who ask the
//! same, so its parts are collected and written as JSON once per change, not once per client.

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use klusterkite_api::page::Page;
use serde::Serialize;
use tokio::sync::Mutex;

use crate::cluster::Cluster;

/// Answers of the newest state.
#[derive(Debug, Default)]
pub(super) struct Shown {
    templates: Mutex<TemplatesShown>,
}

/// Counts of templates, and of which state.
#[derive(Debug, Default)]
struct TemplatesShown {
    of: Option<(u64, u64)>,
    text: Bytes,
}

impl Shown {
    /// Returns the counts of the templates.
    pub(super) async fn templates(&self, cluster: &Cluster) -> Json {
        let mut shown = self.templates.lock().await;
        // Looked at before counting: what changes meanwhile is counted again by the next who asks.
        let of = {
            let state = cluster.read().await;
            (state.revision, state.volatile.published)
        };
        if shown.of != Some(of) {
            *shown = TemplatesShown {
                of: Some(of),
                text: text(&Page::whole(cluster.template_list().await)),
            };
        }
        Json(shown.text.clone())
    }
}

/// An answer that is JSON already.
#[derive(Debug)]
pub(super) struct Json(pub(super) Bytes);

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, "application/json")], self.0).into_response()
    }
}

fn text(value: &impl Serialize) -> Bytes {
    let text = serde_json::to_vec(value).expect("it has only text for keys");
    text.into()
}

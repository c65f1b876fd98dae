//! A feed with made-up packages, as far as the check asks it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use klusterkite_nuget::v3::{FACTS_OF_MANY_TYPE, FACTS_TYPE, FactsQuery, PackageKey};
use klusterkite_nuget::{Sha256Hash, Sha512Hash};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

#[derive(Clone)]
pub(crate) struct Feed {
    origin: String,
    packages: Arc<Mutex<BTreeSet<(String, String)>>>,
    questions: Arc<watch::Sender<u32>>,
    open: Arc<watch::Sender<bool>>,
    lies: Arc<AtomicBool>,
    pins: Arc<Mutex<BTreeMap<String, Value>>>,
}

impl Feed {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let feed = Self {
            origin: format!("http://{}", listener.local_addr().unwrap()),
            packages: Arc::default(),
            questions: Arc::new(watch::channel(0).0),
            open: Arc::new(watch::channel(true).0),
            lies: Arc::default(),
            pins: Arc::default(),
        };
        for id in [
            "KlusterKite.NodeManager",
            "KlusterKite.Core.Service",
            "Hello",
        ] {
            feed.publish(id, "1.0.0");
        }
        let router = Router::new()
            .route("/v3/index.json", get(index))
            .route("/facts", post(facts))
            .route("/registration/{id}/index.json", get(registration))
            .route("/pins/{cluster}", put(pin))
            .route("/search", get(search))
            .with_state(feed.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        feed
    }

    pub(crate) fn url(&self) -> String {
        format!("{}/v3/index.json", self.origin)
    }

    pub(crate) fn publish(&self, id: &str, version: &str) {
        self.packages
            .lock()
            .unwrap()
            .insert((id.to_owned(), version.to_owned()));
    }

    pub(crate) fn purge(&self, id: &str, version: &str) {
        self.packages
            .lock()
            .unwrap()
            .remove(&(id.to_owned(), version.to_owned()));
    }

    /// Lets questions wait, or answers them.
    pub(crate) fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }

    /// Answers with a package that nobody asked for, from now on.
    pub(crate) fn answer_with_other_packages(&self) {
        self.lies.store(true, Ordering::SeqCst);
    }

    /// Waits until facts were asked for since `before`.
    pub(crate) async fn asked_since(&self, before: u32) {
        let mut questions = self.questions.subscribe();
        questions
            .wait_for(|questions| *questions > before)
            .await
            .unwrap();
    }

    pub(crate) fn questions(&self) -> u32 {
        *self.questions.borrow()
    }

    /// Returns what a cluster has pinned.
    pub(crate) fn pins(&self, cluster: &str) -> Option<Value> {
        self.pins.lock().unwrap().get(cluster).cloned()
    }

    fn versions(&self, lower_id: &str) -> Vec<(String, String)> {
        let packages = self.packages.lock().unwrap();
        packages
            .iter()
            .filter(|(id, _)| id.to_ascii_lowercase() == lower_id)
            .cloned()
            .collect()
    }
}

pub(crate) fn sha512(id: &str, version: &str) -> String {
    let content = format!("{id} {version}");
    Sha512Hash::of(content.as_bytes()).to_string()
}

async fn index(State(feed): State<Feed>) -> axum::Json<Value> {
    let resource =
        |kind: &str, path: &str| json!({"@id": format!("{}{path}", feed.origin), "@type": kind});
    axum::Json(json!({"version": "3.0.0", "resources": [
        resource(FACTS_TYPE, "/facts/one"),
        resource(FACTS_OF_MANY_TYPE, "/facts"),
        resource("RegistrationsBaseUrl/3.6.0", "/registration"),
        resource("SearchQueryService/3.5.0", "/search"),
    ]}))
}

async fn facts(State(feed): State<Feed>, body: axum::Json<FactsQuery>) -> axum::Json<Value> {
    feed.questions.send_modify(|questions| *questions += 1);
    feed.open.subscribe().wait_for(|open| *open).await.unwrap();
    let known = |key: &PackageKey| {
        let mut versions = feed.versions(&key.id.lower()).into_iter();
        versions.find(|(_, version)| *version == key.version.to_string())
    };
    let mut found: Vec<Value> = body
        .packages
        .iter()
        .filter_map(known)
        .map(document)
        .collect();
    if feed.lies.load(Ordering::SeqCst) {
        found.push(document(("Other".to_owned(), "1.0.0".to_owned())));
    }
    axum::Json(json!({ "packages": found }))
}

fn document((id, version): (String, String)) -> Value {
    // The check looks for the entry point of templates without their own.
    let program = json!({
        "path": "runtimes/linux-x64/native/klusterkite-service", "size": 100,
        "sha256": Sha256Hash::of(b"program").to_string(),
    });
    let files = if id == "KlusterKite.Core.Service" {
        vec![program]
    } else {
        Vec::new()
    };
    json!({
        "id": id, "version": version, "sha512": sha512(&id, &version), "size": 1000, "listed": true,
        "published": "2026-11-22T00:00:00Z", "files": files,
    })
}

async fn registration(State(feed): State<Feed>, Path(id): Path<String>) -> Response {
    let items = feed.versions(&id).into_iter().map(|(id, version)| {
        json!({"@id": "x", "packageContent": "x", "catalogEntry": {"@id": "x", "id": id, "version": version, "listed": true}})
    });
    let items: Vec<_> = items.collect();
    if items.is_empty() {
        return StatusCode::NOT_FOUND.into_response();
    }
    let page = json!({"@id": "x", "count": items.len(), "items": items, "lower": "0.0.0", "upper": "99.0.0"});
    axum::Json(json!({"@id": "x", "count": 1, "items": [page]})).into_response()
}

async fn search(State(feed): State<Feed>) -> axum::Json<Value> {
    let packages = feed.packages.lock().unwrap();
    let data: Vec<_> = packages.iter().map(|(id, version)| {
        json!({"@id": "x", "id": id, "version": version, "description": "", "versions": [{"@id": "x", "version": version}]})
    }).collect();
    axum::Json(json!({"totalHits": data.len(), "data": data}))
}

async fn pin(
    State(feed): State<Feed>,
    Path(cluster): Path<String>,
    axum::Json(pins): axum::Json<Value>,
) -> StatusCode {
    feed.pins.lock().unwrap().insert(cluster, pins);
    StatusCode::NO_CONTENT
}

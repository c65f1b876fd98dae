//! Handlers of `/packages`: what the feed of the Active configuration has.

use axum::Json;
use axum::extract::State;
use klusterkite_api::configurations::Package;
use klusterkite_api::page::Page;
use klusterkite_nuget::PackageId;

use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::http::answer::Answer;
use crate::http::input::{Parameters, PathId};

pub(super) async fn list(
    State(cluster): State<Cluster>,
    parameters: Parameters,
) -> Answer<Page<Package>> {
    let limit = parameters.limit()?;
    let text = parameters.text("q").unwrap_or_default().to_owned();
    let url = feed_url(&cluster).await?;
    let (items, total) = cluster.feed().search(&url, text, limit).await?;
    Ok(Json(Page {
        items,
        next_cursor: None,
        total,
    }))
}

pub(super) async fn get(
    State(cluster): State<Cluster>,
    PathId(id): PathId<PackageId>,
) -> Answer<Package> {
    let url = feed_url(&cluster).await?;
    let package = cluster.feed().package(&url, id.clone()).await?;
    package
        .map(Json)
        .ok_or_else(|| Fault::not_found("package", id))
}

async fn feed_url(cluster: &Cluster) -> Result<String, Fault> {
    let state = cluster.read().await;
    let url = state.active().map(|release| release.feed.clone());
    url.ok_or_else(|| {
        let message = "no configuration is Active, so there is no feed to ask";
        Fault::conflict("noActiveConfiguration", message)
    })
}

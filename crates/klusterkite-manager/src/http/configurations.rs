//! Handlers of `/configurations`.

use axum::Json;
use axum::extract::State;
use axum::http::header::ETAG;
use axum::response::IntoResponse;
use klusterkite_api::configurations::{
    CheckResult, Configuration, ConfigurationCreate, ConfigurationDiff, ConfigurationPatch,
    StableRequest,
};
use klusterkite_api::page::Page;
use klusterkite_wire::ConfigurationId;

use crate::auth::Bearer;
use crate::cluster::Cluster;
use crate::configurations::IfMatch;
use crate::fault::Fault;
use crate::http::answer::Answer;
use crate::http::input::{JsonBody, Parameters, PathId};

type Id = PathId<ConfigurationId>;

pub(super) async fn list(
    State(cluster): State<Cluster>,
    parameters: Parameters,
) -> Answer<Page<Configuration>> {
    let state = parameters.named("state")?;
    let limit = parameters.limit()? as usize;
    let before = parameters.parsed("cursor")?;
    Ok(Json(
        cluster.configuration_list(state, limit, before).await?,
    ))
}

pub(super) async fn create(
    State(cluster): State<Cluster>,
    bearer: Bearer,
    JsonBody(create): JsonBody<ConfigurationCreate>,
) -> Result<impl IntoResponse, Fault> {
    cluster
        .configuration_create(create, &bearer.actor())
        .await
        .map(tagged)
}

pub(super) async fn get(
    State(cluster): State<Cluster>,
    PathId(id): Id,
) -> Result<impl IntoResponse, Fault> {
    cluster.configuration_get(id).await.map(tagged)
}

pub(super) async fn patch(
    State(cluster): State<Cluster>,
    bearer: Bearer,
    PathId(id): Id,
    if_match: IfMatch,
    JsonBody(patch): JsonBody<ConfigurationPatch>,
) -> Result<impl IntoResponse, Fault> {
    cluster
        .configuration_patch(id, if_match, patch, &bearer.actor())
        .await
        .map(tagged)
}

pub(super) async fn delete(
    State(cluster): State<Cluster>,
    bearer: Bearer,
    PathId(id): Id,
    if_match: IfMatch,
) -> Result<(), Fault> {
    cluster
        .configuration_delete(id, if_match, &bearer.actor())
        .await
}

pub(super) async fn check(State(cluster): State<Cluster>, PathId(id): Id) -> Answer<CheckResult> {
    Ok(Json(cluster.configuration_check(id).await?))
}

pub(super) async fn ready(
    State(cluster): State<Cluster>,
    bearer: Bearer,
    PathId(id): Id,
) -> Result<impl IntoResponse, Fault> {
    cluster
        .configuration_ready(id, &bearer.actor())
        .await
        .map(tagged)
}

pub(super) async fn obsolete(
    State(cluster): State<Cluster>,
    bearer: Bearer,
    PathId(id): Id,
) -> Result<impl IntoResponse, Fault> {
    cluster
        .configuration_obsolete(id, &bearer.actor())
        .await
        .map(tagged)
}

pub(super) async fn stable(
    State(cluster): State<Cluster>,
    bearer: Bearer,
    PathId(id): Id,
    JsonBody(request): JsonBody<StableRequest>,
) -> Result<impl IntoResponse, Fault> {
    cluster
        .configuration_stable(id, request, &bearer.actor())
        .await
        .map(tagged)
}

pub(super) async fn diff(
    State(cluster): State<Cluster>,
    PathId(id): Id,
    parameters: Parameters,
) -> Answer<ConfigurationDiff> {
    let against = parameters.parsed("against")?;
    Ok(Json(cluster.configuration_diff(id, against).await?))
}

/// Adds the revision as the tag that `If-Match` of a change names.
fn tagged(configuration: Configuration) -> impl IntoResponse {
    (
        [(ETAG, format!("\"{}\"", configuration.revision))],
        Json(configuration),
    )
}

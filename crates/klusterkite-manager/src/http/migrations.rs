//! Handlers of `/migrations` and `/cluster`.

use axum::Json;
use axum::extract::State;
use klusterkite_api::cluster::{Accepted, ClusterState};
use klusterkite_api::migrations::{
    Migration, MigrationCreate, MigrationLogEntry, MigrationPlan, NodesRequest, PlanRequest,
    ResourcesRequest,
};
use klusterkite_api::page::Page;

use crate::auth::Bearer;
use crate::cluster::Cluster;
use crate::http::answer::Answer;
use crate::http::input::{JsonBody, Parameters, PathId};

pub(super) async fn list(
    State(cluster): State<Cluster>,
    parameters: Parameters,
) -> Answer<Page<Migration>> {
    let (limit, cursor) = (parameters.limit()?, parameters.parsed("cursor")?);
    Ok(Json(cluster.migration_list(limit, cursor).await?))
}

pub(super) async fn create(
    State(cluster): State<Cluster>,
    bearer: Bearer,
    JsonBody(create): JsonBody<MigrationCreate>,
) -> Answer<Migration> {
    Ok(Json(
        cluster.migration_create(create, &bearer.actor()).await?,
    ))
}

pub(super) async fn plan(
    State(cluster): State<Cluster>,
    JsonBody(request): JsonBody<PlanRequest>,
) -> Answer<MigrationPlan> {
    Ok(Json(cluster.migration_plan(request).await?))
}

pub(super) async fn current(State(cluster): State<Cluster>) -> Answer<Migration> {
    Ok(Json(cluster.migration_current().await?))
}

pub(super) async fn cancel(State(cluster): State<Cluster>, bearer: Bearer) -> Answer<Migration> {
    Ok(Json(cluster.migration_cancel(&bearer.actor()).await?))
}

pub(super) async fn finish(State(cluster): State<Cluster>, bearer: Bearer) -> Answer<Migration> {
    Ok(Json(cluster.migration_finish(&bearer.actor()).await?))
}

pub(super) async fn nodes(
    State(cluster): State<Cluster>,
    bearer: Bearer,
    JsonBody(request): JsonBody<NodesRequest>,
) -> Answer<Accepted> {
    Ok(Json(
        cluster.migration_nodes(request, &bearer.actor()).await?,
    ))
}

pub(super) async fn resources(
    State(cluster): State<Cluster>,
    bearer: Bearer,
    JsonBody(request): JsonBody<ResourcesRequest>,
) -> Answer<Accepted> {
    Ok(Json(
        cluster
            .migration_resources(request, &bearer.actor())
            .await?,
    ))
}

pub(super) async fn pause(State(cluster): State<Cluster>, bearer: Bearer) -> Answer<Migration> {
    Ok(Json(cluster.migration_pause(&bearer.actor()).await?))
}

pub(super) async fn resume(State(cluster): State<Cluster>, bearer: Bearer) -> Answer<Accepted> {
    Ok(Json(cluster.migration_resume(&bearer.actor()).await?))
}

pub(super) async fn rollback(State(cluster): State<Cluster>, bearer: Bearer) -> Answer<Accepted> {
    Ok(Json(cluster.migration_rollback(&bearer.actor()).await?))
}

pub(super) async fn get(
    State(cluster): State<Cluster>,
    PathId(id): PathId<i64>,
) -> Answer<Migration> {
    Ok(Json(cluster.migration_get(id).await?))
}

pub(super) async fn log(
    State(cluster): State<Cluster>,
    PathId(id): PathId<i64>,
    parameters: Parameters,
) -> Answer<Page<MigrationLogEntry>> {
    let (limit, cursor) = (parameters.limit()?, parameters.parsed("cursor")?);
    Ok(Json(cluster.migration_log(id, limit, cursor).await?))
}

pub(super) async fn cluster_state(State(cluster): State<Cluster>) -> Json<ClusterState> {
    Json(cluster.cluster_state().await)
}

pub(super) async fn cluster_recheck(
    State(cluster): State<Cluster>,
    bearer: Bearer,
) -> Answer<Accepted> {
    Ok(Json(cluster.cluster_recheck(&bearer.actor()).await?))
}

pub(super) async fn cluster_resources(
    State(cluster): State<Cluster>,
    bearer: Bearer,
    JsonBody(request): JsonBody<ResourcesRequest>,
) -> Answer<Accepted> {
    Ok(Json(
        cluster.cluster_resources(request, &bearer.actor()).await?,
    ))
}

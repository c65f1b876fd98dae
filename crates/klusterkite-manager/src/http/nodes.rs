//! Handlers of `/nodes`, `/templates` and `/members`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use klusterkite_api::cluster::Accepted;
use klusterkite_api::nodes::{Container, Node, NodeExplanation, NodeRequest};
use klusterkite_api::page::Page;
use klusterkite_api::privileges::Privilege;
use klusterkite_wire::start::{
    NodeTokenAnswer, NodeTokenRequest, ProgressReport, StartConfiguration, StartRequest,
};
use klusterkite_wire::{NodeId, TemplateCode};
use tokio::time::timeout;

use crate::auth::Bearer;
use crate::cluster::Cluster;
use crate::containers::ContainerQuery;
use crate::fault::Fault;
use crate::http::Api;
use crate::http::answer::{Answer, Refused};
use crate::http::input::{JsonBody, LauncherBody, Parameters, PathId};
use crate::http::shown;
use crate::link::{self, Upgrade};
use crate::views::NodeQuery;

/// Longest wait of a blocking query.
const WAIT_MAX: Duration = Duration::from_mins(1);

/// Tells a launcher what to start.
pub(super) async fn configuration(
    State(cluster): State<Cluster>,
    bearer: Bearer,
    LauncherBody(request): LauncherBody<StartRequest>,
) -> Answer<StartConfiguration> {
    Ok(Json(
        cluster
            .node_configuration(bearer.client()?, request)
            .await?,
    ))
}

/// Gives a token to a node that started without asking.
pub(super) async fn token(
    State(cluster): State<Cluster>,
    bearer: Bearer,
    PathId(id): PathId<NodeId>,
    LauncherBody(request): LauncherBody<NodeTokenRequest>,
) -> Answer<NodeTokenAnswer> {
    Ok(Json(
        cluster.node_token(bearer.client()?, id, request).await?,
    ))
}

/// Renews an assignment.
pub(super) async fn progress(
    State(cluster): State<Cluster>,
    PathId(id): PathId<NodeId>,
    LauncherBody(report): LauncherBody<ProgressReport>,
) -> Result<(), Fault> {
    cluster.node_progress(id, report).await
}

/// Opens the link of a node; the guard has looked at its token.
pub(super) async fn link(
    State(cluster): State<Cluster>,
    PathId(id): PathId<NodeId>,
    mut request: Request,
) -> Response {
    match Upgrade::of(&mut request) {
        Ok(upgrade) => link::open(cluster, id, upgrade),
        Err(missing) => {
            let detail = format!("this opens a WebSocket: {missing}");
            Refused::new(StatusCode::BAD_REQUEST, "webSocketNeeded", detail).into_response()
        }
    }
}

/// Lists ready nodes; with `index` it waits until there is something newer.
pub(super) async fn member_list(
    State(api): State<Api>,
    parameters: Parameters,
) -> Result<impl IntoResponse, Fault> {
    let index: Option<u64> = parameters.parsed("index")?;
    let wait = parameters
        .text("wait")
        .map(wait)
        .transpose()?
        .unwrap_or_default();
    let mut members = api.cluster.members();
    if let Some(index) = index {
        // The time is up, or the manager ends: both times what is there is the answer.
        let _ = timeout(wait, members.wait_for(|members| members.version > index)).await;
    }
    let members = Arc::clone(&members.borrow());
    let board = api.cluster.board();
    Ok(shown::Json(board.answer(&members, parameters.text("role"))))
}

/// Lists nodes by template and id.
pub(super) async fn list(
    State(cluster): State<Cluster>,
    parameters: Parameters,
) -> Answer<Page<Node>> {
    let query = NodeQuery {
        template: parameters.parsed("template")?,
        status: parameters.named("status")?,
        after: parameters.text("cursor").map(place).transpose()?,
        limit: parameters.limit()? as usize,
    };
    Ok(Json(cluster.node_list(&query).await))
}

pub(super) async fn get(
    State(cluster): State<Cluster>,
    PathId(id): PathId<NodeId>,
) -> Answer<Node> {
    Ok(Json(cluster.node_get(&id).await?))
}

pub(super) async fn explain(
    State(cluster): State<Cluster>,
    PathId(id): PathId<NodeId>,
) -> Answer<NodeExplanation> {
    Ok(Json(cluster.node_explain(&id).await?))
}

pub(super) async fn restart(
    State(cluster): State<Cluster>,
    bearer: Bearer,
    PathId(id): PathId<NodeId>,
    JsonBody(request): JsonBody<NodeRequest>,
) -> Answer<Accepted> {
    may_force(&bearer, request)?;
    Ok(Json(
        cluster.node_restart(&id, request, &bearer.actor()).await?,
    ))
}

pub(super) async fn drain(
    State(cluster): State<Cluster>,
    bearer: Bearer,
    PathId(id): PathId<NodeId>,
    JsonBody(request): JsonBody<NodeRequest>,
) -> Answer<Accepted> {
    may_force(&bearer, request)?;
    Ok(Json(
        cluster.node_drain(&id, request, &bearer.actor()).await?,
    ))
}

pub(super) async fn cordon(
    State(cluster): State<Cluster>,
    bearer: Bearer,
    PathId(id): PathId<NodeId>,
) -> Answer<Accepted> {
    Ok(Json(cluster.node_cordon(&id, &bearer.actor()).await?))
}

pub(super) async fn uncordon(
    State(cluster): State<Cluster>,
    bearer: Bearer,
    PathId(id): PathId<NodeId>,
) -> Answer<Accepted> {
    Ok(Json(cluster.node_uncordon(&id, &bearer.actor()).await?))
}

/// Lists containers in which nothing runs.
pub(super) async fn container_list(
    State(cluster): State<Cluster>,
    parameters: Parameters,
) -> Answer<Page<Container>> {
    let query = ContainerQuery {
        state: parameters.named("state")?,
        after: parameters.parsed("cursor")?,
        limit: parameters.limit()? as usize,
    };
    Ok(Json(cluster.container_list(&query).await))
}

pub(super) async fn template_list(State(api): State<Api>) -> impl IntoResponse {
    api.shown.templates(&api.cluster).await
}

/// Dropping a template below its minimum needs a privilege of its own.
fn may_force(bearer: &Bearer, request: NodeRequest) -> Result<(), Fault> {
    if request.force {
        bearer.require(Privilege::UpgradeNodeForce)
    } else {
        Ok(())
    }
}

/// Reads a cursor of the list of nodes: template and id of the last node of the page before.
fn place(cursor: &str) -> Result<(TemplateCode, NodeId), Fault> {
    let parsed = cursor
        .split_once('/')
        .and_then(|(template, id)| Some((template.parse().ok()?, id.parse().ok()?)));
    parsed.ok_or_else(|| Fault::invalid("cursor", "give the `nextCursor` of the page before"))
}

/// Reads `60s` or `60`.
fn wait(text: &str) -> Result<Duration, Fault> {
    let seconds = text
        .strip_suffix('s')
        .unwrap_or(text)
        .parse()
        .map(Duration::from_secs);
    let seconds = seconds.ok().filter(|wait| *wait <= WAIT_MAX);
    seconds.ok_or_else(|| Fault::invalid("wait", "give 0 to 60 seconds, such as `60s`"))
}

//! Handlers of `…/logs`: what migrators said, one JSON object a line.

use std::convert::Infallible;

use axum::extract::State;
use axum::response::Response;
use futures_util::StreamExt as _;
use klusterkite_store::rows::LinesOf;

use crate::auth::Bearer;
use crate::fault::Fault;
use crate::http::input::{Parameters, PathId};
use crate::http::{Api, lines};
use crate::migrator_logs::LineReader;

pub(super) async fn of_migration(
    State(api): State<Api>,
    bearer: Bearer,
    PathId(id): PathId<i64>,
    parameters: Parameters,
) -> Result<Response, Fault> {
    answer(&api, bearer, id, &parameters).await
}

pub(super) async fn without_migration(
    State(api): State<Api>,
    bearer: Bearer,
    parameters: Parameters,
) -> Result<Response, Fault> {
    answer(&api, bearer, 0, &parameters).await
}

async fn answer(
    api: &Api,
    bearer: Bearer,
    migration_id: i64,
    parameters: &Parameters,
) -> Result<Response, Fault> {
    let of = LinesOf {
        migration_id,
        template: parameters.parsed("template")?,
        migrator: parameters.parsed("migrator")?,
        resource: parameters.parsed("resource")?,
    };
    let after = parameters.parsed("after")?.unwrap_or(0);
    let follows = parameters.parsed("follow")?.unwrap_or(false);
    let place = api.stream_place()?;
    let reader = LineReader::new(&api.cluster, bearer, of, after, follows).await?;
    let lines = reader.into_stream().map(Ok::<_, Infallible>);
    Ok(lines::answer(place, lines))
}

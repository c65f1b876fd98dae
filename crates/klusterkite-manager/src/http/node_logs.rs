//! Handler of `/nodes/{nodeId}/logs`: what processes wrote, one JSON object a line.

use axum::extract::State;
use axum::response::Response;
use klusterkite_wire::NodeId;
use klusterkite_wire::link::LOG_LINES_MAX;

use crate::auth::Bearer;
use crate::fault::Fault;
use crate::http::input::{Parameters, PathId};
use crate::http::{Api, lines};
use crate::node_logs::{NodeLineReader, Wanted};

/// Lines that an answer begins with when nobody says how many.
const LINES: u32 = 100;

pub(super) async fn of_node(
    State(api): State<Api>,
    bearer: Bearer,
    PathId(id): PathId<NodeId>,
    parameters: Parameters,
) -> Result<Response, Fault> {
    let count = parameters.parsed("lines")?.unwrap_or(LINES);
    if !(1..=LOG_LINES_MAX).contains(&count) {
        return Err(Fault::invalid(
            "lines",
            format!("give 1 to {LOG_LINES_MAX}"),
        ));
    }
    let wanted = Wanted {
        id,
        after: parameters.parsed("after")?,
        lines: count,
        process: parameters.text("process").map(str::to_owned),
        follows: parameters.parsed("follow")?.unwrap_or(false),
    };
    let place = api.stream_place()?;
    let reader = NodeLineReader::new(&api.cluster, bearer, wanted).await?;
    Ok(lines::answer(place, reader.into_stream()))
}

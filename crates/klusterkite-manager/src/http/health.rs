//! Health, metrics and the document of this API.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use klusterkite_api::nodes::{Template, TemplateStatistics};
use klusterkite_api::openapi;
use klusterkite_core::plan::rollout::NodeStatus;

use crate::cluster::Cluster;
use crate::fault::Fault;

/// The document is made of tables that do not change while the process lives.
static DOCUMENT: LazyLock<String> = LazyLock::new(|| openapi::document().to_string());

/// Reads one count of a template.
type Count = fn(&Template) -> u32;

/// Counts of a template: name, help, value.
const PER_TEMPLATE: [(&str, &str, Count); 6] = [
    ("minimum", "Nodes that a template must have.", |template| {
        template.minimum
    }),
    ("ready", "Ready nodes with a valid lease.", |template| {
        template.ready
    }),
    ("starting", "Assigned or starting nodes.", |template| {
        template.starting
    }),
    (
        "obsolete",
        "Nodes that have to restart to fit the Active configuration.",
        |template| template.obsolete,
    ),
    (
        "upgrading",
        "Nodes with an unfinished stop order.",
        |template| template.upgrading,
    ),
    ("unreachable", "Nodes whose lease ended.", |template| {
        template.unreachable
    }),
];

/// Reads one counter of a template.
type Counter = fn(&TemplateStatistics) -> u64;

/// Counters of a template since this manager leads: name, help, value.
const SINCE_LEADING: [(&str, &str, Counter); 6] = [
    ("starts", "Starts of nodes.", |counts| counts.starts),
    ("became_ready", "Starts that became ready.", |counts| {
        counts.became_ready
    }),
    (
        "failed_starts",
        "Starts that did not become ready in time, or were refused.",
        |counts| counts.failed_starts,
    ),
    ("crashes", "Nodes that ended by themselves.", |counts| {
        counts.crashes
    }),
    ("lost", "Leases that ended.", |counts| counts.lost),
    (
        "time_to_ready_milliseconds",
        "Milliseconds from the first word of a start until it was ready, all together.",
        |counts| counts.time_to_ready_total_ms,
    ),
];

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Tells that decisions can be read and written: the store answers, the state is not held.
pub(super) async fn readyz(State(cluster): State<Cluster>) -> Result<&'static str, Fault> {
    let newest = cluster.read().await.last_ids.event;
    cluster.store().events(newest, 1).await?;
    Ok("ok\n")
}

pub(super) async fn open_api() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.as_str())
}

/// Shows counts in the text format of Prometheus.
pub(super) async fn metrics(State(cluster): State<Cluster>) -> impl IntoResponse {
    let mut text = String::new();
    let templates = cluster.template_list().await;
    for (name, help, count) in PER_TEMPLATE {
        let samples = templates.iter().map(|template| {
            (
                format!("{{template=\"{}\"}}", template.code),
                u64::from(count(template)),
            )
        });
        gauge(
            &mut text,
            &format!("klusterkite_template_{name}"),
            help,
            samples,
        );
    }

    for (name, help, count) in SINCE_LEADING {
        let samples = templates.iter().map(|template| {
            let labels = format!("{{template=\"{}\"}}", template.code);
            (labels, count(&template.statistics))
        });
        let name = format!("klusterkite_template_{name}_total");
        metric(&mut text, &name, "counter", help, samples);
    }

    let nodes = cluster.node_counts().await.into_iter();
    let nodes = nodes.map(|(of, count)| (format!("{{status=\"{}\"}}", status(of)), count));
    gauge(&mut text, "klusterkite_nodes", "Nodes by status.", nodes);

    let state = cluster.read().await;
    let active = state.active_id().map_or(0, |id| id.0.max(0) as u64);
    let single = |value: u64| [(String::new(), value)];
    gauge(
        &mut text,
        "klusterkite_active_configuration",
        "Id of the Active configuration.",
        single(active),
    );
    let migrations = u64::from(state.migration.is_some());
    gauge(
        &mut text,
        "klusterkite_migrations_running",
        "Running migrations.",
        single(migrations),
    );
    let epoch = cluster.epoch().0;
    gauge(
        &mut text,
        "klusterkite_leader_epoch",
        "Epoch of the leader.",
        single(epoch),
    );
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

fn gauge(
    text: &mut String,
    name: &str,
    help: &str,
    samples: impl IntoIterator<Item = (String, u64)>,
) {
    metric(text, name, "gauge", help, samples);
}

fn metric(
    text: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    samples: impl IntoIterator<Item = (String, u64)>,
) {
    let taken = "a String takes every text";
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}").expect(taken);
    for (labels, value) in samples {
        writeln!(text, "{name}{labels} {value}").expect(taken);
    }
}

/// Returns the name of a status as the API spells it.
fn status(status: NodeStatus) -> String {
    serde_json::to_value(status)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

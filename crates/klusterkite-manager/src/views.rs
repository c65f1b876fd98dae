//! What the API shows of nodes and templates.

use klusterkite_api::nodes::{Node, NodeExplanation, NodeOrder, Template};
use klusterkite_core::plan::rollout::{NodeStatus, StopReason};
use klusterkite_store::rows::{NodeRow, NodeRun};
use klusterkite_wire::NodeId;
use klusterkite_wire::start::{CRASH_LOOP_SECONDS, CrashReport};
use klusterkite_wire::time::rfc3339;
use serde::Serialize;

use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::operations::operations;
use crate::rollout::shown_status;
use crate::state::State;

impl Cluster {
    /// Lists the nodes that count, by template and id.
    pub async fn node_list(&self) -> Vec<Node> {
        let state = self.read().await;
        let mut nodes: Vec<_> = state
            .nodes
            .values()
            .filter_map(|row| node(&state, row))
            .collect();
        nodes.sort_by(|a, b| (&a.template, &a.node_id).cmp(&(&b.template, &b.node_id)));
        nodes
    }

    /// Shows a node.
    pub async fn node_get(&self, id: &NodeId) -> Result<Node, Fault> {
        let state = self.read().await;
        let row = state
            .nodes
            .get(id)
            .ok_or_else(|| Fault::not_found("node", id))?;
        node(&state, row).ok_or_else(|| Fault::not_found("running node", id))
    }

    /// Tells why a node has its template.
    pub async fn node_explain(&self, id: &NodeId) -> Result<NodeExplanation, Fault> {
        let state = self.read().await;
        let row = state
            .nodes
            .get(id)
            .ok_or_else(|| Fault::not_found("node", id))?;
        let waiting = state.volatile.waiting_on.iter();
        let about = |node: &String| node == id.as_str();
        let waiting_on = waiting
            .filter(|wait| wait.params.get("node").is_some_and(about))
            .cloned();
        let assignment = row.run.as_ref().and_then(|run| run.explanation.clone());
        Ok(NodeExplanation {
            node_id: id.clone(),
            sentence: sentence(
                &state,
                row,
                assignment.as_ref().map(|why| why.sentence.as_str()),
            ),
            assignment,
            waiting_on: waiting_on.collect(),
        })
    }

    /// Counts the nodes of each template of the Active configuration, and of others that still have nodes.
    pub async fn template_list(&self) -> Vec<Template> {
        let state = self.read().await;
        let Some(active) = state.active() else {
            return Vec::new();
        };
        let templates = active.node_templates.values().map(|template| {
            let mut counted = Template {
                code: template.code.clone(),
                name: template.name.clone(),
                minimum: template.minimum,
                maximum: template.maximum,
                priority: template.priority,
                container_types: template.container_types.iter().cloned().collect(),
                ready: 0,
                starting: 0,
                obsolete: 0,
                upgrading: 0,
                unreachable: 0,
            };
            for row in state.nodes.values() {
                match &row.run {
                    Some(run) if run.template == template.code => {
                        count(&state, row, run, &mut counted);
                    }
                    _ => {}
                }
            }
            counted
        });
        templates.collect()
    }
}

fn count(state: &State, row: &NodeRow, run: &NodeRun, counted: &mut Template) {
    match shown_status(state, &row.id, run) {
        NodeStatus::Ready => counted.ready += 1,
        NodeStatus::Assigned | NodeStatus::Starting => counted.starting += 1,
        NodeStatus::Unreachable => counted.unreachable += 1,
        _ => {}
    }
    counted.obsolete += u32::from(state.volatile.obsolete.contains_key(&row.id));
    counted.upgrading += u32::from(order(state, row).is_some());
}

fn node(state: &State, row: &NodeRow) -> Option<Node> {
    let run = row.run.as_ref()?;
    let joined = run.joined.clone().unwrap_or_default();
    let obsolete_reason = state.volatile.obsolete.get(&row.id).cloned();
    Some(Node {
        node_id: row.id.clone(),
        template: run.template.clone(),
        container_type: row.container_type.clone(),
        runtime: row.runtime.clone(),
        configuration_id: run.configuration_id,
        status: shown_status(state, &row.id, run),
        reason: run.reason.clone(),
        is_obsolete: obsolete_reason.is_some(),
        obsolete_reason,
        incarnation: run.incarnation,
        address: joined.address,
        roles: joined.roles,
        modules: joined.modules,
        endpoints: joined.endpoints,
        processes: joined.processes,
        since: rfc3339(run.status_since),
        cordoned: row.cordoned,
        order: order(state, row),
        asked: state.requests.get(&row.id).map(|request| {
            text_of(if request.drain {
                StopReason::Drain
            } else {
                StopReason::Restart
            })
        }),
        last_crash: row.last_crash.as_ref().map(crash_text),
        operations: operations(state, row),
    })
}

/// Writes how a node ended by itself, and whether it does so again and again.
fn crash_text(crash: &CrashReport) -> String {
    let exit = &crash.exit;
    if crash.is_loop() {
        let (count, minutes) = (crash.crashes, CRASH_LOOP_SECONDS / 60);
        format!("{exit} (crash loop: {count} times in {minutes} minutes)")
    } else {
        exit.clone()
    }
}

/// Returns the open stop order of a node.
fn order(state: &State, row: &NodeRow) -> Option<NodeOrder> {
    let stop = state.orders.stop_of(&row.id)?;
    Some(NodeOrder {
        reason: text_of(stop.reason),
        ordered: rfc3339(stop.order.ordered),
        next_configuration_id: stop.target.map(|target| target.configuration_id),
    })
}

/// Returns the text of a reason on the wire.
pub(crate) fn text_of(reason: StopReason) -> String {
    let text = reason.serialize(serde_json::value::Serializer);
    text.ok()
        .and_then(|text| text.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn sentence(state: &State, row: &NodeRow, assigned: Option<&str>) -> String {
    let Some(run) = &row.run else {
        let waits = if state.volatile.waiting.contains_key(&row.id) {
            "waits for work"
        } else {
            "is away"
        };
        return format!("nothing runs there; the container {waits}");
    };
    match assigned {
        Some(sentence) => format!("it asked and got `{}`: {sentence}", run.template),
        None => format!(
            "it started as `{}` of configuration {} without asking (told so before, or by its fallback) and was taken in",
            run.template, run.configuration_id
        ),
    }
}

//! What the API shows of nodes and templates.

use std::collections::BTreeMap;

use klusterkite_api::nodes::{Node, NodeExplanation, NodeOrder, Template};
use klusterkite_api::page::Page;
use klusterkite_core::plan::rollout::{NodeStatus, StopReason};
use klusterkite_core::reason::Waiting;
use klusterkite_store::rows::{NodeRow, NodeRun};
use klusterkite_wire::start::{CRASH_LOOP_SECONDS, CrashReport};
use klusterkite_wire::time::rfc3339;
use klusterkite_wire::{NodeId, TemplateCode};
use serde::Serialize;

use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::operations::operations;
use crate::rollout::shown_status;
use crate::state::State;

/// Which nodes are listed.
pub struct NodeQuery {
    /// Only those of this template.
    pub template: Option<TemplateCode>,
    /// Only those in this state.
    pub status: Option<NodeStatus>,
    /// Only those behind this place.
    pub after: Option<(TemplateCode, NodeId)>,
    /// As many as this.
    pub limit: usize,
}

impl Cluster {
    /// Lists the nodes that count, by template and id. Only those of the page are looked at, and with a status those on
    /// the way to it.
    pub async fn node_list(&self, query: &NodeQuery) -> Page<Node> {
        let state = self.read().await;
        let has_status = |id: &NodeId, said: NodeStatus| {
            let shown = || shown_status(&state, id, said);
            query.status.is_none_or(|status| shown() == status)
        };
        let (template, after) = (query.template.as_ref(), query.after.as_ref());
        let listed = state.roster.running(template, after);
        let listed = listed.filter(|(_, id, said)| has_status(id, *said));
        let mut listed: Vec<_> = listed.take(query.limit + 1).collect();
        let has_more = listed.len() > query.limit;
        listed.truncate(query.limit);
        let last = listed.last().filter(|_| has_more);
        let next_cursor = last.map(|(template, id, _)| format!("{template}/{id}"));
        let counts = counts(&state, template);
        let items = listed
            .iter()
            .filter_map(|(_, id, _)| node(&state, state.nodes.get(*id)?));
        Page {
            items: items.collect(),
            next_cursor,
            total: match query.status {
                Some(status) => counts.get(&status).copied().unwrap_or_default(),
                None => counts.values().sum(),
            },
        }
    }

    /// Counts the nodes by their status.
    pub async fn node_counts(&self) -> BTreeMap<NodeStatus, u64> {
        counts(&*self.read().await, None)
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
        let template = row.run.as_ref().map(|run| &run.template);
        let waiting_on = waiting.filter(|wait| concerns(wait, id, template)).cloned();
        let assignment = row.run.as_ref().and_then(|run| run.explanation.clone());
        Ok(NodeExplanation {
            node_id: id.clone(),
            sentence: sentence(
                &state,
                row,
                assignment.as_ref().map(|why| why.sentence.as_str()),
            ),
            assignment,
            obsolete_reason: state.volatile.obsolete.get(id).cloned(),
            order: order(&state, row),
            waiting_on: waiting_on.collect(),
        })
    }

    /// Counts the nodes of each template of the Active configuration.
    pub async fn template_list(&self) -> Vec<Template> {
        let state = self.read().await;
        let Some(active) = state.active() else {
            return Vec::new();
        };
        let templates = active.node_templates.values().map(|template| Template {
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
            waiting_on: state
                .volatile
                .waiting_on
                .iter()
                .filter(|wait| names_template(wait, &template.code))
                .cloned()
                .collect(),
            statistics: state.volatile.statistics.shown(&template.code),
        });
        let mut templates: BTreeMap<_, _> = templates
            .map(|template| (template.code.clone(), template))
            .collect();
        for row in state.nodes.values() {
            if let Some(run) = &row.run
                && let Some(counted) = templates.get_mut(&run.template)
            {
                count(&state, row, run, counted);
            }
        }
        templates.into_values().collect()
    }
}

/// Counts the nodes of a template, or all, by their status.
fn counts(state: &State, template: Option<&TemplateCode>) -> BTreeMap<NodeStatus, u64> {
    let mut counts = state.roster.counts(template);
    let unconfirmed = state.volatile.unconfirmed.iter();
    let rows = unconfirmed.filter_map(|id| state.nodes.get(id)?.run.as_ref());
    for run in rows.filter(|run| template.is_none_or(|template| run.template == *template)) {
        if let Some(said) = counts.get_mut(&run.status) {
            *said -= 1;
        }
        *counts.entry(NodeStatus::Unconfirmed).or_default() += 1;
    }
    counts.retain(|_, count| *count > 0);
    counts
}

/// Tells whether a wait is about this template.
fn names_template(wait: &Waiting, template: &TemplateCode) -> bool {
    let named = wait.params.get("template");
    named.is_some_and(|named| named == template.as_str())
}

/// Tells whether a wait is about this node. One for many nodes of a template names the first of them only.
fn concerns(wait: &Waiting, node: &NodeId, template: Option<&TemplateCode>) -> bool {
    if let Some(template) = template {
        let is_for_all = !wait.params.contains_key("template") && !wait.params.contains_key("node");
        if is_for_all || names_template(wait, template) {
            return true;
        }
    }
    let named = wait.params.get("node");
    named.is_some_and(|named| named == node.as_str())
}

fn count(state: &State, row: &NodeRow, run: &NodeRun, counted: &mut Template) {
    match shown_status(state, &row.id, run.status) {
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
        status: shown_status(state, &row.id, run.status),
        reason: run.reason.clone(),
        is_obsolete: obsolete_reason.is_some(),
        obsolete_reason,
        incarnation: run.incarnation,
        address: joined.address,
        roles: joined.roles,
        modules: joined.modules,
        endpoints: joined.endpoints,
        processes: joined.processes,
        containment: joined.containment,
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
pub(crate) fn crash_text(crash: &CrashReport) -> String {
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
        why: stop.why.map(str::to_owned),
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
        return match state.volatile.waiting.get(&row.id) {
            _ if row.cordoned => "nothing runs there; the container is cordoned".to_owned(),
            Some(waiting) => {
                format!("nothing runs there; the container waits: {}", waiting.why)
            }
            None => "nothing runs there; the container is away".to_owned(),
        };
    };
    match assigned {
        Some(sentence) => format!("it asked and got `{}`: {sentence}", run.template),
        None => format!(
            "it started as `{}` of configuration {} without asking (told so before, or by its fallback) and was taken in",
            run.template, run.configuration_id
        ),
    }
}

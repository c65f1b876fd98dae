//! Whether the nodes are where the Active release wants them: what a migration waits for.

use std::collections::BTreeMap;
use std::time::Duration;

use klusterkite_wire::{ConfigurationId, Runtime, TemplateCode};

use super::NodeStatus;
use crate::plan::compatibility::{RestartReason, restart_reason};
use crate::release::{NodeTemplate, Release};
use crate::time::Timestamp;

/// Who is ready for less has not proved anything, whatever `minStable` says.
const MOMENT: Duration = Duration::from_millis(1);

/// Describes the run of a node as far as it counts for its template's minimum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running<'a> {
    /// Its template.
    pub template: &'a TemplateCode,
    /// What it is now.
    pub status: NodeStatus,
    /// Since when.
    pub status_since: Timestamp,
    /// True when it was told to stop.
    pub leaves: bool,
}

/// Returns why a node has to be replaced, by its template, configuration and runtime.
pub fn obsolete(
    active: &Release,
    releases: &BTreeMap<ConfigurationId, Release>,
    (template, configuration_id, runtime): (&TemplateCode, ConfigurationId, &Runtime),
) -> Option<RestartReason> {
    if configuration_id == active.id {
        return None;
    }
    match releases.get(&configuration_id) {
        Some(release) => restart_reason(release, active, template, runtime),
        None => Some(RestartReason::UnknownConfiguration),
    }
}

/// Lists the templates of the Active release that have fewer stable nodes than their minimum, with how many
/// they have.
///
/// Replaced nodes are waited for by their orders. This is about the others: those of a template that the
/// release brings, or of which it wants more, were never told to stop, and have to be there all the same.
pub fn short<'a, 'r>(
    active: &'r Release,
    now: Timestamp,
    nodes: impl Iterator<Item = Running<'a>>,
) -> Vec<(&'r NodeTemplate, u32)> {
    let mut stable: BTreeMap<&TemplateCode, u32> = BTreeMap::new();
    for node in nodes {
        let Some(template) = active.node_templates.get(node.template) else {
            continue;
        };
        let ready_for = now.since(node.status_since);
        let counts = node.status == NodeStatus::Ready
            && !node.leaves
            && ready_for >= template.rollout.min_stable;
        *stable.entry(node.template).or_default() += u32::from(counts);
    }
    let templates = active.node_templates.values();
    let stable = |code: &TemplateCode| stable.get(code).copied().unwrap_or(0);
    templates
        .map(|template| (template, stable(&template.code)))
        .filter(|(template, stable)| *stable < template.minimum)
        .collect()
}

/// Tells whether the end of a run, by itself, speaks against the release that a migration has made Active:
/// the node was of that release and had not been ready for long enough.
///
/// A replacement that goes back to what ran before says so itself; this is about nodes whose containers ask.
pub fn speaks_against(
    active: &Release,
    configuration_id: ConfigurationId,
    run: Running<'_>,
    now: Timestamp,
) -> bool {
    let Some(template) = active.node_templates.get(run.template) else {
        return false;
    };
    let ready_for = now.since(run.status_since);
    let was_stable =
        run.status == NodeStatus::Ready && ready_for >= template.rollout.min_stable.max(MOMENT);
    let counts = matches!(
        run.status,
        NodeStatus::Assigned | NodeStatus::Starting | NodeStatus::Failed | NodeStatus::Ready
    );
    configuration_id == active.id && !run.leaves && counts && !was_stable
}

/// Says how many stable nodes a template lacks.
pub(super) fn sentence(code: &TemplateCode, stable: u32, minimum: u32) -> String {
    format!("`{code}` has {stable} of at least {minimum} stable nodes")
}

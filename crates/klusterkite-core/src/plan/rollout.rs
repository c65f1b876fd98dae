//! Who stops next: one budget for every voluntary stop.
//!
//! Updates, restarts, drains, surplus and redistribution all go through here, so that together they never
//! take a template below its floor (invariant I1). The plan is level-triggered: it looks at what is wanted
//! and what is there, never at what happened, and always leads to the Active release. Going back is the
//! same plan after the other release became the Active one.
//!
//! ```text
//! floor = max(minimum in the Active release, minimum at the other end of a running migration)
//! allow = min(batch − in flight, ready − floor)
//! ```

mod draft;
mod facts;
mod lint;
mod orders;
mod redistribution;
mod requests;
mod settled;
mod summary;
mod surge;
mod surplus;
mod update;

pub use lint::lint;
pub use orders::outcome_without_run;
pub use settled::{Running, obsolete, short, speaks_against};
pub use summary::{NodeRestart, PlanSummary, TemplateSummary, plan_summary};

use std::collections::BTreeMap;
use std::time::Duration;

use klusterkite_wire::{
    ConfigurationId, ContainerType, Incarnation, NodeId, OrderId, Runtime, TemplateCode,
};
use serde::{Deserialize, Serialize};

use crate::plan::compatibility::RestartReason;
use crate::reason::{Refusal, Waiting};
use crate::release::Release;
use crate::time::Timestamp;

use draft::Draft;
use facts::Facts;

/// Plans what to do now.
///
/// Planning again after the acts were written down gives no new acts (prefetches are repeated until done).
pub fn rollout(input: &RolloutInput<'_>) -> RolloutPlan {
    let facts = Facts::new(input);
    let mut draft = Draft::new(&facts);
    orders::close(&mut draft);
    requests::forced(&mut draft);
    if input.holds.is_empty() {
        voluntary(&mut draft);
    } else {
        draft.wait_for_all(input.holds);
    }
    orders::explain(&mut draft);
    let plan = draft.finish();
    RolloutPlan {
        obsolete: facts.obsolete,
        ..plan
    }
}

/// Plans everything that must not happen while something is wrong with the cluster as a whole.
fn voluntary(draft: &mut Draft<'_>) {
    let paused = orders::pause(draft);
    requests::within_budget(draft);
    if paused {
        surge::grow(draft);
        return;
    }
    surplus::shrink(draft);
    redistribution::fill(draft);
    update::present_templates(draft);
    surge::grow(draft);
    update::removed_templates(draft);
    update::manager(draft);
}

/// Describes one node as the manager knows it.
///
/// A node that stopped because it was told to become something else stays in the list, as
/// [`NodeStatus::Assigned`] to its target, until it speaks again or its order is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Identity of its launcher.
    pub id: NodeId,
    /// The run that the manager heard of last.
    pub incarnation: Incarnation,
    /// Kind of its container.
    pub container_type: ContainerType,
    /// Its runtime.
    pub runtime: Runtime,
    /// Template that it is made from.
    pub template: TemplateCode,
    /// Configuration of that template.
    pub configuration_id: ConfigurationId,
    /// What it is now.
    pub status: NodeStatus,
    /// Since when.
    pub status_since: Timestamp,
    /// When this run started.
    pub started: Timestamp,
    /// True when an operator took the container out of service: it gets nothing new.
    pub cordoned: bool,
    /// What the node has fetched ahead; its packages are in the content store.
    pub prefetched: Option<Target>,
    /// The stop order that is open for this node.
    pub stop: Option<StopOrder>,
}

/// Says what a node is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum NodeStatus {
    /// It was told what to be and has not spoken yet.
    Assigned,
    /// Its processes start.
    Starting,
    /// It serves, under a valid lease.
    Ready,
    /// It ends what it serves.
    Draining,
    /// Its processes stop.
    Stopping,
    /// A process of it died and was not restarted.
    Failed,
    /// Its lease ran out; it may well be serving.
    Unreachable,
    /// The manager has just started and has not heard of it yet.
    Unconfirmed,
}

/// Names what a node is to become.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Target {
    /// The template.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub template: TemplateCode,
    /// The configuration.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub configuration_id: ConfigurationId,
}

/// Describes an open stop order: written before it was sent, and counted until its replacement is stable or given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopOrder {
    /// Number of the order.
    pub order_id: OrderId,
    /// The run that was told to stop; a newer one is the replacement.
    pub incarnation: Incarnation,
    /// Why it was told to stop.
    pub reason: StopReason,
    /// What the node becomes; `None`: its container asks again.
    pub target: Option<Target>,
    /// When it was ordered.
    pub ordered: Timestamp,
}

/// Says why a node is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Hash, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum StopReason {
    /// It does not match the Active configuration.
    Update,
    /// An operator asked for a restart.
    Restart,
    /// An operator takes the container out of service.
    Drain,
    /// The template has more nodes than it may have.
    Surplus,
    /// Another template needs the container more.
    Redistribution,
    /// The Active configuration has no such template.
    TemplateRemoved,
}

/// Describes what an operator asked of one node. The stop that it leads to consumes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// What was asked.
    pub kind: RequestKind,
    /// True: at once, whatever the budget, pauses and holds say.
    pub force: bool,
}

/// Names what an operator may ask of a node.
#[derive(Debug, Clone, Copy, PartialEq, Hash, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RequestKind {
    /// Stop and start again.
    Restart,
    /// Stop and leave the container empty.
    Drain,
}

/// Describes a container that asked and got nothing, though it is in service: the cluster's spare capacity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingContainer {
    /// Identity of its launcher.
    pub node_id: NodeId,
    /// Its kind.
    pub container_type: ContainerType,
    /// Its runtime.
    pub runtime: Runtime,
}

/// Counts what went wrong with the replacements of one template since the update was started or resumed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gate {
    /// How many replacements did not become stable: reported failures and orders closed as [`Outcome::GivenUp`].
    pub failed: u32,
    /// What the last one reported.
    pub reason: Option<String>,
}

/// Everything that the plan depends on.
#[derive(Debug, Clone)]
pub struct RolloutInput<'a> {
    /// The present moment.
    pub now: Timestamp,
    /// What is wanted.
    pub active: &'a Release,
    /// The other end of the running migration: its minimums hold too.
    pub other: Option<&'a Release>,
    /// The releases that nodes run, as far as they are known.
    pub releases: &'a BTreeMap<ConfigurationId, Release>,
    /// Every node that counts.
    pub nodes: &'a [Node],
    /// What operators asked for.
    pub requests: &'a BTreeMap<NodeId, Request>,
    /// Containers that wait for work.
    pub waiting: &'a [WaitingContainer],
    /// Failures per template.
    pub gates: &'a BTreeMap<TemplateCode, Gate>,
    /// Why updates are paused.
    pub paused: Option<Refusal>,
    /// Why there must be no voluntary act at all: mass failure, nodes not confirmed yet, ….
    pub holds: &'a [Waiting],
    /// True while a resource moves: the manager's own node stays (I5).
    pub resource_moving: bool,
    /// Time that each template's update has left to make progress; absent: all of it.
    pub deadlines: &'a BTreeMap<TemplateCode, Duration>,
}

/// What to do now, and what is waited for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RolloutPlan {
    /// Acts in the order in which they are to be carried out.
    pub acts: Vec<Act>,
    /// Number of nodes up to which these templates are to be filled first, so that their update can go on;
    /// goes into [`Taken::surge`](super::assignment::Taken::surge).
    pub surge: BTreeMap<TemplateCode, u32>,
    /// Nodes that need a restart, and why.
    pub obsolete: BTreeMap<NodeId, RestartReason>,
    /// What the plan waits for; empty when the cluster is as it should be.
    pub waiting: Vec<Waiting>,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Have the node fetch what it becomes. Repeated until the node reports it as done; sent once per target.
    Prefetch {
        /// The node.
        node: NodeId,
        /// What to fetch.
        target: Target,
    },
    /// Tell the node to stop.
    Stop {
        /// The node.
        node: NodeId,
        /// Why.
        reason: StopReason,
        /// What it becomes; always fetched already. `None`: its container asks again.
        target: Option<Target>,
    },
    /// Close the node's open stop order.
    CloseOrder {
        /// The node.
        node: NodeId,
        /// The order.
        order_id: OrderId,
        /// How it ended.
        outcome: Outcome,
    },
    /// Pause the update until an operator resumes it.
    Pause {
        /// The template that is to blame.
        template: TemplateCode,
        /// What happened.
        reason: Refusal,
    },
}

/// Says how a stop order ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The replacement has been ready long enough.
    Stable,
    /// There is no replacement that works; counts in the [`Gate`].
    GivenUp,
    /// The node stopped, and nothing was to follow.
    Gone,
}

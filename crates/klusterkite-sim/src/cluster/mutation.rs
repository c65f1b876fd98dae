//! Decisions that are broken on purpose: a check that never fails proves nothing.

use std::time::Duration;

use klusterkite_core::plan::assignment::{Answer, Ask, Explanation, Rule, WaitCode, fits};
use klusterkite_core::plan::migration::{Drive, MigrationState};
use klusterkite_core::plan::resources::Side;
use klusterkite_core::plan::rollout::{Act, NodeStatus, RolloutPlan, StopReason};
use klusterkite_core::release::Release;

use super::leader::Facts;
use super::store::MigrationRow;
use super::{Cluster, Invariant};

/// One mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mutation {
    /// Each plan that stops a node stops one more.
    StopOneMore,
    /// Nodes move, and the configuration that they leave stays Active.
    TwoActive,
    /// Nodes move before the resources that they depend on.
    NodesFirst,
    /// The way back takes the resources in the order of the way there.
    WayBackForward,
    /// An executor does not wait for another one to end.
    NoLock,
    /// A full template takes one more container.
    OneTooMany,
    /// A fenced node that speaks is counted.
    CountFenced,
    /// A migration that could end does not, and says nothing.
    NeverEnd,
    /// A container that a template needs is told to wait.
    WaitWhenNeeded,
}

impl Mutation {
    /// Every mistake with the invariant that it breaks.
    pub const ALL: &'static [(Self, Invariant)] = &[
        (Self::StopOneMore, Invariant::I1),
        (Self::TwoActive, Invariant::I2),
        (Self::NodesFirst, Invariant::I3),
        (Self::WayBackForward, Invariant::I4),
        (Self::NoLock, Invariant::I5),
        (Self::OneTooMany, Invariant::I6),
        (Self::CountFenced, Invariant::I7),
        (Self::NeverEnd, Invariant::L1),
        (Self::WaitWhenNeeded, Invariant::L2),
    ];
}

impl Cluster {
    pub(super) fn mutate_plan(&self, facts: &Facts, plan: &mut RolloutPlan) {
        if self.mutation != Some(Mutation::StopOneMore) {
            return;
        }
        let stops = |id| {
            plan.acts
                .iter()
                .any(|act| matches!(act, Act::Stop { node, .. } if node == id))
        };
        let stopped = facts.nodes.iter().find(|node| stops(&node.id));
        let Some(stopped) = stopped else { return };
        let one_more = facts.nodes.iter().find(|node| {
            node.template == stopped.template
                && node.status == NodeStatus::Ready
                && node.stop.is_none()
                && !stops(&node.id)
        });
        if let Some(node) = one_more {
            plan.acts.push(Act::Stop {
                node: node.id.clone(),
                reason: StopReason::Update,
                target: None,
            });
        }
    }

    pub(super) fn mutate_answer(&self, release: &Release, answer: Answer, ask: &Ask) -> Answer {
        match (self.mutation, &answer) {
            (Some(Mutation::OneTooMany), Answer::Wait { code, .. })
                if *code == WaitCode::ClusterFull =>
            {
                let mut templates = release.node_templates.values();
                let full = templates
                    .find(|template| fits(template, &ask.container_type, &ask.runtime))
                    .expect("a full cluster has candidates");
                Answer::Start {
                    template: full.code.clone(),
                    why: Explanation {
                        rule: Rule::Spare,
                        kept_slot: false,
                        candidates: Vec::new(),
                        sentence: "a mistake".to_owned(),
                    },
                }
            }
            (Some(Mutation::WaitWhenNeeded), Answer::Start { why, .. })
                if why.rule == Rule::BelowMinimum =>
            {
                Answer::Wait {
                    code: WaitCode::ClusterFull,
                    retry_after: Duration::from_mins(1),
                    why: why.clone(),
                }
            }
            _ => answer,
        }
    }

    pub(super) fn mutate_drive(
        &self,
        decided: Drive,
        resources: &MigrationState,
        migration: &MigrationRow,
    ) -> Drive {
        match (self.mutation, decided) {
            (Some(Mutation::NodesFirst), Drive::Move(planned))
                if planned.target == Side::Destination
                    && self.store.active_side() == Some(Side::Source) =>
            {
                Drive::Switch(Side::Destination)
            }
            (Some(Mutation::WayBackForward), Drive::Move(planned))
                if planned.target == Side::Source =>
            {
                let mut keys = [resources.pre(), resources.post()].concat().into_iter();
                let other = keys.find_map(|key| {
                    let (_, resource) = resources.resource(&key)?;
                    let executor = resource.executor_to(Side::Source)?;
                    let point = resource.source_point.clone()?;
                    Some((key, executor, point))
                });
                let Some((key, executor, point)) = other else {
                    return Drive::Move(planned);
                };
                Drive::Move(klusterkite_core::plan::resources::ResourceMove {
                    key,
                    executor,
                    point,
                    ..planned
                })
            }
            (Some(Mutation::NeverEnd), Drive::End(side)) if side == migration.goal => Drive::Wait,
            (_, decided) => decided,
        }
    }
}

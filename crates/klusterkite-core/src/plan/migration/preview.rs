//! What a migration would do, told before it starts.

use klusterkite_wire::Point;
use serde::{Deserialize, Serialize};

use super::automatic::cannot_go_on;
use super::phases::Phase;
use super::{Entry, MigrationState, Step};
use crate::plan::resources::{Direction, ResourceKey, ResourcePosition, Side};
use crate::plan::rollout::PlanSummary;
use crate::reason::Waiting;

/// Says what a migration would do, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MigrationPlan {
    /// The steps from the first to the last.
    pub steps: Vec<Step>,
    /// Resources that move before the nodes, in order.
    pub before_nodes: Vec<PlannedMove>,
    /// What happens to the nodes.
    pub nodes: PlanSummary,
    /// Resources that move after the nodes, in order.
    pub after_nodes: Vec<PlannedMove>,
    /// What keeps the migration from coming to its end as things are now, nodes included.
    pub blockers: Vec<Waiting>,
}

/// Says how one resource would move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlannedMove {
    /// The resource.
    #[serde(flatten)]
    pub key: ResourceKey,
    /// What happens to it.
    pub kind: MoveKind,
    /// Where it is; `None`: it does not exist.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub from: Option<Point>,
    /// Where it goes.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub to: Point,
    /// The configuration whose migrator does it.
    pub executor: Side,
    /// True when a rollback would not undo it: it stays created, or passes a point that cannot be left downward.
    pub cannot_be_undone: bool,
    /// The points on its way that cannot be left downward, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub irreversible: Vec<Point>,
}

/// Says what happens to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum MoveKind {
    /// It is created, and stays when the migration is rolled back.
    Create,
    /// It moves up its line.
    Upgrade,
    /// It moves down its line.
    Downgrade,
}

/// Says why the resources cannot all come to the destination, before anything moves; `None`: they can.
pub fn blocked(state: &MigrationState) -> Option<Waiting> {
    let mut blockers = Vec::new();
    resource_moves(state, &mut blockers);
    blockers.into_iter().next()
}

/// Tells what a migration from here to the destination would do.
pub fn plan(state: &MigrationState, nodes: PlanSummary) -> MigrationPlan {
    let mut blockers = Vec::new();
    let [before_nodes, after_nodes] = resource_moves(state, &mut blockers);
    blockers.extend(nodes.blockers.iter().cloned());
    MigrationPlan {
        steps: state.steps(),
        before_nodes,
        nodes,
        after_nodes,
        blockers,
    }
}

/// Lists the moves before and after the nodes, and adds what keeps resources from moving.
fn resource_moves(state: &MigrationState, blockers: &mut Vec<Waiting>) -> [Vec<PlannedMove>; 2] {
    blockers.extend(cannot_go_on(state).map(Waiting::from));
    [Phase::BeforeNodes, Phase::AfterNodes].map(|phase| moves(state, phase, blockers))
}

fn moves(state: &MigrationState, phase: Phase, blockers: &mut Vec<Waiting>) -> Vec<PlannedMove> {
    let mut moves = Vec::new();
    for entry in state.phase(phase) {
        if entry.is_at_destination() {
            continue;
        }
        match entry.move_to(Side::Destination) {
            Ok(planned) => moves.push(PlannedMove {
                key: planned.key,
                kind: entry.kind(),
                from: entry.resource.current_point.clone(),
                to: planned.point,
                executor: planned.executor,
                cannot_be_undone: entry.cannot_be_undone(),
                irreversible: entry.irreversible_on_the_way(),
            }),
            Err(refusal) => blockers.push(refusal.into()),
        }
    }
    moves
}

impl Entry<'_> {
    fn kind(&self) -> MoveKind {
        match (self.resource.position, self.direction()) {
            (ResourcePosition::NotCreated, _) => MoveKind::Create,
            (_, Direction::Downgrade) => MoveKind::Downgrade,
            (_, Direction::Upgrade | Direction::Stay | Direction::Undefined) => MoveKind::Upgrade,
        }
    }

    fn cannot_be_undone(&self) -> bool {
        self.resource.source_point.is_none()
            || self.resource.current_point.is_none()
            || !self.irreversible_on_the_way().is_empty()
    }

    /// Lists the points between the two ends, the destination's included, that cannot be left downward.
    fn irreversible_on_the_way(&self) -> Vec<Point> {
        let points = &self.migrator.points;
        let place = |point: Option<&Point>| points.iter().position(|other| Some(other) == point);
        let (Some(back), Some(there)) = (
            place(self.resource.source_point.as_ref()),
            place(self.resource.destination_point.as_ref()),
        ) else {
            return Vec::new();
        };
        let passed = points.iter().take(there + 1).skip(back + 1);
        let lasting = passed.filter(|point| self.migrator.irreversible.contains(point));
        lasting.cloned().collect()
    }
}

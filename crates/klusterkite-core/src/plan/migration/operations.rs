//! What may be done in each step (section 2.8), and the resource moves that an operator asks for.

use super::phases::Phase;
use super::{Entry, MigrationState, Step, refusals};
use crate::plan::resources::{ResourceKey, ResourceMove, Side};
use crate::reason::{Operation, ReasonCode, Refusal};

/// What besides the resources decides about operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MigrationContext {
    /// The end that is Active.
    pub active: Side,
    /// True while some node does not run the Active configuration.
    pub obsolete_nodes: bool,
    /// True while some template of the Active configuration has fewer stable nodes than its minimum.
    pub missing_nodes: bool,
    /// True while an operation or an analysis runs.
    pub busy: bool,
    /// True while the migration is paused.
    pub paused: bool,
    /// True until the resources of both ends could be read for the first time: nothing can have moved yet.
    pub preparing: bool,
}

impl MigrationState {
    /// Lists the operations on the cluster during this migration.
    pub fn operations(&self, context: MigrationContext) -> Vec<Operation> {
        let not_busy = || {
            if context.busy {
                Err(refusals::busy())
            } else {
                Ok(())
            }
        };
        let unless_busy = |outcome: Result<(), Refusal>| not_busy().and(outcome);
        vec![
            Operation::new("createMigration", Err::<(), _>(refusals::migration_runs())),
            Operation::new("migrateResources", unless_busy(self.may_migrate(context)))
                .recommended_if(self.leads_on(context)),
            Operation::new(
                "updateNodesToDestination",
                unless_busy(self.may_update(Side::Destination, context)),
            )
            .recommended(),
            Operation::new(
                "updateNodesToSource",
                unless_busy(self.may_update(Side::Source, context)),
            ),
            Operation::new("cancel", unless_busy(self.may_cancel(context))),
            Operation::new("finish", unless_busy(self.may_finish(context))).recommended(),
            Operation::new("recheck", Ok(())),
            Operation::new("pause", may_pause(context)),
            Operation::new("resume", may_resume(context)).recommended(),
        ]
    }

    /// Lists what can be moved now, in the order in which it has to be done.
    pub fn migratable(&self, context: MigrationContext) -> Vec<ResourceKey> {
        if context.busy {
            return Vec::new();
        }
        self.movable(context).iter().map(Entry::key).collect()
    }

    /// Sorts the moves that an operator asked for into the order of the migration (B12): back to the source
    /// in reverse order, then on to the destination. Refuses the whole request if one move is not possible.
    pub fn moves(
        &self,
        requests: &[(ResourceKey, Side)],
        context: MigrationContext,
    ) -> Result<Vec<ResourceMove>, Refusal> {
        if context.busy {
            return Err(refusals::busy());
        }
        self.may_migrate(context)?;
        let leads_on = requests.iter().any(|(_, side)| *side == context.active);
        if context.active == Side::Destination && context.missing_nodes && leads_on {
            return Err(refusals::nodes_missing());
        }
        let movable = self.movable(context);
        for (key, _) in requests {
            if !movable.iter().any(|entry| entry.is(key)) {
                return Err(self.why_not_now(key, self.current(context)));
            }
        }
        let wanted = |entry: &&Entry<'_>, target: Side| {
            requests
                .iter()
                .any(|(key, side)| entry.is(key) && *side == target)
                && !entry.is_at(target)
        };
        let back = movable
            .iter()
            .rev()
            .filter(|entry| wanted(entry, Side::Source));
        let on = movable
            .iter()
            .filter(|entry| wanted(entry, Side::Destination));
        let moves: Vec<ResourceMove> = back
            .map(|entry| entry.move_to(Side::Source))
            .chain(on.map(|entry| entry.move_to(Side::Destination)))
            .collect::<Result<_, _>>()?;
        if moves.is_empty() {
            let message = "every resource of the request is where it is to go";
            return Err(Refusal::new(ReasonCode::NothingChanges, message));
        }
        Ok(moves)
    }

    /// Tells whether resources may be moved.
    pub fn may_migrate(&self, context: MigrationContext) -> Result<(), Refusal> {
        self.may_judge()?;
        // B13: neither what comes after the nodes, nor what comes before them on the way back.
        if context.obsolete_nodes {
            return Err(refusals::nodes_obsolete());
        }
        if self.movable(context).is_empty() {
            if self.current(context) == Step::NodesUpdating {
                return Err(refusals::nodes_missing());
            }
            return Err(refusals::nothing_to_migrate());
        }
        Ok(())
    }

    /// Tells whether the nodes may be moved to an end (I3).
    pub fn may_update(&self, target: Side, context: MigrationContext) -> Result<(), Refusal> {
        self.may_judge()?;
        if context.active == target {
            let message = format!("the nodes move to the {target} already, or are there");
            return Err(Refusal::new(ReasonCode::NothingChanges, message));
        }
        let standing = self.standing();
        let (is_prepared, first) = match target {
            Side::Destination => (
                standing.pre_at_destination,
                "move the resources before the nodes to the destination first",
            ),
            Side::Source => (
                standing.post_at_source,
                "move the resources after the nodes back to the source first",
            ),
        };
        if self.is_broken() || !is_prepared {
            return Err(wrong_step(self.current(context), first));
        }
        Ok(())
    }

    /// Tells whether the migration may be cancelled: nothing moved, or everything is back.
    pub fn may_cancel(&self, context: MigrationContext) -> Result<(), Refusal> {
        if !context.preparing {
            self.may_judge()?;
        }
        if context.active == Side::Source && self.entries().all(|entry| entry.is_at_source()) {
            return Ok(());
        }
        Err(wrong_step(
            self.current(context),
            "take nodes and resources back to the source first",
        ))
    }

    /// Tells whether the migration may be finished.
    pub fn may_finish(&self, context: MigrationContext) -> Result<(), Refusal> {
        self.may_judge()?;
        if context.obsolete_nodes && context.active == Side::Destination {
            return Err(refusals::nodes_obsolete());
        }
        if context.missing_nodes && context.active == Side::Destination {
            return Err(refusals::nodes_missing());
        }
        match self.current(context) {
            Step::Finish => Ok(()),
            step => Err(wrong_step(step, "move everything to the destination first")),
        }
    }

    fn current(&self, context: MigrationContext) -> Step {
        self.step(context)
    }

    /// Nothing may be decided on half a reading.
    fn may_judge(&self) -> Result<(), Refusal> {
        self.errors
            .first()
            .map_or(Ok(()), |error| Err(refusals::analysis_failed(error)))
    }

    fn movable(&self, context: MigrationContext) -> Vec<Entry<'_>> {
        match self.current(context) {
            Step::Start | Step::PreNodesResourcesUpdating | Step::PreNodeResourcesUpdated => {
                self.phase(Phase::BeforeNodes)
            }
            Step::NodesUpdated | Step::PostNodesResourcesUpdating | Step::Finish => {
                self.phase(Phase::AfterNodes)
            }
            Step::Recovery => [
                self.phase(Phase::BeforeNodes),
                self.phase(Phase::AfterNodes),
            ]
            .concat(),
            Step::NodesUpdating | Step::Broken => Vec::new(),
        }
    }

    /// Says why a resource is not among those that can be moved in a step.
    fn why_not_now(&self, key: &ResourceKey, step: Step) -> Refusal {
        if let Some(unknown) = refusals::unknown_part(&self.templates, key) {
            return unknown;
        }
        let entry = self.entries().find(|entry| entry.is(key));
        let why = match entry.and_then(|entry| entry.phase()) {
            Some(Phase::BeforeNodes) => "it moves before the nodes",
            Some(Phase::AfterNodes) => "it moves after the nodes",
            None => "it has no place in this migration",
        };
        let step = step_text(step);
        let why = format!("{why}, and the step is `{step}`");
        refusals::not_migratable(key, &why).with("step", step)
    }

    /// Tells whether moving resources is what comes next.
    fn leads_on(&self, context: MigrationContext) -> bool {
        self.movable(context)
            .iter()
            .any(|entry| !entry.is_at_destination())
    }
}

/// Lists the operations while nothing is known about the resources, because they are being read or could
/// not be read. A migration that was never analysed may be cancelled; recheck is always possible (B24, B26).
pub fn operations_without_state(
    busy: bool,
    is_migrating: bool,
    is_preparing: bool,
) -> Vec<Operation> {
    let unknown = || {
        Err::<(), _>(if busy {
            refusals::busy()
        } else {
            refusals::resources_unknown()
        })
    };
    let recheck = Operation::new("recheck", Ok(()));
    if !is_migrating {
        let mut operations = vec![
            Operation::new("createMigration", unknown()),
            Operation::new("migrateResources", unknown()),
        ];
        operations.extend(refusals::without_migration());
        operations.push(recheck);
        return operations;
    }
    let cancel = if is_preparing && !busy {
        Ok(())
    } else {
        unknown()
    };
    let refused = [
        "migrateResources",
        "updateNodesToDestination",
        "updateNodesToSource",
    ];
    let mut operations = vec![Operation::new(
        "createMigration",
        Err::<(), _>(refusals::migration_runs()),
    )];
    operations.extend(refused.map(|id| Operation::new(id, unknown())));
    operations.extend([
        Operation::new("cancel", cancel),
        Operation::new("finish", unknown()),
        recheck,
    ]);
    operations.extend(["pause", "resume"].map(|id| Operation::new(id, unknown())));
    operations
}

impl Entry<'_> {
    pub(super) fn is_at(&self, side: Side) -> bool {
        match side {
            Side::Source => self.is_at_source(),
            Side::Destination => self.is_at_destination(),
        }
    }

    /// Returns the move to an end, or why nobody can do it.
    pub(super) fn move_to(&self, target: Side) -> Result<ResourceMove, Refusal> {
        let key = self.key();
        let (Some(executor), Some(point)) = (
            self.resource.executor_to(target),
            self.resource.point_at(target),
        ) else {
            let message = format!("no migrator can move resource `{key}` to the {target}");
            return Err(Refusal::new(ReasonCode::NoExecutor, message).with("resource", key));
        };
        if let Some(stuck) = self.irreversible_on_the_way_to(target) {
            let message = format!(
                "resource `{key}` cannot leave point `{stuck}` downward; its migrator calls it irreversible"
            );
            return Err(Refusal::new(ReasonCode::Irreversible, message)
                .with("resource", key)
                .with("point", stuck));
        }
        let point = point.clone();
        Ok(ResourceMove {
            key,
            executor,
            target,
            point,
        })
    }

    /// Returns an irreversible point that a move downward to an end would have to leave.
    pub(super) fn irreversible_on_the_way_to(
        &self,
        target: Side,
    ) -> Option<&klusterkite_wire::Point> {
        let place = |point: &klusterkite_wire::Point| {
            self.migrator.points.iter().position(|other| other == point)
        };
        let from = place(self.resource.current_point.as_ref()?)?;
        let to = place(self.resource.point_at(target)?)?;
        self.irreversible_between(to, from)
    }

    /// Returns an irreversible point above `low` and up to `high`.
    pub(super) fn irreversible_between(
        &self,
        low: usize,
        high: usize,
    ) -> Option<&klusterkite_wire::Point> {
        let left = self.migrator.points.iter().take(high + 1).skip(low + 1);
        left.rev()
            .find(|point| self.migrator.irreversible.contains(point))
    }
}

fn may_pause(context: MigrationContext) -> Result<(), Refusal> {
    if context.paused {
        return Err(Refusal::new(
            ReasonCode::MigrationPaused,
            "the migration is paused already",
        ));
    }
    Ok(())
}

fn may_resume(context: MigrationContext) -> Result<(), Refusal> {
    if context.paused {
        return Ok(());
    }
    Err(Refusal::new(
        ReasonCode::MigrationNotPaused,
        "the migration is not paused",
    ))
}

fn wrong_step(step: Step, first: &str) -> Refusal {
    let text = step_text(step);
    let message = format!("not possible in step `{text}`; {first}");
    Refusal::new(ReasonCode::WrongStep, message).with("step", text)
}

/// Returns the text of a step on the wire.
fn step_text(step: Step) -> String {
    serde_json::to_value(step)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

//! Which resources move before the nodes, which after them, and in which order.

use klusterkite_wire::migrator::DependencyType;

use super::{Entry, MigrationState};
use crate::plan::resources::{Direction, ResourceKey, ResourcePosition};

impl MigrationState {
    /// Lists the resources that move before the nodes, in order.
    pub fn pre(&self) -> Vec<ResourceKey> {
        self.phase(Phase::BeforeNodes)
            .iter()
            .map(Entry::key)
            .collect()
    }

    /// Lists the resources that move after the nodes, in order.
    pub fn post(&self) -> Vec<ResourceKey> {
        self.phase(Phase::AfterNodes)
            .iter()
            .map(Entry::key)
            .collect()
    }

    /// Returns the entries of a phase: first those that are downgraded, by priority ascending, then the
    /// others, by priority descending; equals keep the order of the lists (seed).
    pub(super) fn phase(&self, phase: Phase) -> Vec<Entry<'_>> {
        let of_phase = self.entries().filter(|entry| entry.phase() == Some(phase));
        let (mut down, mut up): (Vec<_>, Vec<_>) =
            of_phase.partition(|entry| entry.direction() == Direction::Downgrade);
        down.sort_by(|one, other| one.migrator.priority.total_cmp(&other.migrator.priority));
        up.sort_by(|one, other| other.migrator.priority.total_cmp(&one.migrator.priority));
        down.append(&mut up);
        down
    }
}

/// Names the two times at which resources move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    BeforeNodes,
    AfterNodes,
}

impl Entry<'_> {
    /// Returns which way this resource moves: a new one does not, it is created.
    pub(super) fn direction(&self) -> Direction {
        if self.resource.source_point.is_none() {
            Direction::Stay
        } else {
            self.migrator.direction
        }
    }

    /// Returns when the resource moves; `None`: not in this migration.
    pub(super) fn phase(&self) -> Option<Phase> {
        use DependencyType::{CodeDependsOnResource, ResourceDependsOnCode};
        // What the destination does not know is left alone, whether it exists or not.
        self.resource.destination_point.as_ref()?;
        let upward = match (self.resource.position, self.direction()) {
            (
                ResourcePosition::SourceAndDestination
                | ResourcePosition::OutOfScope
                | ResourcePosition::Obsolete,
                _,
            ) => return None,
            // B17: a resource that was created half way stays in its phase until it is complete.
            (ResourcePosition::NotCreated, _)
            | (ResourcePosition::InScope, Direction::Stay)
            | (_, Direction::Upgrade) => true,
            (_, Direction::Downgrade) => false,
            (_, Direction::Stay | Direction::Undefined) => return None,
        };
        match (self.migrator.dependency_type, upward) {
            (CodeDependsOnResource, true) | (ResourceDependsOnCode, false) => {
                Some(Phase::BeforeNodes)
            }
            (CodeDependsOnResource, false) | (ResourceDependsOnCode, true) => {
                Some(Phase::AfterNodes)
            }
        }
    }

    /// Tells whether the resource is where the source can live with it: in place, not created, or created
    /// half way by this migration, which stays as it is.
    pub(super) fn is_at_source(&self) -> bool {
        match self.resource.position {
            ResourcePosition::Source
            | ResourcePosition::SourceAndDestination
            | ResourcePosition::NotCreated
            | ResourcePosition::Obsolete => true,
            // A new resource that is complete stays when the migration is rolled back.
            ResourcePosition::Destination => self.resource.source_point.is_none(),
            ResourcePosition::InScope => self.direction() == Direction::Stay,
            ResourcePosition::OutOfScope => false,
        }
    }

    /// Tells whether the resource is where the destination wants it.
    pub(super) fn is_at_destination(&self) -> bool {
        matches!(
            self.resource.position,
            ResourcePosition::Destination | ResourcePosition::SourceAndDestination
        )
    }
}

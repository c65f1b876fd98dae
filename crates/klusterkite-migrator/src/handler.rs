//! The two seams of the SDK: what a migrator and a seeder implement.

use klusterkite_wire::migrator::{MigrateParams, MigratorDescription, SeedResult};
use klusterkite_wire::{Point, ResourceCode};

use crate::Progress;

/// Any error of a handler; its chain of causes becomes the text of the answer. `?` makes it from every error type.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a handler's method gives.
pub type Answer<T> = Result<T, Failure>;

/// One thing that a migrator moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Code, unique inside the migrator and the same in every version of it.
    pub code: ResourceCode,
    /// Name for people.
    pub name: String,
}

/// Reads and moves the state of resources along a line of points.
///
/// A migrator must be able to take a resource from any of its points to any other, in both directions (seed);
/// points that it cannot leave downward are declared in [`MigratorDescription::irreversible`].
pub trait Migrator {
    /// Says what the migrator is and lists its points, oldest first.
    fn describe(&mut self) -> Answer<MigratorDescription>;

    /// Lists the resources, whether they are created or not.
    fn resources(&mut self) -> Answer<Vec<Resource>>;

    /// Reads where a resource is; `None`: not created. Must not create anything.
    fn current_point(&mut self, resource: &ResourceCode) -> Answer<Option<Point>>;

    /// Moves a resource to a point, and never beyond it.
    ///
    /// The point is one of the described ones and the resource one of the listed ones; both were checked before. Repeating
    /// a move that is done changes nothing. With `dry_run` it says in the log what it would do, and changes nothing.
    fn migrate(&mut self, order: &MigrateParams, progress: &mut Progress<'_>) -> Answer<()>;
}

/// Creates resources from scratch.
pub trait Seeder {
    /// Returns the name for people.
    fn name(&self) -> String;

    /// Creates what is missing; looks before it creates, so that a second run changes nothing (seed).
    fn seed(&mut self, progress: &mut Progress<'_>) -> Answer<SeedResult>;
}

//! Messages between the programs of a cluster: launcher, service host, manager, executor, migrators.
//!
//! Everything here is plain data in camelCase JSON. The crate is the slowest to change, because a
//! launcher that was baked into an image years ago still has to understand it: fields are only added,
//! and unknown fields are ignored.

pub mod heartbeat;
pub mod ids;
pub mod link;
pub mod migrator;
pub mod problem;
pub mod secret;
pub mod service_directory;
pub mod socket;
pub mod start;
pub mod time;

pub use ids::{
    ConfigurationId, ContainerType, Incarnation, LeaderEpoch, MigratorName, NodeId, OrderId, Point,
    ResourceCode, Runtime, TemplateCode,
};
pub use problem::{Problem, chain};
pub use secret::Secret;

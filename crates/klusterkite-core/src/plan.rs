//! What to do next: functions from what is wanted and what is observed to acts and reasons.

pub mod assignment;
pub mod compatibility;
pub mod leases;
pub mod migration;
pub mod progress;
pub mod resources;
pub mod rollout;

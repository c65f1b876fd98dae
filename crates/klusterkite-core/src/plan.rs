//! What to do next: functions from what is wanted and what is observed to acts and reasons.

pub mod assignment;
pub mod compatibility;
pub mod migration;
pub mod resources;
pub mod rollout;

//! The operator API of the manager, over real HTTP on a seeded database.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod assignment;
mod authorisation;
mod bugs;
mod capacity;
mod configurations;
mod events;
mod executor;
mod feed;
mod fleet;
mod harness;
mod input;
mod leases;
mod migrations;
mod migrator_logs;
mod node_logs;
mod nodes;
mod operators;
mod places;
mod program;
mod tokens;
mod turns;
mod updates;

//! The operator API of the manager, over real HTTP on a seeded database.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod authorisation;
mod bugs;
mod configurations;
mod events;
mod feed;
mod harness;
mod input;
mod nodes;
mod program;
mod tokens;

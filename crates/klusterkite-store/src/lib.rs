//! Database of the manager.
//!
//! The manager holds the whole state of the cluster in memory and is its only writer. It loads a
//! [`Snapshot`] once it leads, decides on values, and writes each decision as a list of [`Change`]s in
//! one transaction before it carries it out. So [`Store::commit`] is the only way to change anything, and
//! a stale leader is stopped in one place. What migrators say is no decision and has a door of its own,
//! with the same fence ([`Store::migrator_lines_append`]).
//!
//! The database is made once, by [`Store::create`] with a [`Seed`]: it is there as a whole or not at all.
//!
//! Architecture invariant: nothing here decides; nothing here knows HTTP, nodes' sockets or time. What a
//! table holds ([`rows`]), how it is written (`codec`, `sql`) and which engine runs it (`sqlite`) are
//! apart, so that another engine replaces the last of the three only.

pub mod change;
mod codec;
mod error;
mod files;
pub mod rows;
mod schema;
mod sql;
mod sqlite;
mod store;

pub use change::{Change, Seed, Snapshot};
pub use error::Error;
pub use store::{Created, LINES_MAX, LINES_OF_RESOURCE_MAX, Page, Store};

//! Everything that a program needs to be a node of the cluster, or to run on one.
//!
//! - A program **on** a node, started by the service host, uses [`program`]: its settings, the members of
//!   a role, and "I am ready".
//! - A program that **is** a node (the service host, or a template's own `entryPoint`) reads its
//!   [`StartSettings`], keeps a [`Link`] to the manager and serves [`members`](MembersService) to its processes.
//!
//! A node never stops because no manager is there: the link reconnects for ever, and the last members are
//! kept on disk.

mod error;
mod jitter;
mod link;
mod members;
pub mod program;
mod start_settings;

pub use error::Error;
pub use klusterkite_tls::Trust;
pub use link::state::{Answer, Input, Introduction, LinkState, Output, Refusal};
pub use link::{Link, LinkEvent, LinkSettings};
pub use members::{MembersFile, MembersService, bind_socket};
pub use start_settings::StartSettings;

//! The real launcher against a manager and a feed in memory, with a service host that is a script.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;
mod errors;
#[path = "../../../klusterkite-install/tests/it/feed.rs"]
#[expect(dead_code, reason = "shared with the tests of klusterkite-install")]
mod feed;
mod next;
mod process;
mod secure;
#[path = "../../../klusterkite-install/tests/it/server.rs"]
#[expect(dead_code, reason = "shared with the tests of klusterkite-install")]
mod server;
mod start;
mod store;

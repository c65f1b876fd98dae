//! Content store and service directories against a feed in memory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod assemble;
mod feed;
mod server;
mod store;

//! Tests of the node SDK against a real WebSocket and real sockets.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod link;
mod members;

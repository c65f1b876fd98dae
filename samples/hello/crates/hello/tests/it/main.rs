//! The service as a process.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod packages;
mod service;

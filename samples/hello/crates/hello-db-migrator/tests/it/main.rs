//! The migrator as a process: forward, back, killed in the middle.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod fixture;
mod moves;

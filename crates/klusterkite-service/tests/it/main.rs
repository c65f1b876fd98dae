//! Tests of the real program in a service directory of their own, with scripts as processes, a manager and a launcher
//! that the test plays.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench;
mod containment;
mod directory;
mod life;
mod logs;
mod orders;
mod readiness;

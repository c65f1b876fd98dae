//! The protocol as other programs see it.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod fixture;
mod protocol;
mod stdio;

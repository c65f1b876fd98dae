//! The executor as the manager sees it: a process with requests on stdin.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod clock;
mod describe;
mod directory;
mod end;
mod fixture;
mod migrate;

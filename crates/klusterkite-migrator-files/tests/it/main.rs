//! The migrator as a program, on directories of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod fixture;
mod sites;

//! The migrator as a program, with scripts of the shell as its commands.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod commands;
mod fixture;

//! The migrator and the seeder as programs, on real databases of both kinds.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod fixture;
mod history;
mod postgres;
mod seeding;
mod sqlite;

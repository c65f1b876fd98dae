//! The seeder as a program, against a feed in this process.

// The condition tells clippy that these modules are tests throughout.
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod seeding;
#[cfg(test)]
#[path = "../../../klusterkite-client/tests/it/server.rs"]
mod server;

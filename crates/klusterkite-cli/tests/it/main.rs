//! The program against a manager and a feed in this process.

// The condition tells clippy that these modules are tests throughout.
#[cfg(test)]
mod commands;
#[cfg(test)]
mod manager;
#[cfg(test)]
mod packages;
#[cfg(test)]
#[path = "../../../klusterkite-client/tests/it/server.rs"]
mod server;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod settings;

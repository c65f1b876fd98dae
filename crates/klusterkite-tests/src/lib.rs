//! A whole cluster of processes on one machine: `cargo xtask dev` runs it, the end-to-end tests use it.

pub mod api;
pub mod client;
pub mod disk;
pub mod hosts;
pub mod local;
pub mod migrator;
pub mod postgres;
pub mod process;
pub mod sample;

//! A cluster on hosts with addresses of their own: what cables, feeds, clocks, disks and processes do to it.
//!
//! The manager and the feed are on one host, each launcher is on another one, and the test stands at the switch
//! between them. What takes minutes takes seconds here, unless `cargo xtask hazards` runs it.

mod away;
mod bomb;
mod cables;
mod clock;
mod disk;
mod feed;
mod kills;
mod namespace;
mod processes;
mod reuse;
mod scratch;
mod stage;

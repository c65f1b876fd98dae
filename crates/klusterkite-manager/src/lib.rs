//! The manager: holds the configurations of a cluster and decides.
//!
//! One loop loads nothing and guesses nothing: the state is in memory, the pure core says what to do
//! ([`rollout`], [`migrations`]), each decision is committed to the store and only then carried out.
//! Handlers of the API and of node links change the same state by the same door, [`Cluster::transact`].
//!
//! Architecture invariants: nothing here decides which node stops or which resource moves; nothing is
//! sent to a node that is not in the store; no handler holds the state while it waits for a network.

pub mod auth;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod configurations;
pub mod containers;
pub mod events;
pub mod executors;
pub mod fault;
pub mod feed;
pub mod http;
mod leadership;
mod lease;
pub mod link;
pub mod migrations;
pub mod migrator_logs;
pub mod node_logs;
pub mod nodes;
pub mod operations;
pub mod orders;
pub mod pins;
mod progress;
pub mod rollout;
pub mod run;
pub mod secrets;
pub mod state;
pub mod statistics;
pub mod views;

pub use cluster::Cluster;

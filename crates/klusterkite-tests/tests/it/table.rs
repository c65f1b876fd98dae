//! What the migration API promises, asked of a real manager with real executors: only the migrators are scripted, and
//! the container is nothing but its requests.

mod bench;
mod leaders;
mod misbehaviour;
mod operators;
mod plans;
mod steps;

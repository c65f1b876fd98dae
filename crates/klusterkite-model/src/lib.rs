//! Everything that can happen in a small cluster: a model for the checker `stateright`.
//!
//! The states are those of the simulation itself, so there is no second description of the protocol that
//! could differ from the first: the manager's decisions are those of `klusterkite-core`. Two states are the same
//! when their fingerprints are.
//!
//! * [`clusters`] are the clusters that are searched, and what may happen to them.
//! * [`search`] runs the checker and says what is wrong, with the shortest way to it.

pub mod clusters;
mod liveness;
mod protocol;
mod search;

pub use protocol::{Event, Protocol, State, What};
pub use search::{Searched, Wrong, search};

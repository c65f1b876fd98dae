//! A simulated cluster in virtual time, and the proof that is made with it.
//!
//! * [`cluster`] is the simulation: the manager's decisions are those of `klusterkite-core`, everything else is
//!   simulated, and every step is judged by the invariants of the design.
//! * [`history`] makes random scenarios from seeds, and shrinks those that break something.
//! * [`script`] reads scenarios, readable texts with what is expected, and plays them.

pub mod cluster;
pub mod history;
pub mod script;

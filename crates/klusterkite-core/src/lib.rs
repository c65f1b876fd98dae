//! How the manager decides.
//!
//! Everything in this crate is a function from values to values: no clock, no randomness, no network, no
//! disk. The manager loads what is wanted and what is observed, asks this crate what to do, writes the
//! answer down and carries it out. The same functions say *why*: an operation that is refused and a plan
//! that waits both come with a code, a sentence and the object they are about.
//!
//! In reading order:
//!
//! * [`settings`] is what an operator writes. [`check()`](check::check) says what is wrong with it and
//!   freezes its packages; [`release`] is the typed form of what passed: what runs.
//! * [`configuration`] knows the states of a configuration and what may be done in each.
//! * [`plan`] compares releases with nodes and resources: who needs a restart
//!   ([`plan::compatibility`]), what a container becomes ([`plan::assignment`]), who stops next
//!   ([`plan::rollout`]), where each resource stands ([`plan::resources`]) and what a migration does next
//!   ([`plan::migration`]).
//! * [`reason`] holds the words in which all of them explain themselves.

pub mod check;
mod codes;
pub mod configuration;
mod draw;
mod error;
pub mod plan;
pub mod reason;
pub mod release;
pub mod settings;
pub mod time;

pub use error::Error;

//! SDK for migrators and seeders.
//!
//! A migrator is a program that knows where its resources are on a line of points and moves them
//! along it, in both directions. It speaks JSON-RPC 2.0 on stdin and stdout, one message per line;
//! stderr is its log; `PROTOCOL.md` beside this crate's manifest describes it. Implement [`Migrator`] and hand it to [`stdio::run_migrator`]:
//!
//! ```no_run
//! use klusterkite_migrator::{Answer, Migrator, Progress, Resource, stdio};
//! use klusterkite_wire::migrator::{DependencyType, MigrateParams, MigratorDescription};
//! use klusterkite_wire::{Point, ResourceCode};
//!
//! struct Nothing;
//!
//! impl Migrator for Nothing {
//!     fn describe(&mut self) -> Answer<MigratorDescription> {
//!         Ok(MigratorDescription {
//!             protocol: 1,
//!             name: "nothing".to_owned(),
//!             dependency_type: DependencyType::CodeDependsOnResource,
//!             priority: 0.0,
//!             points: vec!["0001".parse()?],
//!             irreversible: Vec::new(),
//!         })
//!     }
//!
//!     fn resources(&mut self) -> Answer<Vec<Resource>> {
//!         Ok(Vec::new())
//!     }
//!
//!     fn current_point(&mut self, _: &ResourceCode) -> Answer<Option<Point>> {
//!         Ok(None)
//!     }
//!
//!     fn migrate(&mut self, _: &MigrateParams, _: &mut Progress<'_>) -> Answer<()> {
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     stdio::run_migrator(Ok::<_, std::io::Error>(Nothing))
//! }
//! ```
//!
//! What the programs may rely on:
//!
//! - one request at a time; the program ends when stdin closes or `shutdown` was answered;
//! - the process group of a migrator is killed when a call takes too long or its executor ends, so every step has to be
//!   whole or absent (a transaction, a rename), and a move has to work from whatever point it finds;
//! - a move goes through the points between where the resource is and the asked one, never beyond ([`points::steps`]).

pub mod client;
pub mod handler;
pub mod line;
pub mod points;
pub mod progress;
pub mod request;
pub mod serve;
pub mod stdio;

mod error;

pub use error::{Error, chain};
pub use handler::{Answer, Failure, Migrator, Resource, Seeder};
pub use progress::{Level, Progress};

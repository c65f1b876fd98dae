//! Turns a start configuration into a service directory: fetch, verify, extract.
//!
//! Packages are kept in a [`ContentStore`], one file per SHA-512. [`ContentStore::ensure`] fetches
//! what is missing, [`assemble`] makes a service directory of what is there, [`install`] does both
//! at once; [`restore`] says whether a service directory is still what it was. Launchers use this
//! for nodes, the manager for migration executors; nothing here knows which.
//!
//! Everything blocks. A crash at any moment leaves either the old state or the new one: a service
//! directory gets its final name only after its content is on the disk, and a package is believed
//! to be whole only if it was verified and on the disk before the crash.

mod assemble;
mod cancel;
mod error;
mod feed;
mod fetch;
pub mod file;
mod job;
mod reader;
mod restore;
mod stamp;
mod store;
mod tree;
mod wanted;

pub use assemble::{ServiceDirectory, assemble, install, read_release};
pub use cancel::Cancel;
pub use error::Error;
pub use feed::{FeedCredential, FeedSource, FetchLimits};
pub use klusterkite_tls::Trust;
pub use restore::restore;
pub use store::{ContentStore, FetchProgress};

//! Turns a start configuration into a service directory: fetch, verify, extract.
//!
//! Packages are kept in a [`ContentStore`], one file per SHA-512. [`ContentStore::ensure`] fetches
//! what is missing, [`assemble`] makes a service directory of it. Launchers use this for nodes, the
//! manager for migration executors; nothing here knows which.
//!
//! Everything blocks. A crash at any moment leaves either the old state or the new one: files and
//! directories get their final name only after their content is on the disk.

mod assemble;
mod cancel;
mod error;
mod feed;
pub mod file;
mod store;

pub use assemble::{assemble, is_whole, read_release};
pub use cancel::Cancel;
pub use error::Error;
pub use feed::{FeedCredential, FeedSource, FetchLimits};
pub use klusterkite_tls::Trust;
pub use store::{ContentStore, FetchProgress};

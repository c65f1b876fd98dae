//! A private NuGet V3 server: packages as files named by their hash, and an index in SQLite.
//!
//! A push is whole or absent, whatever happens to the process or the machine; a version's bytes
//! never change. The feed checks its own keys and needs no other program.

mod access_log;
mod blobs;
mod cache;
mod counters;
mod error;
mod feed;
mod http;
mod import;
mod index;
mod keys;
mod maintain;
mod program;
mod proxies;
mod retain;
mod retention;
mod serve;
mod settings;
mod upstream;
mod wrong_keys;

pub use access_log::AccessLogTarget;
pub use error::Error;
pub use feed::Feed;
pub use keys::{Key, Keys, Scope};
pub use maintain::{Report, check, reindex};
pub use program::run;
pub use proxies::Network;
pub use retention::{Origin, Retention, Rule};
pub use serve::serve;
pub use settings::Settings;
pub use upstream::{Failure, Policy, Remote, UpstreamSettings};

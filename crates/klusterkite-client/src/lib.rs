//! HTTP clients for the programs of a cluster: the NuGet feed and the manager's operator API.
//!
//! Both are blocking; an asynchronous program calls them on its blocking threads. Calls that are safe to
//! repeat are repeated a few times, errors name the URL and the object, and answers are bounded.
//!
//! Architecture invariant: no secret is part of a `Debug` or `Display` text of this crate.

pub mod api;
mod error;
pub mod feed;
mod http;

pub use error::{Error, Kind};
pub use http::Retry;
pub use klusterkite_tls::Trust;

//! Tests of the clients against a small HTTP server in this process.

// The condition tells clippy that these modules are tests throughout.
#[cfg(test)]
mod api;
#[cfg(test)]
mod feed;
#[cfg(test)]
mod server;

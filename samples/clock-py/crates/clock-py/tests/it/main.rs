//! The sample as its host and its executor see it.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod protocol;
mod service;

use std::path::{Path, PathBuf};

/// Returns the content of a package of the sample.
fn content(package: &str, version: &str) -> PathBuf {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packages");
    packages.join(package).join(version).join("content")
}

//! Integration tests of the HOCON crate.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod configs;
mod explaining;
mod limits;
mod robustness;
mod texts;
mod vectors;

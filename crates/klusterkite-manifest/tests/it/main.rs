//! Integration tests of the manifest crate.

mod assemble;
mod parse;

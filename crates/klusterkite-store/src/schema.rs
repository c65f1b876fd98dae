//! Tables, and how an older database becomes a current one.
//!
//! A release may only *add*: tables, and columns that are nullable or have a default. So the release before
//! it runs on the new schema too, and the control plane can go back. What a release stopped using is
//! dropped by the second one after it at the earliest, which then raises [`COMPATIBLE`].

/// Schema of this release.
pub(crate) const VERSION: i64 = 2;

/// Oldest schema that a release must know to work with a database of [`VERSION`].
pub(crate) const COMPATIBLE: i64 = 1;

/// What each version adds to the one before; the first makes everything.
pub(crate) const STEPS: [&str; VERSION as usize] =
    [include_str!("schema/1.sql"), include_str!("schema/2.sql")];

/// Returns what a database of `version` still needs.
pub(crate) fn missing(version: i64) -> &'static [&'static str] {
    let known = usize::try_from(version).unwrap_or(0).min(STEPS.len());
    &STEPS[known..]
}

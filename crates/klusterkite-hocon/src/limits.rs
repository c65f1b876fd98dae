//! Bounds on what a text, or a set of merged texts, may ask for.
//!
//! Recursion is what they guard first: a thread of 2 MiB must survive every input in an unoptimised
//! build, with a third of it left for the caller.

/// How deep keys and lists may nest, in a text and in a resolved value.
///
/// Configurations written by people stay under 20. In an unoptimised build the parser takes up to 11 KiB
/// of stack for one level.
pub const NESTING_MAX: usize = 100;

/// How many substitutions, one leading to the next, may be followed while one value is resolved.
///
/// Nested lists and objects on the way count too. Each takes several frames of the resolver, up to 7 KiB
/// in an unoptimised build; 200 of them leave a third of a thread's 2 MiB free.
pub const RESOLVE_DEPTH_MAX: u32 = 200;

/// How many steps the resolver takes before it calls the substitutions too entangled.
///
/// It is the base; [`RESOLVE_STEPS_PER_VALUE`] is added for every value of the merged text. A step
/// takes well under a microsecond.
pub const RESOLVE_STEPS_BASE: u64 = 500_000;

/// How many resolver steps each value of the merged text adds to [`RESOLVE_STEPS_BASE`].
///
/// A substitution takes one step per key of its path and per layer it passes, rarely over 20.
pub const RESOLVE_STEPS_PER_VALUE: u64 = 64;

/// How large a resolved value may be when it is written out, in bytes (approximately).
///
/// Substitutions share what they refer to, so a short text can describe a huge value
/// (`a1 = [${a0}, ${a0}]`, and so on); 64 MiB is far above any real configuration.
pub const EXPANDED_SIZE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How large a text may be, in bytes, with all that it includes.
///
/// Parsed and resolved, the shortest values take up to a hundred times their text.
pub const TEXT_SIZE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How deep includes may nest.
pub const INCLUDE_DEPTH_MAX: usize = 32;

/// How many texts one document may include in total.
///
/// Nested includes multiply (a file that includes two others, each of which …), so depth alone is no bound.
pub const INCLUDE_COUNT_MAX: usize = 1000;

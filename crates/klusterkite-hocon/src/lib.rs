//! HOCON, the "human-optimized config object notation": a superset of JSON with comments,
//! substitutions and merging.
//!
//! Texts become [`Document`]s. Documents are merged in layers ([`Document::with_fallback`]) *before*
//! their substitutions are resolved ([`Document::resolve`]), so a default may refer to what a layer
//! above it sets. The result is a [`Config`], read by typed getters or through serde.
//!
//! ```
//! use std::collections::BTreeMap;
//! use klusterkite_hocon::Document;
//!
//! let defaults = Document::parse("host = localhost, url = \"http://\"${host}\":\"${port}, port = 80", "defaults")?;
//! let settings = Document::parse("host = example.org, port = ${?PORT}", "settings")?;
//! let environment = BTreeMap::from([("PORT".to_owned(), "8080".to_owned())]);
//! let config = settings.with_fallback(defaults).resolve(&environment)?;
//! assert_eq!(config.string("url")?, "http://example.org:8080");
//! # Ok::<(), klusterkite_hocon::Error>(())
//! ```
//!
//! Rules come from the HOCON specification (`HOCON.md` of the Typesafe/Lightbend Config library). Where
//! it is silent or contradicts its own reference implementation, this crate decides so:
//!
//! - a string beside a list or object is an error, never dropped;
//! - included files are read in the syntax of their extension;
//! - numbers keep their text; `007` and `5.` are numbers too, as in the reference implementation;
//! - whole numbers outside 64 bits are strings, so that they stay exact;
//! - an array at the root of a text is refused, a configuration is an object;
//! - `${name[]}` reads a list from `name_0`, `name_1`, … of the environment;
//! - substitutions in a text that is included inside a list are refused.
//!
//! Input never panics, overflows the stack (2 MiB suffice, also unoptimised) or runs away: every
//! bound is a constant in [`limits`].

mod config;
mod de;
mod document;
mod error;
mod include;
mod json;
pub mod limits;
mod node;
mod origin;
mod parser;
mod path;
mod properties;
mod render;
mod resolve;
mod scanner;
pub mod units;
mod value;
mod written;

pub use config::Config;
pub use de::{deserialize_duration, deserialize_size};
pub use document::Document;
pub use error::Error;
pub use include::{IncludeKind, IncludeReader, IncludeRequest, IncludedText};
pub use origin::Origin;
pub use parser::{ParseOptions, Syntax};
pub use path::Path;
pub use render::quote;
pub use value::{List, Number, Object, Value, ValueKind};
pub use written::Written;

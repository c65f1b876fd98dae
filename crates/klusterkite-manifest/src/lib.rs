//! The manifest `klusterkite.hocon` of a plug-in package, and how the manifests of a node become its settings.
//!
//! [`parse`] checks a manifest alone, as the feed, the configuration check and `package pack` do: what it
//! refers to is not known there, so only what is written out is checked. [`assemble`] puts all manifests
//! of a node (or of an executor) under the settings of its template and of its launcher, resolves the
//! substitutions over the whole, and returns what there is to run.

mod assemble;
mod cursor;
mod decode;
mod error;
mod manifest;
mod spec;
mod start_order;

pub use assemble::{Assembly, ManifestText, assemble, assemble_parsed};
pub use error::Error;
pub use manifest::{MANIFEST_FILE, Manifest, Priority, parse};
pub use spec::{
    CommandSpec, EndpointSpec, Limits, Probe, ProbeKind, ProcessSpec, StopHook, StopSignal,
    StopSpec,
};

//! NuGet's formats and rules as plain values.
//!
//! Nothing here opens a file or a socket: packages are read from any [`std::io::Read`] +
//! [`std::io::Seek`], documents from text. Everything that comes from outside is bounded by a
//! named constant or by [`Limits`], and a malformed input is an [`Error`], never a panic.
//!
//! - [`PackageId`], [`Version`], [`VersionRange`], [`Framework`], [`RidGraph`]: names and orders;
//! - [`Package`], [`PackageBuilder`], [`Nuspec`]: packages, read and written;
//! - [`select_assets`]: the files of a package that a node uses, [`FrameworkAssets`]: those that a
//!   .NET project uses;
//! - [`resolve`]: which versions a project gets of all that it needs;
//! - [`v3`]: documents of feeds.
//!
//! The rules are those of the real NuGet clients, also where they differ from semantic
//! versioning; the conformance vectors of the test suite are answers of the real engine.

mod error;
mod framework;
mod framework_assets;
mod hash;
mod id;
mod limits;
mod nuspec;
mod pack;
mod package;
mod range;
pub mod resolve;
mod rid;
pub mod v3;
mod version;
mod zip;

pub use error::Error;
pub use framework::{Family, Framework};
pub use framework_assets::{
    AssetPath, AssetTarget, ContentAsset, FrameworkAssets, ResourceAsset, RuntimeAsset,
    RuntimeAssetKind, node_dependencies, select_assets,
};
pub use hash::{Sha256Hash, Sha512Hash, Sha512Hasher};
pub use id::PackageId;
pub use limits::Limits;
pub use nuspec::{Dependency, DependencyGroup, License, Nuspec, PackageType, Repository};
pub use pack::PackageBuilder;
pub use package::{Asset, Executable, MANIFEST_FILE, Package, PackageFile};
pub use range::{Float, VersionRange};
pub use rid::RidGraph;
pub use version::Version;
pub use zip::Unpacker;

//! Packages.

use klusterkite_api::configurations::Package;

use super::{joined, pairs, table};

/// Renders a list of packages.
pub fn list(packages: &[Package]) -> String {
    let rows = packages.iter().map(|package| {
        let versions = package.versions.len().to_string();
        [
            package.id.clone(),
            package.version.clone(),
            versions,
            package.description.clone(),
        ]
    });
    table(["PACKAGE", "NEWEST", "VERSIONS", "DESCRIPTION"], rows)
}

/// Renders one package.
pub fn show(package: &Package) -> String {
    pairs([
        ("package", package.id.clone()),
        ("newest", package.version.clone()),
        ("versions", joined(&package.versions)),
        ("description", package.description.clone()),
    ])
}

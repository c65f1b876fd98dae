//! Package references of a start configuration, checked.

use std::collections::BTreeSet;

use klusterkite_nuget::{PackageId, Sha512Hash, Version};
use klusterkite_wire::start::PackageReference;

use crate::Error;

/// Packages in one start configuration: a service with its libraries has some hundreds at most.
const PACKAGES_MAX: usize = 2_000;

/// Largest package: what the standard limits let one unpack to, so nothing larger could be used.
const PACKAGE_BYTES_MAX: u64 = 4 << 30;

/// A package reference whose texts are valid.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) id: PackageId,
    pub(crate) version: Version,
    pub(crate) hash: Sha512Hash,
    pub(crate) size: u64,
}

impl Wanted {
    /// Id and version, as messages show them.
    pub(crate) fn label(&self) -> String {
        format!("{} {}", self.id, self.version)
    }

    /// Parses references; refuses what could not be verified or is there twice.
    pub(crate) fn parse_all(packages: &[PackageReference]) -> Result<Vec<Self>, Error> {
        let refuse = |reason: String| Err(Error::Configuration { reason });
        if packages.len() > PACKAGES_MAX {
            return refuse(format!("it has more than {PACKAGES_MAX} packages"));
        }
        let mut ids = BTreeSet::new();
        let mut all = Vec::with_capacity(packages.len());
        for package in packages {
            let wanted = Self::parse(package)?;
            let label = wanted.label();
            if wanted.size == 0 || wanted.size > PACKAGE_BYTES_MAX {
                let limit = PACKAGE_BYTES_MAX;
                return refuse(format!(
                    "package `{label}` has a size that is not 1 to {limit} bytes"
                ));
            }
            if !ids.insert(wanted.id.clone()) {
                return refuse(format!("package `{}` is there twice", wanted.id));
            }
            all.push(wanted);
        }
        Ok(all)
    }

    fn parse(package: &PackageReference) -> Result<Self, Error> {
        let refuse = |source| Error::Reference {
            package: format!("{} {}", package.id, package.version),
            source,
        };
        Ok(Self {
            id: package.id.parse().map_err(refuse)?,
            version: package.version.parse().map_err(refuse)?,
            hash: package.sha512.parse().map_err(refuse)?,
            size: package.size,
        })
    }
}

//! Symbols of packages: checked, kept and removed like packages, each beside the one that it
//! belongs to.

use klusterkite_nuget::{PackageId, Version};

use super::Feed;
use crate::Error;
use crate::blobs::{Durable, Kind, Received};
use crate::index::{NewPackage, NewSymbols};
use crate::keys::Key;

/// The package type that tells symbols from packages.
const PACKAGE_TYPE: &str = "SymbolsPackage";

impl Feed {
    /// Checks received symbols and publishes them beside their package; afterwards they are there
    /// whole and durably, or not at all. Like a package's, their bytes never change.
    pub(crate) async fn publish_symbols(
        &self,
        received: Received,
        key: &Key,
    ) -> Result<(PackageId, Version), Error> {
        let (durable, package) = self.inspect(received).await?;
        key.check_id(&package.nuspec.id)?;
        self.store_symbols(durable, package).await
    }

    /// Keeps symbols that were read, beside their package.
    pub(crate) async fn store_symbols(
        &self,
        durable: Durable,
        package: NewPackage,
    ) -> Result<(PackageId, Version), Error> {
        let symbols = NewSymbols::from(&check_symbols(package)?);
        let _writing = self.writing.lock().await;
        self.index.check_new_symbols(&symbols).await?;
        self.list(Kind::Symbols, durable, self.index.symbols_insert(&symbols))
            .await?;
        Ok((symbols.id, symbols.version))
    }
}

/// Tells whether a package says that it holds symbols.
pub(crate) fn is_symbols(package: &NewPackage) -> bool {
    let types = &package.nuspec.package_types;
    types
        .iter()
        .any(|kind| kind.name.eq_ignore_ascii_case(PACKAGE_TYPE))
}

/// Refuses a package that does not say that it holds symbols.
pub(crate) fn check_symbols(package: NewPackage) -> Result<NewPackage, Error> {
    if is_symbols(&package) {
        return Ok(package);
    }
    Err(Error::NotSymbols {
        id: package.nuspec.id,
        version: package.nuspec.version,
    })
}

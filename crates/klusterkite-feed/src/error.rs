use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use klusterkite_nuget::{PackageId, Version};

use crate::keys::Scope;
use crate::upstream::Failure;

/// What went wrong, and on which object.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The settings file is not what the feed understands.
    #[error("the settings `{path}` cannot be used")]
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        #[source]
        source: klusterkite_hocon::Error,
    },
    /// A setting has a value that the feed cannot work with.
    #[error("setting `{key}`: {reason}")]
    Setting {
        /// The setting's path.
        key: String,
        /// What is wrong with it and what to write instead.
        reason: String,
    },
    /// The address is taken or does not exist.
    #[error("cannot listen at `{address}`; is another program using it?")]
    Listen {
        /// The address as set.
        address: String,
        /// The cause.
        source: io::Error,
    },
    /// Certificate or key cannot be used.
    #[error(transparent)]
    Tls(klusterkite_tls::Error),
    /// Another process serves or repairs the same directory.
    #[error("directory `{directory}` is in use by another feed process; stop that one first")]
    DirectoryInUse {
        /// The feed's directory.
        directory: PathBuf,
    },
    /// There are packages, but the index that lists them is gone.
    #[error(
        "directory `{directory}` has packages but no index; restore `index.sqlite` or run `klusterkite-feed reindex {directory}`"
    )]
    IndexMissing {
        /// The feed's directory.
        directory: PathBuf,
    },
    /// The index has a schema that this program does not know.
    #[error("the index has schema {found}, this program knows up to {known}; use a newer feed")]
    IndexTooNew {
        /// The schema's number in the index.
        found: i64,
        /// The newest that this program knows.
        known: i64,
    },
    /// The index is of an older program and may not be changed now.
    #[error(
        "the index has schema {found}, this program reads {known}; start the feed once with it"
    )]
    IndexTooOld {
        /// The schema's number in the index.
        found: i64,
        /// What this program reads.
        known: i64,
    },
    /// A file operation failed.
    #[error("cannot {operation} `{path}`")]
    File {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The disk has less free space than the feed keeps in reserve.
    #[error("the feed's disk is full: {free} bytes are free, {needed} must stay free")]
    DiskFull {
        /// Free bytes.
        free: u64,
        /// The reserve.
        needed: u64,
    },
    /// A statement on the index failed.
    #[error("cannot {operation} the index")]
    Index {
        /// What was tried.
        operation: &'static str,
        /// The cause.
        source: sqlx::Error,
    },
    /// The index holds something that this program did not write.
    #[error("the index has an unreadable row for `{object}`; run `klusterkite-feed check`")]
    Row {
        /// The package.
        object: String,
    },
    /// A row of the index has no file.
    #[error("the file of package `{id}` `{version}` is missing; run `klusterkite-feed check`")]
    BlobMissing {
        /// The package's id.
        id: PackageId,
        /// The package's version.
        version: Version,
    },
    /// The bytes on disk are not those that were published.
    #[error("`{path}` does not have the hash that names it; restore it from a copy")]
    BlobDamaged {
        /// The file.
        path: PathBuf,
    },
    /// A background task of the feed panicked.
    #[error("a task of the feed failed")]
    Task(#[source] tokio::task::JoinError),

    /// No key.
    #[error(
        "the request has no known API key; send one as X-NuGet-ApiKey, Basic password or Bearer token"
    )]
    KeyMissing,
    /// A key that the feed does not know.
    #[error(
        "the request has no known API key; send one as X-NuGet-ApiKey, Basic password or Bearer token"
    )]
    KeyUnknown,
    /// Another key that the feed does not know, of a client that had many.
    #[error(
        "the request has no known API key and came after many others from its address; put the key right and wait {seconds} seconds"
    )]
    TooManyWrongKeys {
        /// How long.
        seconds: u64,
    },
    /// Packages cannot be taken now.
    #[error("the feed cannot take packages")]
    NotReady(#[source] Box<Error>),
    /// The key may not do this.
    #[error("key `{key}` lacks scope `{scope}`")]
    ScopeMissing {
        /// The key's name.
        key: String,
        /// What it would need.
        scope: Scope,
    },
    /// The key may only write packages with a prefix.
    #[error("key `{key}` may only write packages whose id starts with `{prefix}`, not `{id}`")]
    PrefixRequired {
        /// The key's name.
        key: String,
        /// The prefix.
        prefix: String,
        /// The package's id.
        id: PackageId,
    },
    /// The request is not what the route understands.
    #[error("{0}")]
    BadRequest(String),
    /// There is no such package, version, page or route.
    #[error("{what} is not in this feed")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// The path exists, but not with this method.
    #[error("`{path}` has no method `{method}`")]
    MethodUnknown {
        /// The request's method.
        method: String,
        /// The request's path.
        path: String,
    },
    /// The upload is larger than the feed takes.
    #[error("the package is larger than {limit} bytes, the limit of this feed")]
    PackageTooLarge {
        /// The limit.
        limit: u64,
    },
    /// The upload is not a package that a launcher could use.
    #[error("the package is not usable")]
    PackageInvalid(#[source] klusterkite_nuget::Error),
    /// The package's manifest cannot be understood.
    #[error("the package's manifest is not usable")]
    ManifestInvalid(#[source] klusterkite_manifest::Error),
    /// The version is there already.
    #[error("package `{id}` `{version}` exists already; versions never change, push a higher one")]
    VersionExists {
        /// The package's id.
        id: PackageId,
        /// The package's version.
        version: Version,
    },
    /// The version was purged and would come back with other contents.
    #[error(
        "package `{id}` `{version}` was purged and can only come back with the same bytes; push a higher version"
    )]
    VersionPurged {
        /// The package's id.
        id: PackageId,
        /// The package's version.
        version: Version,
    },
    /// Symbols came to the address of packages.
    #[error(
        "package `{id}` `{version}` is a symbols package; push it to the SymbolPackagePublish address"
    )]
    SymbolsAsPackage {
        /// The package's id.
        id: PackageId,
        /// The package's version.
        version: Version,
    },
    /// A package came to the address of symbols.
    #[error(
        "package `{id}` `{version}` is not of type `SymbolsPackage`; push it to the PackagePublish address"
    )]
    NotSymbols {
        /// The package's id.
        id: PackageId,
        /// The package's version.
        version: Version,
    },
    /// There is no package that the symbols could belong to.
    #[error("there is no package `{id}` `{version}` in this feed; push it before its symbols")]
    PackageMissing {
        /// The package's id.
        id: PackageId,
        /// The package's version.
        version: Version,
    },
    /// The version has symbols already.
    #[error(
        "package `{id}` `{version}` has symbols already; they never change, push a higher version"
    )]
    SymbolsExist {
        /// The package's id.
        id: PackageId,
        /// The package's version.
        version: Version,
    },
    /// Symbols that were removed with their package would come back with other contents.
    #[error(
        "the symbols of package `{id}` `{version}` were removed and can only come back with the same bytes; push a higher version"
    )]
    SymbolsPurged {
        /// The package's id.
        id: PackageId,
        /// The package's version.
        version: Version,
    },
    /// An upstream that might have the package does not answer.
    #[error("upstream `{upstream}` does not answer")]
    UpstreamAway {
        /// The upstream's name.
        upstream: String,
        /// What happened.
        source: Failure,
    },
    /// An upstream has the package, but it cannot be used.
    #[error("package `{id}` `{version}` of upstream `{upstream}` is refused")]
    UpstreamPackage {
        /// The upstream's name.
        upstream: String,
        /// The package's id.
        id: PackageId,
        /// The package's version.
        version: Version,
        /// Why.
        source: Box<Error>,
    },
    /// What was fetched is not what was asked for.
    #[error("it is {found}")]
    OtherPackage {
        /// What it is.
        found: String,
    },
    /// The feed that is imported does not answer.
    #[error("the feed to import from does not answer; run the command again to go on")]
    ImportAway(#[source] Failure),
    /// What was to store the package was stopped in the middle.
    #[error("the push was interrupted; see whether the version is there, else push it again")]
    Interrupted,
    /// An error that several requests get.
    #[error(transparent)]
    Shared(Arc<Error>),
    /// A cluster needs the version.
    #[error(
        "package `{id}` `{version}` is pinned by {clusters}; make the configurations that use it obsolete first"
    )]
    VersionPinned {
        /// The package's id.
        id: PackageId,
        /// The package's version.
        version: Version,
        /// The clusters, quoted and separated by commas.
        clusters: String,
    },
    /// The client stopped sending.
    #[error("the upload ended early: {reason}")]
    UploadBroken {
        /// What the connection said.
        reason: String,
    },
}

impl Error {
    /// Names a file operation in an error.
    pub(crate) fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            operation,
            path,
            source,
        }
    }

    /// Names an index operation in an error.
    pub(crate) fn index(operation: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Index { operation, source }
    }

    /// Tells whether the cause is a disk or quota without space.
    pub(crate) fn is_storage_full(&self) -> bool {
        match self {
            Self::DiskFull { .. } => true,
            Self::Shared(error) => error.is_storage_full(),
            Self::File { source, .. } => is_full(source),
            Self::Index {
                source: sqlx::Error::Database(error),
                ..
            } => {
                // SQLITE_FULL is 13.
                error.code().as_deref() == Some("13")
            }
            Self::Index {
                source: sqlx::Error::Io(error),
                ..
            } => is_full(error),
            _ => false,
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

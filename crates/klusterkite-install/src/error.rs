use std::io;
use std::path::{Path, PathBuf};

/// What went wrong, and on which object.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory could not be used.
    #[error("cannot {operation} `{}`{}", path.display(), hint(source))]
    File {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause (disk full, permission …).
        #[source]
        source: io::Error,
    },
    /// A file of ours holds something else than it should.
    #[error("`{}` cannot be used: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The id, version or hash of a package in the start configuration is not one.
    #[error("package `{package}` of the start configuration cannot be used")]
    Reference {
        /// Id and version.
        package: String,
        /// The rule that is broken.
        #[source]
        source: klusterkite_nuget::Error,
    },
    /// The start configuration breaks a limit or names a package twice.
    #[error("the start configuration cannot be used: {reason}")]
    Configuration {
        /// What is wrong.
        reason: String,
    },
    /// There is no secure connection to the feed, or our own authority's file is not usable.
    #[error(transparent)]
    Tls(#[from] klusterkite_tls::Error),
    /// The feed cannot be reached or breaks off; trying again may help.
    #[error("the feed does not answer at `{url}`")]
    FeedAway {
        /// The URL that was asked.
        url: String,
        /// The cause.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The feed answers with a status that says "later".
    #[error("the feed answered status {status} for `{url}`")]
    FeedBusy {
        /// The URL that was asked.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// The feed answers with a status that will not change by itself.
    #[error("the feed refused `{url}` with status {status}: {hint}")]
    FeedRefused {
        /// The URL that was asked.
        url: String,
        /// HTTP status.
        status: u16,
        /// What to do.
        hint: &'static str,
    },
    /// The service index is not one that packages can be fetched by.
    #[error("the service index `{url}` cannot be used: {reason}")]
    ServiceIndex {
        /// Its URL.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The feed does not have a package.
    #[error("package `{package}` is not on the feed: `{url}` does not exist")]
    PackageMissing {
        /// Id and version.
        package: String,
        /// Where it was looked for.
        url: String,
    },
    /// A package is not in the content store.
    #[error("package `{package}` is not in the content store `{}`", store.display())]
    NotStored {
        /// Id and version.
        package: String,
        /// Directory of the store.
        store: PathBuf,
    },
    /// A package does not have the size that was frozen.
    #[error(
        "package `{package}` has {got} bytes, expected {expected}: `{place}` is not the frozen package"
    )]
    WrongSize {
        /// Id and version.
        package: String,
        /// URL or file.
        place: String,
        /// Frozen size in bytes.
        expected: u64,
        /// Size found, in bytes.
        got: u64,
    },
    /// A package does not have the hash that was frozen.
    #[error(
        "package `{package}` has SHA-512 {got}, expected {expected}: `{place}` is not the frozen package"
    )]
    WrongHash {
        /// Id and version.
        package: String,
        /// URL or file.
        place: String,
        /// Frozen hash, base64.
        expected: String,
        /// Hash found, base64.
        got: String,
    },
    /// A package cannot be read or is refused.
    #[error("package `{package}` cannot be installed")]
    Package {
        /// Id and version.
        package: String,
        /// The cause.
        #[source]
        source: klusterkite_nuget::Error,
    },
    /// A package calls itself differently than the start configuration does.
    #[error("package `{package}` calls itself `{actual}`")]
    Misnamed {
        /// Id and version in the start configuration.
        package: String,
        /// Id and version in its nuspec.
        actual: String,
    },
    /// Two packages bring one path with different content.
    #[error("packages `{first}` and `{second}` both bring `{path}`, with different content")]
    Conflict {
        /// The package that was installed first.
        first: String,
        /// The other package.
        second: String,
        /// Path in the service directory.
        path: String,
    },
    /// A package brings a file that the service directory needs for something else.
    #[error("package `{package}` brings `{path}`, a name that the service directory uses itself")]
    Reserved {
        /// Id and version.
        package: String,
        /// Path in the service directory.
        path: String,
    },
    /// The service directory to be made is there already.
    #[error("`{}` already exists", path.display())]
    Exists {
        /// The directory.
        path: PathBuf,
    },
    /// The caller cancelled the work.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// Tells whether the same call may work later without anybody repairing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::FeedAway { .. } | Self::FeedBusy { .. } => true,
            Self::Tls(error) => error.is_of_server(),
            _ => false,
        }
    }

    /// Tells whether another feed may do better.
    pub(crate) fn is_of_feed(&self) -> bool {
        matches!(
            self,
            Self::FeedAway { .. }
                | Self::FeedBusy { .. }
                | Self::FeedRefused { .. }
                | Self::ServiceIndex { .. }
                | Self::PackageMissing { .. }
                | Self::WrongSize { .. }
                | Self::WrongHash { .. }
                | Self::Tls(_)
        )
    }

    pub(crate) fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File {
            operation,
            path: path.to_owned(),
            source,
        }
    }
}

/// Says what to do about a failure of a disk; nothing when that is not known.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => " (make room on its disk)",
        _ => "",
    }
}

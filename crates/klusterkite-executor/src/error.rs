//! What can go wrong in the executor.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use klusterkite_migrator::request::{BAD_PARAMS, FAILED, UNKNOWN_METHOD};
use klusterkite_wire::{MigratorName, Point, ResourceCode};

/// Says why a request of the manager failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Stdin or stdout is closed: there is nobody left to work for.
    #[error("the manager is gone")]
    ManagerGone,
    /// Orphaned processes would escape.
    #[error("cannot adopt orphaned processes")]
    Adopt(#[source] io::Error),
    /// Something of a migrator runs on.
    #[error(
        "cannot end every process of migrator `{migrator}`; end them by hand before anything is moved"
    )]
    Kill {
        /// The migrator.
        migrator: MigratorName,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The working directory could not be found out.
    #[error("cannot find out the current directory")]
    CurrentDirectory(#[source] io::Error),
    /// A file of the service directory could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of the service directory is larger than anything that belongs there.
    #[error("`{}` has more than {bytes_max} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        bytes_max: u64,
    },
    /// The service directory's manifests and settings do not go together.
    #[error("cannot assemble the settings of the service directory")]
    Assemble(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A setting is missing or wrong.
    #[error("setting `{path}`: {problem}")]
    Setting {
        /// Path of the setting.
        path: String,
        /// What is wrong and what is expected.
        problem: String,
    },
    /// The service directory cannot be used; every request is answered so.
    #[error("{problem}")]
    Unusable {
        /// Why, with its causes.
        problem: String,
    },
    /// A method that the executor does not have.
    #[error("method `{0}` is not known: `describe`, `currentPoint`, `migrate` and `shutdown` are")]
    UnknownMethod(String),
    /// Parameters that do not fit the method.
    #[error("bad parameters of `{method}`: {problem}")]
    BadParams {
        /// The method.
        method: String,
        /// What is wrong.
        problem: String,
    },
    /// More requests came than anyone would wait for.
    #[error("{0} requests are waiting already: ask again when one was answered")]
    TooManyRequests(usize),
    /// The answer is larger than the manager reads.
    #[error("the answer to `{method}` has {length} bytes, more than {bytes_max}")]
    AnswerTooLarge {
        /// The method.
        method: String,
        /// Its length in bytes.
        length: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A migrator that the template does not have.
    #[error(
        "migrator `{migrator}` is not one of the template's (setting `KlusterKite.NodeManager.Migrators`: {known})"
    )]
    UnknownMigrator {
        /// The migrator.
        migrator: MigratorName,
        /// Those that there are.
        known: String,
    },
    /// No manifest of the template's packages has the migrator.
    #[error("migrator `{0}` is in no manifest of the template's packages (section `migrators`)")]
    NotInManifests(MigratorName),
    /// The migrator's program could not be started.
    #[error("cannot start migrator `{migrator}` (`{program}`)")]
    Start {
        /// The migrator.
        migrator: MigratorName,
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The migrator ended before it answered.
    #[error("migrator `{migrator}` ended ({status}) before it answered `{method}`{last_words}")]
    Ended {
        /// The migrator.
        migrator: MigratorName,
        /// The method that it was asked.
        method: &'static str,
        /// How it ended.
        status: String,
        /// The last that it wrote to its log, or empty.
        last_words: String,
    },
    /// The migrator did not answer in time; its process group was killed.
    #[error("migrator `{migrator}` did not answer `{method}` within {} s and was killed", limit.as_secs_f64())]
    TimedOut {
        /// The migrator.
        migrator: MigratorName,
        /// The method that it was asked.
        method: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// The migrator broke the protocol; its process group was killed.
    #[error("migrator `{migrator}` broke the protocol during `{method}` and was killed: {problem}")]
    Protocol {
        /// The migrator.
        migrator: MigratorName,
        /// The method that it was asked.
        method: &'static str,
        /// What it did.
        problem: String,
    },
    /// The migrator answered with an error.
    #[error("migrator `{migrator}` failed `{method}`: {message}")]
    Failed {
        /// The migrator.
        migrator: MigratorName,
        /// The method that it was asked.
        method: &'static str,
        /// Its own words.
        message: String,
    },
    /// What a migrator says about itself makes no sense.
    #[error("migrator `{migrator}` describes itself wrongly")]
    Description {
        /// The migrator.
        migrator: MigratorName,
        /// What is wrong.
        #[source]
        source: klusterkite_migrator::Error,
    },
    /// The asked point is not on the migrator's line.
    #[error("migrator `{migrator}` cannot take the resource there")]
    Target {
        /// The migrator.
        migrator: MigratorName,
        /// Why.
        #[source]
        source: klusterkite_migrator::Error,
    },
    /// The migrator says that the resource is elsewhere after the move.
    #[error("migrator `{migrator}` {said} that the resource is {reached}")]
    OtherPoint {
        /// The migrator.
        migrator: MigratorName,
        /// How it said so.
        said: &'static str,
        /// Where the resource is.
        reached: String,
    },
    /// The lock file could not be opened or locked.
    #[error("cannot lock `{}`", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another executor moves a resource for longer than this one may wait.
    #[error("another executor ({holder}) holds `{}` for more than {} s", path.display(), limit.as_secs_f64())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Who holds it, as far as it can be read.
        holder: String,
        /// How long was waited.
        limit: Duration,
    },
    /// A resource's point could not be read.
    #[error("cannot read where resource `{resource}` of migrator `{migrator}` is")]
    CurrentPoint {
        /// The migrator.
        migrator: MigratorName,
        /// The resource.
        resource: ResourceCode,
        /// Why.
        #[source]
        source: Box<Error>,
    },
    /// A resource was not moved, or not known to have been.
    #[error("cannot move resource `{resource}` of migrator `{migrator}` to `{point}`")]
    Move {
        /// The migrator.
        migrator: MigratorName,
        /// The resource.
        resource: ResourceCode,
        /// The asked point.
        point: Point,
        /// Why.
        #[source]
        source: Box<Error>,
    },
}

impl Error {
    /// Says whether it is over, whoever the request was about.
    pub(crate) fn is_end(&self) -> bool {
        match self {
            Self::ManagerGone => true,
            Self::CurrentPoint { source, .. } | Self::Move { source, .. } => source.is_end(),
            _ => false,
        }
    }

    /// Returns the JSON-RPC code of the error: the one table from errors to the outside.
    pub(crate) fn code(&self) -> i64 {
        match self {
            Self::UnknownMethod(_) => UNKNOWN_METHOD,
            Self::BadParams { .. } | Self::UnknownMigrator { .. } => BAD_PARAMS,
            _ => FAILED,
        }
    }
}

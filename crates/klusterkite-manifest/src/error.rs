use std::error::Error as _;

/// Why manifests and settings do not make a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The manifest of a package is wrong; the source says where and why.
    #[error("the manifest of package `{package}` is not valid")]
    Manifest {
        /// The package.
        package: String,
        /// What is wrong.
        source: klusterkite_hocon::Error,
    },
    /// The settings of the template are no HOCON.
    #[error("the settings of the template are not valid")]
    Template {
        /// What is wrong.
        source: klusterkite_hocon::Error,
    },
    /// The settings written by the launcher are no HOCON.
    #[error("the start settings are not valid")]
    Start {
        /// What is wrong.
        source: klusterkite_hocon::Error,
    },
    /// A substitution cannot be resolved, or values do not fit together.
    #[error("the settings of the packages and of the template do not fit together")]
    Settings {
        /// What is wrong; its place names the text it stands in.
        source: klusterkite_hocon::Error,
    },
    /// Two packages define something of the same name.
    #[error(
        "packages `{first}` and `{second}` both define the {kind} `{name}`; rename one of them"
    )]
    Duplicate {
        /// What it is: "process", "endpoint", "migrator" or "seeder".
        kind: &'static str,
        /// Its name.
        name: String,
        /// The package that comes first.
        first: String,
        /// The package that comes second.
        second: String,
    },
    /// A package is given twice.
    #[error("package `{package}` has two manifests")]
    DuplicatePackage {
        /// The package, as written the second time.
        package: String,
    },
    /// A process is to start after one that does not exist.
    #[error(
        "process `{process}` of package `{package}` is to start after `{after}`, which no package of the node defines"
    )]
    UnknownProcess {
        /// The process.
        process: String,
        /// Its package.
        package: String,
        /// What it waits for.
        after: String,
    },
    /// Processes are to start after each other.
    #[error(
        "the processes {} are to start after each other; say with `after` which one starts first",
        processes.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    )]
    Circle {
        /// The processes, each to start after the next one, and the last after the first.
        processes: Vec<String>,
    },
    /// There is more of something than a node may have.
    #[error("the packages of a node define more than {limit} {kind}")]
    TooMany {
        /// What there is too much of, in the plural.
        kind: &'static str,
        /// How many there may be.
        limit: usize,
    },
}

impl Error {
    /// Returns what is wrong in which text, if the error is about a text; its origin has the line.
    pub fn text_error(&self) -> Option<&klusterkite_hocon::Error> {
        match self {
            Self::Manifest { source, .. }
            | Self::Template { source }
            | Self::Start { source }
            | Self::Settings { source } => Some(source),
            Self::Duplicate { .. }
            | Self::DuplicatePackage { .. }
            | Self::UnknownProcess { .. }
            | Self::Circle { .. }
            | Self::TooMany { .. } => None,
        }
    }

    /// Returns the whole message, causes included, in one line.
    pub fn full_message(&self) -> String {
        match self.source() {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        }
    }
}

use crate::origin::Origin;

/// What can go wrong between a text and a typed setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text does not follow the grammar.
    #[error("{origin}: {problem}")]
    Syntax {
        /// The place that does not fit.
        origin: Origin,
        /// What was found and what was expected.
        problem: String,
    },
    /// A key, a substitution or a caller's path is not a path expression.
    #[error("{origin}: invalid path `{path}`: {problem}")]
    Path {
        /// The place of the path, or of the configuration that was asked.
        origin: Origin,
        /// The path as written.
        path: String,
        /// Why it is none.
        problem: String,
    },
    /// An included text is missing, forbidden, part of a cycle or cannot be read.
    #[error("{origin}: cannot include `{name}`: {problem}")]
    Include {
        /// The place of the `include`.
        origin: Origin,
        /// What was to be included.
        name: String,
        /// Why it cannot.
        problem: String,
    },
    /// A required substitution has no value.
    #[error("{origin}: `${{{path}}}` {}", if *cycle {
        "refers to itself through other substitutions"
    } else {
        "is defined nowhere; define it, or write `${?…}` if it may be missing"
    })]
    Unresolved {
        /// The place of the substitution.
        origin: Origin,
        /// The path it names.
        path: String,
        /// Whether it has no value because it is part of a cycle.
        cycle: bool,
    },
    /// Values of different kinds stand side by side.
    #[error("{origin}: cannot join {left} and {right}")]
    Join {
        /// The place of the joined value.
        origin: Origin,
        /// The kind of the values so far.
        left: &'static str,
        /// The kind of the value that does not fit.
        right: &'static str,
    },
    /// A bound of [`limits`](crate::limits) is exceeded.
    #[error("{origin}: {problem}")]
    Limit {
        /// The place where the bound was met.
        origin: Origin,
        /// Which bound.
        problem: String,
    },
    /// The setting is not there.
    #[error("`{path}` is missing in {origin}")]
    Missing {
        /// The object in which it was expected.
        origin: Origin,
        /// The path of the setting.
        path: String,
    },
    /// The setting is `null`.
    #[error("{origin}: `{path}` is null, expected {expected}")]
    Null {
        /// The place of the value.
        origin: Origin,
        /// The path of the setting.
        path: String,
        /// What the caller asked for.
        expected: &'static str,
    },
    /// The setting is of another kind.
    #[error("{origin}: `{path}` is {found}, expected {expected}")]
    WrongType {
        /// The place of the value.
        origin: Origin,
        /// The path of the setting.
        path: String,
        /// What the caller asked for.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// The setting is of the right kind, but its value is not acceptable.
    #[error("{origin}: `{path}` {problem}")]
    BadValue {
        /// The place of the value.
        origin: Origin,
        /// The path of the setting.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl Error {
    /// Returns the place that the error is about.
    pub fn origin(&self) -> &Origin {
        match self {
            Self::Syntax { origin, .. }
            | Self::Path { origin, .. }
            | Self::Include { origin, .. }
            | Self::Unresolved { origin, .. }
            | Self::Join { origin, .. }
            | Self::Limit { origin, .. }
            | Self::Missing { origin, .. }
            | Self::Null { origin, .. }
            | Self::WrongType { origin, .. }
            | Self::BadValue { origin, .. } => origin,
        }
    }

    pub(crate) fn too_deep(origin: Origin) -> Self {
        Self::Limit {
            origin,
            problem: format!("nested deeper than {} levels", crate::limits::NESTING_MAX),
        }
    }
}

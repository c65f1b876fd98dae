//! What can go wrong in this crate, and how a chain of causes is told in one line.

use std::io;
use std::path::PathBuf;

use klusterkite_wire::Point;

/// Longest error text sent to the other side, in bytes: enough for a chain of causes, far below a line's limit.
const CHAIN_BYTES_MAX: usize = 8 << 10;

/// Says why a migrator could not be served or a way between two points does not exist.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The other side could not be read.
    #[error("cannot read from the other side")]
    Read(#[source] io::Error),
    /// The other side could not be written to; it is gone.
    #[error("cannot write to the other side")]
    Write(#[source] io::Error),
    /// The handler panicked; it was answered as an error, and nothing more is asked of a broken handler.
    #[error("`{method}` panicked: {message}")]
    Panicked {
        /// The method that was being called.
        method: String,
        /// What the panic said.
        message: String,
    },
    /// A point is not on the line.
    #[error(
        "point `{point}` is not one of the migrator's points ({})",
        list(known)
    )]
    UnknownPoint {
        /// The point.
        point: Point,
        /// The line of points.
        known: Vec<Point>,
    },
    /// A point is on the line twice.
    #[error("point `{0}` is listed twice: each point needs its own name")]
    DuplicatePoint(Point),
    /// The line of points is empty.
    #[error("the list of points is empty: a migrator needs one at least")]
    NoPoints,
    /// The way down passes a point that cannot be left.
    #[error("point `{0}` cannot be left downward: the migrator declares it irreversible")]
    Irreversible(Point),
    /// The other side broke the protocol.
    #[error("the program broke the protocol: {0}")]
    Answer(String),
    /// The other side ended before it answered.
    #[error("the program ended before it answered `{0}`")]
    NoAnswer(String),
    /// The other side could not do what it was asked; its own words.
    #[error("{0}")]
    Refused(String),
    /// The executor did not say where the settings are.
    #[error("the variable `KLUSTERKITE_CONFIG` is not set: a migrator is started by the executor")]
    NoSettings,
    /// The file of settings could not be read.
    #[error("cannot read the settings `{}`", path.display())]
    ReadSettings {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file of settings is not JSON.
    #[error("cannot parse the settings `{}`", path.display())]
    ParseSettings {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The settings have no such section.
    #[error("the settings have no section `{0}`")]
    NoSection(String),
    /// A section of the settings is wrong.
    #[error("the settings `{path}` cannot be used")]
    Section {
        /// Path of the section.
        path: String,
        /// What is wrong, and where in it.
        #[source]
        source: serde_path_to_error::Error<serde_json::Error>,
    },
    /// A name has no place in a line.
    #[error("`{0}` does not begin with a number, which would say where it stands in the line")]
    NoNumber(String),
    /// Two names have one place in the line.
    #[error("`{0}` and `{1}` have the same number, so that neither comes first")]
    SameNumber(String, String),
    /// The other side speaks another version of the protocol.
    #[error("protocol {0} is not spoken here, 1 is")]
    Protocol(u32),
}

/// Tells an error and its causes in one line, joined by `: `, cut to a length that fits a message.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = klusterkite_wire::chain(error);
    cut(&mut text, CHAIN_BYTES_MAX);
    text
}

/// Cuts a text to `bytes_max` at a character's border.
pub(crate) fn cut(text: &mut String, bytes_max: usize) {
    text.truncate(text.floor_char_boundary(bytes_max));
}

fn list(points: &[Point]) -> String {
    /// A long line of points is told by its last ones, which are those that an operator compares.
    const SHOWN: usize = 5;
    let hidden = points.len().saturating_sub(SHOWN);
    let shown: Vec<String> = points[hidden..].iter().map(|p| format!("`{p}`")).collect();
    let dots = if hidden > 0 { "…, " } else { "" };
    format!("{dots}{}", shown.join(", "))
}

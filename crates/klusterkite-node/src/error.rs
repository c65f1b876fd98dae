//! Errors of this crate.

use std::io;
use std::path::PathBuf;

use klusterkite_wire::ids::ParseIdError;

/// Says which operation of a node failed, and on what.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the node could not be read.
    #[error("`{}` could not be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the node could not be written.
    #[error("`{}` could not be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold the JSON that is expected there.
    #[error("`{}` does not hold the expected JSON", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The start settings are no HOCON.
    #[error("start settings `{}` could not be understood", path.display())]
    StartSettings {
        /// The file.
        path: PathBuf,
        /// Why.
        source: klusterkite_hocon::Error,
    },
    /// A start setting is not there.
    #[error("setting `{setting}` is missing; the launcher writes it into `start.hocon`")]
    SettingMissing {
        /// Path of the setting.
        setting: &'static str,
    },
    /// A start setting has a value of another kind.
    #[error("setting `{setting}` is not {expected}")]
    SettingKind {
        /// Path of the setting.
        setting: &'static str,
        /// What it has to be.
        expected: &'static str,
    },
    /// A start setting is not a valid id or name.
    #[error("setting `{setting}` is not valid")]
    SettingId {
        /// Path of the setting.
        setting: &'static str,
        /// Why.
        source: ParseIdError,
    },
    /// A variable that the service host sets is not there.
    #[error(
        "environment variable `{name}` is not set; it is there for programs that a service host started"
    )]
    Variable {
        /// Name of the variable.
        name: &'static str,
    },
    /// A socket could not be made.
    #[error("socket `{}` could not be made", path.display())]
    Bind {
        /// Path of the socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The service host could not be asked for the members.
    #[error("members could not be asked for at socket `{}`", path.display())]
    AskMembers {
        /// Path of the socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The service host refused the question for the members.
    #[error("socket `{}` answered `{status}` to the question for members", path.display())]
    MembersRefused {
        /// Path of the socket.
        path: PathBuf,
        /// First line of the answer.
        status: String,
    },
    /// The service host could not be told a state.
    #[error("state could not be told to socket `{path}`")]
    Notify {
        /// Path of the socket.
        path: String,
        /// Why.
        source: io::Error,
    },
}

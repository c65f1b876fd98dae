//! What can go wrong when settings are made into a release.

use klusterkite_wire::ids::ParseIdError;

/// Says why settings do not describe a release.
///
/// The check finds all of these and reports them as findings; this error is for settings that were
/// stored by something that skipped it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A name in the settings is not a valid id.
    #[error("setting `{field}` does not hold a valid id")]
    InvalidId {
        /// Path of the setting.
        field: String,
        /// What is wrong with it.
        source: ParseIdError,
    },
    /// A number in the settings lies outside its range.
    #[error("setting `{field}` is {value}, but it has to be {expected}")]
    OutOfRange {
        /// Path of the setting.
        field: String,
        /// Its value.
        value: String,
        /// What would be legal.
        expected: &'static str,
    },
    /// Two templates share one code.
    #[error("template code `{code}` is used twice in `{field}`; give each template its own code")]
    DuplicateTemplate {
        /// The list that holds both.
        field: &'static str,
        /// The code.
        code: String,
    },
    /// A batch size is neither a count nor a percentage.
    #[error(
        "`{text}` is not a batch size; write a count such as `2` or a percentage such as `10%`"
    )]
    InvalidBatch {
        /// The text.
        text: String,
    },
}

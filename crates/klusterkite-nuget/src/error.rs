use std::io;

/// What went wrong, and on which object.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A package id breaks NuGet's naming rule.
    #[error(
        "`{id}` is not a package id: 1 to 100 letters, digits and `_`, in parts separated by single `.` or `-`"
    )]
    Id {
        /// The text, shortened for display.
        id: String,
    },
    /// A version breaks NuGet's version rule.
    #[error("`{text}` is not a version: {reason}")]
    Version {
        /// The text, shortened for display.
        text: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// A version range cannot be read.
    #[error("`{text}` is not a version range: {reason}")]
    Range {
        /// The text, shortened for display.
        text: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// A target framework cannot be read.
    #[error("`{text}` is not a target framework: {reason}")]
    Framework {
        /// The text, shortened for display.
        text: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// A hash is not the expected number of bytes in base64 or hexadecimal digits.
    #[error("`{text}` is not a SHA-{bits} hash")]
    Hash {
        /// The text, shortened for display.
        text: String,
        /// The size of the hash in bits.
        bits: u32,
    },
    /// A runtime graph is not the JSON that NuGet defines.
    #[error("the runtime graph cannot be read")]
    RuntimeGraph(#[source] serde_json::Error),
    /// A nuspec is not XML.
    #[error("the nuspec is not well-formed XML")]
    NuspecXml(#[source] roxmltree::Error),
    /// A nuspec is XML without what a package needs.
    #[error("the nuspec is not usable: {reason}")]
    Nuspec {
        /// What is missing or wrong.
        reason: String,
    },
    /// A value of the nuspec breaks a rule.
    #[error("the nuspec's `{field}` cannot be used")]
    NuspecField {
        /// The element or attribute.
        field: &'static str,
        /// The rule that it breaks.
        #[source]
        source: Box<Error>,
    },
    /// The bytes are not a zip archive that can be read.
    #[error("the package is not a readable zip archive: {reason}")]
    Archive {
        /// What is wrong with the archive as a whole.
        reason: &'static str,
    },
    /// One entry of the archive is refused.
    #[error("entry `{entry}` of the package is refused: {reason}")]
    Entry {
        /// The entry's name, shortened and with control characters escaped.
        entry: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// Two entries cannot be on one disk together.
    #[error("entries `{first}` and `{second}` of the package clash: {reason}")]
    Clash {
        /// One entry.
        first: String,
        /// The other entry.
        second: String,
        /// Why they clash.
        reason: &'static str,
    },
    /// The archive is larger than the limits allow.
    #[error("the package is refused: {what} is {actual}, the limit is {limit}")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// Its size.
        actual: u64,
        /// The limit.
        limit: u64,
    },
    /// The archive has no root nuspec or several.
    #[error("the package has {count} `.nuspec` files at its root, it must have exactly one")]
    NuspecCount {
        /// How many there are.
        count: usize,
    },
    /// A text entry is not UTF-8.
    #[error("entry `{entry}` of the package is not UTF-8 text")]
    NotText {
        /// The entry's name.
        entry: String,
    },
    /// Reading the archive failed.
    #[error("cannot read the package")]
    Read(#[source] io::Error),
    /// Writing a file or an archive failed.
    #[error("cannot write `{entry}`")]
    Write {
        /// The entry that was being written.
        entry: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// The longest part of a foreign text that an error message repeats.
const SHOWN_CHARS_MAX: usize = 120;

/// Shortens a foreign text and escapes its control characters, so that it can stand in a message.
pub(crate) fn shown(text: &str) -> String {
    let mut result = String::new();
    for (index, c) in text.chars().enumerate() {
        if index == SHOWN_CHARS_MAX {
            result.push('…');
            break;
        }
        if c.is_control() {
            result.extend(c.escape_default());
        } else {
            result.push(c);
        }
    }
    result
}

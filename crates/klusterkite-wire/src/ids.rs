//! Ids and names: parsed once at the edge, printed as they were given.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest accepted name (template code, container type, …), in bytes: fits a file name everywhere.
pub const NAME_BYTES_MAX: usize = 128;

/// Longest accepted migration point or resource code, in bytes.
pub const POINT_BYTES_MAX: usize = 1024;

/// Says why a text is not a valid id or name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid {kind}: {expected}")]
pub struct ParseIdError {
    kind: &'static str,
    text: String,
    expected: &'static str,
}

impl ParseIdError {
    fn new(kind: &'static str, text: &str, expected: &'static str) -> Self {
        let text = text.chars().take(NAME_BYTES_MAX).collect();
        Self {
            kind,
            text,
            expected,
        }
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:ident, $expected:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        // Valid by `FromStr`, the only door. Shared: a manager holds the same few names for thousands of nodes.
        pub struct $name(Arc<str>);

        impl $name {
            /// Returns the text of the id.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                if $check(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(ParseIdError::new($kind, text, $expected))
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

const NAME_EXPECTED: &str = "1 to 128 letters, digits, `.`, `-` or `_`, and not only dots";

text_id!(
    /// Identifies a launcher and the node that it runs: a lower-case UUID that outlives restarts.
    NodeId, "node id", is_uuid, "a UUID in lower-case hexadecimal with dashes"
);
text_id!(
    /// Names a node template or a migrator template inside a configuration.
    TemplateCode, "template code", is_name, NAME_EXPECTED
);
text_id!(
    /// Names the kind of a container (`worker`, `manager`, …); a template lists those that may run it.
    ContainerType, "container type", is_name, NAME_EXPECTED
);
text_id!(
    /// Names a runtime by its NuGet RID, such as `linux-x64`.
    Runtime, "runtime", is_name, NAME_EXPECTED
);
text_id!(
    /// Names a migrator as its package's manifest does (`typeName` in the API).
    MigratorName, "migrator name", is_name, NAME_EXPECTED
);
text_id!(
    /// Names one resource of a migrator.
    ResourceCode, "resource code", is_line, "1 to 1024 bytes of text without control characters"
);
text_id!(
    /// Names one state of a resource on the line of its migrator's points.
    Point, "migration point", is_line, "1 to 1024 bytes of text without control characters"
);

impl NodeId {
    /// Makes a random (version 4) id of 16 random bytes.
    pub fn from_random_bytes(mut bytes: [u8; 16]) -> Self {
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let mut text = String::with_capacity(36);
        for (index, byte) in bytes.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            push_hex(&mut text, *byte);
        }
        Self(text.into())
    }
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let number = text
                    .parse()
                    .map_err(|_| ParseIdError::new(stringify!($name), text, "a whole number"))?;
                Ok(Self(number))
            }
        }
    };
}

number_id!(
    /// Numbers a configuration, from 1 upward.
    ConfigurationId(i64)
);
number_id!(
    /// Numbers an order of the manager to a node; orders with smaller numbers are older.
    OrderId(i64)
);
number_id!(
    /// Grows each time a node starts: max(last + 1, unix milliseconds). A newer one fences every older one.
    Incarnation(u64)
);
number_id!(
    /// Grows each time another manager becomes the leader; nodes refuse orders of an older one.
    LeaderEpoch(u64)
);

impl Incarnation {
    /// Returns the incarnation of a start at `unix_milliseconds` after the incarnation `self`.
    pub fn next(self, unix_milliseconds: u64) -> Self {
        Self(unix_milliseconds.max(self.0.saturating_add(1)))
    }
}

/// Appends a byte as two lower-case hexadecimal digits.
pub(crate) fn push_hex(text: &mut String, byte: u8) {
    for digit in [byte >> 4, byte & 15] {
        text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
        && text.bytes().any(|byte| byte != b'.')
}

fn is_line(text: &str) -> bool {
    (1..=POINT_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_a_directory_are_refused() {
        for text in [
            "",
            ".",
            "..",
            "a/b",
            "a\\b",
            "a b",
            "\0",
            "ä",
            &"x".repeat(129),
        ] {
            assert!(text.parse::<TemplateCode>().is_err(), "{text:?}");
        }
        for text in ["a", "clusterManager", "web-1.2_x", &"x".repeat(128)] {
            assert_eq!(text.parse::<TemplateCode>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn a_random_node_id_is_a_valid_version_4_uuid() {
        let id = NodeId::from_random_bytes([0xff; 16]);
        assert_eq!(id.as_str(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(id.as_str().parse::<NodeId>().unwrap(), id);
    }

    #[test]
    fn an_incarnation_grows_even_when_the_clock_goes_back() {
        assert_eq!(Incarnation(5).next(9), Incarnation(9));
        assert_eq!(Incarnation(9).next(5), Incarnation(10));
    }

    #[test]
    fn a_bad_id_in_json_names_its_kind() {
        let error = serde_json::from_str::<NodeId>("\"x\"")
            .unwrap_err()
            .to_string();
        assert!(error.contains("`x` is not a valid node id"), "{error}");
    }
}

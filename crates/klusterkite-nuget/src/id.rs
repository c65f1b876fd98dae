use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, shown};

/// The longest id that NuGet accepts, in characters.
const ID_CHARS_MAX: usize = 100;

/// A package's id as its author writes it; compared without regard to case, cheap to clone.
///
/// NuGet allows any Unicode letter. This type takes ASCII only: ids become file names and URLs,
/// and no published package is known to need more.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PackageId {
    /// The id twice, as written and in lower case: ids are compared all the time. 1 to 100 ASCII
    /// letters, digits, `_`, `.` and `-`; `.` and `-` only between others.
    spellings: Arc<str>,
}

impl PackageId {
    /// Returns the id as its author writes it.
    pub fn as_str(&self) -> &str {
        &self.spellings[..self.spellings.len() / 2]
    }

    /// Returns the id in lower case, as URLs and file names of NuGet use it.
    pub fn lower(&self) -> String {
        self.folded().to_owned()
    }

    fn folded(&self) -> &str {
        &self.spellings[self.spellings.len() / 2..]
    }
}

impl FromStr for PackageId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let word = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        if text.len() > ID_CHARS_MAX || !text.split(['.', '-']).all(word) {
            return Err(Error::Id { id: shown(text) });
        }
        let spellings = text.to_owned() + &text.to_ascii_lowercase();
        Ok(Self {
            spellings: spellings.into(),
        })
    }
}

impl TryFrom<String> for PackageId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<PackageId> for String {
    fn from(id: PackageId) -> Self {
        id.as_str().to_owned()
    }
}

impl fmt::Display for PackageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for PackageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PackageId").field(&self.as_str()).finish()
    }
}

impl AsRef<str> for PackageId {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for PackageId {
    fn eq(&self, other: &Self) -> bool {
        self.folded() == other.folded()
    }
}

impl Eq for PackageId {}

impl PartialOrd for PackageId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PackageId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.folded().cmp(other.folded())
    }
}

impl Hash for PackageId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folded().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_nuget_accepts_are_accepted() {
        for id in ["A", "Acme.Orders", "a-b.c_d", "_x", "9", &"x".repeat(100)] {
            assert!(id.parse::<PackageId>().is_ok(), "{id}");
        }
    }

    #[test]
    fn ids_that_could_leave_a_directory_or_a_url_are_refused() {
        let long = "x".repeat(101);
        for id in [
            "", ".", "..", "a..b", ".a", "a.", "-a", "a/b", "a\\b", "a b", "ä", "a\0", &long,
        ] {
            assert!(id.parse::<PackageId>().is_err(), "{id:?}");
        }
    }

    #[test]
    fn ids_are_compared_without_regard_to_case() {
        let upper: PackageId = "ACME.Orders".parse().unwrap();
        let lower: PackageId = "acme.orders".parse().unwrap();
        assert_eq!(upper, lower);
        assert_eq!(upper.cmp(&lower), Ordering::Equal);
        assert_eq!(upper.lower(), "acme.orders");
        assert_eq!(upper.to_string(), "ACME.Orders");
        assert!(upper < "b".parse().unwrap());
    }
}

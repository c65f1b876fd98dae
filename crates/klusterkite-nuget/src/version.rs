use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, shown};

/// A NuGet version: `Major[.Minor[.Patch[.Revision]]][-label(.label)*][+metadata]`.
///
/// Two versions are the same if they differ only in metadata, in the case of labels or in how
/// many zeros were written; this is NuGet's identity, not that of semantic versioning.
/// [`fmt::Display`] writes the normalized form without metadata, which identifies the version in
/// a feed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    /// Each at most `i32::MAX`, as in .NET's `Version`.
    numbers: [u32; 4],
    /// Nearly all versions are numbers only; those are copied without touching the heap.
    suffix: Option<Arc<Suffix>>,
}

/// What stands after the numbers.
#[derive(Debug)]
struct Suffix {
    /// Non-empty strings of `[0-9A-Za-z-]`; empty for a stable version.
    labels: Vec<String>,
    /// As written after `+`, without it.
    metadata: Option<String>,
}

impl Version {
    /// Makes a stable version of three numbers; each is capped at `i32::MAX`, NuGet's largest.
    pub fn new(major: u32, minor: u32, patch: u32) -> Self {
        let cap = |number: u32| number.min(NUMBER_MAX);
        Self {
            numbers: [cap(major), cap(minor), cap(patch), 0],
            suffix: None,
        }
    }

    /// Returns the first number.
    pub fn major(&self) -> u32 {
        self.numbers[0]
    }

    /// Returns the second number.
    pub fn minor(&self) -> u32 {
        self.numbers[1]
    }

    /// Returns the third number.
    pub fn patch(&self) -> u32 {
        self.numbers[2]
    }

    /// Returns the fourth number, which semantic versioning does not have.
    pub fn revision(&self) -> u32 {
        self.numbers[3]
    }

    /// Tells whether the version has pre-release labels.
    pub fn is_prerelease(&self) -> bool {
        !self.labels().is_empty()
    }

    /// Returns the pre-release labels joined by dots; empty for a stable version.
    pub fn release(&self) -> String {
        self.labels().join(".")
    }

    /// Returns what was written after `+`.
    pub fn metadata(&self) -> Option<&str> {
        self.suffix.as_ref()?.metadata.as_deref()
    }

    /// Tells whether only clients that know SemVer 2 can read the version: it has metadata or
    /// more than one label.
    pub fn is_semver2(&self) -> bool {
        self.labels().len() > 1 || self.metadata().is_some()
    }

    /// Returns the normalized version in lower case, as URLs and file names of NuGet use it.
    pub fn lower(&self) -> String {
        self.to_string().to_ascii_lowercase()
    }

    /// Returns the normalized version with its metadata.
    pub fn full(&self) -> String {
        match self.metadata() {
            Some(metadata) => format!("{self}+{metadata}"),
            None => self.to_string(),
        }
    }

    fn labels(&self) -> &[String] {
        self.suffix.as_ref().map_or(&[], |suffix| &suffix.labels)
    }

    /// Returns the first `count` numbers, for floating ranges.
    pub(crate) fn numbers(&self, count: usize) -> &[u32] {
        &self.numbers[..count]
    }
}

/// The largest number in a version: .NET keeps them in an `i32`.
const NUMBER_MAX: u32 = i32::MAX as u32;

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text).map_err(|reason| Error::Version {
            text: shown(text),
            reason,
        })
    }
}

fn parse(text: &str) -> Result<Version, &'static str> {
    let text = text.trim();
    let (rest, metadata) = match text.split_once('+') {
        Some((rest, metadata)) => (rest, Some(metadata)),
        None => (text, None),
    };
    let (numbers, labels) = match rest.split_once('-') {
        Some((numbers, labels)) => (numbers, Some(labels)),
        None => (rest, None),
    };

    let labels = match labels {
        Some(labels) => parse_labels(labels)?,
        None => Vec::new(),
    };
    if let Some(metadata) = metadata
        && !metadata.split('.').all(is_label)
    {
        return Err("the metadata after `+` must be dotted parts of letters, digits and `-`");
    }
    let has_suffix = metadata.is_some() || !labels.is_empty();
    let metadata = metadata.map(str::to_owned);
    Ok(Version {
        numbers: parse_numbers(numbers)?,
        suffix: has_suffix.then(|| Arc::new(Suffix { labels, metadata })),
    })
}

fn parse_numbers(text: &str) -> Result<[u32; 4], &'static str> {
    let mut numbers = [0; 4];
    for (index, part) in text.split('.').enumerate() {
        let Some(slot) = numbers.get_mut(index) else {
            return Err("it has more than four numbers");
        };
        // NuGet tolerates blanks around each number, but not signs.
        let part = part.trim();
        if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
            return Err("it must start with one to four dotted numbers");
        }
        match part.parse::<u32>() {
            Ok(number) if number <= NUMBER_MAX => *slot = number,
            _ => return Err("a number is larger than 2147483647"),
        }
    }
    Ok(numbers)
}

fn parse_labels(text: &str) -> Result<Vec<String>, &'static str> {
    let mut labels = Vec::new();
    for label in text.split('.') {
        if !is_label(label) {
            return Err("the labels after `-` must be dotted parts of letters, digits and `-`");
        }
        let numeric = label.bytes().all(|b| b.is_ascii_digit());
        if numeric && label.len() > 1 && label.starts_with('0') {
            return Err("a numeric label must not start with a zero");
        }
        labels.push(label.to_owned());
    }
    Ok(labels)
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

impl TryFrom<String> for Version {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.full()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch, revision] = self.numbers;
        let mut text = format!("{major}.{minor}.{patch}");
        if revision > 0 {
            text.push('.');
            text.push_str(&revision.to_string());
        }
        if self.is_prerelease() {
            text.push('-');
            text.push_str(&self.release());
        }
        f.pad(&text)
    }
}

/// A label as NuGet orders it: by value if it fits an `i32` (a leading `-` is a sign then, as
/// .NET parses it), else as text without regard to case.
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
enum LabelKey {
    Number(i32),
    Text(String),
}

fn label_key(label: &str) -> LabelKey {
    match label.parse::<i32>() {
        Ok(number) => LabelKey::Number(number),
        // .NET's ordinal comparison without case compares upper-case letters, which matters for
        // characters between the two alphabets; labels have none of those.
        Err(_) => LabelKey::Text(label.to_ascii_uppercase()),
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        fn labels(version: &Version) -> impl Iterator<Item = LabelKey> {
            version.labels().iter().map(|label| label_key(label))
        }
        self.numbers
            .cmp(&other.numbers)
            // A stable version is higher than its pre-releases.
            .then_with(|| other.is_prerelease().cmp(&self.is_prerelease()))
            .then_with(|| labels(self).cmp(labels(other)))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl Hash for Version {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.numbers.hash(state);
        for label in self.labels() {
            label_key(label).hash(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn versions_are_normalized_as_nuget_does() {
        for (text, normalized, full) in [
            ("1", "1.0.0", "1.0.0"),
            ("1.2.3.0", "1.2.3", "1.2.3"),
            ("01.02.03.04", "1.2.3.4", "1.2.3.4"),
            (" 1 . 2 -Beta.1+Sha ", "1.2.0-Beta.1", "1.2.0-Beta.1+Sha"),
        ] {
            assert_eq!(version(text).to_string(), normalized);
            assert_eq!(version(text).full(), full);
        }
    }

    #[test]
    fn texts_that_are_no_versions_are_refused() {
        for text in [
            "",
            "v1",
            "1.",
            "1..2",
            "1.2.3.4.5",
            "2147483648",
            "1-",
            "1-01",
            "1+",
            "1-ä",
            "-1",
        ] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }

    #[test]
    fn versions_are_ordered_as_nuget_orders_them() {
        let ascending = [
            "0.9",
            "1.0--1",
            "1.0-0",
            "1.0-2",
            "1.0-10",
            "1.0-alpha",
            "1.0-alpha.1",
            "1.0-alpha10",
            "1.0-alpha2",
            "1.0",
            "1.0.0.1",
            "1.0.1",
        ];
        for pair in ascending.windows(2) {
            assert!(version(pair[0]) < version(pair[1]), "{pair:?}");
        }
        assert_eq!(version("1.0-ALPHA+a"), version("1.0.0-alpha+b"));
    }
}

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Version;
use crate::error::{Error, shown};

/// A set of versions as NuGet writes it: `1.0` (at least), `[1.0,2.0)`, `(,1.0]`, `[1.0]`,
/// `(, )` (any), or floating: `1.*`, `1.0.0-beta*`, `*-*`.
///
/// Where NuGet 5.8 and its successors differ, this follows the successors: a single character is
/// a range, and ranges that can contain nothing (`(1.0)`, `[2.0,1.0]`) are refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VersionRange {
    min: Option<Version>,
    min_inclusive: bool,
    max: Option<Version>,
    max_inclusive: bool,
    float: Option<Box<FloatRange>>,
}

/// Which part of a floating range may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Float {
    /// `1.0.0-beta*`: the labels.
    Prerelease,
    /// `1.0.0.*`: the fourth number.
    Revision,
    /// `1.0.*`: the third number and what follows.
    Patch,
    /// `1.*`: the second number and what follows.
    Minor,
    /// `*`: everything that is stable.
    Major,
    /// `1.0.0.*-beta*`: the fourth number and the labels.
    PrereleaseRevision,
    /// `1.0.*-beta*`: the third number and the labels.
    PrereleasePatch,
    /// `1.*-beta*`: the second number and the labels.
    PrereleaseMinor,
    /// `*-beta*`: everything with such labels, and what is stable.
    PrereleaseMajor,
    /// `*-*`: the highest version of all.
    AbsoluteLatest,
}

impl VersionRange {
    /// Makes the range that contains every version.
    pub fn any() -> Self {
        Self {
            min: None,
            min_inclusive: false,
            max: None,
            max_inclusive: false,
            float: None,
        }
    }

    /// Makes the range that contains one version only.
    pub fn exactly(version: Version) -> Self {
        Self {
            min: Some(version.clone()),
            min_inclusive: true,
            max: Some(version),
            max_inclusive: true,
            float: None,
        }
    }

    /// Makes the range that contains a version and everything above.
    pub fn at_least(version: Version) -> Self {
        Self {
            min: Some(version),
            min_inclusive: true,
            ..Self::any()
        }
    }

    /// Returns the lower bound; for a floating range the lowest version that its text names.
    pub fn min(&self) -> Option<&Version> {
        self.min.as_ref()
    }

    /// Tells whether the lower bound itself belongs to the range.
    pub fn is_min_inclusive(&self) -> bool {
        self.min_inclusive
    }

    /// Returns the upper bound.
    pub fn max(&self) -> Option<&Version> {
        self.max.as_ref()
    }

    /// Tells whether the upper bound itself belongs to the range.
    pub fn is_max_inclusive(&self) -> bool {
        self.max_inclusive
    }

    /// Returns which part floats, `None` for a fixed range.
    pub fn float(&self) -> Option<Float> {
        self.float.as_ref().map(|float| float.behavior)
    }

    /// Tells whether only clients that know SemVer 2 can read a bound.
    pub fn is_semver2(&self) -> bool {
        let bound = |version: &Option<Version>| version.as_ref().is_some_and(Version::is_semver2);
        bound(&self.min) || bound(&self.max)
    }

    /// Tells whether the version lies between the bounds. A pre-release between them does,
    /// whatever [`best_match`](Self::best_match) would choose.
    pub fn satisfies(&self, version: &Version) -> bool {
        let above = match &self.min {
            Some(min) if self.min_inclusive => version >= min,
            Some(min) => version > min,
            None => true,
        };
        let below = match &self.max {
            Some(max) if self.max_inclusive => version <= max,
            Some(max) => version < max,
            None => true,
        };
        above && below
    }

    /// Chooses the version that NuGet would restore: the lowest in a fixed range, the highest of
    /// the floating part, else the lowest above it. A pre-release is chosen only if a bound is
    /// one or the range floats over pre-releases.
    pub fn best_match<'a>(
        &self,
        versions: impl IntoIterator<Item = &'a Version>,
    ) -> Option<&'a Version> {
        let mut best = None;
        for version in versions {
            if self.satisfies(version)
                && (self.allows_prerelease() || !version.is_prerelease())
                && best.is_none_or(|best| self.is_better(version, best))
            {
                best = Some(version);
            }
        }
        best
    }

    fn allows_prerelease(&self) -> bool {
        let bound =
            |version: &Option<Version>| version.as_ref().is_some_and(Version::is_prerelease);
        bound(&self.min) || bound(&self.max)
    }

    fn is_better(&self, version: &Version, best: &Version) -> bool {
        let Some(float) = &self.float else {
            return version < best;
        };
        match (float.contains(version), float.contains(best)) {
            (true, true) => version > best,
            (true, false) => true,
            (false, true) => false,
            (false, false) => version < best,
        }
    }
}

/// The floating part of a range.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct FloatRange {
    behavior: Float,
    min: Version,
    /// What labels must start with, as written before the `*`.
    label_prefix: String,
}

impl FloatRange {
    /// Parses a text with `*`. `1.0*` is read as `1.*`, as NuGet does.
    fn parse(text: &str) -> Result<Self, &'static str> {
        const MISPLACED: &str =
            "`*` must be the last character of the lower bound or of its numbers";
        let Some(head) = text.strip_suffix('*') else {
            return Err(MISPLACED);
        };
        if text.contains('+') {
            return Err("a floating bound must not have metadata");
        }
        let invalid = |_| "the part before `*` is not the start of a version";

        let Some((numbers, labels)) = head.split_once('-') else {
            let behavior = match head.split('.').count() {
                1 if head.is_empty() => Float::Major,
                2 => Float::Minor,
                3 => Float::Patch,
                4 => Float::Revision,
                _ => return Err(MISPLACED),
            };
            let min = format!("{head}0").parse().map_err(invalid)?;
            return Ok(Self {
                behavior,
                min,
                label_prefix: String::new(),
            });
        };

        let (behavior, numbers) = match numbers.strip_suffix('*') {
            None => (Float::Prerelease, numbers.to_owned()),
            Some(start) => {
                let behavior = match start.split('.').count() {
                    1 if start.is_empty() && labels.is_empty() => Float::AbsoluteLatest,
                    1 if start.is_empty() => Float::PrereleaseMajor,
                    2 => Float::PrereleaseMinor,
                    3 => Float::PrereleasePatch,
                    4 => Float::PrereleaseRevision,
                    _ => return Err(MISPLACED),
                };
                (behavior, format!("{start}0"))
            }
        };
        // The lowest label that starts so: `0` completes an unfinished one.
        let lowest = if labels.is_empty() || labels.ends_with('.') {
            "0"
        } else {
            ""
        };
        let min = format!("{numbers}-{labels}{lowest}")
            .parse()
            .map_err(invalid)?;
        Ok(Self {
            behavior,
            min,
            label_prefix: labels.to_owned(),
        })
    }

    fn contains(&self, version: &Version) -> bool {
        let fixed_numbers = match self.behavior {
            Float::AbsoluteLatest => return true,
            Float::Major | Float::PrereleaseMajor => 0,
            Float::Minor | Float::PrereleaseMinor => 1,
            Float::Patch | Float::PrereleasePatch => 2,
            Float::Revision | Float::PrereleaseRevision => 3,
            Float::Prerelease => 4,
        };
        let floats_labels = matches!(
            self.behavior,
            Float::Prerelease
                | Float::PrereleaseRevision
                | Float::PrereleasePatch
                | Float::PrereleaseMinor
                | Float::PrereleaseMajor
        );
        let labels_fit = !version.is_prerelease()
            || (floats_labels && starts_with_ignoring_case(&version.release(), &self.label_prefix));
        version.numbers(fixed_numbers) == self.min.numbers(fixed_numbers) && labels_fit
    }
}

fn starts_with_ignoring_case(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

impl fmt::Display for FloatRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = [self.min.major(), self.min.minor(), self.min.patch()];
        let prefix = &self.label_prefix;
        match self.behavior {
            Float::Major => write!(f, "*"),
            Float::Minor => write!(f, "{major}.*"),
            Float::Patch => write!(f, "{major}.{minor}.*"),
            Float::Revision => write!(f, "{major}.{minor}.{patch}.*"),
            Float::Prerelease => {
                let numbers = self.min.to_string();
                let numbers = numbers.split('-').next().unwrap_or_default();
                write!(f, "{numbers}-{prefix}*")
            }
            Float::PrereleaseMajor | Float::AbsoluteLatest => write!(f, "*-{prefix}*"),
            Float::PrereleaseMinor => write!(f, "{major}.*-{prefix}*"),
            Float::PrereleasePatch => write!(f, "{major}.{minor}.*-{prefix}*"),
            Float::PrereleaseRevision => write!(f, "{major}.{minor}.{patch}.*-{prefix}*"),
        }
    }
}

impl FromStr for VersionRange {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text.trim()).map_err(|reason| Error::Range {
            text: shown(text),
            reason,
        })
    }
}

fn parse(text: &str) -> Result<VersionRange, &'static str> {
    let (min_text, max_text, min_inclusive, max_inclusive) = split(text)?;
    let (min, float) = match min_text.trim() {
        "" => (None, None),
        text if text.contains('*') => {
            let float = FloatRange::parse(text)?;
            (Some(float.min.clone()), Some(float))
        }
        text => (Some(parse_bound(text)?), None),
    };
    let max = match max_text.trim() {
        "" => None,
        text => Some(parse_bound(text)?),
    };
    if let (Some(min), Some(max)) = (&min, &max) {
        if min > max {
            return Err("its lower bound is above its upper bound");
        }
        if min == max && min_inclusive != max_inclusive {
            return Err("its bounds are the same version, but only one of them belongs to it");
        }
    }
    Ok(VersionRange {
        min_inclusive: min_inclusive && min.is_some(),
        max_inclusive: max_inclusive && max.is_some(),
        min,
        max,
        float: float.map(Box::new),
    })
}

/// Splits a range into its bounds' texts and whether they belong to it.
fn split(text: &str) -> Result<(&str, &str, bool, bool), &'static str> {
    let min_inclusive = match text.chars().next() {
        None => return Err("it is empty"),
        Some('[') => true,
        Some('(') => false,
        Some(_) => return Ok((text, "", true, false)),
    };
    let inner = &text[1..];
    let (inner, max_inclusive) = if let Some(inner) = inner.strip_suffix(']') {
        (inner, true)
    } else if let Some(inner) = inner.strip_suffix(')') {
        (inner, false)
    } else {
        return Err("it must end with `]` or `)`");
    };
    match inner.split_once(',') {
        Some((_, max)) if max.contains(',') => Err("it has more than two bounds"),
        // NuGet reads `(, )` as every version, but not `(,)`.
        Some(("", "")) => Err("it has no bounds; write `(, )` for every version"),
        Some((min, max)) => Ok((min, max, min_inclusive, max_inclusive)),
        None if inner.trim().is_empty() => Err("it has no bounds; write `(, )` for every version"),
        None if inner.contains('*') => Err("a single bound in brackets must not float"),
        None if min_inclusive && max_inclusive => Ok((inner, inner, true, true)),
        None => Err("a single version must stand in `[` and `]`"),
    }
}

fn parse_bound(text: &str) -> Result<Version, &'static str> {
    text.parse().map_err(|_| "a bound is not a version")
}

impl TryFrom<String> for VersionRange {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<VersionRange> for String {
    fn from(range: VersionRange) -> Self {
        range.to_string()
    }
}

impl fmt::Display for VersionRange {
    /// Writes the normalized form, such as `[1.0.0, )`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.min_inclusive { "[" } else { "(" })?;
        match (&self.float, &self.min) {
            (Some(float), _) => write!(f, "{float}")?,
            (None, Some(min)) => write!(f, "{min}")?,
            (None, None) => {}
        }
        f.write_str(", ")?;
        if let Some(max) = &self.max {
            write!(f, "{max}")?;
        }
        f.write_str(if self.max_inclusive { "]" } else { ")" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> VersionRange {
        text.parse().unwrap()
    }

    #[test]
    fn ranges_are_normalized_as_nuget_does() {
        for (text, normalized) in [
            ("1", "[1.0.0, )"),
            ("[1.0]", "[1.0.0, 1.0.0]"),
            ("[,2.0)", "(, 2.0.0)"),
            ("(, )", "(, )"),
            ("*", "[*, )"),
            ("1.0*", "[1.*, )"),
            ("[1.*,2.0)", "[1.*, 2.0.0)"),
            ("1.0.0-a.*", "[1.0.0-a.*, )"),
            ("*-*", "[*-*, )"),
        ] {
            assert_eq!(range(text).to_string(), normalized);
            assert_eq!(
                range(normalized),
                range(text),
                "{text} survives its normalized form"
            );
        }
    }

    #[test]
    fn ranges_that_mean_nothing_are_refused() {
        for text in [
            "",
            "[",
            "[]",
            "(,)",
            "[1,2,3]",
            "[1",
            "1]",
            "(1.0)",
            "[2.0,1.0]",
            "[1.0,1.0)",
            "[*]",
            "1.*.0",
            "[1,2.*]",
            "1*",
        ] {
            assert!(text.parse::<VersionRange>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_best_match_is_the_lowest_of_a_fixed_and_the_highest_of_a_floating_range() {
        let versions: Vec<Version> = ["0.9", "1.0-rc", "1.0", "1.5", "2.0-beta", "3.0"]
            .map(|text| text.parse().unwrap())
            .to_vec();
        for (text, best) in [
            ("1.0", Some("1.0.0")),
            ("[1.1, )", Some("1.5.0")),
            ("1.*", Some("1.5.0")),
            ("2.*", Some("3.0.0")),
            ("2.*-*", Some("2.0.0-beta")),
            ("*-*", Some("3.0.0")),
            ("[1.0-a,2.0)", Some("1.0.0-rc")),
            ("[4.0, )", None),
        ] {
            let found = range(text).best_match(&versions).map(Version::to_string);
            assert_eq!(found.as_deref(), best, "{text}");
        }
    }
}

//! Target frameworks: what the folders `lib/<framework>` and the dependency groups of packages
//! are made for, and which of them a project of some framework can use.

mod compat;
mod family;
mod nearest;
mod parse;
mod portable;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, shown};

pub use family::Family;

/// A target framework, such as `net8.0`, `netstandard2.0`, `net472` or `net8.0-windows7.0`.
///
/// It is parsed from a folder's name or from the full name (`.NETCoreApp,Version=v8.0`), without
/// regard to case. NuGet makes one value, "unsupported", of all texts that it does not know; here
/// they are an [`Error`], so that every `Framework` is a known one. [`fmt::Display`] writes the
/// shortest folder name, which identifies the framework.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Framework {
    /// Never `NetFramework` with a version of 5 or more: that is `NetCoreApp`.
    family: Family,
    /// Up to four numbers, each at most `i32::MAX`; all zero if no version was given.
    version: FrameworkVersion,
    /// In canonical case, or in lower case if NuGet does not know it; empty without a profile.
    /// For portable libraries `Profile<n>`, or the members joined by `+`.
    profile: String,
    /// The operating system of .NET 5 and later, in lower case; empty on other frameworks.
    platform: String,
    /// The operating system's version; all zero without one.
    platform_version: FrameworkVersion,
}

/// How many frameworks one package may have folders or dependencies for; there are about 60 in
/// use, and no published package has more than 30.
const CANDIDATES_MAX: usize = 128;

/// Up to four numbers; what is not written is zero.
pub(crate) type FrameworkVersion = [u32; 4];

impl Framework {
    /// Makes the framework that stands for every framework.
    pub fn any() -> Self {
        Self::with_version(Family::Any, [0; 4])
    }

    /// Makes the .NET Framework without a version, for which files right below `lib/` are.
    pub(crate) fn net_framework() -> Self {
        Self::with_version(Family::NetFramework, [0; 4])
    }

    /// Returns which framework it is.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Returns the version's four numbers; all zero if none was given.
    pub fn version(&self) -> [u32; 4] {
        self.version
    }

    /// Returns the profile, such as `Client`; empty without one.
    pub fn profile(&self) -> &str {
        &self.profile
    }

    /// Returns the operating system that a framework of .NET 5 and later is bound to, such as
    /// `windows`; empty without one.
    pub fn platform(&self) -> &str {
        &self.platform
    }

    /// Tells whether it is a portable class library.
    pub fn is_portable(&self) -> bool {
        self.family == Family::Portable
    }

    /// Tells whether it stands for every framework.
    pub fn is_any(&self) -> bool {
        self.family == Family::Any
    }

    /// Returns the full name, such as `.NETFramework,Version=v4.0,Profile=Client`. It has no
    /// place for an operating system.
    pub fn full_name(&self) -> String {
        let mut name = format!(
            "{},Version=v{}",
            self.family.full_name(),
            dotted(self.version)
        );
        if !self.profile.is_empty() {
            name.push_str(",Profile=");
            name.push_str(&self.profile);
        }
        name
    }

    /// Tells whether a project of this framework can use what was made for the candidate.
    ///
    /// `any` fits everything in both directions, as in NuGet.
    pub fn can_use(&self, candidate: &Self) -> bool {
        compat::is_compatible(self, candidate)
    }

    /// Chooses the candidate that is nearest to this framework; `None` if it can use none.
    ///
    /// The rule is NuGet's: the same framework wins; else of those that fit, those that another
    /// one contains are dropped, then the same family is preferred, frameworks to portable
    /// libraries, what does not come as packages to what does, the same profile to none and none
    /// to another. `any` loses to everything. The answer does not depend on the candidates' order.
    pub fn nearest<'a>(&self, candidates: impl IntoIterator<Item = &'a Self>) -> Option<&'a Self> {
        nearest::nearest(self, candidates)
    }

    /// Chooses the item whose framework is nearest to this one, such as a dependency group.
    ///
    /// An item without a framework is for every one; those with an unknown framework are skipped,
    /// and the first of several for the same framework is taken. Fails if there are more
    /// frameworks than the limit of 128.
    pub fn nearest_of<'a, T>(
        &self,
        items: &'a [T],
        framework_of: impl Fn(&T) -> Option<&str>,
    ) -> Result<Option<&'a T>, Error> {
        let mut by_framework = BTreeMap::new();
        for item in items {
            let framework = match framework_of(item) {
                None | Some("") => Self::any(),
                Some(text) => match text.parse() {
                    Ok(framework) => framework,
                    Err(_) => continue,
                },
            };
            by_framework.entry(framework).or_insert(item);
        }
        let nearest = self.nearest_bounded(&by_framework.keys().collect())?;
        Ok(nearest.and_then(|framework| by_framework.get(&framework).copied()))
    }

    /// Like [`nearest`](Self::nearest), whose work grows with the square of the number of
    /// candidates, for candidates of foreign packages.
    pub(crate) fn nearest_bounded(
        &self,
        candidates: &BTreeSet<&Self>,
    ) -> Result<Option<Self>, Error> {
        if candidates.len() > CANDIDATES_MAX {
            return Err(Error::Limit {
                what: "the number of target frameworks",
                actual: candidates.len() as u64,
                limit: CANDIDATES_MAX as u64,
            });
        }
        Ok(self.nearest(candidates.iter().copied()).cloned())
    }

    fn with_version(family: Family, version: FrameworkVersion) -> Self {
        Self {
            family,
            version,
            profile: String::new(),
            platform: String::new(),
            platform_version: [0; 4],
        }
    }

    fn with_profile(family: Family, version: FrameworkVersion, profile: &str) -> Self {
        Self {
            profile: profile.to_owned(),
            ..Self::with_version(family, version)
        }
    }

    /// Tells whether this is .NET 5 or later, which may be bound to an operating system.
    fn is_net5_era(&self) -> bool {
        self.family == Family::NetCoreApp && self.version[0] >= 5
    }

    fn short_version(&self) -> String {
        if self.version == [0; 4] {
            return String::new();
        }
        let decimal = matches!(
            self.family,
            Family::NetCoreApp | Family::NetStandard | Family::NetStandardApp
        ) || self.version.iter().any(|&number| number > 9);
        if decimal {
            return dotted(self.version);
        }
        let numbers_min = match self.family {
            Family::Windows | Family::WindowsPhone | Family::Silverlight => 1,
            _ => 2,
        };
        let numbers = trimmed(&self.version, numbers_min);
        numbers.iter().map(u32::to_string).collect()
    }
}

/// Writes at least two numbers, without zeros at the end.
fn dotted(version: FrameworkVersion) -> String {
    let numbers = trimmed(&version, 2).iter().map(u32::to_string);
    numbers.collect::<Vec<_>>().join(".")
}

/// Drops zeros at the end, but keeps the first numbers.
fn trimmed(version: &FrameworkVersion, numbers_min: usize) -> &[u32] {
    let length = version
        .iter()
        .rposition(|&number| number > 0)
        .map_or(0, |index| index + 1);
    &version[..length.max(numbers_min)]
}

impl FromStr for Framework {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse::parse(text).map_err(|reason| Error::Framework {
            text: shown(text),
            reason,
        })
    }
}

impl TryFrom<String> for Framework {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Framework> for String {
    fn from(framework: Framework) -> Self {
        framework.to_string()
    }
}

impl fmt::Display for Framework {
    /// Writes the folder name, such as `net8.0-windows10.0.19041`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_portable() {
            return write!(f, "portable-{}", portable::short_profile(&self.profile));
        }
        let name = if self.is_net5_era() {
            "net"
        } else {
            self.family.short_name()
        };
        // `dotnet` alone already stands for its first version.
        if self.family == Family::NetPlatform && self.version == parse::DOTNET_VERSION {
            f.write_str(name)?;
        } else {
            write!(f, "{name}{}", self.short_version())?;
        }
        if !self.profile.is_empty() {
            write!(f, "-{}", parse::short_profile(self.family, &self.profile))?;
        }
        if !self.platform.is_empty() {
            write!(f, "-{}", self.platform)?;
            if self.platform_version != [0; 4] {
                f.write_str(&dotted(self.platform_version))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

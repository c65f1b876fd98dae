//! Choosing among several frameworks that all would do.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::compat::is_compatible;
use super::{Family, Framework, portable};

/// Which of two unrelated frameworks that come as packages is nearer, nearest first.
const PACKAGE_BASED: &[Family] = &[
    Family::NetCoreApp,
    Family::NetStandardApp,
    Family::NetStandard,
    Family::NetPlatform,
];

/// Which of two other unrelated frameworks is nearer, nearest first.
const NOT_PACKAGE_BASED: &[Family] = &[
    Family::NetFramework,
    Family::NetCore,
    Family::Windows,
    Family::WindowsPhoneApp,
];

/// See [`Framework::nearest`].
pub(super) fn nearest<'a>(
    target: &Framework,
    candidates: impl IntoIterator<Item = &'a Framework>,
) -> Option<&'a Framework> {
    let mut left: Vec<&Framework> = candidates
        .into_iter()
        .filter(|candidate| is_compatible(target, candidate))
        .collect();
    if let Some(same) = left.iter().find(|candidate| **candidate == target) {
        return Some(same);
    }
    // Most packages have one list for all.
    if left.len() < 2 {
        return left.pop();
    }
    left.sort_unstable();
    left.dedup();
    prefer(&mut left, |candidate| !candidate.is_any());
    drop_contained(&mut left);
    prefer(&mut left, |candidate| candidate.family == target.family);
    prefer(&mut left, |candidate| !candidate.is_portable());
    if left.len() > 1 && left.iter().all(|candidate| candidate.is_portable()) {
        choose_portable(target, &mut left);
    }
    if !target.family.is_package_based() {
        prefer(&mut left, |candidate| !candidate.family.is_package_based());
    }
    if !target.profile.is_empty() {
        prefer(&mut left, |candidate| {
            candidate.family == target.family && candidate.profile == target.profile
        });
    }
    prefer(&mut left, |candidate| candidate.profile.is_empty());
    if !target.platform.is_empty()
        && let Some(highest) = left.iter().map(|candidate| candidate.version).max()
    {
        // Likely to be the one without an operating system.
        prefer(&mut left, |candidate| candidate.version == highest);
    }
    left.into_iter().min_by_key(|candidate| {
        (
            precedence(candidate),
            Reverse(candidate.family.full_name().to_ascii_lowercase()),
            Reverse(*candidate),
        )
    })
}

/// Keeps what has the property if anything has.
fn prefer(left: &mut Vec<&Framework>, has: impl Fn(&Framework) -> bool) {
    if left.iter().any(|candidate| has(candidate)) {
        left.retain(|candidate| has(candidate));
    }
}

/// Drops candidates that another one contains; of two names for one framework, the one without a
/// version.
fn drop_contained(left: &mut Vec<&Framework>) {
    let all = left.clone();
    left.retain(|&candidate| {
        !all.iter().any(|&other| {
            if other == candidate || !is_compatible(other, candidate) {
                return false;
            }
            if !is_compatible(candidate, other) {
                return true;
            }
            candidate.family == other.family
                && candidate.version == [0; 4]
                && other.version != [0; 4]
        })
    });
}

/// Chooses among portable libraries: each framework of the target votes for those with the
/// nearest member; then fewer members, higher versions and the name decide.
fn choose_portable(target: &Framework, left: &mut Vec<&Framework>) {
    let members: BTreeMap<&Framework, Vec<Framework>> = left
        .iter()
        .map(|&library| (library, portable::members(&library.profile, true)))
        .collect();
    let voters = if target.is_portable() {
        portable::members(&target.profile, true)
    } else {
        vec![target.clone()]
    };
    let mut votes: BTreeMap<&Framework, usize> = BTreeMap::new();
    for voter in &voters {
        let Some(wanted) = nearest(voter, members.values().flatten()) else {
            continue;
        };
        for (library, members) in &members {
            if members.contains(wanted) {
                *votes.entry(library).or_default() += 1;
            }
        }
    }
    let most = votes.values().max().copied().unwrap_or_default();
    left.retain(|library| votes.get(library).copied().unwrap_or_default() == most);

    let best = left.iter().copied().min_by_key(|library| {
        let members = portable::members(&library.profile, false);
        let mut versions: Vec<_> = members
            .iter()
            .map(|member| (member.family, member.version))
            .collect();
        versions.sort_unstable();
        (members.len(), Reverse(versions), library.to_string())
    });
    left.retain(|library| Some(*library) == best);
}

/// Orders frameworks that have nothing to do with each other.
fn precedence(framework: &Framework) -> (bool, usize) {
    let is_package_based = framework.family.is_package_based();
    let order = if is_package_based {
        PACKAGE_BASED
    } else {
        NOT_PACKAGE_BASED
    };
    let position = order.iter().position(|family| *family == framework.family);
    (is_package_based, position.unwrap_or(order.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_framework_is_the_one_that_nuget_takes() {
        for (target, candidates, expected) in [
            ("net8.0", "net6.0 net8.0 netstandard2.0", Some("net8.0")),
            (
                "net8.0",
                "netstandard2.1 netcoreapp3.1 net48",
                Some("netcoreapp3.1"),
            ),
            ("net8.0", "net48 net9.0", None),
            ("net8.0", "any netstandard1.0", Some("netstandard1.0")),
            ("net8.0", "any net48", Some("any")),
            ("net8.0", "", None),
            ("net8.0-windows", "net8.0 net6.0-windows", Some("net8.0")),
            ("net48", "net45 netstandard2.0", Some("net45")),
            ("net48", "net40 net40-client", Some("net40")),
            ("net46", "dotnet netstandard1.3", Some("netstandard1.3")),
            (
                "net46",
                "portable-net45+win8 netstandard1.0",
                Some("portable-net45+win8"),
            ),
            (
                "net45",
                "portable-net45+win8+wpa81 portable-net40+win8",
                Some("portable-net45+win8+wpa81"),
            ),
            (
                "net45",
                "portable-net45+win8+wpa81 portable-net45+win8",
                Some("portable-net45+win8"),
            ),
            (
                "portable-net45+win8",
                "portable-net40+win8 portable-net45+win8+wpa81",
                Some("portable-net45+win8+wpa81"),
            ),
            ("win8", "win win8", Some("win8")),
            ("uap10.0", "wpa81 win81", Some("win81")),
        ] {
            let mut frameworks: Vec<Framework> = candidates
                .split_whitespace()
                .map(|text| text.parse().unwrap())
                .collect();
            for _ in 0..2 {
                let found = nearest(&target.parse().unwrap(), &frameworks);
                assert_eq!(
                    found.map(ToString::to_string).as_deref(),
                    expected,
                    "{target} of {candidates}"
                );
                frameworks.reverse();
            }
        }
    }
}

//! Which frameworks can use what was made for which others.

use std::collections::BTreeSet;

use super::tables::{EQUIVALENT, EQUIVALENT_PROFILES, Named, STANDARDS, SUPERSETS, SUPPORTS};
use super::{Family, Framework, portable};

/// See [`Framework::can_use`].
pub(super) fn is_compatible(target: &Framework, candidate: &Framework) -> bool {
    if target == candidate || target.is_any() || candidate.is_any() {
        return true;
    }
    if candidate.family == Family::Agnostic {
        return true;
    }
    if candidate.is_portable() {
        return fits_portable(target, candidate);
    }
    let targets = closure(target, |framework| {
        let mut wider = equivalents(framework);
        wider.extend(supported(framework));
        wider
    });
    let candidates = closure(candidate, equivalents);
    candidates
        .iter()
        .any(|candidate| targets.iter().any(|target| contains(target, candidate)))
}

/// A target fits a portable library if each of its own members can use one of the library's.
fn fits_portable(target: &Framework, candidate: &Framework) -> bool {
    let offered = portable::members(&candidate.profile, true);
    let wanted = if target.is_portable() {
        // What is optional on one side cannot be demanded of the other.
        portable::members(&target.profile, false)
    } else {
        vec![target.clone()]
    };
    wanted.len() <= offered.len()
        && wanted
            .iter()
            .all(|target| offered.iter().any(|member| is_compatible(target, member)))
}

/// Collects everything that can be reached in steps. Each step leads to a row of the tables or
/// keeps the version, so there is only a handful to reach.
fn closure(start: &Framework, next: impl Fn(&Framework) -> Vec<Framework>) -> BTreeSet<Framework> {
    let mut seen = BTreeSet::from([start.clone()]);
    let mut open = vec![start.clone()];
    while let Some(framework) = open.pop() {
        for other in next(&framework) {
            if seen.insert(other.clone()) {
                open.push(other);
            }
        }
    }
    seen
}

/// Lists other names of the same framework, one step away.
pub(super) fn equivalents(framework: &Framework) -> Vec<Framework> {
    let is_named = |&(family, version, profile): &Named| {
        framework.family == family && framework.version == version && framework.profile == profile
    };
    let made =
        |&(family, version, profile): &Named| Framework::with_profile(family, version, profile);
    let mut others = Vec::new();
    for (a, b) in EQUIVALENT {
        if is_named(a) {
            others.push(made(b));
        } else if is_named(b) {
            others.push(made(a));
        }
    }
    for &(family, a, b) in EQUIVALENT_PROFILES {
        if framework.family != family {
            continue;
        }
        if framework.profile == a {
            others.push(Framework::with_profile(family, framework.version, b));
        } else if framework.profile == b {
            others.push(Framework::with_profile(family, framework.version, a));
        }
    }
    others
}

/// Lists the highest frameworks of other families that the framework can use, one step away.
fn supported(framework: &Framework) -> Vec<Framework> {
    let mut others = Vec::new();
    if framework.is_portable() {
        let standard = portable::net_standard(&framework.profile);
        others
            .extend(standard.map(|version| Framework::with_version(Family::NetStandard, version)));
        return others;
    }
    for &(larger, smaller) in SUPERSETS {
        if framework.family == larger {
            let version = framework.version;
            others.push(Framework::with_profile(
                smaller,
                version,
                &framework.profile,
            ));
        }
    }
    if !framework.profile.is_empty() {
        return others;
    }
    for &(family, from, other, version) in SUPPORTS {
        if framework.family == family && framework.version >= from {
            others.push(Framework::with_version(other, version));
        }
    }
    for &(family, from, standard, platform) in STANDARDS {
        if framework.family != family || framework.version < from {
            continue;
        }
        let version = |[major, minor]: [u32; 2]| [major, minor, 0, 0];
        others.push(Framework::with_version(
            Family::NetStandard,
            version(standard),
        ));
        if let Some(platform) = platform {
            others.push(Framework::with_version(
                Family::NetPlatform,
                version(platform),
            ));
        }
    }
    others
}

/// Tells whether a framework contains another one of its own family.
fn contains(target: &Framework, candidate: &Framework) -> bool {
    if target.family != candidate.family || candidate.version > target.version {
        return false;
    }
    if target.is_net5_era() {
        candidate.profile.is_empty()
            && (candidate.platform.is_empty()
                || (candidate.platform == target.platform
                    && candidate.platform_version <= target.platform_version))
    } else {
        target.profile == candidate.profile
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_framework_uses_what_was_made_for_lower_and_smaller_ones() {
        for (target, fits, fits_not) in [
            (
                "net8.0",
                "net8.0 net5.0 netcoreapp3.1 netstandard2.1 netstandard1.0 any agnostic",
                "net9.0 net8.0-windows net48 uap10.0 native",
            ),
            (
                "net8.0-windows10.0",
                "net8.0 net7.0-windows net8.0-windows7.0",
                "net8.0-windows10.1 net8.0-linux net9.0-windows",
            ),
            (
                "net461",
                "net45 net40-client netstandard2.0 dotnet5.5 portable-net45+win8",
                "net462 netstandard2.1 dotnet5.6 netcoreapp1.0 net5.0",
            ),
            (
                "net45",
                "netstandard1.1 dotnet5.2",
                "netstandard1.2 dotnet5.3",
            ),
            ("net40-client", "net40 net20", "net45 netstandard1.0"),
            (
                "netstandard2.0",
                "netstandard1.6",
                "netstandard2.1 net45 portable-net45+win8",
            ),
            (
                "uap10.0",
                "uap win81 wpa81 netcore50 netstandard1.4 winrt45",
                "netstandard1.5 wp8 net45",
            ),
            (
                "uap10.0.16299",
                "netstandard2.0 uap10.0.15064",
                "netstandard2.1",
            ),
            (
                "win8",
                "win netcore45 winrt netstandard1.1",
                "win81 netstandard1.2",
            ),
            (
                "wp8",
                "sl8-wp wp7 sl3-wp netstandard1.0",
                "sl4 netstandard1.1",
            ),
            (
                "dnx451",
                "net451 aspnet50 netstandard1.2",
                "net46 dnxcore50",
            ),
            ("tizen40", "netstandard2.0 tizen", "netstandard2.1"),
            (
                "xamarinios",
                "netstandard2.1 dotnet5.6 portable-net45+win8",
                "net45 portable-net40+sl4",
            ),
            (
                "portable-net45+win8",
                "portable-net45+win8+wpa81 netstandard1.1 portable-net45+win8+wp8",
                "netstandard1.2 net45 portable-net451+win81",
            ),
        ] {
            let framework = |text: &str| text.parse::<Framework>().unwrap();
            for candidate in fits.split(' ') {
                assert!(
                    is_compatible(&framework(target), &framework(candidate)),
                    "{target} uses {candidate}"
                );
            }
            for candidate in fits_not.split(' ') {
                assert!(
                    !is_compatible(&framework(target), &framework(candidate)),
                    "{target} does not use {candidate}"
                );
            }
        }
    }
}

//! Portable class libraries: numbered sets of frameworks.

use std::collections::BTreeSet;

use super::{Family, Framework, FrameworkVersion, compat, parse};

type Member = (Family, FrameworkVersion);

const NET40: Member = (Family::NetFramework, [4, 0, 0, 0]);
const NET403: Member = (Family::NetFramework, [4, 0, 3, 0]);
const NET45: Member = (Family::NetFramework, [4, 5, 0, 0]);
const NET451: Member = (Family::NetFramework, [4, 5, 1, 0]);
const WIN8: Member = (Family::Windows, [8, 0, 0, 0]);
const WIN81: Member = (Family::Windows, [8, 1, 0, 0]);
const SL4: Member = (Family::Silverlight, [4, 0, 0, 0]);
const SL5: Member = (Family::Silverlight, [5, 0, 0, 0]);
const WP7: Member = (Family::WindowsPhone, [7, 0, 0, 0]);
const WP75: Member = (Family::WindowsPhone, [7, 5, 0, 0]);
const WP8: Member = (Family::WindowsPhone, [8, 0, 0, 0]);
const WP81: Member = (Family::WindowsPhone, [8, 1, 0, 0]);
const WPA81: Member = (Family::WindowsPhoneApp, [8, 1, 0, 0]);

/// The published profiles and their members.
const PROFILES: &[(u32, &[Member])] = &[
    (2, &[NET40, WIN8, SL4, WP7]),
    (3, &[NET40, SL4]),
    (4, &[NET45, SL4, WIN8, WP7]),
    (5, &[NET40, WIN8]),
    (6, &[NET403, WIN8]),
    (7, &[NET45, WIN8]),
    (14, &[NET40, SL5]),
    (18, &[NET403, SL4]),
    (19, &[NET403, SL5]),
    (23, &[NET45, SL4]),
    (24, &[NET45, SL5]),
    (31, &[WIN81, WP81]),
    (32, &[WIN81, WPA81]),
    (36, &[NET40, SL4, WIN8, WP8]),
    (37, &[NET40, SL5, WIN8]),
    (41, &[NET403, SL4, WIN8]),
    (42, &[NET403, SL5, WIN8]),
    (44, &[NET451, WIN81]),
    (46, &[NET45, SL4, WIN8]),
    (47, &[NET45, SL5, WIN8]),
    (49, &[NET45, WP8]),
    (78, &[NET45, WIN8, WP8]),
    (84, &[WP81, WPA81]),
    (88, &[NET40, SL4, WIN8, WP75]),
    (92, &[NET40, WIN8, WPA81]),
    (95, &[NET403, SL4, WIN8, WP7]),
    (96, &[NET403, SL4, WIN8, WP75]),
    (102, &[NET403, WIN8, WPA81]),
    (104, &[NET45, SL4, WIN8, WP75]),
    (111, &[NET45, WIN8, WPA81]),
    (136, &[NET40, SL5, WIN8, WP8]),
    (143, &[NET403, SL4, WIN8, WP8]),
    (147, &[NET403, SL5, WIN8, WP8]),
    (151, &[NET451, WIN81, WPA81]),
    (154, &[NET45, SL4, WIN8, WP8]),
    (157, &[WIN81, WP81, WPA81]),
    (158, &[NET45, SL5, WIN8, WP8]),
    (225, &[NET40, SL5, WIN8, WPA81]),
    (240, &[NET403, SL5, WIN8, WPA81]),
    (255, &[NET45, SL5, WIN8, WPA81]),
    (259, &[NET45, WIN8, WPA81, WP8]),
    (328, &[NET40, SL5, WIN8, WPA81, WP8]),
    (336, &[NET403, SL5, WIN8, WPA81, WP8]),
    (344, &[NET45, SL5, WIN8, WPA81, WP8]),
];

/// The profiles that also run on Mono's platforms.
const WITH_MONO: &[u32] = &[
    5, 6, 7, 14, 19, 24, 37, 42, 47, 49, 78, 92, 102, 111, 136, 147, 158, 225, 255, 259, 328, 336,
    344,
];

const MONO: &[Family] = &[
    Family::MonoAndroid,
    Family::MonoTouch,
    Family::XamarinIos,
    Family::XamarinWatchOs,
    Family::XamarinTvOs,
];

/// Reads `Profile7`, `net45+win8`; the members of a published profile become its number.
pub(super) fn parse_profile(text: &str) -> Result<String, &'static str> {
    if let Some(number) = profile_number(text) {
        return Ok(format!("Profile{number}"));
    }
    let mut members = BTreeSet::new();
    for part in text.split('+') {
        // A member cannot itself be portable or have a profile, so this does not recurse.
        if part.contains(['-', '%']) || part.is_empty() {
            return Err("the members of a portable library must be plain framework names");
        }
        let member = parse::parse_folder(part)?;
        if matches!(member.family, Family::Any | Family::Agnostic) {
            return Err("the members of a portable library must be frameworks");
        }
        members.insert(member);
    }
    if let Some(number) = published(&members) {
        return Ok(format!("Profile{number}"));
    }
    Ok(joined(members.iter()))
}

fn profile_number(text: &str) -> Option<u32> {
    let digits = text
        .get(.."profile".len())
        .filter(|start| start.eq_ignore_ascii_case("profile"))
        .and_then(|start| text.get(start.len()..))?;
    let number = digits.parse().ok()?;
    PROFILES
        .iter()
        .any(|(known, _)| *known == number)
        .then_some(number)
}

/// Finds the published profile with these members; members for Mono do not count where the
/// profile runs there anyway, and another name of a member is as good.
fn published(members: &BTreeSet<Framework>) -> Option<u32> {
    let found = PROFILES.iter().find(|(number, wanted)| {
        let with_mono = WITH_MONO.contains(number);
        let mut counted = members
            .iter()
            .filter(|member| !(with_mono && MONO.contains(&member.family)));
        let is_wanted = |member: &Framework| {
            wanted
                .iter()
                .any(|&(family, version)| same(member, &Framework::with_version(family, version)))
        };
        counted.clone().count() == wanted.len() && counted.all(is_wanted)
    });
    found.map(|(number, _)| *number)
}

fn same(a: &Framework, b: &Framework) -> bool {
    a == b || compat::equivalents(a).contains(b)
}

/// Returns the members of a portable library; on request also the Mono platforms that run it
/// although they are not named.
pub(super) fn members(profile: &str, with_optional: bool) -> Vec<Framework> {
    let Some(number) = profile_number(profile) else {
        let parts = profile.split('+');
        return parts
            .filter_map(|part| parse::parse_folder(part).ok())
            .collect();
    };
    let listed = PROFILES.iter().filter(|(known, _)| *known == number);
    let mut members: Vec<Framework> = listed
        .flat_map(|(_, members)| *members)
        .map(|&(family, version)| Framework::with_version(family, version))
        .collect();
    if with_optional && WITH_MONO.contains(&number) {
        members.extend(
            MONO.iter()
                .map(|&family| Framework::with_version(family, [0; 4])),
        );
    }
    members
}

/// Returns the .NET Standard version that a portable library is built on, if there is one.
pub(super) fn net_standard(profile: &str) -> Option<FrameworkVersion> {
    let minor = match profile_number(profile)? {
        31 | 49 | 78 | 84 | 157 | 259 => 0,
        7 | 111 => 1,
        32 | 44 | 151 => 2,
        _ => return None,
    };
    Some([1, minor, 0, 0])
}

/// Writes the members as a folder's name does: sorted.
pub(super) fn short_profile(profile: &str) -> String {
    joined(members(profile, false).iter())
}

fn joined<'a>(members: impl Iterator<Item = &'a Framework>) -> String {
    let mut names: Vec<String> = members.map(ToString::to_string).collect();
    names.sort_unstable();
    names.join("+")
}

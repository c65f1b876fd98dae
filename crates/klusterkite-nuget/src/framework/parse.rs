//! Reading the names of frameworks.

use super::{Family, Framework, FrameworkVersion, portable};

/// The longest text that is read, in bytes: the longest name in use, a portable library with
/// seven members, has about 70.
const TEXT_BYTES_MAX: usize = 256;

/// The largest number in a version: .NET keeps them in an `i32`.
const NUMBER_MAX: u32 = i32::MAX as u32;

/// The version that `dotnet` without a number stands for.
pub(super) const DOTNET_VERSION: FrameworkVersion = [5, 0, 0, 0];

/// Profiles that have a short name: family, short name, full name.
const PROFILES: &[(Family, &str, &str)] = &[
    (Family::NetFramework, "client", "Client"),
    (Family::NetFramework, "cf", "CompactFramework"),
    // The whole framework is the framework without a profile.
    (Family::NetFramework, "full", ""),
    (Family::Silverlight, "wp", "WindowsPhone"),
    (Family::Silverlight, "wp71", "WindowsPhone71"),
];

/// Reads a folder's name or, if it has a comma, a full name.
pub(super) fn parse(text: &str) -> Result<Framework, &'static str> {
    let text = text.trim();
    if text.len() > TEXT_BYTES_MAX {
        return Err("it is too long");
    }
    if text.contains(',') {
        parse_full(text)
    } else {
        parse_folder(text)
    }
}

/// Reads `.NETFramework,Version=v4.0,Profile=Client`.
fn parse_full(text: &str) -> Result<Framework, &'static str> {
    let mut parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let family = find_family(parts.next().unwrap_or_default())?;
    let mut version = [0; 4];
    let mut profile = "";
    for part in parts {
        let (key, value) = part.split_once('=').ok_or("a part of it has no `=`")?;
        if key.eq_ignore_ascii_case("Version") {
            let number = value.trim_start_matches(['v', 'V']);
            version = if number.contains('.') {
                dotted_version(number)?
            } else {
                dotted_version(&format!("{number}.0"))?
            };
        } else if key.eq_ignore_ascii_case("Profile") {
            profile = value;
        }
    }
    if !profile.chars().all(is_profile_char) {
        return Err("its profile must be letters, digits, `.`, `-` and `+`");
    }
    make(family, version, profile)
}

/// Reads `net8.0`, `net472`, `net8.0-windows10.0`, `portable-net45+win8`.
pub(super) fn parse_folder(text: &str) -> Result<Framework, &'static str> {
    let name_end = end_of(text, |c| c.is_ascii_alphabetic() || c == '.');
    let (name, rest) = text.split_at(name_end);
    let (number, rest) = rest.split_at(end_of(rest, |c| c.is_ascii_digit() || c == '.'));
    let profile = match rest.strip_prefix('-') {
        None if rest.is_empty() => "",
        Some(profile) if !profile.is_empty() && profile.chars().all(is_profile_char) => profile,
        _ => return Err("after name and version only `-` and a profile or platform may follow"),
    };
    let version = match number {
        "" => [0; 4],
        number if number.contains('.') => dotted_version(number)?,
        digits => digits_version(digits)?,
    };
    make(find_family(name)?, version, profile)
}

fn find_family(name: &str) -> Result<Family, &'static str> {
    Family::find(name).ok_or("NuGet knows no framework of this name")
}

/// Returns where the first character stands that does not belong.
fn end_of(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

fn is_profile_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+')
}

fn make(
    family: Family,
    version: FrameworkVersion,
    profile: &str,
) -> Result<Framework, &'static str> {
    match family {
        Family::Any | Family::Agnostic if version != [0; 4] || !profile.is_empty() => {
            Err("what is not one framework has no version and no profile")
        }
        Family::Portable => {
            // Its version says nothing: the same library is written with and without one.
            let profile = portable::parse_profile(profile)?;
            Ok(Framework::with_profile(family, [0; 4], &profile))
        }
        Family::NetFramework | Family::NetCoreApp if version[0] >= 5 => {
            let (platform, platform_version) = parse_platform(profile)?;
            Ok(Framework {
                platform,
                platform_version,
                ..Framework::with_version(Family::NetCoreApp, version)
            })
        }
        Family::NetPlatform if version == [0; 4] => {
            make(Family::NetPlatform, DOTNET_VERSION, profile)
        }
        _ => {
            let profile = long_profile(family, profile);
            Ok(Framework::with_profile(family, version, &profile))
        }
    }
}

/// Reads `windows10.0.19041.0`.
fn parse_platform(text: &str) -> Result<(String, FrameworkVersion), &'static str> {
    let (name, number) = text.split_at(end_of(text, |c| c.is_ascii_alphabetic()));
    if name.is_empty() && !number.is_empty() {
        return Err("its platform must start with a letter");
    }
    let version = match number {
        "" => [0; 4],
        number if number.contains('.') => dotted_version(number)?,
        number => dotted_version(&format!("{number}.0"))?,
    };
    Ok((name.to_ascii_lowercase(), version))
}

/// Reads two to four dotted numbers.
fn dotted_version(text: &str) -> Result<FrameworkVersion, &'static str> {
    let mut version = [0; 4];
    let mut count = 0;
    for part in text.split('.') {
        let slot = version
            .get_mut(count)
            .ok_or("its version has more than four numbers")?;
        *slot = number(part)?;
        count += 1;
    }
    if count < 2 {
        return Err("its version must have two to four numbers");
    }
    Ok(version)
}

/// Reads digits that each are a number: `472` is 4.7.2, `4` is 4.0. As in NuGet a fifth digit and
/// what follows are ignored.
fn digits_version(text: &str) -> Result<FrameworkVersion, &'static str> {
    let mut version = [0; 4];
    for (slot, digit) in version.iter_mut().zip(text.chars()) {
        *slot = digit.to_digit(10).ok_or(NOT_A_NUMBER)?;
    }
    Ok(version)
}

const NOT_A_NUMBER: &str = "its version must be numbers of at most 2147483647";

fn number(text: &str) -> Result<u32, &'static str> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(NOT_A_NUMBER);
    }
    match text.parse::<u32>() {
        Ok(number) if number <= NUMBER_MAX => Ok(number),
        _ => Err(NOT_A_NUMBER),
    }
}

fn long_profile(family: Family, profile: &str) -> String {
    let known = PROFILES.iter().find(|(of, short, long)| {
        *of == family && (short.eq_ignore_ascii_case(profile) || long.eq_ignore_ascii_case(profile))
    });
    match known {
        Some((_, _, long)) if !profile.is_empty() => (*long).to_owned(),
        _ => profile.to_ascii_lowercase(),
    }
}

/// Returns the profile as a folder's name writes it.
pub(super) fn short_profile(family: Family, profile: &str) -> String {
    let known = PROFILES
        .iter()
        .find(|(of, _, long)| *of == family && *long == profile);
    known.map_or_else(
        || profile.to_ascii_lowercase(),
        |(_, short, _)| (*short).to_owned(),
    )
}

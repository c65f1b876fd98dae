//! Names of entries, and which of them may be on one disk together.

use crate::Error;
use crate::error::shown;

/// The longest path of an entry in bytes: Linux allows 4,096 for a whole path, and the service
/// directory needs its share.
const PATH_BYTES_MAX: usize = 1024;

/// The longest part of a path in bytes, as file systems have it.
const PART_BYTES_MAX: usize = 255;

/// Turns an entry's name into a relative path with `/`, or says why it is refused.
///
/// Names are percent-decoded as NuGet does it, once, and back-slashes are taken as slashes
/// *before* the checks, so that no spelling of `../` gets past them.
pub(super) fn clean_path(raw: &[u8]) -> Result<String, Error> {
    let lossy = || String::from_utf8_lossy(raw).into_owned();
    let refuse = |reason| Error::Entry {
        entry: shown(&lossy()),
        reason,
    };

    let decoded = percent_decoded(raw);
    let Ok(path) = String::from_utf8(decoded) else {
        return Err(refuse("its name is not UTF-8"));
    };
    let path = path.replace('\\', "/");
    if path.chars().any(char::is_control) {
        return Err(refuse("its name has control characters"));
    }
    if path.len() > PATH_BYTES_MAX {
        return Err(refuse("its name is longer than 1024 bytes"));
    }
    if path.starts_with('/') {
        return Err(refuse("its path is absolute"));
    }
    if path.as_bytes().get(1) == Some(&b':') {
        return Err(refuse("its path starts with a drive"));
    }
    for part in path.strip_suffix('/').unwrap_or(&path).split('/') {
        match part {
            "" => return Err(refuse("a part of its path is empty")),
            "." | ".." => return Err(refuse("its path leaves or repeats a directory")),
            part if part.len() > PART_BYTES_MAX => {
                return Err(refuse("a part of its path is longer than 255 bytes"));
            }
            _ => {}
        }
    }
    Ok(path)
}

/// Decodes `%41` as `A`; anything else with `%` stays as it is.
fn percent_decoded(raw: &[u8]) -> Vec<u8> {
    let digit = |index: usize| {
        raw.get(index)
            .and_then(|byte| char::from(*byte).to_digit(16))
    };
    let mut decoded = Vec::with_capacity(raw.len());
    let mut index = 0;
    while let Some(&byte) = raw.get(index) {
        if byte == b'%'
            && let (Some(high), Some(low)) = (digit(index + 1), digit(index + 2))
        {
            decoded.push((high * 16 + low) as u8);
            index += 3;
        } else {
            decoded.push(byte);
            index += 1;
        }
    }
    decoded
}

/// Paths that are to be on one disk together.
#[derive(Default)]
pub(crate) struct PathSet {
    /// Sort key, path as written, whether it is a directory.
    paths: Vec<(String, String, bool)>,
}

impl PathSet {
    /// Adds a clean path; a directory's path ends with `/`.
    pub(crate) fn add(&mut self, path: &str) {
        let directory = path.ends_with('/');
        // NUL sorts before every character of a clean path, so what is below a path follows it
        // directly. Lower case: a case-insensitive disk must not see another package.
        let key = path.trim_end_matches('/').to_lowercase().replace('/', "\0");
        self.paths.push((key, path.to_owned(), directory));
    }

    /// Refuses equal paths and files that have other files below them.
    pub(crate) fn check(mut self) -> Result<(), Error> {
        self.paths.sort();
        for pair in self.paths.windows(2) {
            let [
                (key, first, first_is_directory),
                (next, second, second_is_directory),
            ] = pair
            else {
                continue;
            };
            let clash = |reason| Error::Clash {
                first: shown(first),
                second: shown(second),
                reason,
            };
            if key == next {
                match (first_is_directory, second_is_directory) {
                    (true, true) => {}
                    (false, false) => return Err(clash("both are the same file, case aside")),
                    _ => return Err(clash("one is a file, the other a directory")),
                }
            }
            let is_below = next
                .strip_prefix(key.as_str())
                .is_some_and(|rest| rest.starts_with('\0'));
            if is_below && !first_is_directory {
                return Err(clash("the first is a file, so nothing can be below it"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_their_directory_are_refused_in_every_spelling() {
        for raw in [
            "../a",
            "a/../b",
            "a/..",
            "..",
            ".",
            "./a",
            "/a",
            "\\a",
            "..\\a",
            "a\\..\\..\\b",
            "C:/a",
            "c:a",
            "%2e%2e/a",
            "%2e%2e%2fa",
            "..%5ca",
            "%2Fa",
            "a//b",
            "a\0b",
            "a%00b",
            "a\nb",
            "",
            "/",
            "a/%FFb",
            &"x/".repeat(600),
            &"x".repeat(256),
        ] {
            assert!(clean_path(raw.as_bytes()).is_err(), "{raw:?}");
        }
    }

    #[test]
    fn names_are_decoded_once() {
        for (raw, path) in [
            ("a%20b", "a b"),
            ("a%2520b", "a%20b"),
            ("100%", "100%"),
            ("a%zz", "a%zz"),
            ("lib\\x.dll", "lib/x.dll"),
            ("%C3%A4", "ä"),
            ("dir/", "dir/"),
            ("..a/b..", "..a/b.."),
        ] {
            assert_eq!(clean_path(raw.as_bytes()).unwrap(), path);
        }
    }

    #[test]
    fn paths_that_cannot_be_together_clash() {
        let check = |paths: &[&str]| {
            let mut set = PathSet::default();
            for path in paths {
                set.add(path);
            }
            set.check()
        };
        assert!(check(&["a/b", "a/c", "a-b", "a/", "a/", "ab"]).is_ok());
        for paths in [
            &["a", "a"][..],
            &["a/b", "A/B"],
            &["a", "a/b"],
            &["A", "a/b/c", "a.txt"],
            &["a", "a/"],
            &["x/y", "x/y.z", "x/Y/z"],
        ] {
            assert!(check(paths).is_err(), "{paths:?}");
        }
    }
}

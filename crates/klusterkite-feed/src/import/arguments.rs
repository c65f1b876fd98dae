//! What the command line of an import says.

use std::path::{Path, PathBuf};
use std::time::Duration;

use klusterkite_tls::Trust;

use super::{Import, Source};
use crate::Error;
use crate::settings::read_credential;
use crate::upstream::Remote;

/// How long another feed may take to answer: an import is in no hurry.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Reads where to import from and which options follow.
pub(crate) fn parse(from: &str, options: &[&str]) -> Result<Import, Error> {
    let refused = |key: &str, reason: &str| Error::Setting {
        key: key.to_owned(),
        reason: reason.to_owned(),
    };
    let is_url = from.starts_with("http://") || from.starts_with("https://");
    let mut ids = Vec::new();
    let (mut user, mut password, mut ca) = ("klusterkite".to_owned(), None, None);
    let mut options = options.iter();
    while let Some(&option) = options.next() {
        let value = options.next();
        let value = *value.ok_or_else(|| refused(option, "needs a value"))?;
        match option {
            "--id" => ids.push(
                value
                    .parse()
                    .map_err(|_| refused(option, "is no package id"))?,
            ),
            "--user" if is_url => value.clone_into(&mut user),
            "--credential-file" if is_url => {
                password = Some(read_credential(Path::new(value), option)?);
            }
            "--ca" if is_url => ca = Some(PathBuf::from(value)),
            _ => return Err(refused(option, "is no option of this import")),
        }
    }
    let source = if is_url {
        Source::Feed(Remote {
            url: from.to_owned(),
            user,
            password,
            timeout: TIMEOUT,
            trust: Trust::from_files(ca),
        })
    } else {
        Source::Folder(PathBuf::from(from))
    };
    Ok(Import { source, ids })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_those_that_mean_nothing_are_refused() {
        let import = parse(
            "http://a/index.json",
            &["--id", "A", "--id", "B", "--user", "me"],
        );
        let import = import.unwrap();
        assert_eq!(import.ids, ["A".parse().unwrap(), "B".parse().unwrap()]);
        assert!(matches!(import.source, Source::Feed(remote) if remote.user == "me"));
        for (from, options) in [
            ("folder", &["--user", "me"][..]),
            ("folder", &["--id"]),
            ("folder", &["--id", "no id"]),
            ("http://a", &["--all", "x"]),
            ("http://a", &["--credential-file", "/none"]),
        ] {
            assert!(parse(from, options).is_err(), "{from} {options:?}");
        }
    }
}

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use klusterkite_wire::Secret;
use serde::Deserialize;

use crate::Error;

/// Largest credential file, in bytes: a key has under a hundred.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// A key of a feed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FeedCredential {
    /// User name of Basic authentication; feeds that know keys only do not look at it.
    #[serde(default = "default_user")]
    pub user: String,
    /// The key: `X-NuGet-ApiKey` of writes, Basic password of reads.
    pub api_key: Secret,
}

impl FeedCredential {
    /// Makes a credential of a key.
    pub fn new(api_key: Secret) -> Self {
        Self {
            user: default_user(),
            api_key,
        }
    }

    /// Reads a credential file: JSON such as `{"apiKey": "…"}`.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let shown = || path.display().to_string();
        let failed = |source| Error::File {
            path: shown(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        let mut text = String::new();
        // The size that the system tells is none for a device or a pipe.
        let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
        if read.map_err(failed)? as u64 > FILE_BYTES_MAX {
            return Err(failed(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "it is no credential file",
            )));
        }
        serde_json::from_str(&text).map_err(|source| Error::Credential {
            path: shown(),
            source,
        })
    }
}

fn default_user() -> String {
    "klusterkite".to_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_credential_file_is_read_and_its_key_does_not_print() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.json");
        fs::write(&path, r#"{"apiKey": "k3y"}"#).unwrap();
        let credential = FeedCredential::read(&path).unwrap();
        assert_eq!(credential.user, "klusterkite");
        assert_eq!(credential.api_key.reveal(), "k3y");
        assert!(!format!("{credential:?}").contains("k3y"));
    }

    #[test]
    fn a_file_that_is_no_credential_is_named_without_its_content() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.json");
        for content in ["s3cret", "{\"key\": \"s3cret\"}", "[\"s3cret\"]"] {
            fs::write(&path, content).unwrap();
            let error = FeedCredential::read(&path).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(
                text.contains("key.json") && !text.contains("s3cret"),
                "{text}"
            );
        }
        let endless = FeedCredential::read(Path::new("/dev/zero")).unwrap_err();
        assert!(endless.to_string().contains("/dev/zero"), "{endless}");
        let missing = FeedCredential::read(&directory.path().join("none")).unwrap_err();
        assert!(missing.to_string().contains("none"), "{missing}");
    }
}

//! The section `upstream` of the settings.

use std::path::{Path, PathBuf};
use std::time::Duration;

use klusterkite_hocon::deserialize_duration;
use klusterkite_tls::Trust;
use klusterkite_wire::Secret;
use serde::Deserialize;

use super::{read_credential, refused};
use crate::Error;
use crate::upstream::{Policy, Remote, UpstreamSettings};

/// How long an answer of an upstream is taken for true: a version that was pushed there is seen
/// here after a minute.
const FRESH: Duration = Duration::from_mins(1);

/// How long an upstream is not asked again for what it did not have.
const ABSENT: Duration = Duration::from_secs(15);

/// How long an upstream may take to answer: feeds on the other side of the world take one second.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest name of an upstream, in bytes.
const NAME_BYTES_MAX: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct UpstreamWritten {
    name: Option<String>,
    url: String,
    user: Option<String>,
    password: Option<Secret>,
    credential_file: Option<PathBuf>,
    ca: Option<PathBuf>,
    #[serde(default)]
    prefixes: Vec<String>,
    #[serde(default)]
    except: Vec<String>,
    #[serde(default)]
    local_ids: bool,
    #[serde(default = "fresh", deserialize_with = "deserialize_duration")]
    fresh: Duration,
    #[serde(default = "absent", deserialize_with = "deserialize_duration")]
    absent: Duration,
    #[serde(default = "timeout", deserialize_with = "deserialize_duration")]
    timeout: Duration,
}

fn fresh() -> Duration {
    FRESH
}

fn absent() -> Duration {
    ABSENT
}

fn timeout() -> Duration {
    TIMEOUT
}

/// Checks the list; relative paths start at `base`.
pub(super) fn build(
    written: Vec<UpstreamWritten>,
    base: &Path,
) -> Result<Vec<UpstreamSettings>, Error> {
    let mut all: Vec<UpstreamSettings> = Vec::new();
    for (index, upstream) in written.into_iter().enumerate() {
        let upstream = upstream.build(index, base)?;
        if all.iter().any(|other| other.name == upstream.name) {
            let reason = format!("`{}` is the name of another upstream too", upstream.name);
            return Err(refused(&format!("upstream[{index}].name"), &reason));
        }
        all.push(upstream);
    }
    Ok(all)
}

impl UpstreamWritten {
    fn build(self, index: usize, base: &Path) -> Result<UpstreamSettings, Error> {
        let at = |member: &str| format!("upstream[{index}].{member}");
        let host = host(&self.url).ok_or_else(|| {
            let reason =
                "must be the address of a service index, such as `https://host/v3/index.json`";
            refused(&at("url"), reason)
        })?;
        let name = self.name.unwrap_or_else(|| host.to_owned());
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(char::is_control) {
            return Err(refused(&at("name"), "must have 1 to 100 characters"));
        }
        let password = match (self.password, self.credential_file) {
            (password, None) => password,
            (None, Some(path)) => {
                let path = base.join(path);
                Some(read_credential(&path, &at("credentialFile"))?)
            }
            _ => {
                let reason = "write either `password` or `credentialFile`";
                return Err(refused(&at("password"), reason));
            }
        };
        if self.timeout.is_zero() {
            return Err(refused(&at("timeout"), "must be more than nothing"));
        }
        let lower = |prefixes: Vec<String>| {
            let prefixes = prefixes.iter();
            prefixes.map(|prefix| prefix.to_lowercase()).collect()
        };
        Ok(UpstreamSettings {
            name,
            remote: Remote {
                url: self.url,
                user: self.user.unwrap_or_else(|| "klusterkite".to_owned()),
                password,
                timeout: self.timeout,
                trust: Trust::from_files(self.ca.map(|path| base.join(path))),
            },
            policy: Policy {
                prefixes: lower(self.prefixes),
                except: lower(self.except),
                local_ids: self.local_ids,
            },
            fresh: self.fresh,
            absent: self.absent,
        })
    }
}

/// Returns the host of a URL, with its port.
fn host(url: &str) -> Option<&str> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))?;
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    (!host.is_empty() && !host.contains('@')).then_some(host)
}

//! The settings file.

mod retention;
mod upstream;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use klusterkite_hocon::{Document, deserialize_duration, deserialize_size};
use klusterkite_nuget::Limits;
use klusterkite_wire::Secret;
use serde::Deserialize;

use crate::Error;
use crate::access_log::AccessLogTarget;
use crate::keys::{Key, Keys, Scope};
use crate::proxies::Network;
use crate::retention::Retention;
use crate::upstream::UpstreamSettings;
use retention::RetentionWritten;
use upstream::UpstreamWritten;

/// Largest file of settings or with a key, in bytes: a thousand keys with their scopes need a tenth of it.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The shortest key: with fewer characters guessing would pay.
const KEY_CHARS_MIN: usize = 16;

/// How a feed works.
#[derive(Debug)]
pub struct Settings {
    /// The address to listen at, such as `127.0.0.1:5000`; port 0 takes a free one.
    pub listen: String,
    /// Where packages and index are.
    pub directory: PathBuf,
    /// Certificate and key; without them the feed speaks plain HTTP.
    pub tls: Option<TlsFiles>,
    /// The feed's address as clients see it, without a trailing slash; by default the one that
    /// each request names.
    pub public_url: Option<String>,
    /// Who may do what.
    pub keys: Keys,
    /// The file that gets the address with the real port.
    pub address_file: Option<PathBuf>,
    /// The largest package in bytes.
    pub package_bytes_max: u64,
    /// What a package may unpack to.
    pub limits: Limits,
    /// Connections that are open at the same time.
    pub connections_max: usize,
    /// How long a client may take for the head of a request, and keep a connection without one.
    pub head_time_max: Duration,
    /// Free bytes of the disk below which pushes are refused, so that the index can still be
    /// written.
    pub free_bytes_min: u64,
    /// Which versions are removed, and when.
    pub retention: Option<Retention>,
    /// Other feeds whose packages this one looks for and keeps.
    pub upstream: Vec<UpstreamSettings>,
    /// Whose `X-Forwarded-…` headers are believed.
    pub trusted_proxies: Vec<Network>,
    /// Where a line for each request goes.
    pub access_log: AccessLogTarget,
}

/// Files (PEM) that make a feed speak HTTPS; they are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsFiles {
    /// The feed's certificate, then those between it and its authority.
    pub certificate: PathBuf,
    /// The key of the certificate.
    pub key: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    listen: String,
    tls: Option<TlsFiles>,
    directory: PathBuf,
    public_url: Option<String>,
    #[serde(default)]
    keys: Vec<KeyWritten>,
    #[serde(default)]
    anonymous_read: bool,
    #[serde(default)]
    anonymous_metrics: bool,
    #[serde(default)]
    trusted_proxies: Vec<String>,
    access_log: Option<String>,
    address_file: Option<PathBuf>,
    #[serde(default)]
    limits: LimitsWritten,
    retention: Option<RetentionWritten>,
    #[serde(default)]
    upstream: Vec<UpstreamWritten>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct KeyWritten {
    name: String,
    key: Option<Secret>,
    key_file: Option<PathBuf>,
    scopes: Vec<String>,
    id_prefix: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct LimitsWritten {
    #[serde(deserialize_with = "deserialize_size")]
    package_bytes: u64,
    #[serde(deserialize_with = "deserialize_size")]
    entry_bytes: u64,
    #[serde(deserialize_with = "deserialize_size")]
    unpacked_bytes: u64,
    entries: usize,
    ratio: u64,
    connections: usize,
    #[serde(deserialize_with = "deserialize_duration")]
    head_time: Duration,
    #[serde(deserialize_with = "deserialize_size")]
    free_bytes: u64,
}

impl Default for LimitsWritten {
    fn default() -> Self {
        Self {
            // The largest packages of services with their runtime have some hundred megabytes.
            package_bytes: 1 << 30,
            entry_bytes: Limits::STANDARD.entry_bytes_max,
            unpacked_bytes: Limits::STANDARD.total_bytes_max,
            entries: Limits::STANDARD.entries_max,
            ratio: Limits::STANDARD.ratio_max,
            // Each costs a file descriptor or two, of which a process usually gets 1,024.
            connections: 450,
            // More than any client needs, less than one that drips bytes should cost; NuGet
            // clients connect again by themselves.
            head_time: Duration::from_secs(30),
            // Room for the index, its log and the other programs of the machine.
            free_bytes: 64 << 20,
        }
    }
}

impl Settings {
    /// Reads a settings file; relative paths in it start at its directory, substitutions see the
    /// given environment.
    pub fn read(path: &Path, environment: &BTreeMap<String, String>) -> Result<Self, Error> {
        let text = read_text(path)?;
        let base = path.parent().unwrap_or(Path::new(""));
        let failed = |source| Error::Settings {
            path: path.to_owned(),
            source,
        };
        let document = Document::parse(&text, &path.display().to_string()).map_err(failed)?;
        let config = document.resolve(environment).map_err(failed)?;
        let file: Written = config.deserialize("").map_err(failed)?;
        file.build(base)
    }
}

impl Written {
    fn build(self, base: &Path) -> Result<Settings, Error> {
        let public_url = self
            .public_url
            .map(|url| url.trim_end_matches('/').to_owned());
        if let Some(url) = &public_url
            && !(url.starts_with("http://") || url.starts_with("https://"))
        {
            return Err(refused(
                "publicUrl",
                "must start with `http://` or `https://`",
            ));
        }
        if self.keys.is_empty() && !self.anonymous_read {
            return Err(refused(
                "keys",
                "nobody could use the feed: name at least one key",
            ));
        }
        let keys = self.keys.into_iter().enumerate();
        let keys = keys
            .map(|(index, key)| key.build(index, base))
            .collect::<Result<Vec<_>, _>>()?;
        let anonymous = [
            (self.anonymous_read, Scope::Read),
            (self.anonymous_metrics, Scope::Metrics),
        ];
        let anonymous = anonymous
            .into_iter()
            .filter_map(|(is_open, scope)| is_open.then_some(scope));
        let proxies = self.trusted_proxies.iter().enumerate();
        let trusted_proxies = proxies
            .map(|(index, text)| {
                let expected = "must be an address or a network such as `10.0.0.0/8`";
                let at = format!("trustedProxies[{index}]");
                text.parse().map_err(|()| refused(&at, expected))
            })
            .collect::<Result<_, _>>()?;
        let access_log = match self.access_log.as_deref() {
            None | Some("none") => AccessLogTarget::None,
            Some("stdout") => AccessLogTarget::Stdout,
            Some("stderr") => AccessLogTarget::Stderr,
            Some(path) => AccessLogTarget::File(base.join(path)),
        };
        let limits = self.limits;
        if limits.connections == 0 {
            return Err(refused("limits.connections", "must be at least 1"));
        }
        if limits.head_time.is_zero() {
            return Err(refused("limits.headTime", "must be longer than nothing"));
        }
        Ok(Settings {
            listen: self.listen,
            directory: base.join(self.directory),
            tls: self.tls.map(|tls| TlsFiles {
                certificate: base.join(tls.certificate),
                key: base.join(tls.key),
            }),
            public_url,
            keys: Keys::new(keys, anonymous.collect()),
            address_file: self.address_file.map(|path| base.join(path)),
            package_bytes_max: limits.package_bytes,
            limits: Limits {
                entries_max: limits.entries,
                entry_bytes_max: limits.entry_bytes,
                total_bytes_max: limits.unpacked_bytes,
                ratio_max: limits.ratio,
            },
            connections_max: limits.connections,
            head_time_max: limits.head_time,
            free_bytes_min: limits.free_bytes,
            upstream: upstream::build(self.upstream, base)?,
            retention: self.retention.map(RetentionWritten::build).transpose()?,
            trusted_proxies,
            access_log,
        })
    }
}

impl KeyWritten {
    fn build(self, index: usize, base: &Path) -> Result<Key, Error> {
        let at = |member: &str| format!("keys[{index}].{member}");
        let secret = match (self.key, self.key_file) {
            (Some(key), None) => key,
            (None, Some(path)) => read_credential(&base.join(path), &at("keyFile"))?,
            _ => return Err(refused(&at("key"), "write either `key` or `keyFile`")),
        };
        if secret.reveal().chars().count() < KEY_CHARS_MIN {
            return Err(refused(
                &at("key"),
                "is shorter than 16 characters; use random ones",
            ));
        }
        let mut scopes = BTreeSet::new();
        for name in &self.scopes {
            let scope = Scope::ALL.into_iter().find(|scope| scope.as_str() == name);
            let unknown = || {
                let known = "`read`, `push`, `unlist`, `purge`, `pin` and `metrics`";
                refused(
                    &at("scopes"),
                    &format!("`{name}` is not a scope; there are {known}"),
                )
            };
            scopes.insert(scope.ok_or_else(unknown)?);
        }
        Ok(Key::new(self.name, &secret, scopes, self.id_prefix))
    }
}

/// Reads a file that has to be small; the size that the system tells is none for a device or a pipe.
fn read_text(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::file("read", path)(source);
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    if read.map_err(failed)? as u64 > FILE_BYTES_MAX {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(text)
}

/// Reads a key or password: the credential file that clients of the feed use (`{"apiKey": "…"}`), or the bare
/// key.
pub(crate) fn read_credential(path: &Path, setting: &str) -> Result<Secret, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Credential {
        api_key: Secret,
    }
    let text = read_text(path)?;
    let text = text.trim();
    if !text.starts_with('{') {
        return Ok(Secret::new(text));
    }
    // The parser's message could repeat a part of the key.
    let credential = serde_json::from_str::<Credential>(text).map_err(|_| {
        refused(
            setting,
            &format!("`{}` is not JSON with a member `apiKey`", path.display()),
        )
    })?;
    Ok(credential.api_key)
}

fn refused(key: &str, reason: &str) -> Error {
    Error::Setting {
        key: key.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    fn read(text: &str) -> Result<Settings, Error> {
        let directory = tempfile::tempdir().unwrap();
        fs::write(
            directory.path().join("key.json"),
            format!("{{\"apiKey\": \"{KEY}\"}}"),
        )
        .unwrap();
        let path = directory.path().join("feed.hocon");
        fs::write(&path, text).unwrap();
        Settings::read(
            &path,
            &BTreeMap::from([("FEED_KEY".to_owned(), KEY.to_owned())]),
        )
    }

    #[test]
    fn settings_are_read_with_defaults_and_environment() {
        let settings = read(
            "listen = \"127.0.0.1:0\", directory = data, publicUrl = \"https://feed/x/\"
            keys = [{name = a, key = ${FEED_KEY}, scopes = [read, push]}
                    {name = b, keyFile = key.json, scopes = [pin], idPrefix = Acme.}]
            limits { packageBytes = 10 MiB, entries = 5 }
            retention.rules = [{idPrefix = Acme., keepStable = 3, keepFor = 30d}]",
        )
        .unwrap();
        let rule = &settings.retention.as_ref().unwrap().rules[0];
        assert_eq!(
            (rule.id_prefix.as_str(), rule.keep_stable, rule.keep_for),
            ("acme.", Some(3), Some(Duration::from_hours(30 * 24)))
        );
        assert!(settings.directory.is_absolute() && settings.directory.ends_with("data"));
        assert_eq!(settings.public_url.as_deref(), Some("https://feed/x"));
        assert_eq!(settings.package_bytes_max, 10 << 20);
        assert_eq!(
            settings.limits,
            Limits {
                entries_max: 5,
                ..Limits::STANDARD
            }
        );
    }

    #[test]
    fn the_example_says_what_the_defaults_are() {
        let mut example = include_str!("../example.hocon").to_owned();
        for name in ["OPERATOR", "MANAGER", "LAUNCHER", "ORDERS", "PROMETHEUS"] {
            example = example.replace(&format!("${{FEED_{name}_KEY}}"), KEY);
        }
        let example = read(&example).unwrap();
        let defaults =
            read("listen = \"127.0.0.1:5000\", directory = data, anonymousRead = true").unwrap();
        let numbers = |settings: &Settings| {
            (
                settings.limits,
                settings.package_bytes_max,
                settings.connections_max,
                settings.head_time_max,
                settings.free_bytes_min,
            )
        };
        assert_eq!(numbers(&example), numbers(&defaults));
    }

    #[test]
    fn settings_that_would_not_work_are_refused_by_name() {
        let key =
            |members: &str| format!("listen = a, directory = b, keys = [{{name = a, {members}}}]");
        for (text, named) in [
            ("directory = b".to_owned(), "listen"),
            ("listen = a, directory = b".to_owned(), "keys"),
            (
                "listen = a, directory = b, anonymousRead = true, other = 1".to_owned(),
                "other",
            ),
            (
                "listen = a, directory = b, anonymousRead = true, publicUrl = feed".to_owned(),
                "publicUrl",
            ),
            (
                "listen = a, directory = b, anonymousRead = true, trustedProxies = [\"10.0.0.0/33\"]"
                    .to_owned(),
                "trustedProxies[0]",
            ),
            (
                "listen = a, directory = b, anonymousRead = true, limits.connections = 0"
                    .to_owned(),
                "limits.connections",
            ),
            (key("scopes = [read]"), "keys[0].key"),
            (
                "listen = a, directory = b, anonymousRead = true, upstream = [{url = feed}]".to_owned(),
                "upstream[0].url",
            ),
            (
                "listen = a, directory = b, anonymousRead = true, upstream = [{url = \"http://a/\"}, {url = \"http://a/b\"}]".to_owned(),
                "upstream[1].name",
            ),
            (
                "listen = a, directory = b, anonymousRead = true, upstream = [{url = \"http://a/\", credentialFile = none}]".to_owned(),
                "none",
            ),
            (
                "listen = a, directory = b, anonymousRead = true, retention.rules = [{keepListed = true}]".to_owned(),
                "retention.rules[0]",
            ),
            (
                "listen = a, directory = b, anonymousRead = true, retention.rules = [{keepStable = 1, origin = x}]".to_owned(),
                "retention.rules[0].origin",
            ),
            (
                "listen = a, directory = b, anonymousRead = true, retention {every = 1ms, rules = []}".to_owned(),
                "retention.every",
            ),
            (key("key = short, scopes = [read]"), "keys[0].key"),
            (key("key = ${FEED_KEY}, scopes = [write]"), "keys[0].scopes"),
            (key("keyFile = missing, scopes = [read]"), "missing"),
        ] {
            let error = klusterkite_wire::chain(&read(&text).unwrap_err());
            assert!(error.contains(named), "{text}: {error}");
            assert!(!error.contains(KEY), "{error}");
        }
    }
}

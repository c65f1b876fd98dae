//! The launcher's configuration: `config.hocon` and the environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use klusterkite_hocon::{Config as Settings, Document};
use klusterkite_install::file;
use klusterkite_tls::Trust;
use klusterkite_wire::start::STOP_GRACE_SECONDS;
use klusterkite_wire::{ContainerType, Runtime, Secret, chain};
use ureq::http::Uri;

use crate::cycle::{Level, Policy};

#[cfg(test)]
mod tests;

/// Prefix of the environment variables that override keys; the rest is the key in `UPPER_SNAKE`.
const ENVIRONMENT_PREFIX: &str = "KLUSTERKITE_";

/// Overrides `containerType`, as in KlusterKite.
const CONTAINER_TYPE: &str = "CONTAINER_TYPE";

/// Container type whose last-known-good has no age: nobody else could start the manager.
const MANAGER_CONTAINER_TYPE: &str = "manager";

/// Largest configuration file and secret file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Every key; each can be overridden by the environment.
const KEYS: [&str; 27] = [
    "nodeManagerUrl",
    "authenticationUrl",
    "apiClientId",
    "apiClientSecret",
    "apiClientSecretFile",
    "runtime",
    "containerType",
    "fallbackConfiguration",
    "workingDirectory",
    "stopMode",
    "stopAction",
    "feedCredentialFile",
    "tls.ca",
    "packageMirrors",
    "packageCacheSize",
    "awayTries",
    "awayPause",
    "lastKnownGoodMaxAge",
    "backoffMin",
    "backoffMax",
    "backoffReset",
    "stopGrace",
    "controlGroups",
    "connectTimeout",
    "requestTimeout",
    "waitPause",
    "log",
];

/// A valid configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// Origins of the managers, without a trailing slash; at least one.
    pub(crate) manager_urls: Vec<String>,
    /// Token endpoint; beside each manager if there is none.
    pub(crate) authentication_url: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_secret: Secret,
    pub(crate) runtime: Runtime,
    pub(crate) container_type: ContainerType,
    pub(crate) fallback: Option<PathBuf>,
    pub(crate) working_directory: PathBuf,
    /// The command of `stopMode = RunAction`.
    pub(crate) stop_action: Option<Vec<String>>,
    pub(crate) feed_credential_file: Option<PathBuf>,
    /// Whose certificates manager, token endpoint and feed may show; files with absolute paths.
    pub(crate) trust: Trust,
    /// Service indexes of feeds that are asked before the cluster's own.
    pub(crate) package_mirrors: Vec<String>,
    pub(crate) package_cache_bytes: u64,
    pub(crate) connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
    /// How long to wait when a manager says "wait" without saying how long.
    pub(crate) wait_pause: Duration,
    /// Whether control groups are used where they can be.
    pub(crate) control_groups: bool,
    pub(crate) policy: Policy,
    pub(crate) log: Level,
    /// Keys that mean nothing to this version.
    pub(crate) unknown_keys: Vec<String>,
}

impl Config {
    /// Reads a configuration file; the environment is a value. Returns all errors at once.
    pub(crate) fn load(
        path: &Path,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, Vec<String>> {
        let text = read_text(path).map_err(|error| vec![error])?;
        Self::parse(&text, &path.display().to_string(), environment)
    }

    fn parse(
        text: &str,
        origin: &str,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, Vec<String>> {
        let settings = merge(text, origin, environment).map_err(|error| vec![error])?;
        let mut read = Reader {
            settings,
            errors: Vec::new(),
        };
        let config = read_all(&mut read);
        match config {
            Some(config) if read.errors.is_empty() => Ok(config),
            _ => {
                // What is missing may stand there misspelt.
                let unknown = read.unknown_keys();
                read.errors
                    .extend(unknown.iter().map(|key| meaningless(key)));
                Err(read.errors)
            }
        }
    }
}

/// Says that a key is known to nobody here.
pub(crate) fn meaningless(key: &str) -> String {
    format!("`{key}` means nothing to this version")
}

fn merge(
    text: &str,
    origin: &str,
    environment: &BTreeMap<String, String>,
) -> Result<Settings, String> {
    let mut overrides = serde_json::Map::new();
    let mut set = |key: &str, value: Option<&String>| {
        let Some(value) = value else { return };
        let value = serde_json::Value::String(value.clone());
        let (key, value) = match key.split_once('.') {
            Some((section, key)) => (section, serde_json::json!({ key: value })),
            None => (key, value),
        };
        overrides.insert(key.to_owned(), value);
    };
    set("containerType", environment.get(CONTAINER_TYPE));
    for key in KEYS {
        set(key, environment.get(&variable_of(key)));
    }
    let file = Document::parse(text, origin).map_err(|error| error.to_string())?;
    let overrides = Document::from_json(&serde_json::Value::Object(overrides), "environment");
    let merged = overrides
        .map_err(|error| error.to_string())?
        .with_fallback(file);
    merged
        .resolve(environment)
        .map_err(|error| error.to_string())
}

/// Returns `KLUSTERKITE_NODE_MANAGER_URL` for `nodeManagerUrl`.
pub(crate) fn variable_of(key: &str) -> String {
    let mut name = ENVIRONMENT_PREFIX.to_owned();
    for letter in key.chars() {
        if letter.is_ascii_uppercase() || letter == '.' {
            name.push('_');
        }
        if letter != '.' {
            name.push(letter.to_ascii_uppercase());
        }
    }
    name
}

fn read_all(read: &mut Reader) -> Option<Config> {
    let manager_urls = read.urls("nodeManagerUrl");
    if manager_urls.is_empty() && !read.failed("nodeManagerUrl") {
        read.error(
            "nodeManagerUrl",
            "is missing: the URL of the manager, or a list of them",
        );
    }
    let authentication_url = read.url("authenticationUrl");
    let client_id = read.required("apiClientId", "the id of this container type's client");
    let client_secret = read.secret();
    let runtime = read.parsed::<Runtime>("runtime", detected_runtime());
    let container_type = read.parsed::<ContainerType>("containerType", "worker");
    let fallback = read.text("fallbackConfiguration").map(PathBuf::from);
    let working_directory = read.required("workingDirectory", "where everything is kept");
    let stop_action = read.stop_action();
    let feed_credential_file = read.text("feedCredentialFile").map(PathBuf::from);
    let trust = read.trust("tls.ca");

    let seconds = Duration::from_secs;
    let backoff_min = read.duration("backoffMin", seconds(1));
    let backoff_max = read.duration("backoffMax", seconds(60));
    if backoff_min > backoff_max {
        read.error("backoffMin", "is longer than `backoffMax`");
    }
    let is_manager = container_type
        .as_ref()
        .is_some_and(|kind| kind.as_str() == MANAGER_CONTAINER_TYPE);
    let policy = Policy {
        url_count: manager_urls.len(),
        away_tries: read.count("awayTries", 3),
        away_pause: read.duration("awayPause", seconds(1)),
        backoff_min,
        backoff_max,
        backoff_reset: read.duration("backoffReset", seconds(60)),
        stop_grace: read.duration("stopGrace", seconds(u64::from(STOP_GRACE_SECONDS))),
        last_known_good_max_age: read.last_known_good_max_age(is_manager),
        has_fallback: fallback.is_some(),
        runs_stop_action: stop_action.is_some(),
    };
    Some(Config {
        manager_urls,
        authentication_url,
        package_mirrors: read.urls("packageMirrors"),
        package_cache_bytes: read.bytes("packageCacheSize", 2 << 30),
        connect_timeout: read.duration("connectTimeout", seconds(5)),
        request_timeout: read.duration("requestTimeout", seconds(15)),
        wait_pause: read.duration("waitPause", seconds(10)),
        control_groups: read
            .get("controlGroups", Settings::boolean_optional)
            .unwrap_or(true),
        log: read.level(),
        unknown_keys: read.unknown_keys(),
        client_id: client_id?,
        client_secret: client_secret?,
        runtime: runtime?,
        container_type: container_type?,
        fallback,
        working_directory: working_directory.map(PathBuf::from)?,
        stop_action,
        feed_credential_file,
        trust: trust?,
        policy,
    })
}

/// Returns the runtime of this build; which C library the container has does not show.
fn detected_runtime() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "linux-arm64",
        "arm" => "linux-arm",
        "x86" => "linux-x86",
        _ => "linux-x64",
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    let content = file::read_bounded(path, FILE_BYTES_MAX).map_err(|error| chain(&error))?;
    let content = content.ok_or_else(|| format!("`{}` does not exist", path.display()))?;
    String::from_utf8(content).map_err(|_| format!("`{}` is not UTF-8 text", path.display()))
}

/// Reads keys and collects what is wrong with them.
struct Reader {
    settings: Settings,
    errors: Vec<String>,
}

impl Reader {
    fn error(&mut self, key: &str, what: &str) {
        self.errors.push(format!(
            "`{key}` {what} (environment: `{}`)",
            variable_of(key)
        ));
    }

    fn failed(&self, key: &str) -> bool {
        let start = format!("`{key}` ");
        self.errors.iter().any(|error| error.starts_with(&start))
    }

    fn get<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&Settings, &str) -> Result<Option<T>, klusterkite_hocon::Error>,
    ) -> Option<T> {
        match read(&self.settings, key) {
            Ok(value) => value,
            Err(error) => {
                self.error(key, &format!("cannot be used: {error}"));
                None
            }
        }
    }

    /// Returns a text; an empty one counts as absent, because variables cannot be unset everywhere.
    fn text(&mut self, key: &str) -> Option<String> {
        let text = self.get(key, Settings::string_optional)?;
        (!text.is_empty()).then_some(text)
    }

    fn required(&mut self, key: &str, what: &str) -> Option<String> {
        let text = self.text(key);
        if text.is_none() && !self.failed(key) {
            self.error(key, &format!("is missing: {what}"));
        }
        text
    }

    fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
        &mut self,
        key: &str,
        default: &str,
    ) -> Option<T> {
        let text = self.text(key).unwrap_or_else(|| default.to_owned());
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.error(key, &format!("cannot be used: {error}"));
                None
            }
        }
    }

    fn duration(&mut self, key: &str, default: Duration) -> Duration {
        self.get(key, Settings::duration_optional)
            .unwrap_or(default)
    }

    fn bytes(&mut self, key: &str, default: u64) -> u64 {
        self.get(key, Settings::size_bytes_optional)
            .unwrap_or(default)
    }

    fn count(&mut self, key: &str, default: u32) -> u32 {
        let Some(number) = self.get(key, Settings::integer_optional) else {
            return default;
        };
        match u32::try_from(number) {
            Ok(count) if count > 0 => count,
            _ => {
                self.error(key, "is not a number from 1 on");
                default
            }
        }
    }

    fn url(&mut self, key: &str) -> Option<String> {
        let text = self.text(key)?;
        self.check_url(key, &text)
    }

    /// Returns a list of URLs.
    fn urls(&mut self, key: &str) -> Vec<String> {
        self.texts(key)
            .into_iter()
            .filter_map(|text| self.check_url(key, &text))
            .collect()
    }

    /// Returns a list of texts: a list, or one text with commas (an environment variable).
    fn texts(&mut self, key: &str) -> Vec<String> {
        let is_list = self
            .settings
            .value(key)
            .is_some_and(|value| value.as_list().is_some());
        let texts = if is_list {
            self.get(key, Settings::string_list_optional)
                .unwrap_or_default()
        } else {
            let text = self.text(key).unwrap_or_default();
            text.split(',').map(|part| part.trim().to_owned()).collect()
        };
        texts.into_iter().filter(|text| !text.is_empty()).collect()
    }

    /// Returns whom to trust: a file with authorities, or a list of them.
    fn trust(&mut self, key: &str) -> Option<Trust> {
        let mut files = Vec::new();
        for path in self.texts(key) {
            // Whoever reads the start settings has another working directory.
            match std::path::absolute(&path) {
                Ok(path) => files.push(path),
                Err(error) => {
                    self.error(key, &format!("cannot be used: `{path}`: {error}"));
                    return None;
                }
            }
        }
        Some(Trust::from_files(files))
    }

    fn check_url(&mut self, key: &str, text: &str) -> Option<String> {
        let uri = text.parse::<Uri>().ok();
        let scheme = uri.as_ref().and_then(Uri::scheme_str).unwrap_or_default();
        let has_host = uri
            .as_ref()
            .is_some_and(|uri| uri.host().is_some_and(|host| !host.is_empty()));
        let has_no_query = uri.as_ref().is_some_and(|uri| uri.query().is_none());
        if matches!(scheme, "http" | "https") && has_host && has_no_query {
            return Some(text.trim_end_matches('/').to_owned());
        }
        self.error(
            key,
            &format!("cannot be used: `{text}` is not a URL like `http://manager:8080`"),
        );
        None
    }

    fn secret(&mut self) -> Option<Secret> {
        if let Some(text) = self.text("apiClientSecret") {
            return Some(Secret::new(text));
        }
        let Some(path) = self.text("apiClientSecretFile") else {
            if !self.failed("apiClientSecret") && !self.failed("apiClientSecretFile") {
                self.error(
                    "apiClientSecret",
                    "is missing, and so is `apiClientSecretFile`",
                );
            }
            return None;
        };
        match read_text(Path::new(&path)) {
            Ok(text) if !text.trim().is_empty() => Some(Secret::new(text.trim())),
            Ok(_) => {
                self.error(
                    "apiClientSecretFile",
                    &format!("cannot be used: `{path}` is empty"),
                );
                None
            }
            Err(error) => {
                self.error("apiClientSecretFile", &format!("cannot be used: {error}"));
                None
            }
        }
    }

    fn stop_action(&mut self) -> Option<Vec<String>> {
        let mode = self
            .text("stopMode")
            .unwrap_or_else(|| "CleanRestart".to_owned());
        if mode.eq_ignore_ascii_case("CleanRestart") {
            return None;
        }
        if !mode.eq_ignore_ascii_case("RunAction") {
            self.error("stopMode", "is neither `CleanRestart` nor `RunAction`");
            return None;
        }
        let is_list = self
            .settings
            .value("stopAction")
            .is_some_and(|value| value.as_list().is_some());
        let command = if is_list {
            self.get("stopAction", |settings, key| {
                settings.string_list_optional(key)
            })
        } else {
            let text = self.text("stopAction");
            text.map(|text| vec!["/bin/sh".to_owned(), "-c".to_owned(), text])
        };
        match command {
            Some(command) if !command.is_empty() => Some(command),
            _ => {
                self.error(
                    "stopAction",
                    "is missing: `stopMode = RunAction` needs a command",
                );
                None
            }
        }
    }

    fn last_known_good_max_age(&mut self, is_manager: bool) -> Option<Duration> {
        const KEY: &str = "lastKnownGoodMaxAge";
        let is_infinite = matches!(
            self.settings.string_optional(KEY),
            Ok(Some(text)) if text.eq_ignore_ascii_case("infinite")
        );
        if is_infinite {
            return None;
        }
        let given = self.get(KEY, Settings::duration_optional);
        match given {
            None if is_manager => None,
            given => Some(given.unwrap_or(Duration::from_hours(24))),
        }
    }

    fn level(&mut self) -> Level {
        let text = self.text("log").unwrap_or_else(|| "info".to_owned());
        match text.to_ascii_lowercase().as_str() {
            "error" => Level::Error,
            "warn" | "warning" => Level::Warn,
            "info" => Level::Info,
            "debug" => Level::Debug,
            _ => {
                self.error("log", "is none of `error`, `warn`, `info`, `debug`");
                Level::Info
            }
        }
    }

    fn unknown_keys(&self) -> Vec<String> {
        let mut unknown = Vec::new();
        for (key, value) in self.settings.root().iter() {
            let section = format!("{key}.");
            let is_section = KEYS.iter().any(|known| known.starts_with(&section));
            match value.as_object().filter(|_| is_section) {
                Some(members) => {
                    unknown.extend(members.keys().map(|member| format!("{section}{member}")));
                }
                None => unknown.push(key.to_owned()),
            }
        }
        unknown.retain(|key| !KEYS.contains(&key.as_str()));
        unknown
    }
}

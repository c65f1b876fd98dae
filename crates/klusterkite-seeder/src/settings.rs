//! What the seeder is told.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use klusterkite_core::settings::Settings;
use klusterkite_hocon::Document;
use klusterkite_wire::{ContainerType, Secret, TemplateCode};
use serde::Deserialize;
use serde_json::Value;

use crate::Failure;

/// Environment variables that win over the file, with the setting that each is.
pub const ENVIRONMENT: &[(&str, &str)] = &[
    ("KLUSTERKITE_SEEDER_DATABASE", "database"),
    ("KLUSTERKITE_SEEDER_CREDENTIALS_FILE", "credentialsFile"),
    ("KLUSTERKITE_SEEDER_FEED", "feed"),
    (
        "KLUSTERKITE_SEEDER_FEED_CREDENTIAL_FILE",
        "feedCredentialFile",
    ),
    ("KLUSTERKITE_SEEDER_TLS_CA", "tls.ca"),
    ("KLUSTERKITE_SEEDER_WAIT", "wait"),
    ("KLUSTERKITE_SEEDER_FALLBACK_DIRECTORY", "fallbackDirectory"),
    ("KLUSTERKITE_SEEDER_SETTINGS_FILE", "settingsFile"),
    ("KLUSTERKITE_SEEDER_ADMIN_PASSWORD", "users.admin.password"),
    (
        "KLUSTERKITE_SEEDER_ADMIN_PASSWORD_FILE",
        "users.admin.passwordFile",
    ),
    ("KLUSTERKITE_SEEDER_GUEST_PASSWORD", "users.guest.password"),
    (
        "KLUSTERKITE_SEEDER_GUEST_PASSWORD_FILE",
        "users.guest.passwordFile",
    ),
];

/// Largest file that is read, in bytes: the largest settings of a cluster have under one megabyte.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Shortest password that is accepted from settings, in characters.
const PASSWORD_CHARS_MIN: usize = 12;

/// What the seeder is told.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SeederSettings {
    /// Absolute path of the database.
    pub database: PathBuf,
    /// Where the credentials go, mode 0600.
    pub credentials_file: PathBuf,
    /// URL of the service index as the seeder reaches it; default: the one in the configuration.
    #[serde(default)]
    pub feed: Option<String>,
    /// Key for reading the feed.
    #[serde(default)]
    pub feed_credential_file: Option<PathBuf>,
    /// Whose certificate the feed may show; default: those of the system's authorities.
    #[serde(default)]
    pub tls: TlsSettings,
    /// How long to wait for feed and packages, and for each seeder; default: for ever.
    #[serde(default, deserialize_with = "duration")]
    pub wait: Option<Duration>,
    /// Where the files go from which containers start when no manager answers.
    #[serde(default)]
    pub fallback_directory: Option<PathBuf>,
    /// Templates that get such files, mostly the manager's alone.
    #[serde(default)]
    pub fallback_templates: BTreeSet<TemplateCode>,
    /// Seeders of packages, which run before the cluster is created, in this order.
    #[serde(default)]
    pub seeders: Vec<SeederEntry>,
    /// Settings of the first configuration, in the shape of the API.
    #[serde(default)]
    pub settings: Option<Value>,
    /// File (JSON or HOCON) with those settings, relative to the seeder's settings file.
    #[serde(default)]
    pub settings_file: Option<PathBuf>,
    /// The settings from either place; filled by [`read`].
    #[serde(skip)]
    pub cluster: Settings,
    /// Labels of the first configuration.
    #[serde(default)]
    pub configuration: ConfigurationLabels,
    /// Users.
    #[serde(default)]
    pub users: UsersSettings,
    /// Credentials of launchers, by container type.
    #[serde(deserialize_with = "clients")]
    pub clients: BTreeMap<ContainerType, ClientSettings>,
}

/// Whom to trust.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TlsSettings {
    /// File with authorities (PEM), relative to the seeder's settings file.
    pub ca: Option<PathBuf>,
}

/// Seeders of the packages of one migrator template.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SeederEntry {
    /// The migrator template whose packages and settings they get.
    pub migrator_template: TemplateCode,
    /// Names of seeders in the manifests of those packages, in order.
    pub run: Vec<String>,
    /// Settings over those of the template; they are not part of the configuration.
    #[serde(default)]
    pub settings: Value,
    /// Longest run of one seeder.
    #[serde(
        default = "default_timeout",
        deserialize_with = "klusterkite_hocon::deserialize_duration"
    )]
    pub timeout: Duration,
}

/// The settings stay out: they are there for passwords.
impl fmt::Debug for SeederEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeederEntry")
            .field("migrator_template", &self.migrator_template)
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}

/// Creating roles and databases takes seconds; after minutes something hangs.
fn default_timeout() -> Duration {
    Duration::from_mins(10)
}

/// Labels of the first configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ConfigurationLabels {
    /// Name for people.
    pub name: String,
    /// Major version label.
    pub major_version: i64,
    /// Minor version label.
    pub minor_version: i64,
    /// Notes for people.
    pub notes: String,
}

/// Users of the new cluster.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct UsersSettings {
    /// May do everything.
    pub admin: UserSettings,
    /// May look.
    pub guest: UserSettings,
}

/// A user.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct UserSettings {
    /// Login; default: `admin` or `guest`.
    pub login: Option<String>,
    /// Password; default: random.
    pub password: Option<Secret>,
    /// File with the password.
    pub password_file: Option<PathBuf>,
}

/// Credentials of the launchers of one container type.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ClientSettings {
    /// Client id; default: `launcher-` and the container type.
    pub id: Option<String>,
    /// Secret; default: random.
    pub secret: Option<Secret>,
    /// File with the secret.
    pub secret_file: Option<PathBuf>,
}

impl Default for ConfigurationLabels {
    fn default() -> Self {
        Self {
            name: "Initial configuration".to_owned(),
            major_version: 1,
            minor_version: 0,
            notes: String::new(),
        }
    }
}

/// Reads the settings file with the environment above it, and every file that it names.
pub fn read(
    path: &Path,
    environment: &BTreeMap<String, String>,
) -> Result<SeederSettings, Failure> {
    parse(path, environment).map_err(Failure::Settings)
}

fn parse(path: &Path, environment: &BTreeMap<String, String>) -> anyhow::Result<SeederSettings> {
    let text = read_text(path)?;
    let file = Document::parse(&text, &path.display().to_string())?;
    let config = overrides(environment)?
        .with_fallback(file)
        .resolve(environment)?;
    let mut settings: SeederSettings = config
        .deserialize("")
        .with_context(|| format!("the settings `{}` cannot be used", path.display()))?;

    let directory = path.parent().unwrap_or(Path::new(""));
    let given = match (settings.settings.take(), &settings.settings_file) {
        (Some(given), None) => given,
        (None, Some(file)) => read_document(&directory.join(file), environment)?,
        _ => bail!("either `settings` or `settingsFile` has to be given, and not both"),
    };
    settings.cluster =
        serde_json::from_value(given.clone()).context("the configuration's settings do not fit")?;
    let known = serde_json::to_value(&settings.cluster)?;
    if let Some(key) = unknown_key(&given, &known) {
        bail!("the configuration's settings have no key `{key}`");
    }

    settings.tls.ca = settings.tls.ca.map(|ca| directory.join(ca));
    for (name, user) in [
        ("admin", &mut settings.users.admin),
        ("guest", &mut settings.users.guest),
    ] {
        take_secret(&mut user.password, user.password_file.take(), directory)
            .with_context(|| format!("the password of `users.{name}` cannot be used"))?;
        user.login.get_or_insert_with(|| name.to_owned());
    }
    for (container_type, client) in &mut settings.clients {
        take_secret(&mut client.secret, client.secret_file.take(), directory)
            .with_context(|| format!("the secret of `clients.{container_type}` cannot be used"))?;
        client
            .id
            .get_or_insert_with(|| format!("launcher-{container_type}"));
    }
    check(&settings)?;
    Ok(settings)
}

fn check(settings: &SeederSettings) -> anyhow::Result<()> {
    ensure!(
        settings.database.is_absolute(),
        "`database` is `{}`; it has to be an absolute path, outside every release directory",
        settings.database.display()
    );
    ensure!(
        settings.fallback_templates.is_empty() || settings.fallback_directory.is_some(),
        "`fallbackTemplates` needs a `fallbackDirectory`"
    );
    ensure!(
        !settings.clients.is_empty(),
        "`clients` is empty; name at least the container type of the manager's container"
    );
    for entry in &settings.seeders {
        let template = &entry.migrator_template;
        let mut templates = settings.cluster.migrator_templates.iter();
        ensure!(
            templates.any(|known| known.code == template.as_str()),
            "`seeders` names the migrator template `{template}`, which the configuration does not have"
        );
        ensure!(
            !entry.run.is_empty(),
            "`seeders` names no seeder to `run` for the migrator template `{template}`"
        );
        ensure!(
            entry.settings.is_null() || entry.settings.is_object(),
            "the `settings` of `seeders` for the migrator template `{template}` are no object"
        );
    }
    let logins = [&settings.users.admin.login, &settings.users.guest.login];
    ensure!(
        logins[0] != logins[1],
        "`users.admin` and `users.guest` have the same login"
    );
    let ids: BTreeSet<_> = settings.clients.values().map(|client| &client.id).collect();
    ensure!(
        ids.len() == settings.clients.len(),
        "two of `clients` have the same id"
    );
    Ok(())
}

/// Makes the environment a layer above the file.
fn overrides(environment: &BTreeMap<String, String>) -> anyhow::Result<Document> {
    let mut layer = Document::empty();
    for (variable, path) in ENVIRONMENT {
        let Some(value) = environment.get(*variable) else {
            continue;
        };
        let value = path
            .rsplit('.')
            .fold(Value::String(value.clone()), |value, key| {
                Value::Object([(key.to_owned(), value)].into_iter().collect())
            });
        layer = Document::from_json(&value, variable)?.with_fallback(layer);
    }
    Ok(layer)
}

fn read_document(path: &Path, environment: &BTreeMap<String, String>) -> anyhow::Result<Value> {
    let document = Document::parse(&read_text(path)?, &path.display().to_string())?;
    Ok(document.resolve(environment)?.deserialize("")?)
}

pub(crate) fn read_text(path: &Path) -> anyhow::Result<String> {
    let shown = path.display();
    let failed = || format!("cannot read `{shown}`");
    let file = fs::File::open(path).with_context(failed)?;
    let mut text = String::new();
    // The size that the system tells is none for a device or a pipe.
    let read = file
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .with_context(failed)?;
    ensure!(
        read as u64 <= FILE_BYTES_MAX,
        "`{shown}` is larger than {FILE_BYTES_MAX} bytes"
    );
    Ok(text)
}

/// Takes a secret from its file, if one is named.
fn take_secret(
    secret: &mut Option<Secret>,
    file: Option<PathBuf>,
    directory: &Path,
) -> anyhow::Result<()> {
    if let Some(file) = file {
        ensure!(secret.is_none(), "it is given both directly and as a file");
        let text = read_text(&directory.join(file))?;
        *secret = Some(Secret::new(text.trim_end_matches(['\r', '\n'])));
    }
    if let Some(secret) = secret {
        let length = secret.reveal().chars().count();
        ensure!(
            length >= PASSWORD_CHARS_MIN,
            "it has {length} characters, at least {PASSWORD_CHARS_MIN} are needed"
        );
    }
    Ok(())
}

/// Finds a key that was given and means nothing: a misspelt setting must not be lost silently.
fn unknown_key(given: &Value, known: &Value) -> Option<String> {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            given.iter().find_map(|(key, value)| match known.get(key) {
                None => Some(key.clone()),
                Some(known) => unknown_key(value, known).map(|inner| format!("{key}.{inner}")),
            })
        }
        (Value::Array(given), Value::Array(known)) => {
            given
                .iter()
                .zip(known)
                .enumerate()
                .find_map(|(index, (given, known))| {
                    unknown_key(given, known).map(|inner| format!("{index}.{inner}"))
                })
        }
        _ => None,
    }
}

/// Reads an object by container type, or a list of container types for which everything is default.
fn clients<'de, D: serde::Deserializer<'de>>(
    source: D,
) -> Result<BTreeMap<ContainerType, ClientSettings>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Clients {
        ByType(BTreeMap<ContainerType, ClientSettings>),
        Types(Vec<ContainerType>),
    }
    Ok(match Clients::deserialize(source)? {
        Clients::ByType(clients) => clients,
        Clients::Types(types) => types
            .into_iter()
            .map(|name| (name, ClientSettings::default()))
            .collect(),
    })
}

fn duration<'de, D: serde::Deserializer<'de>>(source: D) -> Result<Option<Duration>, D::Error> {
    klusterkite_hocon::deserialize_duration(source).map(Some)
}

//! What a section of the settings says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use klusterkite_wire::migrator::DependencyType;
use klusterkite_wire::{Point, ResourceCode, Secret};
use serde::Deserialize;
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

/// Most databases of one section: each is read at every look.
const DATABASES_MAX: usize = 1000;

/// Largest file with a password, in bytes.
const PASSWORD_BYTES_MAX: usize = 4096;

/// A section.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Settings {
    /// Name for people; default: the path of the section.
    pub(crate) name: Option<String>,
    /// Directory of the scripts, in the service directory.
    pub(crate) folder: PathBuf,
    #[serde(default = "code_depends_on_resource")]
    pub(crate) dependency_type: DependencyType,
    #[serde(default)]
    pub(crate) priority: f64,
    /// Name of the table that says which points a database has.
    #[serde(default = "default_table")]
    pub(crate) table: String,
    /// Longest wait for a lock: that of another migrator, and those that statements need.
    #[serde(
        default = "default_lock_timeout",
        deserialize_with = "klusterkite_hocon::deserialize_duration"
    )]
    pub(crate) lock_timeout: Duration,
    /// The resources.
    pub(crate) databases: BTreeMap<ResourceCode, DatabaseSettings>,
}

/// One database: a URL of PostgreSQL or a file of SQLite.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct DatabaseSettings {
    /// `postgres://role@host:5432/database`.
    url: Option<Secret>,
    password: Option<Secret>,
    password_file: Option<PathBuf>,
    /// Absolute path of a SQLite database.
    file: Option<PathBuf>,
    /// The point of a database that has tables, but no history yet.
    pub(crate) baseline: Option<Point>,
    /// Who creates database and role; only the seeder uses it.
    pub(crate) admin: Option<AdminSettings>,
}

/// Somebody who may create roles and databases.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AdminSettings {
    /// URL of a database that is always there, mostly `postgres`.
    url: Secret,
    password: Option<Secret>,
    password_file: Option<PathBuf>,
}

/// Where a database is. It does not print: the options hold a password.
#[derive(Clone)]
pub(crate) enum Place {
    Postgres(Box<PgConnectOptions>),
    Sqlite(PathBuf),
}

fn code_depends_on_resource() -> DependencyType {
    DependencyType::CodeDependsOnResource
}

fn default_table() -> String {
    "klusterkite_points".to_owned()
}

fn default_lock_timeout() -> Duration {
    Duration::from_secs(10)
}

impl Settings {
    /// Reads a section and checks what does not need the scripts or a database.
    pub(crate) fn load(section: &str) -> anyhow::Result<Self> {
        let settings: Self = klusterkite_migrator::stdio::section(section)?;
        settings
            .check()
            .with_context(|| format!("the settings `{section}` cannot be used"))?;
        Ok(settings)
    }

    fn check(&self) -> anyhow::Result<()> {
        let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        // `_fence` is added to it, and PostgreSQL cuts names after 63 bytes.
        let fits = (1..=50).contains(&self.table.len()) && self.table.bytes().all(word);
        ensure!(
            fits && !self.table.as_bytes()[0].is_ascii_digit(),
            "`table` is `{}`, not 1 to 50 small letters, digits and `_`",
            self.table
        );
        let milliseconds = self.lock_timeout.as_millis();
        ensure!(
            (1..=86_400_000).contains(&milliseconds),
            "`lockTimeout` is not between 1 ms and a day"
        );
        let count = self.databases.len();
        ensure!(
            (1..=DATABASES_MAX).contains(&count),
            "`databases` has {count} entries, not 1 to {DATABASES_MAX}"
        );
        Ok(())
    }
}

impl DatabaseSettings {
    /// Returns where the database is, with the password of its role.
    pub(crate) fn place(&self) -> anyhow::Result<Place> {
        match (&self.url, &self.file) {
            (Some(url), None) => {
                let options = postgres(url, self.password.as_ref(), self.password_file.as_deref())?;
                ensure!(
                    options.get_database().is_some(),
                    "`url` names no database: `postgres://role@host/database`"
                );
                Ok(Place::Postgres(Box::new(options)))
            }
            (None, Some(file)) => {
                ensure!(
                    file.is_absolute(),
                    "`file` is `{}`, not an absolute path outside of every release",
                    file.display()
                );
                ensure!(
                    self.password.is_none() && self.password_file.is_none() && self.admin.is_none(),
                    "a SQLite database has neither password nor admin"
                );
                Ok(Place::Sqlite(file.clone()))
            }
            _ => bail!("either `url` or `file` has to be given, and not both"),
        }
    }

    /// Returns the password of the role, if the settings have one.
    pub(crate) fn role_password(&self) -> anyhow::Result<Option<Secret>> {
        password(self.password.as_ref(), self.password_file.as_deref())
    }
}

impl AdminSettings {
    pub(crate) fn options(&self) -> anyhow::Result<PgConnectOptions> {
        let options = postgres(
            &self.url,
            self.password.as_ref(),
            self.password_file.as_deref(),
        );
        options.context("`admin`")
    }
}

fn postgres(
    url: &Secret,
    given: Option<&Secret>,
    file: Option<&Path>,
) -> anyhow::Result<PgConnectOptions> {
    let scheme = url.reveal().split("://").next().unwrap_or_default();
    ensure!(
        matches!(scheme, "postgres" | "postgresql"),
        "`url` does not begin with `postgres://`"
    );
    let options: PgConnectOptions = url
        .reveal()
        .parse()
        .context("`url` is no URL of PostgreSQL")?;
    let options = options
        .application_name("klusterkite-migrator-sql")
        .disable_statement_logging();
    Ok(match password(given, file)? {
        Some(password) => options.password(password.reveal()),
        None => options,
    })
}

fn password(given: Option<&Secret>, file: Option<&Path>) -> anyhow::Result<Option<Secret>> {
    let file = match (given, file) {
        (Some(_), Some(_)) => bail!("the password is given twice: directly and as a file"),
        (given, None) => return Ok(given.cloned()),
        (None, Some(file)) => file,
    };
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the password in `{}`", file.display()))?;
    ensure!(
        text.len() <= PASSWORD_BYTES_MAX,
        "`{}` is too large to be a password",
        file.display()
    );
    Ok(Some(Secret::new(text.trim_end_matches(['\r', '\n']))))
}

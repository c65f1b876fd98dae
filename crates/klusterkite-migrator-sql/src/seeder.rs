//! The seeder: databases and roles that the settings name and the server lacks.

use anyhow::{Context, bail};
use klusterkite_migrator::{Answer, Level, Progress, Seeder};
use klusterkite_wire::ResourceCode;
use klusterkite_wire::migrator::SeedResult;
use sqlx::error::DatabaseError;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _};
use tokio::runtime::Runtime;

use crate::database::{Database, plain};
use crate::line::{self, Migration};
use crate::migrator::runtime;
use crate::settings::{AdminSettings, DatabaseSettings, Place, Settings};

/// Codes of PostgreSQL for what another seeder has made in the meantime.
const IS_THERE: [&str; 3] = ["42710", "42P04", "23505"];

/// Creates the databases of one section.
pub(crate) struct SqlSeeder {
    runtime: Runtime,
    name: String,
    settings: Settings,
    line: Vec<Migration>,
}

impl SqlSeeder {
    pub(crate) fn load(section: &str) -> anyhow::Result<Self> {
        let settings = Settings::load(section)?;
        Ok(Self {
            runtime: runtime()?,
            name: settings.name.clone().unwrap_or_else(|| section.to_owned()),
            line: line::load(&settings.folder)?,
            settings,
        })
    }
}

impl Seeder for SqlSeeder {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn seed(&mut self, progress: &mut Progress<'_>) -> Answer<SeedResult> {
        let mut done = Vec::new();
        for (code, settings) in &self.settings.databases {
            let database = Database::new(code, settings, &self.settings)?;
            let seeding = seed_one(code, settings, &database, &self.line);
            let made = self.runtime.block_on(seeding)?;
            for line in made {
                progress.log(Level::Info, &line);
                done.push(line);
            }
        }
        let message = if done.is_empty() {
            let count = self.settings.databases.len();
            format!("all {count} databases are there")
        } else {
            done.join("; ")
        };
        Ok(SeedResult {
            changed: !done.is_empty(),
            message,
        })
    }
}

/// Creates what one database lacks and says what that was.
async fn seed_one(
    code: &ResourceCode,
    settings: &DatabaseSettings,
    database: &Database,
    line: &[Migration],
) -> anyhow::Result<Vec<String>> {
    let mut done = Vec::new();
    match settings.place()? {
        Place::Postgres(options) => {
            let made = make_postgres(settings, &options, &mut done).await;
            made.with_context(|| format!("database `{code}`"))?;
        }
        Place::Sqlite(file) => {
            if !file.exists() {
                database.open(line).await?.close().await;
                done.push(format!("`{code}`: made the file `{}`", file.display()));
            }
        }
    }
    // Tables without records get the records of the baseline; a database without tables is left to the migrator.
    if let Some(point) = database.record_baseline(line).await? {
        done.push(format!(
            "`{code}`: recorded its points up to `{point}` as applied"
        ));
    }
    Ok(done)
}

async fn make_postgres(
    settings: &DatabaseSettings,
    options: &PgConnectOptions,
    done: &mut Vec<String>,
) -> anyhow::Result<()> {
    let name = options.get_database().unwrap_or_default();
    let Some(admin) = &settings.admin else {
        // Nobody may create it, so it has to be there.
        let connection = options.connect().await.map_err(plain);
        let hint = "cannot connect, and there is no `admin` in its settings who could create it";
        connection.context(hint)?.close().await.map_err(plain)?;
        return Ok(());
    };
    let mut connection = connect(admin).await?;
    let role = options.get_username();
    if !exists(
        &mut connection,
        "SELECT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = $1)",
        role,
    )
    .await?
    {
        let password = settings.role_password()?;
        let Some(password) = password else {
            bail!("the role `{role}` does not exist, and the settings have no password for it");
        };
        let values = [role, password.reveal()];
        let template = "SELECT format('CREATE ROLE %I LOGIN PASSWORD %L', $1, $2)";
        if create(&mut connection, template, values).await? {
            done.push(format!("created the role `{role}`"));
        }
    }
    if !exists(
        &mut connection,
        "SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)",
        name,
    )
    .await?
    {
        let template = "SELECT format('CREATE DATABASE %I OWNER %I', $1, $2)";
        if create(&mut connection, template, [name, role]).await? {
            done.push(format!("created the database `{name}` of `{role}`"));
        }
    }
    connection.close().await.map_err(plain)
}

async fn connect(admin: &AdminSettings) -> anyhow::Result<PgConnection> {
    let connected = admin.options()?.connect().await.map_err(plain);
    connected.context("cannot connect as `admin`")
}

async fn exists(
    connection: &mut PgConnection,
    question: &'static str,
    name: &str,
) -> anyhow::Result<bool> {
    let found = sqlx::query_scalar(question).bind(name);
    found.fetch_one(connection).await.map_err(plain)
}

/// Creates something by a statement that the server puts together; false when it has appeared meanwhile.
async fn create(
    connection: &mut PgConnection,
    template: &'static str,
    values: [&str; 2],
) -> anyhow::Result<bool> {
    let [first, second] = values;
    let statement: String = sqlx::query_scalar(template)
        .bind(first)
        .bind(second)
        .fetch_one(&mut *connection)
        .await
        .map_err(plain)?;
    let created = sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(connection)
        .await;
    match created {
        Ok(_) => Ok(true),
        Err(error) => {
            let code = error.as_database_error().and_then(DatabaseError::code);
            match code {
                Some(code) if IS_THERE.contains(&&*code) => Ok(false),
                _ => Err(plain(error)).with_context(|| format!("cannot create `{first}`")),
            }
        }
    }
}

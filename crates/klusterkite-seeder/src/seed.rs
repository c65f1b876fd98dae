use std::io::Write;
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use klusterkite_api::privileges::Privilege;
use klusterkite_client::feed::{FeedClient, FeedCredential};
use klusterkite_client::{Retry, Trust};
use klusterkite_core::configuration::ConfigurationState;
use klusterkite_core::release::Release;
use klusterkite_store::rows::{ClientRow, ConfigurationRow, RoleRow, UserRow};
use klusterkite_store::{Created, Seed, Store};
use klusterkite_wire::ConfigurationId;

use crate::credentials::{self, Credentials, UserCredentials, password_hash, secret_hash};
use crate::fallback;
use crate::packages::{self, Checked, Missing};
use crate::pause::Pauses;
use crate::resources;
use crate::settings::SeederSettings;

/// Id of the first configuration.
const FIRST: ConfigurationId = ConfigurationId(1);

const ADMIN_ROLE: &str = "Admin";
const GUEST_ROLE: &str = "Guest";

/// Time of a run.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Unix milliseconds: creation and start of the first configuration.
    pub unix_ms: u64,
}

impl Moment {
    /// Looks at the clock.
    pub fn now() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// How a run ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The cluster was created.
    Created,
    /// It was there already; a seeder has created something that its resources lacked.
    Changed,
    /// It was there already; nothing was changed.
    Unchanged,
}

/// How a run failed.
#[derive(Debug)]
pub enum Failure {
    /// The settings cannot be used.
    Settings(anyhow::Error),
    /// The cluster could not be created.
    Work(anyhow::Error),
}

impl Failure {
    /// Returns what went wrong.
    pub fn error(&self) -> &anyhow::Error {
        match self {
            Self::Settings(error) | Self::Work(error) => error,
        }
    }

    /// Returns the exit code of the program.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(_) => 2,
            Self::Work(_) => 1,
        }
    }
}

/// Creates the cluster unless it is there. Progress goes to `out`, secrets do not.
pub fn run(
    settings: &SeederSettings,
    moment: &Moment,
    out: &mut dyn Write,
) -> Result<Outcome, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
        .map_err(Failure::Work)?;
    let database = settings.database.display();
    let seeded = runtime.block_on(Store::is_seeded(&settings.database));
    let seeded = seeded.map_err(|error| Failure::Work(error.into()))?;
    let already = format!("unchanged: `{database}` holds a cluster already");
    if seeded && settings.seeders.is_empty() {
        say(out, &already);
        return Ok(Outcome::Unchanged);
    }
    packages::check_named(&settings.cluster).map_err(Failure::Settings)?;
    let feed = feed(settings).map_err(Failure::Settings)?;
    let checked = wait(&feed, settings, out).map_err(Failure::Work)?;
    for warning in &checked.warnings {
        say(out, &format!("warning: {warning}"));
    }
    let release = Release::new(FIRST, &checked.settings, &checked.frozen)
        .map_err(|error| Failure::Work(error.into()))?;
    // First, so that a cluster that can be seen has resources that its migrators can move.
    let changed = resources::seed(settings, &release, out).map_err(Failure::Work)?;
    if seeded {
        say(out, &already);
        return Ok(if changed {
            Outcome::Changed
        } else {
            Outcome::Unchanged
        });
    }
    let (outcome, credentials_file) = (
        create(settings, &checked, &release, *moment, &runtime).map_err(Failure::Work)?,
        settings.credentials_file.display(),
    );
    match outcome {
        Outcome::Created => say(
            out,
            &format!(
                "created the cluster in `{database}`; its credentials are in `{credentials_file}`"
            ),
        ),
        Outcome::Changed | Outcome::Unchanged => say(
            out,
            &format!("unchanged: `{database}` was created by another seeder"),
        ),
    }
    Ok(outcome)
}

fn feed(settings: &SeederSettings) -> anyhow::Result<FeedClient> {
    let url = settings
        .feed
        .as_ref()
        .unwrap_or(&settings.cluster.nuget_feed);
    let credential = settings
        .feed_credential_file
        .as_deref()
        .map(FeedCredential::read)
        .transpose()?;
    let trust = Trust::from_files(settings.tls.ca.clone());
    if settings.tls.ca.is_some() {
        // Waiting for the feed would not mend it.
        trust.client_config()?;
    }
    Ok(FeedClient::new(url, credential, Retry::NONE)?.with_trust(trust))
}

/// Looks at the feed until it has everything, or for as long as the settings say.
fn wait(
    feed: &FeedClient,
    settings: &SeederSettings,
    out: &mut dyn Write,
) -> anyhow::Result<Checked> {
    let start = Instant::now();
    let mut pauses = Pauses::new();
    loop {
        let error = match packages::resolve(feed, &settings.cluster) {
            Ok(checked) => return Ok(checked),
            Err(Missing::Never(error)) => return Err(error),
            Err(Missing::NotYet(error)) => error,
        };
        let pause = pauses.next();
        if let Some(limit) = settings.wait
            && start.elapsed() + pause > limit
        {
            return Err(error.context(format!("gave up after {} seconds", limit.as_secs())));
        }
        say(
            out,
            &format!(
                "waiting: {error:#}; next try in {:.1} s",
                pause.as_secs_f64()
            ),
        );
        thread::sleep(pause);
    }
}

fn create(
    settings: &SeederSettings,
    checked: &Checked,
    release: &Release,
    moment: Moment,
    runtime: &tokio::runtime::Runtime,
) -> anyhow::Result<Outcome> {
    let credentials = credentials::ensure_written(settings)?;
    fallback::write(settings, release)?;
    let seed = seed(settings, checked, &credentials, moment)?;
    match runtime.block_on(Store::create(&settings.database, &seed))? {
        Created::Seeded => Ok(Outcome::Created),
        Created::AlreadyThere => Ok(Outcome::Unchanged),
    }
}

fn seed(
    settings: &SeederSettings,
    checked: &Checked,
    credentials: &Credentials,
    moment: Moment,
) -> anyhow::Result<Seed> {
    let initial = &settings.configuration;
    let user = |user: &UserCredentials, role: &str| -> anyhow::Result<UserRow> {
        Ok(UserRow {
            login: user.login.clone(),
            password_hash: password_hash(&user.password)?,
            is_blocked: false,
            roles: vec![role.to_owned()],
        })
    };
    let clients = credentials
        .clients
        .iter()
        .map(|(container_type, client)| ClientRow {
            id: client.id.clone(),
            secret_hash: secret_hash(&client.secret),
            container_types: vec![container_type.clone()],
        });
    Ok(Seed {
        configuration: ConfigurationRow {
            id: FIRST,
            name: initial.name.clone(),
            major_version: initial.major_version,
            minor_version: initial.minor_version,
            notes: initial.notes.clone(),
            state: ConfigurationState::Active,
            is_stable: false,
            created: moment.unix_ms,
            started: Some(moment.unix_ms),
            finished: None,
            revision: 1,
            settings: checked.settings.clone(),
            frozen: Some(checked.frozen.clone()),
        },
        users: vec![
            user(&credentials.admin, ADMIN_ROLE)?,
            user(&credentials.guest, GUEST_ROLE)?,
        ],
        roles: vec![
            role(ADMIN_ROLE, &of_admins()),
            role(GUEST_ROLE, Privilege::OF_GUESTS),
        ],
        clients: clients.collect(),
    })
}

/// Everything but what only launchers need.
fn of_admins() -> Vec<Privilege> {
    let of_users = |privilege: &&Privilege| !Privilege::OF_CLIENTS.contains(*privilege);
    Privilege::ALL.iter().filter(of_users).copied().collect()
}

fn role(name: &str, allowed: &[Privilege]) -> RoleRow {
    RoleRow {
        name: name.to_owned(),
        allowed: allowed.iter().map(ToString::to_string).collect(),
        denied: Vec::new(),
    }
}

pub(crate) fn say(out: &mut dyn Write, line: &str) {
    // Nobody has to listen: the exit code tells how it ended.
    let _ = writeln!(out, "{line}");
}

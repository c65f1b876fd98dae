//! Settings of the manager: section `KlusterKite.NodeManager` of its node's settings.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use klusterkite_hocon::Config as Settings;
use klusterkite_tls::Trust;
use klusterkite_wire::{
    ConfigurationId, ContainerType, Incarnation, NodeId, Runtime, TemplateCode,
};

/// Section of the settings.
const SECTION: &str = "KlusterKite.NodeManager";

/// Settings of the manager.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address that the API listens on (`Listen`).
    pub listen: SocketAddr,
    /// Certificate and key, which make the API speak HTTPS (`Tls.Certificate`, `Tls.Key`).
    pub tls: Option<TlsFiles>,
    /// Whose certificates a feed may show (`Tls.Ca`); a launcher with an own authority says it by this too.
    pub trust: Trust,
    /// SQLite file, absolute, outside every release (`Database`).
    pub database: PathBuf,
    /// Credential file for the feed (`FeedCredentialFile`).
    pub feed_credential_file: Option<PathBuf>,
    /// Name under which the feed keeps what this cluster needs (`ClusterName`, `klusterkite`): clusters that
    /// share a feed need different ones.
    pub cluster_name: String,
    /// Directory that outlives restarts: executors are assembled below it.
    pub data: PathBuf,
    /// How long an assignment counts without progress (`NewNodeJoinTimeout`, 30 s).
    pub join_timeout: Duration,
    /// How long an unreachable node counts (`EvictAfter`, 5 min).
    pub evict_after: Duration,
    /// How long nodes are unconfirmed after a start (`FailoverLease`, 120 s).
    pub failover_lease: Duration,
    /// Shortest life of a lease (`LeaseMinimum`, 10 s).
    pub lease_minimum: Duration,
    /// Part of the nodes whose loss within one lease holds all voluntary acts (`MassFailurePart`, 0.2).
    pub mass_failure_part: f64,
    /// How long reading the resources of one migrator template may take (`ResourceReadTimeout`, 5 min).
    pub read_timeout: Duration,
    /// How long a check waits for what the feed has (`FeedTimeout`, 30 s).
    pub feed_timeout: Duration,
    /// How long an executor may take for one move, whatever limits it has itself (`ResourceMoveTimeout`, 24 h).
    pub move_timeout: Duration,
    /// The node that this manager is; absent when it runs outside a node.
    pub own: Option<OwnNode>,
}

/// Files (PEM) that make the API speak HTTPS; they are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The manager's certificate, then those between it and its authority.
    pub certificate: PathBuf,
    /// The key of the certificate.
    pub key: PathBuf,
}

/// The node that runs this manager.
#[derive(Debug, Clone)]
pub struct OwnNode {
    /// Node id.
    pub id: NodeId,
    /// Incarnation.
    pub incarnation: Incarnation,
    /// Template.
    pub template: TemplateCode,
    /// Configuration.
    pub configuration_id: ConfigurationId,
    /// Kind of the container.
    pub container_type: ContainerType,
    /// Runtime.
    pub runtime: Runtime,
}

impl Config {
    /// Reads the settings of a node; `data` is the directory that outlives restarts.
    pub fn from_settings(settings: &Settings, data: PathBuf) -> Result<Self> {
        let section = settings
            .config(SECTION)
            .context("the manager's settings are incomplete")?;
        let duration = |key: &str, default: u64| -> Result<Duration> {
            let given = section.duration_optional(key)?;
            Ok(given.unwrap_or(Duration::from_secs(default)))
        };
        let listen = section.string("Listen")?;
        let listen = listen
            .parse()
            .with_context(|| format!("`{SECTION}.Listen` is `{listen}`: give address:port"))?;
        let database = PathBuf::from(section.string("Database")?);
        ensure!(
            database.is_absolute(),
            "`{SECTION}.Database` is `{}`: give an absolute path outside every release",
            database.display()
        );
        let mass_failure_part = section.string_optional("MassFailurePart")?;
        let mass_failure_part = mass_failure_part.as_deref().unwrap_or("0.2");
        let part = mass_failure_part.parse().ok();
        let part = part.filter(|part: &f64| (0.0..=1.0).contains(part));
        let mass_failure_part = part.with_context(|| {
            format!(
                "`{SECTION}.MassFailurePart` is `{mass_failure_part}`: give a part between 0 and 1"
            )
        })?;
        Ok(Self {
            listen,
            tls: tls_files(&section)?,
            trust: trust(&section)?,
            database,
            feed_credential_file: section
                .string_optional("FeedCredentialFile")?
                .map(PathBuf::from),
            cluster_name: section
                .string_optional("ClusterName")?
                .unwrap_or_else(|| "klusterkite".to_owned()),
            data,
            join_timeout: duration("NewNodeJoinTimeout", 30)?,
            evict_after: duration("EvictAfter", 300)?,
            failover_lease: duration("FailoverLease", 120)?,
            lease_minimum: duration("LeaseMinimum", 10)?,
            mass_failure_part,
            read_timeout: duration("ResourceReadTimeout", 300)?,
            feed_timeout: duration("FeedTimeout", 30)?,
            move_timeout: duration("ResourceMoveTimeout", 24 * 3600)?,
            own: own_node(&section)?,
        })
    }
}

impl Config {
    /// Returns the runtime (RID) of this machine.
    pub fn runtime(&self) -> Runtime {
        match &self.own {
            Some(own) => own.runtime.clone(),
            None => RUNTIME.parse().expect("it is a constant"),
        }
    }
}

/// Runtime that this program was built for.
const RUNTIME: &str = if cfg!(target_arch = "aarch64") {
    "linux-arm64"
} else {
    "linux-x64"
};

/// Reads certificate and key; one alone would be a mistake that leaves the API without TLS.
fn tls_files(section: &Settings) -> Result<Option<TlsFiles>> {
    let certificate = section.string_optional("Tls.Certificate")?;
    let key = section.string_optional("Tls.Key")?;
    match (certificate, key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles {
            certificate: absolute("Tls.Certificate", certificate)?,
            key: absolute("Tls.Key", key)?,
        })),
        _ => bail!("`{SECTION}.Tls` needs both `Certificate` and `Key`, or neither"),
    }
}

/// Reads the authorities: one file or a list.
fn trust(section: &Settings) -> Result<Trust> {
    let is_list = section
        .value("Tls.Ca")
        .is_some_and(|value| value.as_list().is_some());
    let files = if is_list {
        section.string_list("Tls.Ca")?
    } else {
        section.string_optional("Tls.Ca")?.into_iter().collect()
    };
    let files: Result<Vec<_>> = files
        .into_iter()
        .map(|file| absolute("Tls.Ca", file))
        .collect();
    Ok(Trust::from_files(files?))
}

/// Refuses relative paths: the working directory is a release, which the next one replaces.
fn absolute(key: &str, path: String) -> Result<PathBuf> {
    let path = PathBuf::from(path);
    ensure!(
        path.is_absolute(),
        "`{SECTION}.{key}` is `{}`: give an absolute path outside every release",
        path.display()
    );
    Ok(path)
}

fn own_node(section: &Settings) -> Result<Option<OwnNode>> {
    let Some(id) = section.string_optional("NodeId")? else {
        return Ok(None);
    };
    Ok(Some(OwnNode {
        id: parse("NodeId", &id)?,
        incarnation: Incarnation(parse("Incarnation", &section.string("Incarnation")?)?),
        template: parse("NodeTemplate", &section.string("NodeTemplate")?)?,
        configuration_id: ConfigurationId(section.integer("ConfigurationId")?),
        container_type: parse("ContainerType", &section.string("ContainerType")?)?,
        runtime: parse("Runtime", &section.string("Runtime")?)?,
    }))
}

fn parse<T>(key: &str, text: &str) -> Result<T>
where
    T: FromStr,
    T::Err: Error + Send + Sync + 'static,
{
    text.parse()
        .with_context(|| format!("`{SECTION}.{key}` is `{text}`"))
}

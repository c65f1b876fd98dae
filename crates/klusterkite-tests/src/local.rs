//! A cluster of real processes: feed, seeder, one manager container, some workers.
//!
//! ```text
//! <dir>/environment        what `--run` and the operator's shell get
//! <dir>/packages/*.nupkg   our own programs and the sample
//! <dir>/feed/              settings, keys, blobs and index
//! <dir>/seed/              settings, credentials, fallback files
//! <dir>/system/            what belongs to the system: database of the manager, resources of the sample
//! <dir>/containers/<name>/ one launcher each
//! <dir>/tls/               authority, certificate and key, if the cluster speaks TLS
//! <dir>/log/<name>.log     output of every program
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use klusterkite_tls::Trust;
use klusterkite_tls::testing::{Authority, Ends, IdentityFiles};
use klusterkite_wire::Secret;
use serde_json::{Value, json};

use crate::api::Operator;
use crate::hosts::Network;
use crate::process::{Program, processes_below, tail, wait_until};

/// Version of our own packages in the first configuration.
pub const FIRST_VERSION: &str = "0.1.0";

/// Longest time from the start of the launchers until every node is ready.
const START_TIMEOUT: Duration = Duration::from_secs(90);

/// Container of the manager, and host of the feed.
const MANAGER: &str = "manager";

/// Our own packages, by the names of their directories in `packages/`.
const OWN_PACKAGES: [&str; 3] = [
    "KlusterKite.Core.Service",
    "KlusterKite.NodeManager",
    "KlusterKite.NodeManager.Migrator.Executor",
];

/// How a cluster is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where everything is kept.
    pub directory: PathBuf,
    /// Directory of the built programs.
    pub programs: PathBuf,
    /// The launcher, when it is not the one among the programs.
    pub launcher: Option<PathBuf>,
    /// Root of the repository.
    pub repository: PathBuf,
    /// `hello` or `clock-py`.
    pub sample: String,
    /// Number of worker containers.
    pub workers: usize,
    /// Whether manager and feed speak TLS, with an authority made for this cluster.
    pub tls: bool,
}

/// What the cluster of a test has beyond its options.
#[derive(Debug, Default)]
pub struct Surroundings {
    /// Hosts by the names of the containers; without them everything runs on 127.0.0.1.
    pub network: Option<Network>,
    /// More settings of the manager, by their keys below `KlusterKite.NodeManager`.
    pub manager: BTreeMap<&'static str, Value>,
}

/// A running cluster.
pub struct LocalCluster {
    options: Options,
    surroundings: Surroundings,
    /// The feed.
    pub feed: Program,
    /// Launchers by container: `manager`, `worker-1`, …
    pub launchers: BTreeMap<String, Program>,
    manager_url: String,
    feed_url: String,
    tls: Option<Tls>,
    /// Ports of the sample's service, by worker.
    pub ports: Vec<u16>,
}

impl LocalCluster {
    /// Makes packages, feed, database and containers in an empty directory, starts everything and waits
    /// until every node is ready.
    pub fn start(options: Options) -> Result<Self> {
        let mut cluster = Self::launch(options)?;
        cluster.wait_until_ready()?;
        Ok(cluster)
    }

    /// Starts everything and does not wait for the nodes. What is in the directory already is kept.
    pub fn launch(options: Options) -> Result<Self> {
        Self::launch_in(options, Surroundings::default())
    }

    /// Does the same in special surroundings; with a network, the calling thread moves to its switch.
    pub fn launch_in(options: Options, surroundings: Surroundings) -> Result<Self> {
        if let Some(network) = &surroundings.network {
            network.enter()?;
        }
        let directory = &options.directory;
        for name in ["packages", "feed", "seed", "system", "containers", "log"] {
            let path = directory.join(name);
            fs::create_dir_all(&path)
                .with_context(|| format!("cannot create {}", path.display()))?;
        }
        let places = Places::load_or_choose(&options)?;
        let tls = options
            .tls
            .then(|| Tls::load_or_make(directory))
            .transpose()?;
        let scheme = if options.tls { "https" } else { "http" };
        let network = surroundings.network.as_ref();
        let feed = start_feed(&options, network, tls.as_ref(), places.feed_port)?;
        let address = address_of(network, MANAGER);
        let mut cluster = Self {
            manager_url: format!("{scheme}://{address}:{}", places.manager_port),
            feed_url: format!("{scheme}://{address}:{}/v3/index.json", places.feed_port),
            tls,
            ports: places.worker_ports.clone(),
            launchers: BTreeMap::new(),
            feed,
            options,
            surroundings,
        };
        cluster.publish(FIRST_VERSION, "1.0.0")?;
        cluster.seed(&places)?;
        cluster.write_environment()?;
        cluster.make_container(MANAGER, "manager", true)?;
        cluster.start_launcher(MANAGER)?;
        for worker in 1..=cluster.options.workers {
            let name = format!("worker-{worker}");
            cluster.make_container(&name, "worker", false)?;
            cluster.start_launcher(&name)?;
        }
        Ok(cluster)
    }

    /// Waits until manager and workers are ready.
    pub fn wait_until_ready(&mut self) -> Result<()> {
        self.wait_until_ready_unless(&|| false).map(drop)
    }

    /// Waits until manager and workers are ready; false when the caller gave up before.
    pub fn wait_until_ready_unless(&mut self, is_given_up: &dyn Fn() -> bool) -> Result<bool> {
        self.wait_until_so_many_are_ready(self.options.workers + 1, is_given_up)
    }

    /// Waits until so many nodes are ready, that of the manager included; the other containers may wait.
    pub fn wait_for_nodes(&mut self, wanted: usize) -> Result<()> {
        self.wait_until_so_many_are_ready(wanted, &|| false)
            .map(drop)
    }

    fn wait_until_so_many_are_ready(
        &mut self,
        wanted: usize,
        is_given_up: &dyn Fn() -> bool,
    ) -> Result<bool> {
        let (mut seen, mut operator) = (String::new(), None);
        let mut ended = Ok(());
        let over = wait_until(START_TIMEOUT, || {
            ended = self.still_runs();
            if ended.is_err() || is_given_up() {
                return true;
            }
            match self.ready_nodes(&mut operator) {
                Ok(ready) if ready >= wanted => return true,
                Ok(ready) => seen = format!("{ready} of {wanted} nodes are ready"),
                Err(error) => seen = format!("{error:#}"),
            }
            false
        });
        if is_given_up() {
            return Ok(false);
        }
        ended?;
        ensure!(
            over,
            "the cluster is not ready after {} s: {seen}; the logs are in {}\nmanager.log ends with:\n{}",
            START_TIMEOUT.as_secs(),
            self.logs().display(),
            tail(&self.logs().join("manager.log"))
        );
        Ok(true)
    }

    /// Fails when the feed or a launcher has ended, with the end of its log.
    pub fn still_runs(&mut self) -> Result<()> {
        self.feed.still_runs()?;
        self.launchers
            .values_mut()
            .try_for_each(Program::still_runs)
    }

    /// Fails when somebody else uses a port of the cluster in a directory; it has to keep its ports, because its
    /// settings name them.
    pub fn ports_are_free(directory: &Path) -> Result<()> {
        let Ok(text) = fs::read(directory.join("ports.json")) else {
            return Ok(());
        };
        let ports: Vec<u16> = serde_json::from_slice(&text)?;
        for (place, port) in ports.into_iter().enumerate() {
            let user = match place {
                0 => "the feed".to_owned(),
                1 => "the manager".to_owned(),
                worker => format!("worker-{}", worker - 1),
            };
            TcpListener::bind(("127.0.0.1", port)).with_context(|| {
                format!("port {port} of {user} is taken: end the program that has it, or start a new cluster without --keep")
            })?;
        }
        Ok(())
    }

    /// Returns the ids of the processes of a cluster that lives in a directory, whoever started it.
    pub fn processes_in(directory: &Path) -> Vec<u32> {
        // Not the whole directory: somebody's shell may stand in it.
        let places = ["containers", "feed"].map(|name| directory.join(name));
        places
            .iter()
            .flat_map(|place| processes_below(place))
            .collect()
    }

    /// Counts ready nodes; logs in once.
    fn ready_nodes(&self, operator: &mut Option<Operator>) -> Result<usize> {
        let operator = match operator {
            Some(operator) => operator,
            None => operator.insert(self.operator()?),
        };
        let nodes = operator.get("/nodes")?;
        let nodes = nodes["items"].as_array().cloned().unwrap_or_default();
        Ok(nodes
            .iter()
            .filter(|node| node["status"] == "ready")
            .count())
    }

    /// Packs our own programs as `own` and the sample as `sample`, and pushes them to the feed.
    pub fn publish(&self, own: &str, sample: &str) -> Result<()> {
        for id in OWN_PACKAGES {
            self.pack_and_push(&self.options.repository.join("packages").join(id), own)?;
        }
        let samples = self.sample().join("packages");
        for entry in
            fs::read_dir(&samples).with_context(|| format!("cannot read {}", samples.display()))?
        {
            self.pack_and_push(&entry?.path().join(sample), sample)?;
        }
        Ok(())
    }

    /// Packs a package directory and pushes it; a version that is in the feed already is left alone.
    pub fn pack_and_push(&self, directory: &Path, version: &str) -> Result<()> {
        let packages = self.options.directory.join("packages");
        let mut pack = self.cli(&["package", "pack"]);
        pack.arg(directory)
            .arg("--binaries")
            .arg(&self.options.programs);
        pack.args(["--version", version, "--output"])
            .arg("json")
            .arg("--out")
            .arg(&packages);
        let packed: Value = serde_json::from_str(&output(&mut pack)?)?;
        let file = packed["file"]
            .as_str()
            .with_context(|| format!("no file: {packed}"))?;
        output(self.cli(&["package", "push", "--skip-duplicate"]).arg(file))?;
        Ok(())
    }

    /// Makes a command of the operator's CLI in the cluster's environment.
    pub fn cli(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.options.programs.join("klusterkite"));
        command.args(arguments).envs(self.environment());
        command
    }

    /// Returns the environment of the operator's shell.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let directory = &self.options.directory;
        let path = |name: &str| directory.join(name).display().to_string();
        let programs = self.options.programs.display().to_string();
        let search = std::env::var("PATH").unwrap_or_default();
        let mut environment = BTreeMap::from([
            ("KLUSTERKITE_URL".to_owned(), self.manager_url.clone()),
            ("KLUSTERKITE_USER".to_owned(), "admin".to_owned()),
            (
                "KLUSTERKITE_PASSWORD_FILE".to_owned(),
                path("seed/admin.password"),
            ),
            ("KLUSTERKITE_SESSION".to_owned(), path("session.json")),
            ("KLUSTERKITE_FEED".to_owned(), self.feed_url.clone()),
            (
                "KLUSTERKITE_FEED_KEY_FILE".to_owned(),
                path("feed/publisher.json"),
            ),
            (
                "KLUSTERKITE_DEV_DIR".to_owned(),
                directory.display().to_string(),
            ),
            ("PATH".to_owned(), format!("{programs}:{search}")),
        ]);
        if let Some(tls) = &self.tls {
            environment.insert("KLUSTERKITE_CA".to_owned(), tls.ca.display().to_string());
        }
        environment
    }

    fn write_environment(&self) -> Result<()> {
        let lines = self
            .environment()
            .into_iter()
            .filter(|(name, _)| name != "PATH")
            .map(|(name, value)| format!("export {name}='{value}'\n"));
        let mut text: String = lines.collect();
        let programs = self.options.programs.display();
        writeln!(text, "export PATH='{programs}':\"$PATH\"")?;
        fs::write(self.options.directory.join("environment"), text)?;
        Ok(())
    }

    /// Logs in as `admin`.
    pub fn operator(&self) -> Result<Operator> {
        let credentials = self.credentials()?;
        let password = credentials["admin"]["password"]
            .as_str()
            .context("no password of admin")?;
        Operator::log_in(
            &self.manager_url,
            "admin",
            &Secret::new(password),
            &trust(self.tls.as_ref()),
        )
    }

    /// Returns what the seeder wrote down.
    pub fn credentials(&self) -> Result<Value> {
        let path = self.options.directory.join("seed/credentials.json");
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Returns the URL of the manager.
    pub fn manager_url(&self) -> &str {
        &self.manager_url
    }

    /// Returns the URL of the feed's service index.
    pub fn feed_url(&self) -> &str {
        &self.feed_url
    }

    /// Returns the directory of a container.
    pub fn container(&self, name: &str) -> PathBuf {
        self.options.directory.join("containers").join(name)
    }

    /// Returns the directory of the logs.
    pub fn logs(&self) -> PathBuf {
        self.options.directory.join("log")
    }

    /// Returns the directory of what belongs to the system, such as databases.
    pub fn system(&self) -> PathBuf {
        self.options.directory.join("system")
    }

    /// Returns the directory of the sample.
    pub fn sample(&self) -> PathBuf {
        self.options
            .repository
            .join("samples")
            .join(&self.options.sample)
    }

    /// Starts the launcher of a container.
    pub fn start_launcher(&mut self, name: &str) -> Result<()> {
        self.start_launcher_by(name, &mut self.launcher_command(name))
    }

    /// Returns the command that starts the launcher of a container.
    pub fn launcher_command(&self, name: &str) -> Command {
        let built = || self.options.programs.join("klusterkite-launcher");
        let launcher = self.options.launcher.clone().unwrap_or_else(built);
        let mut command = command_on(self.network(), name, &launcher);
        let container = self.container(name);
        command
            .arg(container.join("config.hocon"))
            .current_dir(&container);
        if let Some(port) = self.port_of(name) {
            command
                .env("HELLO_PORT", port.to_string())
                .env("CLOCK_PORT", port.to_string());
        }
        command
    }

    /// Starts the launcher of a container by another command.
    pub fn start_launcher_by(&mut self, name: &str, command: &mut Command) -> Result<()> {
        let program = Program::start(name, &self.logs(), command)?;
        self.launchers.insert(name.to_owned(), program);
        Ok(())
    }

    /// Returns the hosts, if there are any.
    pub fn network(&self) -> Option<&Network> {
        self.surroundings.network.as_ref()
    }

    /// Returns address and port of the sample's service, by worker.
    pub fn addresses(&self) -> Vec<String> {
        let ports = self.ports.iter().zip(1..);
        ports
            .map(|(port, worker)| {
                let name = format!("worker-{worker}");
                format!("{}:{port}", address_of(self.network(), &name))
            })
            .collect()
    }

    /// Starts the feed again on its port.
    pub fn start_feed_again(&mut self) -> Result<()> {
        let port = self
            .feed_url
            .split([':', '/'])
            .nth(4)
            .context("the feed's URL has a port")?;
        let network = self.surroundings.network.as_ref();
        self.feed = start_feed(&self.options, network, self.tls.as_ref(), port.parse()?)?;
        Ok(())
    }

    fn port_of(&self, name: &str) -> Option<u16> {
        let worker: usize = name.strip_prefix("worker-")?.parse().ok()?;
        self.ports.get(worker - 1).copied()
    }

    /// Makes the directory and settings of a container.
    fn make_container(&self, name: &str, container_type: &str, fallback: bool) -> Result<()> {
        let container = self.container(name);
        fs::create_dir_all(&container)?;
        let client = &self.credentials()?["clients"][container_type];
        let mut settings = json!({
            "nodeManagerUrl": self.manager_url,
            "apiClientId": client["id"],
            "apiClientSecret": client["secret"],
            "containerType": container_type,
            "workingDirectory": container,
            "feedCredentialFile": self.options.directory.join("feed/reader.json"),
        });
        if let Some(tls) = &self.tls {
            settings["tls"] = json!({ "ca": tls.ca });
        }
        if fallback {
            let file = self
                .options
                .directory
                .join("seed/fallback/clusterManager.linux-x64.json");
            settings["fallbackConfiguration"] = json!(file);
        }
        write_private(
            &container.join("config.hocon"),
            &serde_json::to_string_pretty(&settings)?,
        )
    }

    /// Makes the database, the credentials and the fallback files, once.
    fn seed(&self, places: &Places) -> Result<()> {
        let seed = self.options.directory.join("seed");
        let settings = self.first_settings(places)?;
        fs::write(
            seed.join("settings.json"),
            serde_json::to_string_pretty(&settings)?,
        )?;
        let mut seeder = json!({
            "database": self.system().join("klusterkite.db"),
            "settingsFile": seed.join("settings.json"),
            "feedCredentialFile": self.options.directory.join("feed/reader.json"),
            "credentialsFile": seed.join("credentials.json"),
            "fallbackDirectory": seed.join("fallback"),
            "fallbackTemplates": ["clusterManager"],
            "clients": ["manager", "worker"],
        });
        if let Some(tls) = &self.tls {
            seeder["tls"] = json!({ "ca": tls.ca });
        }
        let file = seed.join("seeder.hocon");
        fs::write(&file, serde_json::to_string_pretty(&seeder)?)?;
        output(Command::new(self.options.programs.join("klusterkite-seeder")).arg(&file))?;
        let credentials = self.credentials()?;
        let password = credentials["admin"]["password"]
            .as_str()
            .context("no password of admin")?;
        write_private(&seed.join("admin.password"), password)
    }

    /// Fills the placeholders of the sample's first settings.
    fn first_settings(&self, places: &Places) -> Result<Value> {
        let directory = &self.options.directory;
        let address = address_of(self.network(), MANAGER);
        let mut manager = json!({ "KlusterKite": { "NodeManager": {
            "Listen": format!("{address}:{}", places.manager_port),
            "Database": self.system().join("klusterkite.db"),
            // One machine: whoever has not spoken after this time is away.
            "FailoverLease": "20s",
            "FeedCredentialFile": directory.join("feed/reader.json"),
        } } });
        if let Some(tls) = &self.tls {
            let files = json!({ "Certificate": tls.identity.certificate, "Key": tls.identity.key });
            manager["KlusterKite"]["NodeManager"]["Tls"] = files;
        }
        for (key, value) in &self.surroundings.manager {
            manager["KlusterKite"]["NodeManager"][*key] = value.clone();
        }
        let path = self.sample().join("cluster.json");
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut settings: Value = serde_json::from_str(&text)?;
        let values = [
            ("{version}", FIRST_VERSION.to_owned()),
            ("{feed}", self.feed_url.clone()),
            ("{data}", self.system().display().to_string()),
            ("{seed}", format!("{address}:{}", places.manager_port)),
            (
                "{managerConfiguration}",
                serde_json::to_string_pretty(&manager)?,
            ),
        ];
        fill(&mut settings, &values);
        Ok(settings)
    }

    /// Stops every launcher, and with it every node, then the feed.
    pub fn stop(&mut self) -> Result<()> {
        for launcher in self.launchers.values_mut() {
            launcher.terminate();
        }
        let mut failures = Vec::new();
        for launcher in self.launchers.values_mut() {
            failures.extend(launcher.stop().err());
        }
        failures.extend(self.feed.stop().err());
        let left = processes_below(&self.options.directory.join("containers"));
        if !left.is_empty() {
            failures.push(anyhow::anyhow!("processes are left running: {left:?}"));
        }
        match failures.into_iter().next() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        // A test that failed leaves nothing running either.
        for launcher in self.launchers.values_mut() {
            launcher.terminate();
        }
        let containers = self.options.directory.join("containers");
        let ended = wait_until(Duration::from_secs(20), || {
            self.launchers.values_mut().all(|launcher| !launcher.runs())
        });
        if !ended || !processes_below(&containers).is_empty() {
            self.launchers.clear();
            for id in processes_below(&containers) {
                crate::process::signal(id, rustix::process::Signal::KILL);
            }
        }
    }
}

/// What a cluster with TLS shows and trusts.
struct Tls {
    ca: PathBuf,
    identity: IdentityFiles,
}

impl Tls {
    /// Makes authority and certificate, once for a directory: its settings name them.
    fn load_or_make(directory: &Path) -> Result<Self> {
        let directory = directory.join("tls");
        let made = Self {
            ca: directory.join("ca.pem"),
            identity: IdentityFiles {
                certificate: directory.join("server.pem"),
                key: directory.join("server.key"),
            },
        };
        if made.ca.exists() {
            return Ok(made);
        }
        fs::create_dir_all(&directory)?;
        let authority = Authority::new("KlusterKite on this machine");
        let identity =
            authority.write_identity(&directory, &["127.0.0.1", "localhost"], Ends::Late);
        let ca = authority.write(&directory);
        Ok(Self { ca, identity })
    }
}

fn trust(tls: Option<&Tls>) -> Trust {
    Trust::from_files(tls.map(|tls| tls.ca.clone()))
}

/// Ports, chosen once for a directory.
struct Places {
    feed_port: u16,
    manager_port: u16,
    worker_ports: Vec<u16>,
}

impl Places {
    fn load_or_choose(options: &Options) -> Result<Self> {
        let path = options.directory.join("ports.json");
        let known: Vec<u16> = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)?,
            Err(_) => free_ports(2 + options.workers)?,
        };
        ensure!(
            known.len() >= 2 + options.workers,
            "{} was made for {} workers; use another --dir",
            options.directory.display(),
            known.len().saturating_sub(2)
        );
        fs::write(&path, serde_json::to_vec(&known)?)?;
        let worker_ports = known[2..2 + options.workers].to_vec();
        Ok(Self {
            feed_port: known[0],
            manager_port: known[1],
            worker_ports,
        })
    }
}

/// Finds ports that nobody uses, all different.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners: Vec<_> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()?;
    let ports = listeners
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port()));
    ports.collect()
}

/// Starts the feed and waits until it answers.
fn start_feed(
    options: &Options,
    network: Option<&Network>,
    tls: Option<&Tls>,
    port: u16,
) -> Result<Program> {
    let address = address_of(network, MANAGER);
    let directory = options.directory.join("feed");
    let settings = directory.join("feed.hocon");
    if !settings.exists() {
        let mut keys = Vec::new();
        for (name, scopes) in [
            ("publisher", vec!["read", "push", "unlist"]),
            ("reader", vec!["read", "pin"]),
        ] {
            let key = random_text()?;
            write_private(
                &directory.join(format!("{name}.json")),
                &json!({ "apiKey": key }).to_string(),
            )?;
            keys.push(json!({ "name": name, "key": key, "scopes": scopes }));
        }
        let mut text = json!({
            "listen": format!("{address}:{port}"),
            "directory": directory.join("data"),
            "keys": keys,
        });
        if let Some(tls) = tls {
            let (certificate, key) = (&tls.identity.certificate, &tls.identity.key);
            text["tls"] = json!({ "certificate": certificate, "key": key });
        }
        write_private(&settings, &serde_json::to_string_pretty(&text)?)?;
    }
    let program = options.programs.join("klusterkite-feed");
    let mut command = command_on(network, MANAGER, &program);
    let mut feed = Program::start(
        "feed",
        &options.directory.join("log"),
        command.arg(&settings).current_dir(&directory),
    )?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{address}:{port}/healthz");
    let agent = crate::api::agent_for(&url, &trust(tls))?;
    let answers = wait_until(Duration::from_secs(10), || {
        !feed.runs()
            || agent
                .get(&url)
                .call()
                .is_ok_and(|answer| answer.status() == 200)
    });
    feed.still_runs()?;
    ensure!(answers, "the feed does not answer at {url}");
    Ok(feed)
}

/// Makes a command that runs on the host of a container.
fn command_on(network: Option<&Network>, host: &str, program: &Path) -> Command {
    network.map_or_else(
        || Command::new(program),
        |network| network.host(host).command(program),
    )
}

/// Returns the address of the host of a container.
fn address_of(network: Option<&Network>, host: &str) -> Ipv4Addr {
    network.map_or(Ipv4Addr::LOCALHOST, |network| network.host(host).address())
}

fn random_text() -> Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
    Ok(Secret::from_random_bytes(bytes).reveal().to_owned())
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path);
    let mut file = file.with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(text.as_bytes())?;
    Ok(())
}

/// Replaces placeholders in every text of a document.
fn fill(value: &mut Value, values: &[(&str, String)]) {
    match value {
        Value::String(text) => {
            for (name, replacement) in values {
                *text = text.replace(name, replacement);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, values)),
        Value::Object(object) => object.values_mut().for_each(|item| fill(item, values)),
        _ => {}
    }
}

/// Runs a command to its end and returns what it printed.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} failed: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}

//! A manager's API on a database of its own, and a client that says what it got.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use argon2::password_hash::PasswordHasher as _;
use argon2::{Algorithm, Argon2, Params, Version};
use klusterkite_api::privileges::Privilege;
use klusterkite_core::configuration::ConfigurationState;
use klusterkite_core::release::FrozenPackages;
use klusterkite_core::settings::{NodeTemplateSettings, PackagePin, PackageRequirement, Settings};
use klusterkite_manager::config::Config;
use klusterkite_manager::{Cluster, http, secrets};
use klusterkite_store::rows::{
    ClientRow, ConfigurationRow, NodeRow, RoleRow, TokenKind, TokenRow, UserRow,
};
use klusterkite_store::{Change, Seed, Store};
use klusterkite_tls::Trust;
use klusterkite_wire::start::PackageReference;
use klusterkite_wire::{ConfigurationId, Incarnation, NodeId, Secret};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use ureq::http::Request;

use crate::feed::Feed;

pub(crate) const PASSWORD: &str = "a long password of a test";
pub(crate) const CLIENT_SECRET: &str =
    "5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed";
pub(crate) const NODE: &str = "11111111-2222-4333-8444-555555555555";
pub(crate) const NODE_TOKEN: &str =
    "70ce70ce70ce70ce70ce70ce70ce70ce70ce70ce70ce70ce70ce70ce70ce70ce";

/// How long anything may take that a test waits for.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A manager that serves its API.
pub(crate) struct Server {
    pub(crate) cluster: Cluster,
    pub(crate) feed: Feed,
    origin: String,
    agent: ureq::Agent,
    // The order of the fields is the order of their ends: the database goes last.
    runtime: Runtime,
    directory: tempfile::TempDir,
}

/// What a request got.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// Asserts a problem document with a code and returns its sentence.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> String {
        let problem = self.json();
        assert_eq!(
            (self.status, &problem["code"]),
            (status, &Value::from(code)),
            "{}",
            self.text
        );
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["requestId"], self.headers["x-request-id"].as_str());
        problem["detail"].as_str().unwrap().to_owned()
    }

    /// Asserts that it was done, or accepted, and returns the body.
    #[track_caller]
    pub(crate) fn done(&self) -> Value {
        assert_eq!(self.status / 100, 2, "{}", self.text);
        self.ok(self.status)
    }

    #[track_caller]
    pub(crate) fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        if self.text.is_empty() {
            Value::Null
        } else {
            self.json()
        }
    }
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(|_, _| {})
    }

    /// Starts a manager on a database and with settings of the test's own.
    pub(crate) fn start_with(change: impl FnOnce(&mut Seed, &mut Config)) -> Self {
        let runtime = runtime();
        let directory = tempfile::tempdir().unwrap();
        let feed = runtime.block_on(Feed::start());
        let database = directory.path().join("klusterkite.db");
        let (mut seed, mut config) = (seed(&feed), config(&database, directory.path()));
        change(&mut seed, &mut config);
        runtime.block_on(Store::create(&database, &seed)).unwrap();
        let (cluster, origin) = runtime.block_on(serve(config));
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(DEADLINE))
            .build()
            .new_agent();
        let server = Self {
            cluster,
            feed,
            origin,
            agent,
            runtime,
            directory,
        };
        server.put(Change::NodePut(node()));
        server
    }

    /// Ends this manager and starts another one on the same database; the feed stays away.
    pub(crate) fn restart(self) -> Self {
        let config = self.cluster.config().clone();
        drop(self.cluster);
        self.runtime.shutdown_timeout(DEADLINE);
        let runtime = runtime();
        let (cluster, origin) = runtime.block_on(serve(config));
        Self {
            cluster,
            origin,
            runtime,
            feed: self.feed,
            agent: self.agent,
            directory: self.directory,
        }
    }

    /// Address and port of the API.
    pub(crate) fn address(&self) -> &str {
        self.origin.trim_start_matches("http://")
    }

    /// Directory that outlives restarts.
    pub(crate) fn data(&self) -> &Path {
        self.directory.path()
    }

    /// Lets the manager act, too.
    pub(crate) fn lead(&self) {
        let cluster = self.cluster.clone();
        self.spawn(async move { cluster.lead().await.unwrap() });
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    pub(crate) fn put(&self, change: Change) {
        let put = self.cluster.transact(|draft| {
            draft.put(change);
            Ok(())
        });
        self.block_on(put).unwrap();
    }

    /// Gives a token to a user, without a password.
    pub(crate) fn token(&self, login: &str) -> String {
        self.token_until(
            login,
            TokenKind::UserAccess,
            self.cluster.now().0 + 3_600_000,
        )
    }

    pub(crate) fn token_until(&self, subject: &str, kind: TokenKind, expires: u64) -> String {
        let token = secrets::random_secret();
        self.put(Change::TokenPut(TokenRow {
            hash: secrets::hash(&token),
            kind,
            subject: subject.to_owned(),
            family: secrets::hash(&token),
            expires,
        }));
        token.reveal().to_owned()
    }

    pub(crate) fn client_token(&self) -> String {
        self.token_until(
            "worker",
            TokenKind::ClientAccess,
            self.cluster.now().0 + 3_600_000,
        )
    }

    /// Adds a user with a role of his own; there is no operation for that yet.
    pub(crate) fn user(&self, login: &str, allowed: &[Privilege], denied: &[Privilege]) -> String {
        let names =
            |privileges: &[Privilege]| privileges.iter().map(Privilege::to_string).collect();
        let role = RoleRow {
            name: login.to_owned(),
            allowed: names(allowed),
            denied: names(denied),
        };
        let user = UserRow {
            roles: vec![login.to_owned()],
            ..user(login)
        };
        self.block_on(self.cluster.remember(|state| {
            let mut accounts = state.accounts.write();
            accounts.roles.insert(role.name.clone(), role);
            accounts.users.insert(user.login.clone(), user);
        }));
        self.token(login)
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> Call<'_> {
        Call {
            server: self,
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: None,
        }
    }

    /// Sends a request of the admin with a JSON body.
    pub(crate) fn admin(&self, method: &str, path: &str, body: Value) -> Answer {
        let call = self.request(method, path).bearer(&self.token("admin"));
        if body.is_null() {
            call.send()
        } else {
            call.json(&body).send()
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    pub(crate) fn agent(&self) -> &ureq::Agent {
        &self.agent
    }

    /// Stores a configuration in any state.
    pub(crate) fn configuration(&self, id: i64, state: ConfigurationState) -> ConfigurationRow {
        let frozen = (state != ConfigurationState::Draft).then(frozen);
        let row = ConfigurationRow {
            id: ConfigurationId(id),
            state,
            frozen,
            ..first(&self.feed)
        };
        self.put(Change::ConfigurationPut(row.clone()));
        row
    }

    pub(crate) fn row(&self, id: i64) -> Option<ConfigurationRow> {
        self.block_on(self.cluster.read())
            .configurations
            .get(&ConfigurationId(id))
            .cloned()
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

async fn serve(config: Config) -> (Cluster, String) {
    let cluster = Cluster::open(config).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(http::serve(listener, None, cluster.clone()));
    (cluster, origin)
}

/// A request that is being put together.
pub(crate) struct Call<'a> {
    server: &'a Server,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Call<'_> {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.text("application/json", &body.to_string())
    }

    pub(crate) fn form(self, pairs: &[(&str, &str)]) -> Self {
        let encode = |text: &str| {
            text.replace('%', "%25")
                .replace('&', "%26")
                .replace(' ', "+")
        };
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(name, value)| format!("{name}={}", encode(value)))
            .collect();
        self.text("application/x-www-form-urlencoded", &pairs.join("&"))
    }

    pub(crate) fn text(mut self, media_type: &str, body: &str) -> Self {
        self.body = Some(body.as_bytes().to_vec());
        self.header("content-type", media_type)
    }

    pub(crate) fn send(self) -> Answer {
        let mut request = Request::builder()
            .method(self.method.as_str())
            .uri(self.server.url(&self.path));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let agent = self.server.agent();
        // A server that refuses a body may answer before it has read it.
        let answered = match self.body {
            Some(body) => agent.run(request.body(body).unwrap()),
            None => agent.run(request.body(()).unwrap()),
        };
        let mut response =
            answered.unwrap_or_else(|error| panic!("{} {}: {error}", self.method, self.path));
        let headers = response.headers().iter();
        let headers =
            headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        Answer {
            status: response.status().as_u16(),
            headers: headers.collect(),
            text: response.body_mut().read_to_string().unwrap(),
        }
    }
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < DEADLINE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn config(database: &Path, data: &Path) -> Config {
    Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        tls: None,
        trust: Trust::System,
        database: database.to_owned(),
        feed_credential_file: None,
        cluster_name: "test".to_owned(),
        data: data.to_owned(),
        join_timeout: Duration::from_secs(30),
        evict_after: Duration::from_mins(5),
        failover_lease: Duration::from_mins(2),
        lease_minimum: Duration::from_secs(10),
        mass_failure_part: 0.2,
        read_timeout: Duration::from_mins(5),
        move_timeout: Duration::from_hours(1),
        feed_timeout: DEADLINE,
        own: None,
    }
}

pub(crate) fn seed(feed: &Feed) -> Seed {
    let all = Privilege::ALL.iter().map(Privilege::to_string).collect();
    Seed {
        configuration: first(feed),
        users: vec![
            user("admin"),
            UserRow {
                is_blocked: true,
                ..user("blocked")
            },
        ],
        roles: vec![RoleRow {
            name: "Admin".to_owned(),
            allowed: all,
            denied: Vec::new(),
        }],
        clients: vec![ClientRow {
            id: "worker".to_owned(),
            secret_hash: secrets::hash(&Secret::new(CLIENT_SECRET)),
            container_types: vec!["worker".parse().unwrap()],
        }],
    }
}

pub(crate) fn user(login: &str) -> UserRow {
    // The cheapest parameters that argon2 has: what is tested is what the manager makes of the result.
    let params = Params::new(8, 1, 1, None).unwrap();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    UserRow {
        login: login.to_owned(),
        password_hash: argon2
            .hash_password(PASSWORD.as_bytes())
            .unwrap()
            .to_string(),
        is_blocked: false,
        roles: vec!["Admin".to_owned()],
    }
}

pub(crate) fn node() -> NodeRow {
    NodeRow {
        id: NODE.parse::<NodeId>().unwrap(),
        secret_hash: secrets::hash(&Secret::new("the node's secret")),
        token_hash: Some(secrets::hash(&Secret::new(NODE_TOKEN))),
        incarnation: Incarnation(1),
        container_type: "worker".parse().unwrap(),
        runtime: "linux-x64".parse().unwrap(),
        run: None,
        cordoned: false,
        last_template: None,
        last_crash: None,
    }
}

pub(crate) fn first(feed: &Feed) -> ConfigurationRow {
    ConfigurationRow {
        id: ConfigurationId(1),
        name: "first".to_owned(),
        major_version: 1,
        minor_version: 0,
        notes: "notes".to_owned(),
        state: ConfigurationState::Active,
        is_stable: false,
        created: 1_000,
        started: Some(2_000),
        finished: None,
        revision: 3,
        settings: settings(feed),
        frozen: Some(frozen()),
    }
}

/// Settings that pass the check.
pub(crate) fn settings(feed: &Feed) -> Settings {
    let pin = |id: &str| PackagePin {
        id: id.to_owned(),
        version: "1.0.0".to_owned(),
    };
    let template = |code: &str, package: &str| NodeTemplateSettings {
        code: code.to_owned(),
        name: code.to_owned(),
        container_types: vec!["worker".to_owned()],
        package_requirements: vec![PackageRequirement {
            id: package.to_owned(),
            specific_version: None,
        }],
        ..NodeTemplateSettings::default()
    };
    let mut manager = template("clusterManager", "KlusterKite.NodeManager");
    manager.container_types = vec!["manager".to_owned()];
    manager.maximum_needed_instances = Some(1);
    manager.rollout.surge = 0;
    Settings {
        packages: [
            "KlusterKite.NodeManager",
            "KlusterKite.Core.Service",
            "Hello",
        ]
        .map(pin)
        .into(),
        node_templates: vec![manager, template("hello", "Hello")],
        seed_addresses: vec!["127.0.0.1:3090".to_owned()],
        nuget_feed: feed.url(),
        runtimes: vec!["linux-x64".to_owned()],
        ..Settings::default()
    }
}

pub(crate) fn frozen() -> FrozenPackages {
    let package = |id: &str| PackageReference {
        id: id.to_owned(),
        version: "1.0.0".to_owned(),
        sha512: crate::feed::sha512(id, "1.0.0"),
        size: 1000,
    };
    let of = |code: &str, id: &str| {
        let packages = vec![package(id), package("KlusterKite.Core.Service")];
        let runtimes = BTreeMap::from([("linux-x64".parse().unwrap(), packages)]);
        (code.parse().unwrap(), runtimes)
    };
    FrozenPackages {
        node_templates: [
            of("clusterManager", "KlusterKite.NodeManager"),
            of("hello", "Hello"),
        ]
        .into(),
        migrator_templates: BTreeMap::new(),
    }
}

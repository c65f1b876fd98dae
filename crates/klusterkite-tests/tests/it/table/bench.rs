//! A manager with executors, and an operator. No feed and no launcher: the packages lie in its content store.
//!
//! ```text
//! <dir>/cluster.db, settings   the manager's
//! <dir>/data/executors/store   packages: the executor of this build, the scripted migrators
//! <dir>/state/<M>.<resource>   the point of a resource; no file: it does not exist
//! <dir>/state/<M>.fault        how the migrator misbehaves now
//! <dir>/state/moves            every move that a migrator did
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use argon2::password_hash::PasswordHasher as _;
use argon2::{Algorithm, Argon2, Params, Version};
use klusterkite_api::privileges::Privilege;
use klusterkite_core::configuration::ConfigurationState;
use klusterkite_core::release::{FrozenPackages, PackagesByRuntime};
use klusterkite_core::settings::{
    MigratorTemplateSettings, NodeTemplateSettings, PackagePin, PackageRequirement, Settings,
};
use klusterkite_nuget::{Nuspec, PackageBuilder, Sha512Hash};
use klusterkite_store::rows::{ClientRow, ConfigurationRow, RoleRow, UserRow};
use klusterkite_store::{Change, Seed, Store};
use klusterkite_tests::api::{Answer, Operator, agent};
use klusterkite_tests::process::{Program, tail, wait_until};
use klusterkite_tls::Trust;
use klusterkite_wire::start::PackageReference;
use klusterkite_wire::{ConfigurationId, Secret, TemplateCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::support::{operation, programs};

/// Longest wait for something that takes a second, on a machine that is busy.
pub(crate) const DEADLINE: Duration = Duration::from_mins(3);

const PASSWORD: &str = "a long password of a test";
const SECRET: &str = "the secret of a container type";
const RUNTIME: &str = if cfg!(target_arch = "aarch64") {
    "linux-arm64"
} else {
    "linux-x64"
};

/// The migrators of a configuration, one a line, as `TEMPLATE NAME before|after PRIORITY RESOURCES POINTS`: lists with
/// commas, `!` marks a point that is irreversible. `nodes N` is the minimum of nodes instead of 0, `limit CALL MOVE` the
/// longest call and move instead of a minute.
pub(crate) type Text = &'static str;

/// A manager on a database with some configurations; the first is Active, the others are Ready.
pub(crate) struct Bench {
    pub(crate) manager: Program,
    pub(crate) operator: Operator,
    pub(crate) url: String,
    incarnation: u64,
    /// The template of each migrator.
    template_of: BTreeMap<&'static str, &'static str>,
    // Dropped after the manager.
    directory: TempDir,
}

impl Bench {
    /// Starts a manager whose resources stand at some points, as `DB.RESOURCE=POINT` with spaces between.
    pub(crate) fn start(configurations: &[Text], points: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("kk").tempdir().unwrap();
        let place = directory.path();
        for name in ["state", "data/executors/store", "log"] {
            fs::create_dir_all(place.join(name)).unwrap();
        }
        put_points(place, points);
        create(place, configurations);
        let (manager, url) = start_manager(place, "manager");
        let operator = log_in(&url, &manager_log(place, "manager"));
        let bench = Self {
            manager,
            operator,
            url,
            incarnation: 0,
            template_of: configurations
                .iter()
                .flat_map(|text| text.lines())
                .filter_map(|line| {
                    let mut words = line.split_whitespace();
                    let template = words.next()?;
                    Some((words.next()?, template))
                })
                .collect(),
            directory,
        };
        bench.idle();
        bench
    }

    /// Starts another manager on the same database, as if its lock had been lost, and talks to that one from now on.
    pub(crate) fn another_leads(&mut self) -> (Program, Operator) {
        fs::remove_file(self.place().join("cluster.db.lock")).unwrap();
        let (manager, url) = start_manager(self.place(), "successor");
        let operator = log_in(&url, &manager_log(self.place(), "successor"));
        self.url = url;
        let former = std::mem::replace(&mut self.manager, manager);
        (former, std::mem::replace(&mut self.operator, operator))
    }

    pub(crate) fn place(&self) -> &Path {
        self.directory.path()
    }

    /// Says how a migrator behaves from now on; an empty text: well.
    pub(crate) fn fault(&self, migrator: &str, fault: &str) {
        put(&self.place().join(format!("state/{migrator}.fault")), fault);
    }

    /// Puts resources at points, as somebody else would; `DB.RESOURCE=-` removes it.
    pub(crate) fn points_are(&self, points: &str) {
        put_points(self.place(), points);
    }

    /// Returns the points of some resources.
    pub(crate) fn points(&self, resources: &str) -> String {
        let read = |name: &str| {
            let point = fs::read_to_string(self.place().join("state").join(name));
            format!("{name}={}", point.unwrap_or_else(|_| "-".to_owned()))
        };
        let points: Vec<_> = resources.split(' ').map(read).collect();
        points.join(" ")
    }

    /// Returns the moves that migrators did since this was asked last.
    pub(crate) fn moves(&self) -> Vec<String> {
        let file = self.place().join("state/moves");
        let text = fs::read_to_string(&file).unwrap_or_default();
        // There is none yet: nothing moved.
        let _ = fs::remove_file(file);
        text.lines().map(str::to_owned).collect()
    }

    pub(crate) fn state(&self) -> Value {
        self.operator.get("/cluster/state").unwrap()
    }

    pub(crate) fn call(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.operator.call(method, path, body).unwrap()
    }

    /// Posts something that is accepted.
    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.call("POST", path, Some(body));
        assert_eq!(answer.status / 100, 2, "{path}: {}", answer.body);
        answer.body
    }

    /// Posts something that is refused, and returns the sentence.
    #[track_caller]
    pub(crate) fn refused(&self, path: &str, body: Value, code: &str) -> String {
        let answer = self.call("POST", path, Some(body));
        let seen = (answer.status, answer.body["code"].as_str());
        assert_eq!(seen, (409, Some(code)), "{path}: {}", answer.body);
        answer.body["detail"].as_str().unwrap().to_owned()
    }

    /// Starts a migration and waits until it has been analysed.
    #[track_caller]
    pub(crate) fn migrate(&self, to: usize, more: &Value) {
        self.idle();
        let mut body = json!({ "toConfigurationId": to });
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        self.post("/migrations", body);
        self.idle();
    }

    /// Does something to the running migration and waits until its resources have been read after it.
    #[track_caller]
    pub(crate) fn step(&self, path: &str, body: Value) {
        self.post(&format!("/migrations/current/{path}"), body);
        self.idle();
    }

    /// Returns a request for resources, `DB.RESOURCE` with spaces between.
    pub(crate) fn request(&self, resources: &str, target: &str) -> Value {
        let resources = resources.split(' ').map(|name| {
            let (migrator, resource) = name.split_once('.').unwrap();
            json!({
                "templateCode": self.template_of[migrator], "migratorTypeName": migrator,
                "resourceCode": resource, "target": target,
            })
        });
        json!({ "resources": resources.collect::<Vec<_>>() })
    }

    /// Moves resources, `DB.RESOURCE` with spaces between, to an end.
    #[track_caller]
    pub(crate) fn move_to(&self, target: &str, resources: &str) {
        self.step("resources", self.request(resources, target));
    }

    #[track_caller]
    pub(crate) fn nodes_to(&self, target: &str) {
        self.step("nodes", json!({ "target": target }));
    }

    /// Has all resources read again.
    #[track_caller]
    pub(crate) fn recheck(&self) {
        self.post("/cluster/recheck", json!({}));
        // It is busy from the answer on, or has been read already; either is fine.
        self.idle();
    }

    /// Waits until nothing is read or moved.
    #[track_caller]
    pub(crate) fn idle(&self) -> Value {
        self.state_when("nothing is read or moved", |state| state["busy"] == false)
    }

    #[track_caller]
    pub(crate) fn state_when(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let mut state = Value::Null;
        let so = wait_until(DEADLINE, || {
            state = self.state();
            is_so(&state)
        });
        assert!(so, "{what}: {state:#}\n{}", self.log());
        state
    }

    #[track_caller]
    pub(crate) fn allowed_when(&self, id: &str) -> Value {
        self.state_when(id, |state| operation(state, id)["allowed"] == true)
    }

    #[track_caller]
    pub(crate) fn migration_when(&self, wanted: &str) -> Value {
        let mut newest = Value::Null;
        let so = wait_until(DEADLINE, || {
            let list = self.operator.get("/migrations?limit=1").unwrap();
            newest = list["items"][0].clone();
            newest["state"] == wanted
        });
        assert!(so, "{wanted}: {newest:#}\n{}", self.log());
        newest
    }

    /// The container asks, as a new incarnation, and becomes a node of the Active configuration.
    pub(crate) fn container_starts(&mut self) {
        if self.incarnation > 0 {
            self.post(
                "/nodes/11111111-2222-4333-8444-555555555555/uncordon",
                json!({}),
            );
        }
        assert_eq!(self.container_asks(), 200, "{}", self.log());
    }

    /// The node is gone: its container asks, and gets nothing any more.
    pub(crate) fn container_leaves(&mut self) {
        self.post(
            "/nodes/11111111-2222-4333-8444-555555555555/cordon",
            json!({}),
        );
        assert_eq!(self.container_asks(), 503, "{}", self.log());
    }

    fn container_asks(&mut self) -> u16 {
        let before = self.incarnation;
        self.incarnation += 1;
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", "worker"),
            ("client_secret", SECRET),
        ];
        let token = agent().post(format!("{}/oauth/token", self.url));
        let token: Value = token
            .send_form(form)
            .unwrap()
            .body_mut()
            .read_json()
            .unwrap();
        let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap());
        let body = json!({
            "nodeId": "11111111-2222-4333-8444-555555555555", "nodeSecret": "a secret",
            "incarnation": self.incarnation, "lastIncarnation": (before > 0).then_some(before),
            "containerType": "worker", "runtime": RUNTIME,
        });
        let asked = agent()
            .post(format!("{}/api/v1/nodes/configuration", self.url))
            .header("authorization", bearer)
            .send_json(body);
        asked.unwrap().status().as_u16()
    }

    /// Returns the end of the manager's log, for a failure.
    pub(crate) fn log(&self) -> String {
        tail(&manager_log(self.place(), "manager"))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn put(path: &Path, text: &str) {
    // By a rename: nobody reads half a word.
    let draft = path.with_extension("draft");
    fs::write(&draft, text).unwrap();
    fs::rename(draft, path).unwrap();
}

fn put_points(place: &Path, points: &str) {
    for point in points.split_whitespace() {
        let (resource, point) = point.split_once('=').unwrap();
        let file = place.join("state").join(resource);
        if point == "-" {
            fs::remove_file(file).unwrap();
        } else {
            put(&file, point);
        }
    }
}

fn manager_log(place: &Path, name: &str) -> PathBuf {
    place.join("log").join(format!("{name}.log"))
}

fn start_manager(place: &Path, name: &str) -> (Program, String) {
    // Nobody else asks for this port between here and the start: the system gives others first.
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = free.local_addr().unwrap().to_string();
    drop(free);
    let settings = place.join(format!("{name}.settings"));
    let text = format!(
        "KlusterKite.NodeManager {{ Listen = \"{listen}\", Database = \"{}\"\n\
         NewNodeJoinTimeout = 1h, EvictAfter = 1h, FailoverLease = 1h, LeaseMinimum = 1h }}",
        place.join("cluster.db").display()
    );
    fs::write(&settings, text).unwrap();
    let mut command = Command::new(programs().join("klusterkite-manager"));
    command
        .env("KLUSTERKITE_CONFIG", settings)
        .env("KLUSTERKITE_DATA", place.join("data"));
    let program = Program::start(name, &place.join("log"), &mut command).unwrap();
    (program, format!("http://{listen}"))
}

fn log_in(url: &str, log: &Path) -> Operator {
    let mut seen = String::new();
    let mut operator = None;
    wait_until(DEADLINE, || {
        match Operator::log_in(url, "admin", &Secret::new(PASSWORD), &Trust::System) {
            Ok(logged_in) => operator = Some(logged_in),
            Err(error) => seen = format!("{error:#}"),
        }
        operator.is_some()
    });
    operator.unwrap_or_else(|| panic!("no manager at {url}: {seen}\n{}", tail(log)))
}

/// Makes the database.
fn create(place: &Path, configurations: &[Text]) {
    let rows: Vec<_> = (1..)
        .zip(configurations)
        .map(|(id, text)| configuration(place, id, text))
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let argon2 = Argon2::new(
        Algorithm::Argon2id,
        Version::V0x13,
        Params::new(8, 1, 1, None).unwrap(),
    );
    let seed = Seed {
        configuration: rows[0].clone(),
        users: vec![UserRow {
            login: "admin".to_owned(),
            password_hash: argon2
                .hash_password(PASSWORD.as_bytes())
                .unwrap()
                .to_string(),
            is_blocked: false,
            roles: vec!["Admin".to_owned()],
        }],
        roles: vec![RoleRow {
            name: "Admin".to_owned(),
            allowed: Privilege::ALL.iter().map(Privilege::to_string).collect(),
            denied: Vec::new(),
        }],
        clients: vec![ClientRow {
            id: "worker".to_owned(),
            secret_hash: hex(&Sha256::digest(SECRET)),
            container_types: vec!["worker".parse().unwrap()],
        }],
    };
    let database = place.join("cluster.db");
    runtime.block_on(async {
        Store::create(&database, &seed).await.unwrap();
        let store = Store::open(&database).await.unwrap();
        let epoch = store.leader_acquire("test", 0).await.unwrap();
        let changes: Vec<_> = rows[1..]
            .iter()
            .cloned()
            .map(Change::ConfigurationPut)
            .collect();
        store.commit(epoch, &changes).await.unwrap();
    });
}

fn configuration(place: &Path, id: i64, text: Text) -> ConfigurationRow {
    let mut settings = Settings {
        nuget_feed: "http://127.0.0.1:9/v3/index.json".to_owned(),
        runtimes: vec![RUNTIME.to_owned()],
        node_templates: vec![NodeTemplateSettings {
            code: "hello".to_owned(),
            // Nodes of other configurations have to restart.
            configuration: format!("configuration = {id}"),
            container_types: vec!["worker".to_owned()],
            maximum_needed_instances: Some(1),
            ..NodeTemplateSettings::default()
        }],
        ..Settings::default()
    };
    let (mut templates, mut limit) = (BTreeMap::<&str, Vec<Vec<&str>>>::new(), ["60s"; 2]);
    for line in text.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            [] => {}
            ["limit", call, migrate] => limit = [call, migrate],
            ["nodes", minimum] => {
                settings.node_templates[0].minimum_required_instances = minimum.parse().unwrap();
            }
            _ => templates.entry(words[0]).or_default().push(words),
        }
    }
    let mut frozen = FrozenPackages {
        node_templates: [frozen("hello", reference("Hello", b""))].into(),
        migrator_templates: BTreeMap::new(),
    };
    for (code, lines) in &templates {
        let package = package(place, code, id, lines);
        settings.packages.push(PackagePin {
            id: package.id.clone(),
            version: package.version.clone(),
        });
        let names: Vec<_> = lines.iter().map(|line| line[1]).collect();
        settings.migrator_templates.push(MigratorTemplateSettings {
            code: (*code).to_owned(),
            configuration: format!(
                "KlusterKite.NodeManager {{ Migrators = [{}], Executor {{ CallTimeout = {}, MigrateTimeout = {} }} }}",
                names.join(", "), limit[0], limit[1]
            ),
            package_requirements: vec![PackageRequirement {
                id: package.id.clone(),
                specific_version: None,
            }],
            ..MigratorTemplateSettings::default()
        });
        frozen
            .migrator_templates
            .extend([self::frozen(code, package)]);
    }
    ConfigurationRow {
        id: ConfigurationId(id),
        name: format!("number {id}"),
        major_version: id,
        minor_version: 0,
        notes: String::new(),
        state: if id == 1 {
            ConfigurationState::Active
        } else {
            ConfigurationState::Ready
        },
        is_stable: false,
        created: 1_000,
        started: (id == 1).then_some(2_000),
        finished: None,
        revision: 1,
        settings,
        frozen: Some(frozen),
    }
}

fn frozen(code: &str, package: PackageReference) -> (TemplateCode, PackagesByRuntime) {
    let packages = [(RUNTIME.parse().unwrap(), vec![package])].into();
    (code.parse().unwrap(), packages)
}

fn reference(id: &str, bytes: &[u8]) -> PackageReference {
    PackageReference {
        id: id.to_owned(),
        version: "1.0.0".to_owned(),
        sha512: Sha512Hash::of(bytes).to_string(),
        size: bytes.len() as u64,
    }
}

/// Makes the package of a migrator template, with the executor of this build and the scripted migrator.
fn package(place: &Path, template: &str, number: i64, migrators: &[Vec<&str>]) -> PackageReference {
    let id = format!("Migrators.{template}.{number}");
    let nuspec = Nuspec::new(
        id.parse().unwrap(),
        "1.0.0".parse().unwrap(),
        "test",
        "a test package",
    );
    let executor = programs().join("klusterkite-executor");
    // Not the program itself: each package would have to be unpacked with it.
    let executor = format!("#!/bin/sh\nexec '{}'\n", executor.display());
    let script = include_str!("../../../../klusterkite-executor/tests/it/migrator.py");
    let mut builder = PackageBuilder::new(nuspec)
        .file("content/klusterkite-executor", executor.as_str(), true)
        .file("content/migrator.py", script, false);
    let mut manifest = String::from("migrators {\n");
    for words in migrators {
        let [_, name, when, priority, resources, points] = words[..] else {
            panic!("{words:?} is no migrator");
        };
        let dependency = match when {
            "before" => "codeDependsOnResource",
            "after" => "resourceDependsOnCode",
            _ => panic!("{when} is no time"),
        };
        let description = json!({
            "name": name,
            "dependencyType": dependency,
            "priority": priority.parse::<f64>().unwrap(),
            "points": points.split(',').map(|point| point.trim_end_matches('!')).collect::<Vec<_>>(),
            "irreversible": points.split(',').filter_map(|point| point.strip_suffix('!')).collect::<Vec<_>>(),
            "resources": resources.split(',').collect::<Vec<_>>(),
        });
        let description = description.to_string();
        builder = builder.file(
            &format!("content/{name}.migrator.json"),
            description.as_str(),
            false,
        );
        let state = place.join("state").join(name);
        let state = state.display();
        let _ = writeln!(
            manifest,
            "\"{name}\" {{ command = [python3, migrator.py, \"@{state}.fault\", \"{state}\", {name}.migrator.json] }}"
        );
    }
    manifest += "}\n";
    let bytes = builder
        .file("klusterkite.hocon", manifest.as_str(), false)
        .to_bytes()
        .unwrap();
    let store = place.join("data/executors/store");
    let hash = Sha512Hash::of(&bytes);
    fs::write(store.join(format!("{}.nupkg", hash.hex())), &bytes).unwrap();
    reference(&id, &bytes)
}

//! What the stories share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use klusterkite_tests::api::Operator;
use klusterkite_tests::client::get;
use klusterkite_tests::local::{LocalCluster, Options, Surroundings};
use klusterkite_tests::process::wait_until;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longest time for a whole migration on a slow machine.
pub(crate) const MIGRATION_TIMEOUT: Duration = Duration::from_mins(4);

/// A cluster in a directory that goes away with it.
pub(crate) struct TestCluster {
    pub(crate) cluster: LocalCluster,
    // Dropped after the cluster.
    directory: TempDir,
}

impl TestCluster {
    /// Starts a cluster with a sample and some workers.
    pub(crate) fn start(sample: &str, workers: usize) -> Self {
        Self::start_with(sample, workers, false)
    }

    /// Starts a cluster whose manager and feed speak TLS with an authority of their own.
    pub(crate) fn start_secure(sample: &str, workers: usize) -> Self {
        Self::start_with(sample, workers, true)
    }

    fn start_with(sample: &str, workers: usize, tls: bool) -> Self {
        let directory = tempfile::Builder::new().prefix("kk").tempdir().unwrap();
        let options = options(directory.path(), sample, workers, tls);
        Self::ready(LocalCluster::start(options), directory)
    }

    /// Starts a cluster on hosts, in a directory that holds its sample already, and waits until so many nodes are
    /// ready, that of the manager included.
    pub(crate) fn start_in(
        directory: TempDir,
        sample: &Path,
        workers: usize,
        surroundings: Surroundings,
        nodes: usize,
        programs: PathBuf,
    ) -> Self {
        let sample = sample.display().to_string();
        let options = Options {
            programs,
            ..options(directory.path(), &sample, workers, false)
        };
        let cluster = LocalCluster::launch_in(options, surroundings).and_then(|mut cluster| {
            cluster.wait_for_nodes(nodes)?;
            Ok(cluster)
        });
        Self::ready(cluster, directory)
    }

    fn ready(cluster: anyhow::Result<LocalCluster>, directory: TempDir) -> Self {
        let cluster = match cluster {
            Ok(cluster) => cluster,
            Err(error) => {
                let kept = directory.keep();
                panic!("{error:#}\nkept: {}", kept.display());
            }
        };
        Self { cluster, directory }
    }

    /// Directory of the cluster.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn operator(&self) -> Operator {
        self.cluster.operator().unwrap()
    }

    /// Publishes version 2 of the sample and newer builds of our own packages; makes a configuration of
    /// them ready and returns its id.
    pub(crate) fn ready_version_2(&self, operator: &Operator) -> i64 {
        self.cluster.publish("0.2.0", "2.0.0").unwrap();
        ready_newest(operator)
    }

    /// Waits until the newest migration has ended or is paused, and returns it. The manager may be away meanwhile.
    pub(crate) fn migration_ended(&self, operator: &Operator) -> Value {
        let mut newest = Value::Null;
        let ended = wait_until(MIGRATION_TIMEOUT, || {
            if let Ok(list) = operator.get("/migrations?limit=1") {
                newest = list["items"][0].clone();
            }
            ["completed", "failed", "rolledBack", "paused"]
                .iter()
                .any(|state| newest["state"] == *state)
        });
        if !ended {
            let state = operator.get("/cluster/state").unwrap_or(Value::Null);
            let nodes = operator.get("/nodes").unwrap_or(Value::Null);
            panic!(
                "the migration goes on: {newest:#}\n{state:#}\n{nodes:#}\n{}",
                self.kept()
            );
        }
        newest
    }

    /// Names the directory with the logs; it stays for whoever reads the failure.
    pub(crate) fn kept(&self) -> String {
        let copy = std::env::temp_dir().join(format!("klusterkite-failed-{}", std::process::id()));
        let logs = self.cluster.logs();
        let copied = std::process::Command::new("cp")
            .arg("-r")
            .arg(&logs)
            .arg(&copy)
            .status();
        match copied {
            Ok(status) if status.success() => format!("logs: {}", copy.display()),
            other => format!(
                "logs in {} are gone: {other:?}",
                self.directory.path().display()
            ),
        }
    }

    /// Returns the answers of all service ports to a path.
    pub(crate) fn answers(&self, path: &str) -> Vec<String> {
        let addresses = self.cluster.addresses();
        addresses
            .iter()
            .map(|address| get(address, path).unwrap_or_else(|error| format!("{error:#}")))
            .collect()
    }
}

fn options(directory: &Path, sample: &str, workers: usize, tls: bool) -> Options {
    Options {
        directory: directory.to_owned(),
        programs: programs(),
        launcher: None,
        repository: repository(),
        sample: sample.to_owned(),
        workers,
        tls,
    }
}

/// Copies the Active configuration with the newest packages, checks it, makes it ready.
pub(crate) fn ready_newest(operator: &Operator) -> i64 {
    let active = operator.get("/cluster/state").unwrap()["activeConfigurationId"].clone();
    let copy = json!({ "copyOf": active, "newestPackages": true, "name": "next" });
    let draft = operator.post("/configurations", copy).unwrap();
    let id = draft["id"].as_i64().unwrap();
    let check = operator
        .post(&format!("/configurations/{id}/check"), json!({}))
        .unwrap();
    let errors = check["errors"].as_array().unwrap();
    assert!(
        errors.iter().all(|finding| finding["severity"] != "error"),
        "{check:#}"
    );
    operator
        .post(&format!("/configurations/{id}/ready"), json!({}))
        .unwrap();
    id
}

/// Waits until the cluster allows a migration.
pub(crate) fn wait_until_idle(operator: &Operator) {
    let mut seen = Value::Null;
    let idle = wait_until(Duration::from_mins(1), || {
        seen = operator.get("/cluster/state").unwrap_or(Value::Null);
        operation(&seen, "createMigration")["allowed"] == true
    });
    assert!(idle, "no migration can be created: {seen:#}");
}

/// Starts an automatic migration to a configuration.
pub(crate) fn migrate(operator: &Operator, to: i64) -> Value {
    wait_until_idle(operator);
    let request = json!({ "toConfigurationId": to, "mode": "automatic" });
    operator.post("/migrations", request).unwrap()
}

/// Returns an operation of a state.
pub(crate) fn operation(state: &Value, id: &str) -> Value {
    let operations = state["operations"].as_array().cloned().unwrap_or_default();
    operations
        .into_iter()
        .find(|operation| operation["id"] == id)
        .unwrap_or(Value::Null)
}

/// Returns the kinds and objects of a migration's log, oldest first.
pub(crate) fn log_of(operator: &Operator, migration: &Value) -> Vec<(String, String)> {
    let log = operator
        .get(&format!("/migrations/{}/log?limit=1000", migration["id"]))
        .unwrap();
    let entries = log["items"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    entries
        .iter()
        .map(|entry| (text(&entry["kind"]), text(&entry["migratorTypeName"])))
        .collect()
}

/// Asserts that some things stand in a list in this order, with anything between them.
pub(crate) fn assert_in_order(list: &[(String, String)], wanted: &[(&str, &str)]) {
    let mut rest = list.iter();
    for (kind, object) in wanted {
        let found = rest.any(|(a, b)| a == kind && b == object);
        assert!(
            found,
            "{kind} {object} is missing or too early in {list:#?}"
        );
    }
}

pub(crate) fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// Directory of the programs: `cargo xtask test` builds them beside the test binaries.
pub(crate) fn programs() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let programs = test.ancestors().nth(2).unwrap().to_owned();
    assert!(
        programs.join("klusterkite-manager").exists(),
        "the programs are not built: run `cargo xtask test`"
    );
    programs
}

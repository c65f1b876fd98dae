//! The stage: a sample, hosts, and a cluster on them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use klusterkite_tests::api::Operator;
use klusterkite_tests::client::{Watcher, get};
use klusterkite_tests::hosts::Network;
use klusterkite_tests::local::Surroundings;
use klusterkite_tests::process::wait_until;
use serde_json::{Value, json};

use crate::support::{TestCluster, programs, repository};

/// Set by `cargo xtask hazards`: everything lasts as long as it should.
const LONG: &str = "KLUSTERKITE_HAZARDS";

/// Lease of the nodes, so that nobody waits for ten seconds to see one end.
pub(super) const LEASE: Duration = Duration::from_secs(3);

/// Longest time for anything that takes seconds on an idle machine.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// Tells whether everything lasts as long as it should.
pub(super) fn is_long() -> bool {
    std::env::var_os(LONG).is_some()
}

/// Returns how long something lasts: the first when everything runs, the second in between.
pub(super) fn lasting(long: Duration, short: Duration) -> Duration {
    if is_long() {
        return long;
    }
    eprintln!("shortened to {short:?} from {long:?}, which `cargo xtask hazards` takes");
    short
}

/// Makes a network for a manager and some workers; says why not, when there can be none.
pub(super) fn network(workers: usize) -> Option<Network> {
    if let Some(missing) = Network::missing() {
        eprintln!("skipped: {missing}");
        return None;
    }
    let names: Vec<String> = std::iter::once("manager".to_owned())
        .chain((1..=workers).map(|worker| format!("worker-{worker}")))
        .collect();
    Some(Network::new(names.iter().map(String::as_str)).unwrap())
}

/// Starts the sample `hello` with a worker a host; its template is merged with `template`, and so many nodes are
/// waited for, that of the manager included.
pub(super) fn hello_on_hosts(
    workers: usize,
    template: &Value,
    nodes: usize,
) -> Option<TestCluster> {
    let network = network(workers)?;
    let directory = tempfile::Builder::new().prefix("kk").tempdir().unwrap();
    let sample = directory.path().join("sample");
    fs::create_dir(&sample).unwrap();
    let hello = repository().join("samples/hello");
    symlink(hello.join("packages"), sample.join("packages")).unwrap();
    let text = fs::read(hello.join("cluster.json")).unwrap();
    let mut settings: Value = serde_json::from_slice(&text).unwrap();
    merge(&mut settings["nodeTemplates"][0], template);
    fs::write(sample.join("cluster.json"), settings.to_string()).unwrap();
    Some(start(directory, &sample, workers, network, nodes))
}

/// Starts a cluster with a worker a host, whose nodes are processes of one manifest.
pub(super) fn processes_on_hosts(workers: usize, manifest: &str) -> Option<TestCluster> {
    let network = network(workers)?;
    let directory = tempfile::Builder::new().prefix("kk").tempdir().unwrap();
    let sample = sample_of(directory.path(), manifest, workers);
    Some(start(directory, &sample, workers, network, workers + 1))
}

/// Makes a sample of one package with a manifest, which brings the program `rogue`, and as many nodes of it.
pub(super) fn sample_of(directory: &Path, manifest: &str, nodes: usize) -> PathBuf {
    let sample = directory.join("sample");
    let package = sample.join("packages/Hello/1.0.0");
    fs::create_dir_all(package.join("content")).unwrap();
    let description = "id = Hello\ndescription = \"Rogues\"\n";
    fs::write(package.join("pack.hocon"), description).unwrap();
    fs::write(package.join("klusterkite.hocon"), manifest).unwrap();
    compile("rogue.c", &["-static"], &rogue_of(directory));
    let text = fs::read(repository().join("samples/hello/cluster.json")).unwrap();
    let mut settings: Value = serde_json::from_slice(&text).unwrap();
    settings["nodeTemplates"][0]["maximumNeededInstances"] = json!(nodes);
    settings["migratorTemplates"] = json!([]);
    let packages = settings["packages"].as_array_mut().unwrap();
    packages.retain(|package| !package["id"].as_str().unwrap().starts_with("Hello."));
    fs::write(sample.join("cluster.json"), settings.to_string()).unwrap();
    sample
}

/// Returns where [`sample_of`] puts the program `rogue`.
pub(super) fn rogue_of(directory: &Path) -> PathBuf {
    directory.join("sample/packages/Hello/1.0.0/content/rogue")
}

/// Compiles a file of this directory.
pub(super) fn compile(source: &str, options: &[&str], program: &Path) {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/hosts");
    let compiled = Command::new("cc")
        .arg("-O1")
        .args(options)
        .arg("-o")
        .arg(program)
        .arg(sources.join(source))
        .status();
    assert!(compiled.unwrap().success());
}

/// Starts a sample with a short lease.
pub(super) fn start(
    directory: tempfile::TempDir,
    sample: &Path,
    workers: usize,
    network: Network,
    nodes: usize,
) -> TestCluster {
    let surroundings = surroundings(network);
    TestCluster::start_in(directory, sample, workers, surroundings, nodes, programs())
}

/// Returns hosts and a manager with a short lease.
pub(super) fn surroundings(network: Network) -> Surroundings {
    Surroundings {
        network: Some(network),
        manager: [("LeaseMinimum", json!(format!("{}s", LEASE.as_secs())))].into(),
    }
}

/// Stops the launcher of a host.
pub(super) fn stop_launcher(test: &mut TestCluster, host: &str) {
    let mut launcher = test.cluster.launchers.remove(host).unwrap();
    launcher.stop().unwrap();
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// A node as the manager sees it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen {
    pub(super) id: String,
    pub(super) status: String,
    pub(super) incarnation: u64,
    pub(super) address: String,
}

/// Returns the nodes of the template `hello`; none while the manager is away.
pub(super) fn nodes(operator: &Operator) -> Vec<Seen> {
    let nodes = operator.get("/nodes?template=hello").unwrap_or(Value::Null);
    let nodes = nodes["items"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    nodes
        .iter()
        .map(|node| Seen {
            id: text(&node["nodeId"]),
            status: text(&node["status"]),
            incarnation: node["incarnation"].as_u64().unwrap(),
            address: text(&node["address"]),
        })
        .collect()
}

/// Returns the node on a host; `None` while the manager is away or knows of none.
pub(super) fn node_on(test: &TestCluster, operator: &Operator, host: &str) -> Option<Seen> {
    let address = test.cluster.network().unwrap().host(host).address();
    nodes(operator)
        .into_iter()
        .find(|node| node.address == address.to_string())
}

/// Waits until the node on a host has a status.
pub(super) fn wait_for_status(
    test: &TestCluster,
    operator: &Operator,
    host: &str,
    status: &str,
) -> Seen {
    let mut seen = None;
    let so = wait_until(PATIENCE, || {
        seen = node_on(test, operator, host);
        seen.as_ref().is_some_and(|node| node.status == status)
    });
    assert!(so, "{host} is not {status}: {seen:?}\n{}", test.kept());
    seen.unwrap()
}

/// Waits until the node on a host is newer than one before, and ready.
pub(super) fn wait_for_newer(
    test: &TestCluster,
    operator: &Operator,
    host: &str,
    before: u64,
) -> Seen {
    let mut seen = None;
    let so = wait_until(PATIENCE * 2, || {
        seen = node_on(test, operator, host);
        seen.as_ref()
            .is_some_and(|node| node.incarnation > before && node.status == "ready")
    });
    assert!(so, "{host} does not come back: {seen:?}\n{}", test.kept());
    seen.unwrap()
}

/// Watches for two leases that the nodes on some hosts are ready and stay the same.
pub(super) fn stay_the_same(test: &TestCluster, operator: &Operator, hosts: &[&str]) {
    let look = || {
        hosts
            .iter()
            .map(|host| node_on(test, operator, host))
            .collect::<Vec<_>>()
    };
    let (before, begin) = (look(), std::time::Instant::now());
    assert!(
        before
            .iter()
            .all(|node| node.as_ref().is_some_and(|node| node.status == "ready"))
    );
    while begin.elapsed() < LEASE * 2 {
        assert_eq!(look(), before, "{}", test.kept());
        pass(Duration::from_millis(200));
    }
}

/// Lets some time pass, in which things are watched by others.
pub(super) fn pass(time: Duration) {
    std::thread::sleep(time);
}

/// Probes the service of a host from the host itself, whatever its cable does.
pub(super) fn probe_inside(test: &TestCluster, host: &str) -> Watcher {
    let port = port_of(test, host);
    let network = test.cluster.network().unwrap();
    network
        .host(host)
        .inside(|| Watcher::probes(vec![port], "/ready"))
        .unwrap()
}

/// Tells whether the service of a host answers.
pub(super) fn serves(test: &TestCluster, host: &str) -> bool {
    let address = test.cluster.network().unwrap().host(host).address();
    get(&format!("{address}:{}", port_of(test, host)), "/ready").is_ok()
}

fn port_of(test: &TestCluster, host: &str) -> u16 {
    let worker: usize = host.strip_prefix("worker-").unwrap().parse().unwrap();
    test.cluster.ports[worker - 1]
}

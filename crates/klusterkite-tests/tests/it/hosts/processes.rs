//! Processes that do not behave.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use klusterkite_tests::process::{processes_below, signal, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::stage::{LEASE, PATIENCE, network, node_on, pass, start, wait_for_status};
use crate::support::{TestCluster, repository};

/// Most processes of the host with the bomb.
const PROCESSES_MAX: u32 = 150;

/// Each of them is one process of the node.
const MANIFEST: &str = r#"
priority = role
processes {
  daemon {
    # Its child has a session of its own and loses its parent.
    command = [sh, "-c", "(setsid sh -c 'exec sleep 1001' &); exec sleep 1002"]
    stop { grace = 500ms }
  }
  deaf {
    command = [sh, "-c", "trap '' TERM; while :; do sleep 1003; done"]
    stop { grace = 500ms }
  }
  mute {
    command = [sh, "-c", "exec >&- 2>&-; exec sleep 1004"]
    stop { grace = 500ms }
  }
  bomb {
    command = [sh, "-c", "while ! test -e \"$KLUSTERKITE_DATA/bomb\"; do sleep 0.1; done; b() { b | b & }; b; sleep 1005"]
    stop { grace = 500ms }
  }
}
"#;

#[test]
fn nothing_is_left_of_processes_that_fork_ignore_term_or_close_their_output() {
    let Some(mut test) = rogues(4) else {
        return;
    };
    let operator = test.operator();
    for host in ["worker-1", "worker-2", "worker-3", "worker-4"] {
        let running = running(&test, host);
        for second in 1001..=1004 {
            let name = second.to_string();
            assert!(running.contains(&name), "{name} does not run: {running:?}");
        }
    }
    let before = node_on(&test, &operator, "worker-1").unwrap();
    let mut launcher = test.cluster.launchers.remove("worker-1").unwrap();
    launcher.stop().unwrap();
    let left = processes_below(&test.cluster.container("worker-1"));
    assert_eq!(left, [0; 0], "{}", test.kept());
    test.cluster.start_launcher("worker-1").unwrap();
    let again = wait_until(PATIENCE, || {
        let node = node_on(&test, &operator, "worker-1");
        node.is_some_and(|node| node.incarnation > before.incarnation && node.status == "ready")
    });
    assert!(again, "{}", test.kept());

    // A host that is killed takes nothing with it: its launcher does.
    let before = node_on(&test, &operator, "worker-2").unwrap();
    let old = processes_below(&test.cluster.container("worker-2"));
    let launcher = test.cluster.launchers["worker-2"].id();
    for id in klusterkite_tests::process::processes_with("klusterkite-service") {
        if old.contains(&id) {
            signal(id, Signal::KILL);
        }
    }
    let again = wait_until(PATIENCE, || {
        let node = node_on(&test, &operator, "worker-2");
        node.is_some_and(|node| node.incarnation > before.incarnation && node.status == "ready")
    });
    assert!(again, "{}", test.kept());
    let now = processes_below(&test.cluster.container("worker-2"));
    let left: Vec<&u32> = old
        .iter()
        .filter(|id| **id != launcher && now.contains(id))
        .collect();
    assert!(left.is_empty(), "{left:?}\n{}", test.kept());
    test.cluster.stop().unwrap();
}

#[test]
fn a_fork_bomb_under_a_limit_harms_no_other_host_and_ends_with_its_launcher() {
    let limit = match Limit::new(PROCESSES_MAX) {
        Ok(limit) => limit,
        Err(missing) => {
            eprintln!("skipped: no limit of processes can be set here: {missing}");
            return;
        }
    };
    let Some(mut test) = rogues(4) else {
        return;
    };
    let operator = test.operator();
    let mut launcher = test.cluster.launchers.remove("worker-4").unwrap();
    launcher.stop().unwrap();
    test.cluster.start_launcher("worker-4").unwrap();
    limit.take(test.cluster.launchers["worker-4"].id());
    wait_for_status(&test, &operator, "worker-4", "ready");
    let others: Vec<_> = ["worker-1", "worker-2", "worker-3"]
        .map(|host| node_on(&test, &operator, host).unwrap())
        .into();

    fs::write(test.cluster.container("worker-4").join("data/bomb"), "").unwrap();
    let full = wait_until(PATIENCE, || limit.current() >= PROCESSES_MAX);
    assert!(full, "{} processes", limit.current());
    let begin = Instant::now();
    while begin.elapsed() < LEASE * 2 {
        let now: Vec<_> = ["worker-1", "worker-2", "worker-3"]
            .map(|host| node_on(&test, &operator, host).unwrap())
            .into();
        assert_eq!(now, others);
        pass(Duration::from_millis(200));
    }
    let mut launcher = test.cluster.launchers.remove("worker-4").unwrap();
    launcher.stop().unwrap();
    assert_eq!(limit.current(), 0, "{}", test.kept());
    fs::remove_file(test.cluster.container("worker-4").join("data/bomb")).unwrap();
    test.cluster.start_launcher("worker-4").unwrap();
    wait_for_status(&test, &operator, "worker-4", "ready");
    test.cluster.stop().unwrap();
}

/// Starts a cluster whose nodes consist of such processes.
fn rogues(workers: usize) -> Option<TestCluster> {
    let network = network(workers)?;
    let directory = tempfile::Builder::new().prefix("kk").tempdir().unwrap();
    let sample = directory.path().join("sample");
    let package = sample.join("packages/Hello/1.0.0");
    fs::create_dir_all(&package).unwrap();
    fs::write(
        package.join("pack.hocon"),
        "id = Hello\ndescription = \"Rogues\"\n",
    )
    .unwrap();
    fs::write(package.join("klusterkite.hocon"), MANIFEST).unwrap();
    let text = fs::read(repository().join("samples/hello/cluster.json")).unwrap();
    let mut settings: Value = serde_json::from_slice(&text).unwrap();
    settings["nodeTemplates"][0]["maximumNeededInstances"] = json!(workers);
    settings["migratorTemplates"] = json!([]);
    let packages = settings["packages"].as_array_mut().unwrap();
    packages.retain(|package| !package["id"].as_str().unwrap().starts_with("Hello."));
    fs::write(sample.join("cluster.json"), settings.to_string()).unwrap();
    Some(start(directory, &sample, workers, network, workers + 1))
}

/// Returns the last arguments of what runs on a host.
fn running(test: &TestCluster, host: &str) -> Vec<String> {
    let ids = processes_below(&test.cluster.container(host));
    ids.iter()
        .filter_map(|id| {
            let line = fs::read_to_string(format!("/proc/{id}/cmdline")).ok()?;
            let last = line.trim_end_matches('\0').rsplit('\0').next()?;
            Some(last.to_owned())
        })
        .collect()
}

/// A limit of the number of processes, as a container has one; what is left in it goes with it.
struct Limit(PathBuf);

impl Limit {
    fn new(processes: u32) -> Result<Self, String> {
        // Version 1 has a tree of its own for this; version 2 has one tree, where the controller may be off.
        let mut reason = String::new();
        for root in ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"] {
            let path = PathBuf::from(format!("{root}/klusterkite-{}", std::process::id()));
            let made = fs::create_dir(&path)
                .and_then(|()| fs::write(path.join("pids.max"), processes.to_string()));
            match made {
                Ok(()) => return Ok(Self(path)),
                Err(error) => reason = format!("{}: {error}", path.display()),
            }
            // It may not have been made.
            let _ = fs::remove_dir(&path);
        }
        Err(reason)
    }

    fn take(&self, process: u32) {
        fs::write(self.0.join("cgroup.procs"), process.to_string()).unwrap();
    }

    fn current(&self) -> u32 {
        let text = fs::read_to_string(self.0.join("pids.current")).unwrap();
        text.trim().parse().unwrap()
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        let gone = wait_until(PATIENCE, || {
            let ids = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
            for id in ids.lines().filter_map(|id| id.parse().ok()) {
                signal(id, Signal::KILL);
            }
            fs::remove_dir(&self.0).is_ok()
        });
        if !gone {
            eprintln!("{} is left", self.0.display());
        }
    }
}

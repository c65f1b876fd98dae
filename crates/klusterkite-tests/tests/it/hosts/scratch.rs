//! The launcher as process 1 of a container made FROM scratch.
//!
//! `runc` runs it: what Docker, containerd and Podman run, without any of them. Its root holds what `COPY` would put
//! there, and it gets what Docker gives by default; `docs/how-to/container.md` tells users the same.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use klusterkite_tests::process::{signal, tail, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::namespace::{Member, Namespace};
use super::stage::{PATIENCE, network, sample_of, stay_the_same, surroundings, wait_for_newer};
use crate::support::{TestCluster, programs};

const HOST: &str = "worker-4";

const MANIFEST: &str = "
priority = role
processes {
  daemon { command = [rogue, daemon], stop { grace = 500ms } }
  deaf { command = [rogue, deaf], stop { grace = 500ms } }
  mute { command = [rogue, mute], stop { grace = 500ms } }
}
";

#[test]
fn the_launcher_is_process_1_of_a_container_made_from_scratch() {
    if let Err(error) = Command::new("runc").arg("--version").output() {
        eprintln!("skipped: `runc` cannot be run ({error}): apt install runc");
        return;
    }
    let Some(mut test) = three_workers_and_a_host() else {
        return;
    };
    let operator = test.operator();
    let volume = test.cluster.container(HOST);
    fs::create_dir(&volume).unwrap();
    let mut container = Container::start(&test, &volume);
    let node = wait_for_newer(&test, &operator, HOST, 0);

    let first = container.process_1();
    assert_eq!(first.inner, 1);
    assert!(
        first.command.starts_with("/klusterkite-launcher "),
        "{first:?}"
    );
    // Forty dead orphans would be there if it did not collect them, beside the one that lives.
    assert!(wait_until(PATIENCE, || volume
        .join("data/orphaned")
        .exists()));
    let collected = wait_until(PATIENCE, || {
        container.members().iter().all(|member| member.state != 'Z')
    });
    assert!(collected, "{:?}", container.members());
    let members = container.members();
    let adopted = |one: &&Member| one.command.ends_with("daemon ") && one.parent == container.init;
    assert!(members.iter().any(|one| adopted(&one)), "{members:?}");
    for what in ["daemon ", "deaf ", "mute "] {
        assert!(
            members.iter().any(|one| one.command.ends_with(what)),
            "{members:?}"
        );
    }

    let host = |one: &&Member| one.command.contains("klusterkite-service");
    signal(members.iter().find(host).unwrap().id, Signal::KILL);
    wait_for_newer(&test, &operator, HOST, node.incarnation);
    for old in members.iter().filter(|one| one.id != container.init) {
        assert!(!old.runs(), "{old:?}\n{}", test.kept());
    }
    stay_the_same(
        &test,
        &operator,
        &["worker-1", "worker-2", "worker-3", HOST],
    );

    // The first time nobody could ask: the host was killed.
    assert!(!volume.join("data/asked").exists());
    signal(container.init, Signal::TERM);
    assert_eq!(container.code(), Some(0), "{}", tail(&container.log));
    assert!(
        volume.join("data/asked").exists(),
        "{}",
        tail(&container.log)
    );
    let left = container.members();
    assert!(left.is_empty(), "{left:?}");
    test.cluster.stop().unwrap();
}

/// Starts a cluster whose service host is one file, with three workers; a container will be the fourth.
fn three_workers_and_a_host() -> Option<TestCluster> {
    let network = network(4)?;
    let directory = tempfile::Builder::new().prefix("kk").tempdir().unwrap();
    let sample = sample_of(directory.path(), MANIFEST, 4);
    let mixed = directory.path().join("programs");
    fs::create_dir(&mixed).unwrap();
    for entry in fs::read_dir(programs()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && path.extension().is_none() {
            let name = path.file_name().unwrap();
            std::os::unix::fs::symlink(&path, mixed.join(name)).unwrap();
        }
    }
    let service = mixed.join("klusterkite-service");
    fs::remove_file(&service).unwrap();
    fs::copy(in_one_file("klusterkite-service"), &service).unwrap();
    let surroundings = surroundings(network);
    Some(TestCluster::start_in(
        directory,
        &sample,
        3,
        surroundings,
        4,
        mixed,
    ))
}

/// Returns a program of ours that needs no library.
fn in_one_file(name: &str) -> PathBuf {
    let path = programs().join("static").join(name);
    assert!(
        path.exists(),
        "the static programs are not built: run `cargo xtask test`"
    );
    path
}

/// A running container.
struct Container {
    runc: Child,
    /// What `runc` remembers, and the name that it has there.
    state: PathBuf,
    name: String,
    log: PathBuf,
    /// Its process 1, by its id outside.
    init: u32,
    namespace: Namespace,
}

impl Container {
    /// Starts one on its host, with a directory as the volume in which the node lives.
    fn start(test: &TestCluster, volume: &Path) -> Self {
        let bundle = test.directory().join("bundle");
        let root = bundle.join("rootfs");
        // FROM scratch, COPY klusterkite-launcher config.hocon feed.json /, VOLUME /node.
        fs::create_dir_all(root.join("node")).unwrap();
        let launcher = in_one_file("klusterkite-launcher");
        fs::copy(launcher, root.join("klusterkite-launcher")).unwrap();
        let key = test.directory().join("feed/reader.json");
        fs::copy(key, root.join("feed.json")).unwrap();
        let client = &test.cluster.credentials().unwrap()["clients"]["worker"];
        let settings = json!({
            "nodeManagerUrl": test.cluster.manager_url(),
            "apiClientId": client["id"],
            "apiClientSecret": client["secret"],
            "containerType": "worker",
            "workingDirectory": "/node",
            "feedCredentialFile": "/feed.json",
        });
        fs::write(root.join("config.hocon"), settings.to_string()).unwrap();

        let name = format!("klusterkite-test-{}", std::process::id());
        fs::write(
            bundle.join("config.json"),
            runtime(&name, volume).to_string(),
        )
        .unwrap();
        let (state, init) = (bundle.join("state"), bundle.join("init"));
        let log = test.cluster.logs().join(format!("{HOST}.log"));
        let output = File::create(&log).unwrap();
        let host = test.cluster.network().unwrap().host(HOST);
        let mut runc = host
            .command(Path::new("runc"))
            .arg("--root")
            .arg(&state)
            .args(["run", "--bundle"])
            .arg(&bundle)
            .arg("--pid-file")
            .arg(&init)
            .arg(&name)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let mut id = None;
        let started = wait_until(PATIENCE, || {
            let text = fs::read_to_string(&init).unwrap_or_default();
            id = text.trim().parse().ok();
            id.is_some() || runc.try_wait().unwrap().is_some()
        });
        let init: u32 = match id {
            Some(id) if started => id,
            _ => panic!("runc starts no container: {}", tail(&log)),
        };
        let namespace = Namespace::of(init);
        Self {
            runc,
            state,
            name,
            log,
            init,
            namespace,
        }
    }

    fn members(&self) -> Vec<Member> {
        self.namespace.members()
    }

    fn process_1(&self) -> Member {
        let members = self.members();
        members
            .into_iter()
            .find(|member| member.id == self.init)
            .unwrap()
    }

    /// Waits for its end and returns the exit code of its process 1.
    fn code(&mut self) -> Option<i32> {
        let mut ended = None;
        wait_until(PATIENCE, || {
            ended = self.runc.try_wait().unwrap();
            ended.is_some()
        });
        ended.and_then(|status| status.code())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // It fails when there is none any more.
        let _ = Command::new("runc")
            .arg("--root")
            .arg(&self.state)
            .args(["delete", "--force"])
            .arg(&self.name)
            .stderr(Stdio::null())
            .status();
        let _ = self.runc.kill();
        let _ = self.runc.wait();
    }
}

/// Returns what the runtime is told: Docker's defaults with `--read-only`, `--pids-limit 200` and a volume.
///
/// No namespace of networks: the container is on the host that starts it.
fn runtime(name: &str, volume: &Path) -> Value {
    let capabilities = [
        "CAP_AUDIT_WRITE",
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_MKNOD",
        "CAP_NET_BIND_SERVICE",
        "CAP_NET_RAW",
        "CAP_SETFCAP",
        "CAP_SETGID",
        "CAP_SETPCAP",
        "CAP_SETUID",
        "CAP_SYS_CHROOT",
    ];
    let mount = |kind: &str, at: &str, options: &[&str]| json!({ "type": kind, "source": kind, "destination": at, "options": options });
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": ["/klusterkite-launcher", "/config.hocon"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            },
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": HOST,
        "mounts": [
            mount("proc", "/proc", &["nosuid", "noexec", "nodev"]),
            mount("tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]),
            mount("sysfs", "/sys", &["nosuid", "noexec", "nodev", "ro"]),
            mount("cgroup", "/sys/fs/cgroup", &["nosuid", "noexec", "nodev", "ro"]),
            { "type": "bind", "source": volume, "destination": "/node", "options": ["rbind", "rw"] },
        ],
        "linux": {
            "cgroupsPath": format!("/{name}"),
            "resources": {
                "devices": [{ "allow": false, "access": "rwm" }],
                "pids": { "limit": 200 },
            },
            "namespaces": [{ "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

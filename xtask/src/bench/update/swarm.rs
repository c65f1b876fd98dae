//! Docker Swarm, one manager, in a network namespace of its own: an engine is started for the bench and goes with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use klusterkite_tests::local::output;
use klusterkite_tests::process::wait_until;

use super::{BATCH, Order, PATIENCE, PROCESSES, measured};
use crate::bench::sleeper::{self, Stamps};
use crate::tools::installed;

/// How long the engine may take to start.
const START_MAX: Duration = Duration::from_secs(30);

/// More images than a service is updated to.
const IMAGES: usize = 8;

/// An engine with two services: each way of updating on the network on which it is faster.
pub(super) struct Swarm {
    engine: Child,
    directory: PathBuf,
    sleeper: PathBuf,
    stop_first: Service,
    start_first: Service,
}

/// A service of 20 containers.
struct Service {
    name: &'static str,
    options: &'static [&'static str],
    stamps: Stamps,
}

impl Swarm {
    pub(super) fn start(directory: &Path, sleeper: &Path) -> Result<Self> {
        let directory = directory.join("docker");
        fs::create_dir_all(&directory)?;
        ensure!(
            rustix::process::geteuid().is_root(),
            "only root may start an engine"
        );
        for program in ["dockerd", "docker", "unshare", "ip"] {
            installed(program, "apt install docker.io iproute2 util-linux")?;
        }
        let service = |name: &'static str, options: &'static [&'static str]| -> Result<Service> {
            let log = directory.join(name);
            fs::create_dir_all(&log)?;
            let stamps = Stamps::new(log.join("stamps"))?;
            Ok(Service {
                name,
                options,
                stamps,
            })
        };
        let swarm = Self {
            stop_first: service("stop-first", &[])?,
            start_first: service("start-first", &["--network", "host"])?,
            engine: engine(&directory)?,
            sleeper: sleeper.to_owned(),
            directory,
        };
        swarm.prepare()?;
        Ok(swarm)
    }

    /// Makes images and services, and waits until all containers run.
    fn prepare(&self) -> Result<()> {
        let mut seen = String::new();
        let answers = wait_until(START_MAX, || {
            match output(&mut self.docker(&["info", "--format", "{{.ServerVersion}}"])) {
                Ok(version) => seen = version,
                Err(error) => seen = format!("{error:#}"),
            }
            self.directory.join("sock").exists() && !seen.contains("failed") && seen.len() > 2
        });
        ensure!(answers, "dockerd does not start: {seen}");
        println!("beside Docker {}", seen.trim());
        for version in 1..=IMAGES {
            self.image(&format!("v{version}"))?;
        }
        let address = [
            "--advertise-addr",
            "127.0.0.1",
            "--listen-addr",
            "127.0.0.1:2377",
        ];
        output(self.docker(&["swarm", "init"]).args(address))?;
        for service in [&self.stop_first, &self.start_first] {
            let log = service
                .stamps
                .path()
                .parent()
                .context("it lies in a directory")?;
            let mount = format!("type=bind,source={},target=/log", log.display());
            let count = PROCESSES.to_string();
            let mut create = self.docker(&["service", "create", "--quiet", "--detach"]);
            create.args(["--name", service.name, "--replicas", &count]);
            create.args(["--restart-delay", "0s", "--mount", &mount]);
            output(create.args(service.options).arg(image("v1")))?;
            service.stamps.wait_for("v1", PROCESSES, PATIENCE)?;
        }
        // It looks at new containers for five seconds before it calls them stable.
        std::thread::sleep(Duration::from_secs(6));
        Ok(())
    }

    /// Updates a service to its next image; returns the milliseconds from the command to the last start.
    pub(super) fn update(&self, order: Order) -> Result<f64> {
        let (service, way, floor) = match order {
            Order::StopFirst => (&self.stop_first, "stop-first", PROCESSES - BATCH),
            Order::StartFirst => (&self.start_first, "start-first", PROCESSES),
        };
        let version = (2..=IMAGES)
            .map(|version| format!("v{version}"))
            .find(|version| service.stamps.starts(version).is_empty())
            .context("there are not enough images")?;
        let begin = sleeper::now()?;
        let parallelism = BATCH.to_string();
        let mut update = self.docker(&["service", "update", "--quiet", "--detach"]);
        update.args(["--image", &image(&version), "--update-order", way]);
        update.args(["--update-parallelism", &parallelism, "--update-delay", "0s"]);
        update.args(["--update-monitor", "0s"]).arg(service.name);
        output(&mut update)?;
        let milliseconds = measured(&service.stamps, &version, begin, floor)?;
        let mut state = String::new();
        let completed = wait_until(PATIENCE, || {
            let format = ["inspect", "--format", "{{.UpdateStatus.State}}"];
            let mut look = self.docker(&["service"]);
            state = output(look.args(format).arg(service.name)).unwrap_or_default();
            state.trim() == "completed"
        });
        ensure!(completed, "the update of Swarm does not end: {state}");
        Ok(milliseconds)
    }

    /// Makes an image from nothing but the sleeper.
    fn image(&self, version: &str) -> Result<()> {
        let directory = self.sleeper.parent().context("it lies in a directory")?;
        let mut tar = Command::new("tar")
            .arg("-C")
            .arg(directory)
            .args(["-c", "sleeper"])
            .stdout(Stdio::piped())
            .spawn()?;
        let archive = tar.stdout.take().context("tar has no output")?;
        let entry = format!("ENTRYPOINT [\"/sleeper\", \"{version}\"]");
        let mut import = self.docker(&["import", "--change", &entry, "-"]);
        output(import.arg(image(version)).stdin(archive))?;
        ensure!(tar.wait()?.success(), "tar fails");
        Ok(())
    }

    fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        let socket = format!("unix://{}", self.directory.join("sock").display());
        command.args(arguments).env("DOCKER_HOST", socket);
        command
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        // What does not stop by itself goes with the engine or is named here.
        for service in [&self.stop_first, &self.start_first] {
            let _ = output(&mut self.docker(&["service", "rm", service.name]));
        }
        let _ = output(&mut self.docker(&["swarm", "leave", "--force"]));
        let gone = wait_until(START_MAX, || {
            let left = output(&mut self.docker(&["ps", "--quiet"])).unwrap_or_default();
            left.trim().is_empty()
        });
        if !gone {
            eprintln!("containers of the bench are left running");
        }
        klusterkite_tests::process::terminate(self.engine.id());
        if !wait_until(START_MAX, || !matches!(self.engine.try_wait(), Ok(None))) {
            let _ = self.engine.kill();
        }
        let _ = self.engine.wait();
    }
}

/// Starts `dockerd` where it sees only its own loopback and bridge.
fn engine(directory: &Path) -> Result<Child> {
    let log = fs::File::create(directory.join("log"))?;
    let at = |name: &str| directory.join(name).display().to_string();
    let socket = format!("unix://{}", at("sock"));
    let mut engine = Command::new("unshare");
    engine.args(["--net", "--mount", "sh", "-c"]);
    engine.args(["ip link set lo up && exec dockerd \"$@\"", "dockerd"]);
    engine.args(["--data-root", &at("data"), "--exec-root", &at("exec")]);
    engine.args(["--pidfile", &at("pid"), "--host", &socket]);
    for off in ["iptables", "ip6tables", "ip-forward", "ip-masq"] {
        engine.arg(format!("--{off}=false"));
    }
    let started = engine
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn();
    match started {
        Ok(engine) => Ok(engine),
        Err(error) => bail!("cannot start dockerd: {error}"),
    }
}

fn image(version: &str) -> String {
    format!("klusterkite-bench:{version}")
}

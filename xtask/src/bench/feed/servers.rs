//! The servers: started on free ports, ended when dropped.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::tools::{cargo, run, target};

/// The peer: a NuGet V3 server on Node.js.
const NUGET_SERVER: &str = "1.11.0";

/// How long a server may take to listen.
const START_MAX: Duration = Duration::from_secs(30);

/// The key of our feed; reading is open, as with the peers.
pub(super) const KEY: &str = "bench-key-0123456789";

/// A server of packages.
pub(super) trait Server: Sync {
    /// Its name in messages.
    fn name(&self) -> &'static str;
    /// Its process.
    fn process(&self) -> &Running;
    /// The address of version 1.0.0 of a package.
    fn package_url(&self, id: &str) -> String;
    /// The address of the search, without a query.
    fn search_url(&self) -> String;
    /// How a package is pushed: method, path, content type, and what stands before and after it.
    fn push(&self) -> Push;

    /// The address of a path.
    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.process().port)
    }
}

/// A request that publishes a package.
pub(super) struct Push {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) content_type: &'static str,
    pub(super) before: &'static [u8],
    pub(super) after: &'static [u8],
}

/// A process that listens.
pub(super) struct Running {
    child: Child,
    pub(super) port: u16,
    /// The process that does the work.
    worker: u32,
}

impl Running {
    /// Starts a program on processor 0 and waits until it listens.
    fn start(command: &mut Command, port: u16, log: &Path) -> Result<Self> {
        let mut pinned = Command::new("taskset");
        pinned
            .args(["-c", "0"])
            .arg(command.get_program())
            .args(command.get_args());
        if let Some(directory) = command.get_current_dir() {
            pinned.current_dir(directory);
        }
        let log = fs::File::create(log)?;
        let child = pinned
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        // taskset becomes the program.
        let worker = child.id();
        let mut running = Self {
            child,
            port,
            worker,
        };
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = running.child.try_wait()? {
                bail!("{command:?} ended at its start: {status}");
            }
            ensure!(
                started.elapsed() < START_MAX,
                "{command:?} does not listen at port {port}"
            );
            thread::sleep(Duration::from_millis(20));
        }
        Ok(running)
    }

    /// The processor time that it has used, with threads that have ended; children aside.
    pub(super) fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.worker))?;
        // The name stands in brackets and may hold anything.
        let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: Vec<u64> = ticks.map(str::parse).collect::<Result<_, _>>()?;
        ensure!(ticks.len() == 2, "no times in stat");
        // The kernel tells them in hundredths of a second whatever its own clock is.
        Ok(Duration::from_millis(ticks.iter().sum::<u64>() * 10))
    }

    /// The most memory that it ever had.
    pub(super) fn peak_kib(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.worker))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .context("no VmHWM")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse()?)
    }

    /// Lets it run on these processors.
    pub(super) fn pin(&self, processors: &str) -> Result<()> {
        let mut command = Command::new("taskset");
        command
            .args(["-a", "-c", "-p", processors])
            .arg(self.worker.to_string());
        run(command.stdout(Stdio::null()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ours, the release build.
pub(super) struct Feed(Running);

impl Feed {
    pub(super) fn start(directory: &Path) -> Result<Self> {
        run(&mut cargo(&[
            "build",
            "--locked",
            "--release",
            "--package=klusterkite-feed",
        ]))?;
        fs::create_dir_all(directory)?;
        let port = free_port()?;
        let settings = directory.join("feed.hocon");
        fs::write(
            &settings,
            format!(
                "listen = \"127.0.0.1:{port}\", directory = data, anonymousRead = true
                keys = [{{name = bench, key = {KEY}, scopes = [push]}}]"
            ),
        )?;
        let mut command = Command::new(target().join("release/klusterkite-feed"));
        command.arg(settings);
        Running::start(&mut command, port, &directory.join("log")).map(Self)
    }
}

impl Server for Feed {
    fn name(&self) -> &'static str {
        "the feed"
    }

    fn process(&self) -> &Running {
        &self.0
    }

    fn package_url(&self, id: &str) -> String {
        self.url(&super::nupkg_path(id))
    }

    fn search_url(&self) -> String {
        self.url("/v3/search")
    }

    fn push(&self) -> Push {
        Push {
            method: "PUT",
            path: "/api/v2/package/",
            content_type: "multipart/form-data; boundary=b-1",
            before: b"--b-1\r\nContent-Type: application/octet-stream\r\n\r\n",
            after: b"\r\n--b-1--\r\n",
        }
    }
}

/// The limit: files as they are, by one process of nginx.
pub(super) struct Nginx {
    running: Running,
    files: PathBuf,
}

impl Nginx {
    pub(super) fn start(directory: &Path) -> Result<Self> {
        let files = directory.join("files");
        fs::create_dir_all(&files)?;
        let port = free_port()?;
        let configuration = directory.join("nginx.conf");
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {}/tmp;", directory.display()))
            .join(" ");
        let text = format!(
            "worker_processes 1; master_process off; daemon off; pid {0}/pid; error_log {0}/errors;
            events {{ worker_connections 1024; }}
            http {{ access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 1000000000;
              open_file_cache max=10000 inactive=60s; default_type application/octet-stream; {temporary}
              server {{ listen 127.0.0.1:{port} backlog=4096; root {0}/files; }} }}",
            directory.display()
        );
        fs::write(&configuration, text)?;
        let mut command = Command::new("nginx");
        command
            .arg("-p")
            .arg(directory)
            .arg("-c")
            .arg(configuration);
        let running = Running::start(&mut command, port, &directory.join("log"))?;
        Ok(Self { running, files })
    }

    /// Adds a file.
    pub(super) fn add(&self, path: &str, contents: &[u8]) -> Result<()> {
        let file = self.files.join(path.trim_start_matches('/'));
        fs::create_dir_all(file.parent().context("a file without a directory")?)?;
        Ok(fs::write(file, contents)?)
    }
}

impl Server for Nginx {
    fn name(&self) -> &'static str {
        "nginx"
    }

    fn process(&self) -> &Running {
        &self.running
    }

    fn package_url(&self, id: &str) -> String {
        self.url(&super::nupkg_path(id))
    }

    fn search_url(&self) -> String {
        unreachable!("nginx does not search")
    }

    fn push(&self) -> Push {
        unreachable!("nginx takes no packages")
    }
}

/// The peer.
pub(super) struct NugetServer(Running);

impl NugetServer {
    pub(super) fn start(directory: &Path) -> Result<Self> {
        let program = install()?;
        fs::create_dir_all(directory)?;
        let port = free_port()?;
        let mut command = Command::new("node");
        command.arg(program).args([
            "--port",
            &port.to_string(),
            "--base-url",
            &format!("http://127.0.0.1:{port}"),
            "--auth-mode",
            "none",
            "--log-level",
            "error",
            "--max-upload-size-mb",
            "200",
        ]);
        command
            .arg("--package-dir")
            .arg(directory)
            .current_dir(directory);
        Running::start(&mut command, port, &directory.join("log")).map(Self)
    }
}

/// Installs the peer by npm and returns its program.
fn install() -> Result<PathBuf> {
    let directory = target().join("tools/nuget-server");
    let program = directory.join("node_modules/nuget-server/dist/cli.mjs");
    if !program.exists() {
        fs::create_dir_all(&directory)?;
        // A dependency of it asks for a version that the registry does not have.
        let manifest = serde_json::json!({
            "private": true,
            "dependencies": {"nuget-server": NUGET_SERVER},
            "overrides": {"typed-message": "1.17.0"},
        });
        fs::write(directory.join("package.json"), manifest.to_string())?;
        run(Command::new("npm")
            .args(["install", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(&directory)
            .stdout(Stdio::null()))?;
    }
    Ok(program)
}

impl Server for NugetServer {
    fn name(&self) -> &'static str {
        "nuget-server"
    }

    fn process(&self) -> &Running {
        &self.0
    }

    fn package_url(&self, id: &str) -> String {
        let id = id.to_lowercase();
        self.url(&format!("/v3/package/{id}/1.0.0/{id}.1.0.0.nupkg"))
    }

    fn search_url(&self) -> String {
        self.url("/v3/query")
    }

    fn push(&self) -> Push {
        Push {
            method: "POST",
            path: "/api/publish",
            content_type: "application/octet-stream",
            before: b"",
            after: b"",
        }
    }
}

/// Returns a port that nobody used a moment ago.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

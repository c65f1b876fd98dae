//! A container directory, a manager, a feed and a launcher.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use klusterkite_tls::testing::{IdentityFiles, front};
use klusterkite_wire::start::{PackageReference, StartConfiguration};
use klusterkite_wire::{ConfigurationId, Secret};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::feed::{Packages, pack};
use crate::server::{Request, Response, Server};

/// How long anything may take on a machine that does a lot beside.
const PATIENCE: Duration = Duration::from_secs(30);

/// Names another build of the launcher to test, such as the static one that goes into images.
const LAUNCHER_UNDER_TEST: &str = "LAUNCHER_UNDER_TEST";

/// What the manager does; tests change it while it runs.
pub(crate) struct Manager {
    /// Answer to "what should I be?".
    pub(crate) answer: Response,
    /// Answer to a request for an access token.
    pub(crate) access: Response,
    /// Answer to a request for a node token.
    pub(crate) node_token: Response,
    /// Requests so far: path and JSON body (null for forms).
    pub(crate) requests: Vec<(String, Value)>,
}

/// One container of a cluster.
pub(crate) struct Container {
    directory: tempfile::TempDir,
    pub(crate) packages: Packages,
    pub(crate) manager: Arc<Mutex<Manager>>,
    /// Holds downloads back.
    pub(crate) gate: Arc<Gate>,
    downloads: Arc<AtomicUsize>,
    server: Option<Server>,
    url: String,
    launcher: Option<Child>,
}

/// Holds back answers of the feed for one package.
#[derive(Default)]
pub(crate) struct Gate {
    closed_for: Mutex<Option<String>>,
    opened: Condvar,
}

impl Gate {
    pub(crate) fn close(&self, id: &str) {
        *self.closed_for.lock().unwrap() = Some(format!("/flat/{}/", id.to_lowercase()));
    }

    pub(crate) fn open(&self) {
        *self.closed_for.lock().unwrap() = None;
        self.opened.notify_all();
    }

    fn pass(&self, path: &str) {
        let closed = self.closed_for.lock().unwrap();
        let is_closed = |closed: &mut Option<String>| {
            closed.as_ref().is_some_and(|start| path.starts_with(start))
        };
        drop(self.opened.wait_while(closed, is_closed).unwrap());
    }
}

pub(crate) fn problem(status: u16, code: &str) -> Response {
    Response::new(
        status,
        json!({"status": status, "code": code, "detail": "because"}).to_string(),
    )
}

pub(crate) fn access() -> Response {
    Response::new(
        200,
        json!({"access_token": "a", "token_type": "Bearer", "expires_in": 3600}).to_string(),
    )
}

/// Adds a package with a file of 3 MB to the container's feed.
pub(crate) fn large_package(container: &Container) -> PackageReference {
    let noise = |n: u32| char::from(b'a' + (n.wrapping_mul(n) % 251 % 26) as u8);
    let content: String = (0..3_000_000).map(noise).collect();
    let bytes = pack(
        "Large",
        "1.0.0",
        &[("content/large", &content, false)],
        None,
    );
    container.packages.add("Large", "1.0.0", bytes)
}

impl Container {
    /// Makes a container whose manager answers "nothing for you".
    pub(crate) fn new() -> Self {
        Self::with_certificate(None)
    }

    /// Makes a container whose manager and feed speak TLS with this certificate.
    pub(crate) fn secure(files: &IdentityFiles) -> Self {
        Self::with_certificate(Some(files))
    }

    fn with_certificate(files: Option<&IdentityFiles>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let packages = Packages::default();
        let manager = Arc::new(Mutex::new(Manager {
            answer: problem(503, "clusterFull"),
            access: access(),
            node_token: Response::new(200, json!({"nodeToken": "by request"}).to_string()),
            requests: Vec::new(),
        }));
        let (feed, managed) = (packages.clone(), Arc::clone(&manager));
        let (gate, downloads) = (Arc::new(Gate::default()), Arc::new(AtomicUsize::new(0)));
        let (closed, counted) = (Arc::clone(&gate), Arc::clone(&downloads));
        let is_secure = files.is_some();
        let server = Server::start(move |request| {
            if is_secure && request.path == "/v3/index.json" {
                return secure_index(request);
            }
            let Some(response) = feed.answer(request) else {
                return answer(&mut managed.lock().unwrap(), request);
            };
            if request.path.starts_with("/flat/") {
                counted.fetch_add(1, Ordering::SeqCst);
            }
            closed.pass(&request.path);
            response
        });
        let mut url = server.url();
        if let Some(files) = files {
            let behind = url.strip_prefix("http://").unwrap().parse().unwrap();
            url = format!("https://{}", front(files, behind));
        }
        let container = Self {
            directory,
            packages,
            manager,
            gate,
            downloads,
            server: Some(server),
            url,
            launcher: None,
        };
        container.configure("");
        container
    }

    /// Returns the origin of manager and feed.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Writes the configuration: quick defaults, then what the test adds.
    pub(crate) fn configure(&self, more: &str) {
        let text = format!(
            r#"
            nodeManagerUrl = "{}"
            apiClientId = worker
            workingDirectory = "{}"
            awayPause = 10ms, backoffMin = 10ms, backoffMax = 50ms, waitPause = 10ms
            stopGrace = 30s, log = debug
            {more}
            "#,
            self.url,
            self.path("").display()
        );
        fs::write(self.directory.path().join("config.hocon"), text).unwrap();
    }

    /// Returns a path in the container directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let container = self.directory.path().join("container");
        if name.is_empty() {
            container
        } else {
            container.join(name)
        }
    }

    /// Returns the packages in the content store.
    pub(crate) fn stored(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("store")).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "nupkg")
            })
            .collect()
    }

    /// Returns a path beside the container directory.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes a start configuration whose host does what the words say.
    pub(crate) fn release(&self, configuration: i64, words: &str) -> StartConfiguration {
        let version = format!("{configuration}.0.0");
        let files = [(
            "runtimes/linux-x64/native/klusterkite-service",
            include_str!("host.py"),
            true,
        )];
        let bytes = pack("KlusterKite.Core.Service", &version, &files, None);
        StartConfiguration {
            node_template: "orders".parse().unwrap(),
            configuration_id: ConfigurationId(configuration),
            configuration: words.to_owned(),
            packages: vec![
                self.packages
                    .add("KlusterKite.Core.Service", &version, bytes),
            ],
            package_source: format!("{}/v3/index.json", self.url),
            seeds: vec!["10.0.0.5:3090".to_owned()],
            entry_point: "klusterkite-service".to_owned(),
            start_deadline_seconds: 60,
            node_token: None,
        }
    }

    /// Lets the manager answer with a start configuration and the token "by answer".
    pub(crate) fn answer_with(&self, start: &StartConfiguration) {
        let token = Some(Secret::new("by answer"));
        let start = StartConfiguration {
            node_token: token,
            ..start.clone()
        };
        self.answer(Response::new(200, serde_json::to_vec(&start).unwrap()));
    }

    pub(crate) fn answer(&self, response: Response) {
        self.manager.lock().unwrap().answer = response;
    }

    /// Returns how often a package was asked for.
    pub(crate) fn downloads(&self) -> usize {
        self.downloads.load(Ordering::SeqCst)
    }

    /// Takes manager and feed away; their port refuses connections then.
    pub(crate) fn everything_goes_down(&mut self) {
        self.server = None;
    }

    /// Starts the launcher; its secret is in the environment.
    pub(crate) fn launch(&mut self) {
        let command = self.command();
        self.launch_by(command);
    }

    pub(crate) fn command(&self) -> Command {
        let built = env!("CARGO_BIN_EXE_klusterkite-launcher").into();
        let launcher = std::env::var_os(LAUNCHER_UNDER_TEST).unwrap_or(built);
        let mut command = Command::new(launcher);
        command.arg(self.beside("config.hocon"));
        command
    }

    pub(crate) fn launch_by(&mut self, command: Command) {
        let stdout = self.append("stdout");
        self.launch_with_stdout(command, stdout.into());
    }

    pub(crate) fn launch_with_stdout(&mut self, mut command: Command, stdout: Stdio) {
        let launcher = command
            .env("KLUSTERKITE_API_CLIENT_SECRET", "the client secret")
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(self.append("stderr"))
            .spawn();
        self.launcher = Some(launcher.unwrap());
    }

    fn append(&self, name: &str) -> File {
        let path = self.beside(name);
        File::options()
            .create(true)
            .append(true)
            .open(path)
            .unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let launcher = self.launcher.as_ref().unwrap();
        kill_process(Pid::from_child(launcher), signal).unwrap();
    }

    pub(crate) fn launcher_id(&self) -> i32 {
        Pid::from_child(self.launcher.as_ref().unwrap())
            .as_raw_nonzero()
            .get()
    }

    /// Waits for the launcher's end.
    pub(crate) fn wait_for_exit(&mut self) -> ExitStatus {
        let mut launcher = self.launcher.take().unwrap();
        self.wait_for("the launcher's end", || launcher.try_wait().unwrap())
    }

    /// Stops the launcher; it must end well.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = self.wait_for_exit();
        assert!(status.success(), "{status}\n{}", self.log());
    }

    /// Kills the launcher as the kernel or an operator would.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        assert_eq!(self.wait_for_exit().signal(), Some(9));
    }

    /// Waits until something is there; a test that waits in vain fails with the log.
    pub(crate) fn wait_for<T>(&self, what: &str, mut find: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = find() {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "waited in vain for {what}\n{}",
                self.last_log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn wait_for_log(&self, text: &str) {
        self.wait_for(text, || self.log().contains(text).then_some(()));
    }

    /// Waits for the `count`th start of a host and returns what it noted.
    pub(crate) fn wait_for_start(&self, count: usize) -> Value {
        self.wait_for(&format!("start {count}"), || {
            self.notes("starts").get(count - 1).cloned()
        })
    }

    /// Waits until the `count`th host is ready.
    pub(crate) fn wait_for_ready(&self, count: usize) -> Value {
        let start = self.wait_for_start(count);
        let ready = || self.log().matches("the node is ready").count() >= count;
        self.wait_for("readiness", || ready().then_some(()));
        start
    }

    /// Waits for a request whose path ends so; returns the body of the latest one.
    pub(crate) fn wait_for_request(&self, end: &str) -> Value {
        self.wait_for(end, || {
            let manager = self.manager.lock().unwrap();
            let found = manager
                .requests
                .iter()
                .rfind(|(path, _)| path.ends_with(end));
            found.map(|(_, body)| body.clone())
        })
    }

    pub(crate) fn requests(&self, end: &str) -> usize {
        let manager = self.manager.lock().unwrap();
        manager
            .requests
            .iter()
            .filter(|(path, _)| path.ends_with(end))
            .count()
    }

    /// Returns what the hosts noted.
    pub(crate) fn notes(&self, name: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path("data").join(name)).unwrap_or_default();
        // The last line may be half-written.
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Lets the host say something to the launcher.
    pub(crate) fn host_says(&self, message: &Value) {
        let (half, whole) = (self.path("data/command.tmp"), self.path("data/command"));
        fs::write(&half, message.to_string()).unwrap();
        fs::rename(half, whole).unwrap();
    }

    /// Lets the host say that it is told to stop, and what comes next.
    pub(crate) fn stop_with_next(&self, next: &StartConfiguration) {
        self.host_says(&json!({"type": "stopping", "orderId": 1, "next": next}));
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.beside("stderr")).unwrap_or_default()
    }

    /// Returns the end of the log, for the message of a test that fails.
    fn last_log(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    pub(crate) fn stdout(&self) -> Vec<u8> {
        fs::read(self.beside("stdout")).unwrap_or_default()
    }

    pub(crate) fn state(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("state.json")).unwrap()).unwrap()
    }

    /// Returns the number of the release that `current` points to.
    pub(crate) fn current(&self) -> String {
        let target = fs::read_link(self.path("current")).unwrap();
        target.file_name().unwrap().to_str().unwrap().to_owned()
    }

    /// Returns the processes of hosts that run.
    pub(crate) fn running(&self) -> Vec<i32> {
        let pids = self.notes("pids");
        let pids = pids
            .iter()
            .filter_map(|pid| pid.as_i64().and_then(|pid| i32::try_from(pid).ok()));
        let ours = format!(
            "KLUSTERKITE_DATA={}",
            self.path("data").canonicalize().unwrap().display()
        );
        pids.filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment
                .split(|byte| *byte == 0)
                .any(|variable| variable == ours.as_bytes())
        })
        .collect()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Some(launcher) = &mut self.launcher {
            let _ = launcher.kill();
            let _ = launcher.wait();
        }
        if !self.path("data").exists() {
            return;
        }
        for pid in self.running() {
            let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
        }
    }
}

/// The service index of a feed that others reach by TLS only.
fn secure_index(request: &Request) -> Response {
    let host = request.header("host").unwrap_or_default();
    let flat = json!({"@id": format!("https://{host}/flat/"), "@type": "PackageBaseAddress/3.0.0"});
    let index = json!({"version": "3.0.0", "resources": [flat]});
    Response::new(200, index.to_string())
}

fn answer(manager: &mut Manager, request: &Request) -> Response {
    let body = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
    manager.requests.push((request.path.clone(), body));
    if request.path == "/oauth/token" {
        let form = String::from_utf8_lossy(&request.body).into_owned();
        assert!(form.contains("client_id=worker"), "{form}");
        return manager.access.clone();
    }
    if request.header("authorization") != Some("Bearer a") {
        return problem(401, "unauthorized");
    }
    match request.path.rsplit('/').next() {
        Some("configuration") => manager.answer.clone(),
        Some("token") => manager.node_token.clone(),
        Some("progress") => Response::new(204, ""),
        _ => problem(404, "notFound"),
    }
}

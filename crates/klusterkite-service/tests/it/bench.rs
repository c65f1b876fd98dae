//! The stage: a service directory, a manager, a launcher, and the host between them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use klusterkite_wire::link::{
    AckState, Hello, ManagerMessage, NodeMessage, NodeReport, Order, OrderKind, ReportedStatus,
};
use klusterkite_wire::socket::{HostMessage, LauncherMessage};
use klusterkite_wire::start::{PackageReference, StartConfiguration};
use klusterkite_wire::{ConfigurationId, LeaderEpoch, OrderId};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader, Lines};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::process::{Child, Command};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

pub(crate) const NODE_ID: &str = "00000000-0000-4000-8000-000000000001";

/// Limit of every wait: far above what a loaded machine needs, so that a failure is not a hang.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Waits for something that has to happen.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(WAIT_MAX, what)
        .await
        .expect("it happens in time")
}

/// Waits until something is true.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    soon(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Says whether a process runs; a zombie does not.
pub(crate) fn runs(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().starts_with(" Z"))
}

/// A service directory as a launcher makes it.
pub(crate) struct ServiceDirectory {
    _temporary: TempDir,
    pub(crate) path: PathBuf,
    settings: Value,
}

impl ServiceDirectory {
    /// Makes the directory of a node with one package that has these processes.
    pub(crate) fn new(processes: &Value) -> Self {
        Self::at("release", processes)
    }

    /// Makes the same in a sub-directory of a temporary one.
    pub(crate) fn at(name: &str, processes: &Value) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().canonicalize().unwrap().join(name);
        fs::create_dir_all(&path).unwrap();
        let settings = json!({ "KlusterKite": {
            "NodeManager": {
                "ConfigurationId": 7, "NodeTemplate": "orders", "ContainerType": "worker",
                "Runtime": "linux-x64", "NodeId": NODE_ID, "Incarnation": 1_763_826_000_123_u64,
                "Url": [],
            },
            "Cluster": { "Seeds": ["10.0.0.5:3090", "10.0.0.6:3090"] },
        } });
        let directory = Self {
            _temporary: temporary,
            path,
            settings,
        };
        directory.write("start.hocon", &directory.settings.to_string());
        directory.write("service.hocon", "{}");
        directory.write("release.json", &json!(release(7)).to_string());
        directory.write("node-token", "secret\n");
        let manifest = json!({
            "roles": ["orders"],
            "config": { "Acme": { "greeting": "hello" } },
            "processes": processes,
            "endpoints": { "orders": { "port": 8081, "host": "default", "route": "/api/orders" } },
        });
        directory.write(
            "packages/Acme.Orders/klusterkite.hocon",
            &manifest.to_string(),
        );
        directory
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Writes an executable script for `/bin/sh`.
    pub(crate) fn script(&self, name: &str, text: &str) {
        self.write(name, &format!("#!/bin/sh\n{text}\n"));
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.path.join(name), mode).unwrap();
    }

    /// Returns the text of a file; empty when it is not there.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path.join(name)).unwrap_or_default()
    }

    /// Waits until a process has written a file, and returns its text.
    pub(crate) async fn wait_for(&self, name: &str) -> String {
        until(|| self.read(name).ends_with('\n')).await;
        self.read(name)
    }

    /// Makes a manager and tells the node its URL.
    pub(crate) async fn manager(&mut self) -> Manager {
        let manager = Manager::new().await;
        let urls = json!(["http://127.0.0.1:1", manager.url()]);
        self.settings["KlusterKite"]["NodeManager"]["Url"] = urls;
        self.write("start.hocon", &self.settings.to_string());
        manager
    }

    /// Makes the launcher's socket. A long path is reached by its directory's descriptor.
    pub(crate) fn launcher(&self) -> Launcher {
        let directory = fs::File::open(&self.path).unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&directory);
        let path = format!("/proc/self/fd/{number}/launcher.sock");
        let listener = UnixListener::bind(path).unwrap();
        Launcher { listener }
    }

    pub(crate) fn host(&self) -> Host {
        self.host_with_groups(false)
    }

    /// Starts a host that may use control groups, or not.
    pub(crate) fn host_with_groups(&self, groups: bool) -> Host {
        Host::start(&self.path, groups)
    }
}

/// A start configuration.
pub(crate) fn release(configuration: i64) -> StartConfiguration {
    StartConfiguration {
        node_template: "orders".parse().unwrap(),
        configuration_id: ConfigurationId(configuration),
        configuration: "{}".to_owned(),
        packages: vec![PackageReference {
            id: "Acme.Orders".to_owned(),
            version: "1.4.0".to_owned(),
            sha512: "abc".to_owned(),
            size: 1,
        }],
        package_source: "http://feed/v3/index.json".to_owned(),
        seeds: Vec::new(),
        entry_point: "klusterkite-service".to_owned(),
        start_deadline_seconds: 60,
        node_token: None,
    }
}

pub(crate) fn order(id: i64, kind: OrderKind) -> Order {
    Order {
        id: OrderId(id),
        epoch: LeaderEpoch(3),
        kind,
        reason: "update".to_owned(),
        deadline_seconds: 7200,
        next: Some(release(8)),
    }
}

/// The running program.
pub(crate) struct Host {
    child: Child,
    pub(crate) out: Arc<Mutex<String>>,
    pub(crate) err: Arc<Mutex<String>>,
}

impl Host {
    fn start(directory: &Path, groups: bool) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_klusterkite-service"))
            .current_dir(directory)
            .env("KLUSTERKITE_DATA", directory.join("../data"))
            .env("KLUSTERKITE_CONTROL_GROUPS", groups.to_string())
            .env_remove("NETWORK_NAME")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let out = collect(child.stdout.take().unwrap());
        let err = collect(child.stderr.take().unwrap());
        Self { child, out, err }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Returns its user and system time, in ticks of the kernel.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Waits for its end and returns its exit code and what it said on standard error.
    pub(crate) async fn end(&mut self) -> (i32, String) {
        let status = soon(self.child.wait()).await.unwrap();
        let code = status.code().expect("the host is not killed by a signal");
        // Everything is written before the exit, but the test may not have read it.
        let err = Arc::clone(&self.err);
        until(|| Arc::strong_count(&err) == 2).await;
        let text = err.lock().unwrap().clone();
        (code, text)
    }
}

fn collect(source: impl AsyncRead + Unpin + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let copy = Arc::clone(&text);
    tokio::spawn(async move {
        let mut lines = BufReader::new(source).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let mut text = copy.lock().unwrap();
            text.push_str(&line);
            text.push('\n');
        }
    });
    text
}

/// A manager that does what the test says.
pub(crate) struct Manager {
    listener: TcpListener,
}

impl Manager {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener }
    }

    fn url(&self) -> String {
        format!("http://{}", self.listener.local_addr().unwrap())
    }

    /// Accepts a link and welcomes the node.
    pub(crate) async fn welcome(&self) -> (ManagerLink, Hello) {
        soon(async {
            let (stream, _) = self.listener.accept().await.unwrap();
            let socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            let mut link = ManagerLink { socket };
            let Some(NodeMessage::Hello(hello)) = link.next().await else {
                panic!("the first message is a hello");
            };
            link.send(&ManagerMessage::Welcome {
                lease_seconds: 60,
                heartbeat_seconds: 20,
                epoch: LeaderEpoch(3),
            })
            .await;
            (link, *hello)
        })
        .await
    }
}

/// The manager's end of a link.
pub(crate) struct ManagerLink {
    socket: WebSocketStream<TcpStream>,
}

impl ManagerLink {
    pub(crate) async fn send(&mut self, message: &ManagerMessage) {
        let text = serde_json::to_string(message).unwrap();
        self.socket.send(Message::text(text)).await.unwrap();
    }

    pub(crate) async fn order(&mut self, order: Order) {
        self.send(&ManagerMessage::Order(Box::new(order))).await;
    }

    /// Returns the next message; `None` when the node has closed.
    pub(crate) async fn next(&mut self) -> Option<NodeMessage> {
        soon(async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Text(text))) => {
                        let message: NodeMessage = serde_json::from_str(&text).unwrap();
                        if !matches!(message, NodeMessage::Heartbeat { .. }) {
                            return Some(message);
                        }
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return None,
                }
            }
        })
        .await
    }

    /// Waits for a state of the node.
    pub(crate) async fn status(&mut self, status: ReportedStatus) -> NodeReport {
        loop {
            match self.next().await {
                Some(NodeMessage::Status(report)) if report.status == status => return report,
                Some(NodeMessage::Status(_)) => {}
                other => panic!("{other:?} instead of {status:?}"),
            }
        }
    }

    /// Waits for the next answer to an order, whatever states come between.
    pub(crate) async fn ack(&mut self) -> (i64, AckState, String) {
        loop {
            match self.next().await {
                Some(NodeMessage::Ack {
                    order_id,
                    state,
                    reason,
                }) => return (order_id.0, state, reason.unwrap_or_default()),
                Some(NodeMessage::Status(_)) => {}
                other => panic!("{other:?} instead of an answer"),
            }
        }
    }

    /// Returns everything up to the end of the link, in short words.
    pub(crate) async fn rest(&mut self) -> Vec<String> {
        let mut words = Vec::new();
        while let Some(message) = self.next().await {
            words.push(match message {
                NodeMessage::Status(report) => format!("{:?}", report.status),
                NodeMessage::Ack {
                    order_id, state, ..
                } => format!("{state:?} {order_id}"),
                NodeMessage::Bye { reason } => format!("bye: {reason}"),
                other => format!("{other:?}"),
            });
        }
        words.dedup();
        words
    }
}

/// A launcher that does what the test says.
pub(crate) struct Launcher {
    listener: UnixListener,
}

impl Launcher {
    pub(crate) async fn accept(&self) -> LauncherSocket {
        let (stream, _) = soon(self.listener.accept()).await.unwrap();
        let (read, write) = stream.into_split();
        LauncherSocket {
            lines: BufReader::new(read).lines(),
            write,
        }
    }
}

/// The launcher's end of its socket.
pub(crate) struct LauncherSocket {
    lines: Lines<BufReader<OwnedReadHalf>>,
    write: OwnedWriteHalf,
}

impl LauncherSocket {
    pub(crate) async fn next(&mut self) -> HostMessage {
        let line = soon(self.lines.next_line()).await.unwrap();
        serde_json::from_str(&line.expect("the host is there")).unwrap()
    }

    pub(crate) async fn send(&mut self, message: &LauncherMessage) {
        let mut line = serde_json::to_string(message).unwrap();
        line.push('\n');
        self.write.write_all(line.as_bytes()).await.unwrap();
    }

    /// Stores what comes next, as the host asks.
    pub(crate) async fn store(&mut self, id: i64) {
        let HostMessage::Stopping { order_id, next } = self.next().await else {
            panic!("the host asks to store");
        };
        assert_eq!(order_id, OrderId(id));
        assert_eq!(next, Some(Box::new(release(8))));
        self.send(&LauncherMessage::Stopping {
            order_id,
            error: None,
        })
        .await;
    }
}

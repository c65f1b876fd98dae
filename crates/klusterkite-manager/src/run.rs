//! From settings to a serving manager, and its end.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use klusterkite_hocon::Document;
use klusterkite_tls::Identity;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cluster::Cluster;
use crate::config::Config;
use crate::http;

/// The manager failed while it ran; the next start may succeed.
const EXIT_FAILED: u8 = 1;

/// Arguments, settings or address cannot be used: starting again does not help.
const EXIT_UNUSABLE: u8 = 2;

/// Largest file of settings that is read, in bytes: what a service host writes is far smaller.
const SETTINGS_BYTES_MAX: u64 = 4 << 20;

/// How long requests are told that there is no database before it is looked for again.
const OPEN_PAUSE: Duration = Duration::from_secs(1);

/// Connections that the system takes before the manager does, as far as `net.core.somaxconn` allows: one more is not
/// answered at all and tries again after a second.
const BACKLOG: u32 = 8192;

const USAGE: &str = "\
klusterkite-manager (no arguments): a process of a node, started by its service host

It reads the settings file named by KLUSTERKITE_CONFIG and keeps its files in KLUSTERKITE_DATA.
Exit codes: 0 ended by a signal, 1 failed, 2 unusable arguments, settings or address.
";

/// Runs a manager with the settings that its service host gives it, until TERM or INT; returns the exit code.
pub fn run() -> u8 {
    if std::env::args_os().len() > 1 {
        // There is nobody left to tell when stderr is closed.
        let _ = std::io::stderr().write_all(USAGE.as_bytes());
        return EXIT_UNUSABLE;
    }
    match prepare() {
        Err(error) => fail(EXIT_UNUSABLE, &error),
        Ok((runtime, config, listening)) => match runtime.block_on(serve(config, listening)) {
            Err(error) => fail(EXIT_FAILED, &error),
            Ok(()) => 0,
        },
    }
}

fn fail(code: u8, error: &anyhow::Error) -> u8 {
    tracing::error!("{error:#}");
    code
}

/// Where requests come in.
struct Listening {
    listener: TcpListener,
    /// What is shown to clients; without it they speak plain HTTP.
    identity: Option<Identity>,
}

/// Does everything that can only fail because of what the manager was given.
fn prepare() -> Result<(Runtime, Config, Listening)> {
    let config = config()?;
    let identity = config.tls.clone();
    let identity = identity.map(|files| Identity::read(files.certificate, files.key));
    let identity = identity
        .transpose()
        .with_context(|| "`KlusterKite.NodeManager.Tls` cannot be used")?;
    allow_all_files();
    take_small_pages();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let address = config.listen;
    let listener = runtime
        .block_on(async { listen(address) })
        .with_context(|| {
            format!(
                "cannot listen on `{address}`; end the program that is there, or change \
                 `KlusterKite.NodeManager.Listen`"
            )
        })?;
    let listening = Listening { listener, identity };
    Ok((runtime, config, listening))
}

/// Listens with room for everybody who comes while the manager is busy.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // As the usual listener does: the manager before this one may have left connections that are about to end.
    socket.set_reuseaddr(true)?;
    // Accepted connections inherit it. Without it a heartbeat's answer waits for the peer's acknowledgement.
    socket.set_nodelay(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Takes as many file descriptors as the system allows: each node has a link, and the usual 1,024 end soon.
fn allow_all_files() {
    let limits = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limits.maximum,
        ..limits
    };
    if let Err(error) = setrlimit(Resource::Nofile, all) {
        tracing::warn!(
            "the number of connections stays limited to {:?}: {error}",
            limits.current
        );
    }
}

/// Keeps the kernel from clearing two megabytes where a few pages are needed: the allocator asks for huge pages, and what a
/// herd needs for a moment comes and goes.
fn take_small_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!("the kernel may use huge pages: {error}");
    }
}

/// Reads the settings named by `KLUSTERKITE_CONFIG`.
fn config() -> Result<Config> {
    let path = std::env::var("KLUSTERKITE_CONFIG")
        .context("`KLUSTERKITE_CONFIG` is not set: give the path of the settings (JSON)")?;
    let text = settings_text(&path).with_context(|| format!("cannot read `{path}`"))?;
    let settings = Document::parse(&text, &path)?.resolve(&std::env::vars().collect())?;
    let data = std::env::var_os("KLUSTERKITE_DATA")
        .context("`KLUSTERKITE_DATA` is not set: give a directory that outlives restarts")?;
    Config::from_settings(&settings, PathBuf::from(data))
        .with_context(|| format!("the settings `{path}` cannot be used"))
}

fn settings_text(path: &str) -> Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    let read = file
        .take(SETTINGS_BYTES_MAX + 1)
        .read_to_string(&mut text)?;
    ensure!(
        read as u64 <= SETTINGS_BYTES_MAX,
        "it is larger than {SETTINGS_BYTES_MAX} bytes"
    );
    Ok(text)
}

async fn serve(config: Config, listening: Listening) -> Result<()> {
    let mut signals = Signals::listen()?;
    let cluster = tokio::select! {
        opened = open(config, &listening) => opened?,
        () = signals.end() => return Ok(()),
    };
    let address = cluster.config().listen;
    tracing::info!(%address, https = listening.identity.is_some(), epoch = %cluster.epoch(), "the manager leads");
    let server = http::serve(listening.listener, listening.identity, cluster.clone());
    // Its requests wait in the system's queue until the server runs, a moment later.
    if let Err(error) = klusterkite_node::program::notify_ready() {
        tracing::warn!("the service host was not told: {error}");
    }
    let pins = cluster.clone();
    tokio::spawn(async move { pins.pins_keep().await });
    tokio::select! {
        led = cluster.lead_while_leader() => led.context("the manager does not lead any more"),
        served = server => served.context("the API ended"),
        () = signals.end() => Ok(()),
    }
}

/// Opens the cluster; as long as there is no database, or somebody else holds it, every request is told so.
async fn open(config: Config, listening: &Listening) -> Result<Cluster> {
    let mut said = None;
    loop {
        let error = match Cluster::open(config.clone()).await {
            Ok(cluster) => return Ok(cluster),
            Err(error) => error,
        };
        let Some((code, sentence)) = waits_for(&error) else {
            return Err(error);
        };
        let failed = format!("{error:#}");
        if said.as_ref() != Some(&failed) {
            tracing::warn!(code, "{failed}; waiting for it");
            said = Some(failed);
        }
        let waiting = http::serve_waiting(
            &listening.listener,
            listening.identity.as_ref(),
            code,
            sentence,
        );
        // It only ends by the pause, or with a failure that the next round meets too.
        let _ = tokio::time::timeout(OPEN_PAUSE, waiting).await;
    }
}

/// Returns the code for what somebody else has to do before the database can be opened, and what strangers are told:
/// the path stays in the log.
fn waits_for(error: &anyhow::Error) -> Option<(&'static str, &'static str)> {
    use klusterkite_store::Error;
    match error.downcast_ref::<Error>()? {
        Error::NotFound { .. } | Error::NotSeeded { .. } => Some((
            "notSeeded",
            "the manager's database is not there or holds no cluster; run `klusterkite-seeder` once to create it, \
             the manager's log names the file",
        )),
        Error::Locked { .. } | Error::Busy { .. } => Some((
            "databaseLocked",
            "another program holds the manager's database; end it, the manager's log names the file",
        )),
        _ => None,
    }
}

/// TERM and INT, from the start to the end: one that comes while the manager begins to lead counts, too.
struct Signals {
    term: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be listened to");
        Ok(Self {
            term: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn end(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        tracing::info!("the manager ends; every decision is in its store");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn accepted_connections_send_at_once() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let (_client, accepted) =
            tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
        assert!(accepted.unwrap().0.nodelay().unwrap());
    }
}

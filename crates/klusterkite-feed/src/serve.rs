//! Listening, and stopping without dropping what runs.

mod connection;

use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use klusterkite_tls::{Identity, ServerStream};
use klusterkite_wire::Problem;
use klusterkite_wire::problem::PROBLEM_MEDIA_TYPE;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::http::App;
use crate::retain::run_always;
use crate::settings::Settings;
use crate::{Error, Feed};
use connection::Connection;
pub(crate) use connection::{FILLER, FilePart, Outgoing};

/// The buffer of a connection: the largest head of a request, and the largest read of an upload.
const BUFFER_BYTES: usize = 64 << 10;

/// Connections beyond the limit that wait for another one to end, and how long they do before they
/// are told to come again. Further ones wait in the system's queue.
const WAITING_MAX: usize = 32;
const WAIT_MAX: Duration = Duration::from_secs(2);

/// How long running requests may take after the signal to stop.
const STOP_MAX: Duration = Duration::from_secs(10);

/// How long to wait after a failed accept (no file descriptors left) before the next one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves a feed until TERM or INT.
pub async fn serve(settings: Settings) -> Result<(), Error> {
    let listen_failed = |source| Error::Listen {
        address: settings.listen.clone(),
        source,
    };
    let listener = TcpListener::bind(&settings.listen)
        .await
        .map_err(listen_failed)?;
    let address = listener.local_addr().map_err(listen_failed)?;
    let (connections_max, head_time_max) = (settings.connections_max, settings.head_time_max);
    let address_file = settings.address_file.clone();
    let identity = settings.tls.clone();
    let identity = identity.map(|files| Identity::read(files.certificate, files.key));
    let identity = identity.transpose().map_err(Error::Tls)?;
    let stop = stop_signal()?;
    let retention = settings.retention.clone();

    let feed = Arc::new(Feed::open(settings).await?);
    if let Some(path) = address_file {
        write_address(&path, address)?;
    }
    tracing::info!(%address, https = identity.is_some(), "the feed listens");
    let mut beside = JoinSet::new();
    if let Some(retention) = retention {
        beside.spawn(run_always(Arc::clone(&feed), retention));
    }

    let server = Arc::new(Server {
        app: App::new(Arc::clone(&feed)),
        connections: Arc::new(Semaphore::new(connections_max)),
        waiting: Arc::new(Semaphore::new(WAITING_MAX)),
        stopping: watch::channel(false).0,
        head_time_max,
        identity,
    });
    tokio::select! {
        () = Arc::clone(&server).accept(&listener) => {}
        () = stop => tracing::info!("the feed stops"),
    }
    drop(listener);
    server.stopping.send_replace(true);
    let all = u32::try_from(connections_max).unwrap_or(u32::MAX);
    if timeout(STOP_MAX, server.connections.acquire_many(all))
        .await
        .is_err()
    {
        tracing::warn!("some requests did not end in time; they are cut");
    }
    // A removal that is cut is finished at the next start.
    beside.shutdown().await;
    feed.close().await;
    Ok(())
}

/// What all connections share.
struct Server {
    app: App,
    connections: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    stopping: watch::Sender<bool>,
    head_time_max: Duration,
    /// What is shown to clients; without it they speak plain HTTP.
    identity: Option<Identity>,
}

impl Server {
    /// Accepts connections, for ever.
    async fn accept(self: Arc<Self>, listener: &TcpListener) {
        loop {
            let place = acquire(&self.waiting).await;
            let (stream, peer) = accept_one(listener).await;
            // Answers are small and complete: waiting for more would only delay them.
            let _ = stream.set_nodelay(true);
            let server = Arc::clone(&self);
            match Arc::clone(&self.connections).try_acquire_owned() {
                Ok(permit) => tokio::spawn(server.converse(stream, peer, permit)),
                Err(_) => tokio::spawn(server.wait(stream, peer, place)),
            };
        }
    }

    /// Lets a connection wait for its turn, and sends it away when none comes.
    async fn wait(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        place: OwnedSemaphorePermit,
    ) {
        if let Ok(permit) = timeout(WAIT_MAX, acquire(&self.connections)).await {
            drop(place);
            return self.converse(stream, peer, permit).await;
        }
        // A client with TLS understands nothing else.
        let stream = match &self.identity {
            Some(identity) => identity.accept(stream),
            None => ServerStream::plain(stream),
        };
        // Too slow to be told is as good as told.
        drop(timeout(WAIT_MAX, send_away(stream)).await);
    }

    /// Serves one connection to its end.
    async fn converse(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        _permit: OwnedSemaphorePermit,
    ) {
        // The kernel cannot send files that have to be encrypted.
        let outgoing = self.identity.is_none().then(Outgoing::default);
        let client = self.app.client(peer.ip(), outgoing.clone());
        let connection = match &self.identity {
            Some(identity) => Connection::secure(identity.accept(stream)),
            None => Connection::plain(stream, outgoing.unwrap_or_default()),
        };
        let service = service_fn(|request| client.answer(request));
        let mut stopping = self.stopping.subscribe();
        let mut serving = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(self.head_time_max)
                .max_buf_size(BUFFER_BYTES)
                .serve_connection(TokioIo::new(connection), service)
        );
        let ended = tokio::select! {
            biased;
            ended = serving.as_mut() => Some(ended),
            // An error means that the server is gone; then nothing is to be waited for either.
            _ = stopping.wait_for(|stopping| *stopping) => None,
        };
        let ended = if let Some(ended) = ended {
            ended
        } else {
            serving.as_mut().graceful_shutdown();
            serving.await
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, error = klusterkite_wire::chain(&error), "a connection ended early");
        }
    }
}

async fn acquire(semaphore: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    let permit = Arc::clone(semaphore).acquire_owned().await;
    permit.expect("the semaphore is never closed")
}

async fn accept_one(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers whatever a connection asks that the feed is busy. The question is read first: a client
/// that is still sending would see a broken connection instead of the answer.
async fn send_away(mut stream: ServerStream) -> std::io::Result<()> {
    let mut question = vec![0; BUFFER_BYTES];
    let _ = stream.read(&mut question).await?;
    stream.write_all(too_many().as_bytes()).await?;
    stream.shutdown().await?;
    while stream.read(&mut question).await? > 0 {}
    Ok(())
}

/// What a connection is told that waited in vain.
fn too_many() -> String {
    let detail = "the feed has as many connections as it may; come again in some seconds";
    let problem = Problem::new(503, "tooManyConnections", detail.to_owned());
    let body = serde_json::to_string(&problem).expect("a problem has only text keys");
    format!(
        "HTTP/1.1 503 {detail}\r\nContent-Type: {PROBLEM_MEDIA_TYPE}\r\nContent-Length: {}\r\n\
         Retry-After: 5\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Waits for TERM or INT; the handlers are in place when this function returns.
fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static, Error> {
    let failed = |source| Error::File {
        operation: "handle signals of",
        path: "this process".into(),
        source,
    };
    let mut term = signal(SignalKind::terminate()).map_err(failed)?;
    let mut int = signal(SignalKind::interrupt()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}

/// Writes the address so that a reader never sees half of it.
fn write_address(path: &Path, address: SocketAddr) -> Result<(), Error> {
    let part = path.with_extension("part");
    std::fs::write(&part, address.to_string()).map_err(Error::file("write", &part))?;
    std::fs::rename(&part, path).map_err(Error::file("rename to", path))
}

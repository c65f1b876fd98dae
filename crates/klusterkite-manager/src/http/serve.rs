//! Connections: accepted, bounded, given a time to speak.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use klusterkite_tls::{Identity, ServerStream};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::http::{router, waiting};

/// Connections that are open at a time, links of nodes not counted; others wait in the system's queue.
const CONNECTIONS_MAX: usize = 8192;

/// New connections that get on at a time: until it has a place among the requests each needs room for a handshake and a
/// head. Of ten thousand that come at once some are answered soon, instead of all of them late.
const STARTING_MAX: usize = 256;

/// How long a new connection may keep others waiting: it may be silent.
const STARTING_TIME: Duration = Duration::from_secs(1);

/// How long a connection may take to send the head of its next request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Largest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// Pause after a failed accept: mostly no file descriptor is free, and trying at once makes it worse.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the API until the future is dropped; requests that run then are carried out to their end.
pub async fn serve(
    listener: TcpListener,
    identity: Option<Identity>,
    cluster: Cluster,
) -> io::Result<()> {
    accept(&listener, identity.as_ref(), router(cluster)).await
}

/// Answers every request with a refusal of the given code, until the future is dropped: there is no cluster yet.
pub async fn serve_waiting(
    listener: &TcpListener,
    identity: Option<&Identity>,
    code: &'static str,
    sentence: &'static str,
) -> io::Result<()> {
    accept(listener, identity, waiting::router(code, sentence)).await
}

async fn accept(
    listener: &TcpListener,
    identity: Option<&Identity>,
    router: Router,
) -> io::Result<()> {
    let service = TowerToHyperService::new(router);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let starting = Arc::new(Semaphore::new(STARTING_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let place = place.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (identity, service) = (identity.cloned(), service.clone());
                let turn = Arc::clone(&starting).acquire_owned();
                tokio::spawn(async move {
                    let turn = Turn::new(turn.await.expect("the semaphore is never closed"));
                    let stream = match identity {
                        Some(identity) => identity.accept(stream),
                        None => ServerStream::plain(stream),
                    };
                    // Boxed: what waits for its turn needs no room for what comes then.
                    let mut served = Box::pin(connection(stream, peer, service, turn.clone()));
                    if timeout(STARTING_TIME, &mut served).await.is_err() {
                        turn.end();
                        served.await;
                    }
                    drop(place);
                });
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The turn of a new connection: it ends when its first request has got its place, or is answered.
#[derive(Clone)]
pub(super) struct Turn(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Turn {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        Self(Arc::new(Mutex::new(Some(permit))))
    }

    /// Lets another one in.
    pub(super) fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Serves a connection.
async fn connection(
    stream: ServerStream,
    peer: SocketAddr,
    service: TowerToHyperService<Router>,
    turn: Turn,
) {
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(turn.clone());
        let (answer, turn) = (service.call(request), turn.clone());
        async move {
            let answer = answer.await;
            turn.end();
            answer
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%peer, "a connection ended: {error}");
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

//! Listening, and stopping without dropping what runs.

use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use klusterkite_tls::{Identity, ServerStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};

use crate::http::app;
use crate::retain::run_always;
use crate::settings::Settings;
use crate::{Error, Feed};

/// How long a connection may stay without a byte in either direction. Longer than the check of the
/// largest package, shorter than what a hung client should cost.
const IDLE_MAX: Duration = Duration::from_mins(2);

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
    let connections = Arc::new(Semaphore::new(settings.connections_max));
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

    let (stopping, mut stopped) = tokio::sync::watch::channel(false);
    let shutdown = async move {
        stop.await;
        tracing::info!("the feed stops");
        let _ = stopping.send(true);
    };
    let listener = Bounded {
        listener,
        connections,
        identity,
    };
    let serving = axum::serve(listener, app(Arc::clone(&feed))).with_graceful_shutdown(shutdown);
    let too_late = async {
        // An error means that serving ended, and with it the sender.
        if stopped.wait_for(|stopping| *stopping).await.is_ok() {
            tokio::time::sleep(STOP_MAX).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = serving => ended.map_err(|source| Error::Listen { address: address.to_string(), source })?,
        () = too_late => tracing::warn!("some requests did not end in time; they are cut"),
    }
    // A removal that is cut is finished at the next start.
    beside.shutdown().await;
    feed.close().await;
    Ok(())
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

/// Accepts only so many connections; further ones wait in the system's queue.
struct Bounded {
    listener: TcpListener,
    connections: Arc<Semaphore>,
    /// What is shown to clients; without it they speak plain HTTP.
    identity: Option<Identity>,
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let permit = Arc::clone(&self.connections).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    // Answers are small and complete: waiting for more would only delay them.
                    let _ = stream.set_nodelay(true);
                    let stream = match &self.identity {
                        Some(identity) => identity.accept(stream),
                        None => ServerStream::plain(stream),
                    };
                    return (Connection::new(stream, permit), address);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends when nothing moves on it.
struct Connection {
    stream: ServerStream,
    idle: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: ServerStream, permit: OwnedSemaphorePermit) -> Self {
        Self {
            stream,
            idle: Box::pin(tokio::time::sleep(IDLE_MAX)),
            _permit: permit,
        }
    }

    /// Passes a result on; restarts the clock when something moved, fails when it ran out.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.idle.as_mut().reset(Instant::now() + IDLE_MAX);
            return result;
        }
        match self.idle.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.watch(cx, result)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buffer);
        self.watch(cx, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, buffers);
        self.watch(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

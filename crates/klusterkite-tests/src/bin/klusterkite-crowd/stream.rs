//! Connections to the manager, plain or with TLS.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::{Context as _, Result, bail};
use klusterkite_tls::Trust;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where the manager is, and how it is spoken to.
pub(crate) struct Manager {
    address: SocketAddr,
    tls: Option<TlsConnector>,
}

impl Manager {
    /// Reads `http://address:port` or `https://address:port`; the latter needs the file of its authority.
    pub(crate) fn new(url: &str, authority: Option<PathBuf>) -> Result<Self> {
        let Some((scheme, address)) = url.split_once("://") else {
            bail!("`{url}` is no URL");
        };
        let tls = match scheme {
            "http" => None,
            "https" => Some(connector(authority.context("CROWD_CA is not set")?)?),
            _ => bail!("`{url}` is neither http nor https"),
        };
        let address = address.parse();
        let address = address.with_context(|| format!("`{url}` names no address and port"))?;
        Ok(Self { address, tls })
    }

    /// Returns address and port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connects from an address of the container's own, as if it were another machine.
    pub(crate) async fn connect(&self, container: usize) -> Result<Stream> {
        let socket = TcpSocket::new_v4()?;
        if self.address.ip().is_loopback() {
            let first = Ipv4Addr::new(127, 1, 0, 1).to_bits();
            let own = Ipv4Addr::from_bits(first + container as u32);
            socket.bind((own, 0).into())?;
        }
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(match &self.tls {
            None => Stream::Plain(stream),
            Some(connector) => {
                let name = ServerName::from(self.address.ip());
                Stream::Secure(Box::new(connector.connect(name, stream).await?))
            }
        })
    }
}

/// Each container is a machine of its own: none resumes the session of another.
fn connector(authority: PathBuf) -> Result<TlsConnector> {
    let config = Trust::Authorities(vec![authority]).client_config()?;
    let mut config = ClientConfig::clone(&config);
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A connection.
pub(crate) enum Stream {
    Plain(TcpStream),
    Secure(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Secure(stream) => Pin::new(stream.as_mut()).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buffer),
            Self::Secure(stream) => Pin::new(stream.as_mut()).poll_write(cx, buffer),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Secure(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Secure(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

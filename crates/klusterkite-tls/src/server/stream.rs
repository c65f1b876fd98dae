//! The server's side of a connection, plain or with TLS.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::DetachedStream;

/// How long a handshake may take: two round trips and a signature, and a slow line's patience.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Most bytes of a plain request that are read before it is told to use TLS.
const PLAIN_BYTES_MAX: usize = 64 << 10;

/// What a client gets that speaks plain HTTP: people read the reason or the detail, programs the code.
const PLAIN_ANSWER: &[u8] = b"HTTP/1.1 400 This port speaks https\r\n\
    content-type: application/problem+json\r\n\
    content-length: 143\r\n\
    connection: close\r\n\r\n\
    {\"title\":\"Bad Request\",\"status\":400,\"code\":\"httpsRequired\",\
    \"detail\":\"this port speaks https: write `https://` in the URL instead of `http://`\"}";

/// The server's side of a connection.
///
/// With TLS the handshake takes place in whatever task uses the stream first, within [`HANDSHAKE_MAX`]: the loop that
/// accepts connections waits for nobody.
pub struct ServerStream(State);

enum State {
    Plain(TcpStream),
    Handshake(Handshake),
    Secure(Box<TlsStream<TcpStream>>),
    Failed,
}

type Handshake = Pin<Box<dyn Future<Output = io::Result<TlsStream<TcpStream>>> + Send>>;

impl ServerStream {
    /// Takes a connection without TLS.
    pub fn plain(stream: TcpStream) -> Self {
        Self(State::Plain(stream))
    }

    pub(super) fn secure(stream: TcpStream, config: Arc<ServerConfig>) -> Self {
        let handshake = tokio::time::timeout(HANDSHAKE_MAX, handshake(stream, config));
        Self(State::Handshake(Box::pin(async move {
            handshake
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        })))
    }

    /// Takes the connection out of its runtime, so that another one can have it. Fails before the handshake is over.
    pub fn detach(self) -> io::Result<DetachedStream> {
        match self.0 {
            State::Plain(stream) => DetachedStream::new(stream, None),
            State::Secure(stream) => {
                let (stream, tls) = stream.into_inner();
                DetachedStream::new(stream, Some(Box::new(tls)))
            }
            State::Handshake(_) | State::Failed => not_connected(),
        }
    }

    /// Finishes the handshake if there is one under way.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            State::Handshake(handshake) => match ready!(handshake.as_mut().poll(cx)) {
                Ok(stream) => {
                    self.0 = State::Secure(Box::new(stream));
                    Poll::Ready(Ok(()))
                }
                Err(error) => {
                    self.0 = State::Failed;
                    Poll::Ready(Err(error))
                }
            },
            State::Failed => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            State::Plain(_) | State::Secure(_) => Poll::Ready(Ok(())),
        }
    }
}

async fn handshake(
    mut stream: TcpStream,
    config: Arc<ServerConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let mut first = [0];
    let seen = stream.peek(&mut first).await?;
    // A method begins with a letter; a handshake with 22.
    if seen == 1 && first[0].is_ascii_uppercase() {
        refuse_plain(&mut stream).await?;
        let text = "the client speaks plain HTTP";
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    TlsAcceptor::from(config).accept(stream).await
}

/// Answers a plain request; what the client still sends is read, because closing with unread bytes would take the
/// answer back.
async fn refuse_plain(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(PLAIN_ANSWER).await?;
    stream.shutdown().await?;
    let mut buffer = [0; 4096];
    let mut left = PLAIN_BYTES_MAX;
    while left > 0 {
        match stream.read(&mut buffer).await? {
            0 => break,
            read => left = left.saturating_sub(read),
        }
    }
    Ok(())
}

impl AsyncRead for ServerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_ready(cx))?;
        match &mut self.0 {
            State::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            State::Secure(stream) => Pin::new(stream.as_mut()).poll_read(cx, buffer),
            State::Handshake(_) | State::Failed => Poll::Ready(not_connected()),
        }
    }
}

impl AsyncWrite for ServerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_ready(cx))?;
        match &mut self.0 {
            State::Plain(stream) => Pin::new(stream).poll_write(cx, buffer),
            State::Secure(stream) => Pin::new(stream.as_mut()).poll_write(cx, buffer),
            State::Handshake(_) | State::Failed => Poll::Ready(not_connected()),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_ready(cx))?;
        match &mut self.0 {
            State::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, buffers),
            State::Secure(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, buffers),
            State::Handshake(_) | State::Failed => Poll::Ready(not_connected()),
        }
    }

    fn is_write_vectored(&self) -> bool {
        // TLS copies what it encrypts, so that pieces need not be put together before.
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            State::Plain(stream) => Pin::new(stream).poll_flush(cx),
            State::Secure(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
            // Nothing was written.
            State::Handshake(_) | State::Failed => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            State::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            State::Secure(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
            State::Handshake(_) | State::Failed => Poll::Ready(Ok(())),
        }
    }
}

fn not_connected<T>() -> io::Result<T> {
    Err(io::ErrorKind::NotConnected.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_plain_http_has_the_length_that_it_says() {
        let text = str::from_utf8(PLAIN_ANSWER).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let length = format!("content-length: {}\r\n", body.len());
        assert!(head.contains(&length), "{length}: {head}");
    }
}

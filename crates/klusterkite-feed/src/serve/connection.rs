//! A connection: it ends when too little moves on it, and sends files without copying them.
//!
//! The HTTP library writes buffers. To let the kernel send a file (`sendfile`), an answer's body is
//! made of [`FILLER`], memory that is never read: where the library writes it, the connection sends
//! as many bytes of the next announced [`FilePart`] instead. So one path of code checks, routes and
//! frames all requests, whoever sends the bytes.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use klusterkite_tls::ServerStream;
use rustix::net::SendFlags;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// How often a connection is looked at.
const LOOK: Duration = Duration::from_secs(30);

/// Looks without a byte in either direction after which a connection ends: longer than the check of
/// the largest package.
const QUIET_LOOKS_MAX: u32 = 4;

/// What a client must take between two looks at both of which something waits to be sent: a thirtieth of it
/// per second is slower than any link that a package would ever come through.
const TAKEN_BYTES_MIN: u64 = 64 << 10;

/// Stands for bytes of a file. Zeroed memory that nobody touches takes no room.
pub(crate) static FILLER: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(vec![0; 1 << 20]));

/// Bytes of a file that stand to be sent.
#[derive(Debug)]
pub(crate) struct FilePart {
    pub(crate) file: Arc<File>,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// The parts of files that a connection sends for filler, in the order of the answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outgoing(Arc<Mutex<VecDeque<FilePart>>>);

impl Outgoing {
    /// Announces that the next `length` bytes of filler stand for this part.
    pub(crate) fn add(&self, part: FilePart) {
        self.lock().push_back(part);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<FilePart>> {
        // A list of parts is whole whenever somebody else could see it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends at most `count` bytes of the next part; returns how many.
    fn send(&self, stream: &TcpStream, count: usize) -> io::Result<usize> {
        let mut parts = self.lock();
        // Without a part there is a mistake in here; wrong bytes must not get out.
        let part = parts.front_mut().ok_or(io::ErrorKind::InvalidData)?;
        let count = count.min(usize::try_from(part.length).unwrap_or(usize::MAX));
        let sent = rustix::fs::sendfile(stream, &*part.file, Some(&mut part.offset), count)?;
        if sent == 0 {
            // The file is shorter than it was: the client has to see a broken connection.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        part.length -= sent as u64;
        if part.length == 0 {
            parts.pop_front();
        }
        Ok(sent)
    }
}

/// How bytes come and go.
enum Socket {
    Plain(TcpStream),
    Secure(Box<ServerStream>),
}

/// A connection of a client.
pub(super) struct Connection {
    socket: Socket,
    outgoing: Outgoing,
    look: Pin<Box<Sleep>>,
    /// Whether this task is woken at the next look.
    is_armed: bool,
    received: u64,
    sent: u64,
    /// Whether something waits to be sent, and whether it did at the last look.
    is_blocked: bool,
    was_blocked: bool,
    quiet_looks: u32,
}

impl Connection {
    /// Makes a connection that can send files by itself.
    pub(super) fn plain(stream: TcpStream, outgoing: Outgoing) -> Self {
        Self::new(Socket::Plain(stream), outgoing)
    }

    /// Makes an encrypted connection.
    pub(super) fn secure(stream: ServerStream) -> Self {
        Self::new(Socket::Secure(Box::new(stream)), Outgoing::default())
    }

    fn new(socket: Socket, outgoing: Outgoing) -> Self {
        Self {
            socket,
            outgoing,
            look: Box::pin(tokio::time::sleep(LOOK)),
            is_armed: false,
            received: 0,
            sent: 0,
            is_blocked: false,
            was_blocked: false,
            quiet_looks: 0,
        }
    }

    /// Has the task woken for the next look, and looks when it is time. Costs nothing in between: a
    /// busy connection waits thousands of times a second.
    fn poll_look(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.is_armed && !self.look.is_elapsed() {
            return Ok(());
        }
        self.is_armed = true;
        while self.look.as_mut().poll(cx).is_ready() {
            if self.was_blocked && self.is_blocked && self.sent < TAKEN_BYTES_MIN {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.quiet_looks = if self.received + self.sent == 0 {
                self.quiet_looks + 1
            } else {
                0
            };
            if self.quiet_looks >= QUIET_LOOKS_MAX {
                return Err(io::ErrorKind::TimedOut.into());
            }
            (self.received, self.sent) = (0, 0);
            self.was_blocked = self.is_blocked;
            self.look.as_mut().reset(Instant::now() + LOOK);
        }
        Ok(())
    }

    /// Sends by other means than writing when the socket takes something.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        send: impl Fn(&TcpStream, &Outgoing) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let Socket::Plain(stream) = &self.socket else {
                return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
            };
            if let Poll::Ready(ready) = stream.poll_write_ready(cx) {
                ready?;
                match stream.try_io(Interest::WRITABLE, || send(stream, &self.outgoing)) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    Ok(count) => {
                        self.sent += count as u64;
                        self.is_blocked = false;
                        return Poll::Ready(Ok(count));
                    }
                    failed => return Poll::Ready(failed),
                }
            }
            return self.poll_blocked(cx);
        }
    }

    fn poll_blocked<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.is_blocked = true;
        self.poll_look(cx)?;
        Poll::Pending
    }
}

/// Tells whether a buffer is filler, by its place in memory.
fn is_filler(buffer: &[u8]) -> bool {
    FILLER.as_ptr_range().contains(&buffer.as_ptr())
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = match &mut self.socket {
            Socket::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Socket::Secure(stream) => Pin::new(stream).poll_read(cx, buffer),
        };
        match read {
            Poll::Ready(result) => {
                self.received += (buffer.filled().len() - before) as u64;
                Poll::Ready(result)
            }
            Poll::Pending => {
                self.poll_look(cx)?;
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buffer)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first_filler = buffers
            .iter()
            .position(|buffer| !buffer.is_empty() && is_filler(buffer));
        match first_filler {
            None => {
                let written = match &mut self.socket {
                    Socket::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, buffers),
                    Socket::Secure(stream) => Pin::new(stream).poll_write_vectored(cx, buffers),
                };
                match written {
                    Poll::Ready(result) => {
                        self.sent += *result.as_ref().unwrap_or(&0) as u64;
                        self.is_blocked = false;
                        Poll::Ready(result)
                    }
                    Poll::Pending => self.poll_blocked(cx),
                }
            }
            Some(first) => {
                let head = &buffers[..first];
                if head.iter().all(|buffer| buffer.is_empty()) {
                    let filler = buffers[first..]
                        .iter()
                        .take_while(|buffer| buffer.is_empty() || is_filler(buffer));
                    let count = filler.map(|buffer| buffer.len()).sum();
                    return self.poll_send(cx, |stream, outgoing| outgoing.send(stream, count));
                }
                // The file follows at once: one packet for both, and one wake-up of the client.
                self.poll_send(cx, |stream, _| {
                    let sent = rustix::net::sendmsg(
                        stream,
                        head,
                        &mut rustix::net::SendAncillaryBuffer::default(),
                        SendFlags::MORE | SendFlags::NOSIGNAL,
                    )?;
                    Ok(sent)
                })
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.socket {
            Socket::Plain(_) => true,
            Socket::Secure(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Socket::Secure(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Secure(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (accepted, client) = tokio::join!(listener.accept(), TcpStream::connect(address));
        let connection = Connection::plain(accepted.unwrap().0, Outgoing::default());
        (connection, client.unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_on_which_nothing_moves_ends() {
        let (mut connection, _client) = pair().await;
        let started = Instant::now();
        let ended = connection.read(&mut [0; 10]).await;
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(
            started.elapsed().as_secs(),
            (LOOK * QUIET_LOOKS_MAX).as_secs()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_loses_its_connection() {
        let (mut connection, _client) = pair().await;
        let bytes = vec![1; 64 << 20];
        let ended = connection.write_all(&bytes).await;
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn filler_without_a_file_is_never_sent() {
        let (mut connection, _client) = pair().await;
        let ended = connection.write_all(&FILLER).await;
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn a_file_that_became_shorter_breaks_the_connection() {
        let (mut connection, _client) = pair().await;
        connection.outgoing.add(FilePart {
            file: Arc::new(tempfile::tempfile().unwrap()),
            offset: 0,
            length: 10,
        });
        let ended = connection.write_all(&FILLER[..10]).await;
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}

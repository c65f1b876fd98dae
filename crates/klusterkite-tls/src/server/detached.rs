//! Connections whose handshake is over, and that live on in another runtime.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::ServerConnection;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;

/// Bytes that are read at a time; what is longer comes in pieces.
const PIECE_BYTES: usize = 2048;

/// A connection that belongs to no runtime: its handshake is over, and it may be carried to another thread.
pub struct DetachedStream {
    stream: std::net::TcpStream,
    tls: Option<Box<ServerConnection>>,
}

impl DetachedStream {
    pub(super) fn new(stream: TcpStream, tls: Option<Box<ServerConnection>>) -> io::Result<Self> {
        let stream = stream.into_std()?;
        Ok(Self { stream, tls })
    }

    /// Gives it to the runtime that this is called in; it panics outside of any.
    pub fn attach(self) -> io::Result<AttachedStream> {
        Ok(AttachedStream {
            stream: TcpStream::from_std(self.stream)?,
            tls: self.tls,
            unsent: Vec::new(),
        })
    }
}

/// A connection of one task that reads and writes whole pieces, with as little around them as there can be: between
/// two of them it holds no buffer but that of TLS.
pub struct AttachedStream {
    stream: TcpStream,
    tls: Option<Box<ServerConnection>>,
    /// What TLS has not encrypted yet, or the socket not taken.
    unsent: Vec<u8>,
}

impl AttachedStream {
    /// Adds what has come to `into`; returns how many bytes, 0 for the end of the connection.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        let mut piece = [0; PIECE_BYTES];
        let Some(tls) = &mut self.tls else {
            let mut buffer = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            into.extend_from_slice(buffer.filled());
            return Poll::Ready(Ok(buffer.filled().len()));
        };
        loop {
            match tls.reader().read(&mut piece) {
                Ok(read) => {
                    into.extend_from_slice(&piece[..read]);
                    return Poll::Ready(Ok(read));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            let mut socket = Socket(&mut self.stream, cx);
            match tls.read_tls(&mut socket) {
                // The reader tells apart whether the peer said so.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
            let processed = tls.process_new_packets();
            // An alert, or the answer to a new key; what the socket does not take goes with the next piece.
            while tls.wants_write() {
                match tls.write_tls(&mut Socket(&mut self.stream, cx)) {
                    Ok(written) if written > 0 => {}
                    _ => break,
                }
            }
            if let Err(error) = processed {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
        }
    }

    /// Takes bytes that [`AttachedStream::poll_flush`] sends.
    pub fn write(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
    }

    /// Sends what was written.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut sent = 0;
        let flushed = loop {
            match self.send(cx, sent) {
                Ok(0) => break Poll::Ready(Ok(())),
                Ok(more) => sent += more,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Poll::Pending,
                Err(error) => break Poll::Ready(Err(error)),
            }
        };
        if sent == self.unsent.len() {
            self.unsent = Vec::new();
        } else {
            self.unsent.drain(..sent);
        }
        flushed
    }

    /// Gives bytes from `at` on to TLS or the socket, and what TLS makes of them to the socket; returns how many were
    /// taken, 0 when all have been sent.
    fn send(&mut self, cx: &mut Context<'_>, at: usize) -> io::Result<usize> {
        let unsent = &self.unsent[at..];
        let mut socket = Socket(&mut self.stream, cx);
        let Some(tls) = &mut self.tls else {
            return if unsent.is_empty() {
                Ok(0)
            } else {
                not_zero(socket.write(unsent)?)
            };
        };
        while tls.wants_write() {
            not_zero(tls.write_tls(&mut socket)?)?;
        }
        if unsent.is_empty() {
            return Ok(0);
        }
        let taken = not_zero(tls.writer().write(unsent)?)?;
        Ok(taken)
    }

    /// Says that nothing follows, after what was written is sent.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            ready!(self.poll_flush(cx))?;
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn not_zero(written: usize) -> io::Result<usize> {
    if written == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    }
    Ok(written)
}

/// A socket as rustls wants it; where it would block the task is woken up later.
struct Socket<'a, 'b>(&'a mut TcpStream, &'a mut Context<'b>);

impl Read for Socket<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        match Pin::new(&mut *self.0).poll_read(self.1, &mut buffer) {
            Poll::Ready(read) => read.map(|()| buffer.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Socket<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match Pin::new(&mut *self.0).poll_write(self.1, bytes) {
            Poll::Ready(written) => written,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

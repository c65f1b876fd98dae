//! A bad line in front of a server: slow, and cut again and again.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

/// Bytes that are passed on at once.
const PIECE_BYTES: usize = 16 << 10;

/// How long a connection lasts without a byte.
const SILENCE_MAX: Duration = Duration::from_mins(1);

/// What a line does to answers.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// Bytes a second of each connection.
    pub speed: u64,
    /// Bytes of answers after which a connection is reset.
    pub reset_after: u64,
}

/// A proxy, until the process ends.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    resets: Arc<AtomicU64>,
}

impl Proxy {
    /// Passes connections from a free port of `host` on to `server`; the calling thread says on which network.
    pub fn start(host: Ipv4Addr, server: SocketAddr, line: Line) -> Result<Self> {
        let listener = TcpListener::bind((host, 0))?;
        let address = listener.local_addr()?;
        let resets = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&resets);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let count = Arc::clone(&count);
                // A connection that breaks is what this is for.
                thread::spawn(move || pass(client, server, line, &count));
            }
        });
        Ok(Self { address, resets })
    }

    /// Returns its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns how many connections it has reset.
    pub fn resets(&self) -> u64 {
        self.resets.load(Ordering::Relaxed)
    }
}

fn pass(
    mut client: TcpStream,
    server: SocketAddr,
    line: Line,
    resets: &AtomicU64,
) -> std::io::Result<()> {
    let mut server = TcpStream::connect(server)?;
    server.set_read_timeout(Some(SILENCE_MAX))?;
    client.set_read_timeout(Some(SILENCE_MAX))?;
    let (mut requests, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        // Ends with either of the two.
        let _ = std::io::copy(&mut requests, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let (begin, mut passed, mut piece) = (Instant::now(), 0, vec![0; PIECE_BYTES]);
    loop {
        let count = server.read(&mut piece)?;
        if count == 0 {
            return client.shutdown(Shutdown::Both);
        }
        passed += count as u64;
        if passed > line.reset_after {
            resets.fetch_add(1, Ordering::Relaxed);
            // No lingering: the client gets a reset, not an end.
            rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO))?;
            return client.shutdown(Shutdown::Read);
        }
        client.write_all(&piece[..count])?;
        let due = Duration::from_micros(passed * 1_000_000 / line.speed);
        thread::sleep(due.saturating_sub(begin.elapsed()));
    }
}

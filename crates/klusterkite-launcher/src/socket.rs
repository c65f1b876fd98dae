//! `launcher.sock`: what host and launcher say to each other while a node runs.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use klusterkite_wire::service_directory::LAUNCHER_SOCKET;
use klusterkite_wire::socket::{HostMessage, LINE_BYTES_MAX, LauncherMessage};
use rustix::net::{Shutdown, shutdown};

use crate::console;
use crate::event::{RunNumber, Sender, ShellEvent};

/// Connections at a time: the host has one.
const CONNECTIONS_MAX: usize = 4;

/// How long the host may leave an answer unread.
const WRITE_MAX: Duration = Duration::from_secs(5);

/// The socket of one run; nothing comes from it after it is dropped.
pub(crate) struct Socket {
    listener: UnixListener,
}

/// The way back to whoever sent a message.
#[derive(Clone)]
pub(crate) struct Replies(Arc<Mutex<UnixStream>>);

impl Replies {
    /// Answers; a host that has gone needs no answer.
    pub(crate) fn send(&self, message: &LauncherMessage) {
        let line = serde_json::to_vec(message).map_err(io::Error::from);
        let sent = line.and_then(|mut line| {
            line.push(b'\n');
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .write_all(&line)
        });
        if let Err(error) = sent {
            console::warn(format_args!("cannot answer the host: {error}"));
        }
    }
}

impl Socket {
    /// Listens in a service directory; what comes is sent on with the number of the run.
    pub(crate) fn open(
        service_directory: &Path,
        run: RunNumber,
        sender: Sender,
    ) -> io::Result<Self> {
        let path = service_directory.join(LAUNCHER_SOCKET);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // The path of a socket has 108 bytes at most; by the open directory it is short.
        let directory = fs::File::open(service_directory)?;
        let short = format!("/proc/self/fd/{}/{LAUNCHER_SOCKET}", directory.as_raw_fd());
        let listener = UnixListener::bind(short)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        let accepting = listener.try_clone()?;
        let accept = move || accept_all(&accepting, run, &sender);
        thread::Builder::new()
            .name("socket".to_owned())
            .spawn(accept)?;
        Ok(Self { listener })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Ends the accepting thread. It cannot fail for an open socket.
        let _ = shutdown(&self.listener, Shutdown::Both);
    }
}

fn accept_all(listener: &UnixListener, run: RunNumber, sender: &Sender) {
    let connections = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let Ok(stream) = stream else { return };
        if connections.load(Ordering::SeqCst) >= CONNECTIONS_MAX {
            console::warn("the host opens too many connections: one is closed");
            continue;
        }
        connections.fetch_add(1, Ordering::SeqCst);
        let (open, sender) = (Arc::clone(&connections), sender.clone());
        let read = move || {
            if let Err(error) = read_all(&stream, run, &sender) {
                console::warn(format_args!("a connection of the host is closed: {error}"));
            }
            open.fetch_sub(1, Ordering::SeqCst);
        };
        if let Err(error) = thread::Builder::new().name("host".to_owned()).spawn(read) {
            console::error(format_args!("cannot listen to the host: {error}"));
            connections.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

fn read_all(stream: &UnixStream, run: RunNumber, sender: &Sender) -> io::Result<()> {
    stream.set_write_timeout(Some(WRITE_MAX))?;
    let replies = Replies(Arc::new(Mutex::new(stream.try_clone()?)));
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = LINE_BYTES_MAX as u64 + 1;
        if reader.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.len() as u64 == limit {
            return Err(io::Error::other(format!(
                "a line is longer than {LINE_BYTES_MAX} bytes"
            )));
        }
        match serde_json::from_slice::<HostMessage>(&line) {
            Ok(message) => {
                let replies = replies.clone();
                if sender
                    .send(ShellEvent::Host {
                        run,
                        message,
                        replies,
                    })
                    .is_err()
                {
                    return Ok(());
                }
            }
            // A newer host may say more than this launcher understands.
            Err(error) => console::warn(format_args!("the host says something unknown: {error}")),
        }
    }
}

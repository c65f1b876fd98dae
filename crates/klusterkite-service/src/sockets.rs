//! Unix sockets in the service directory, and paths to them that fit into a socket address.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs, io};

use anyhow::{Context, Result};
use klusterkite_wire::service_directory::MEMBERS_SOCKET;
use tempfile::TempDir;
use tokio::net::UnixDatagram;
use tokio::sync::mpsc;

use crate::node::Event;

/// Longest path in a unix socket address, in bytes (`sun_path` without its final zero).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Longest accepted state message of a process, in bytes: they are a few short lines.
const NOTICE_BYTES_MAX: usize = 4 << 10;

/// Absolute paths to the sockets of the service directory, as the node's processes get them.
///
/// When the service directory's own path is too long, they lead through a symbolic link in a temporary directory.
#[derive(Debug)]
pub(crate) struct SocketPaths {
    base: PathBuf,
    /// Removed with this value.
    _link: Option<TempDir>,
}

impl SocketPaths {
    pub(crate) fn new(directory: &Path) -> Result<Self> {
        let longest = notify_socket(usize::MAX).len().max(MEMBERS_SOCKET.len());
        if directory.as_os_str().len() + 1 + longest <= SOCKET_PATH_BYTES_MAX {
            return Ok(Self {
                base: directory.to_owned(),
                _link: None,
            });
        }
        let temporary = env::temp_dir();
        let link = tempfile::Builder::new()
            .prefix("klusterkite-")
            .tempdir_in(&temporary)
            .with_context(|| {
                format!("no directory for a short path in `{}`", temporary.display())
            })?;
        let base = link.path().join("d");
        symlink(directory, &base)
            .with_context(|| format!("`{}` could not be made", base.display()))?;
        Ok(Self {
            base,
            _link: Some(link),
        })
    }

    /// Returns the path of the members socket.
    pub(crate) fn members(&self) -> PathBuf {
        self.base.join(MEMBERS_SOCKET)
    }

    /// Returns the path of the notify socket of a process.
    pub(crate) fn notify(&self, process: usize) -> PathBuf {
        self.base.join(notify_socket(process))
    }
}

fn notify_socket(process: usize) -> String {
    format!("notify-{process}.sock")
}

/// Binds the notify socket of a process, relative to the service directory; what is said there comes as events.
///
/// Each process has a socket of its own: so it is known who speaks, also when a child of it does.
pub(crate) fn listen_for_notices(process: usize, events: mpsc::Sender<Event>) -> Result<()> {
    let path = notify_socket(process);
    let bind = || {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        UnixDatagram::bind(&path)
    };
    let socket = bind().with_context(|| format!("socket `{path}` could not be made"))?;
    tokio::spawn(receive_notices(process, socket, events));
    Ok(())
}

async fn receive_notices(process: usize, socket: UnixDatagram, events: mpsc::Sender<Event>) {
    let mut buffer = vec![0; NOTICE_BYTES_MAX];
    loop {
        let length = match socket.recv(&mut buffer).await {
            Ok(length) => length,
            Err(error) => {
                tracing::warn!(%error, process, "a notify socket failed");
                return;
            }
        };
        for line in buffer[..length].split(|byte| *byte == b'\n') {
            let Some(event) = notice(process, line) else {
                continue;
            };
            if events.send(event).await.is_err() {
                return;
            }
        }
    }
}

/// Understands a line of a state message; `STATUS=…` and the like change nothing here.
fn notice(process: usize, line: &[u8]) -> Option<Event> {
    match line {
        b"READY=1" => Some(Event::SaidReady { process }),
        b"WATCHDOG=1" => Some(Event::SaidAlive { process }),
        b"STOPPING=1" => Some(Event::SaidStopping { process }),
        _ => {
            let microseconds = line.strip_prefix(b"EXTEND_TIMEOUT_USEC=")?;
            let microseconds = str::from_utf8(microseconds).ok()?.parse().ok()?;
            let time = Duration::from_micros(microseconds);
            Some(Event::SaidMoreTime { process, time })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_time_is_understood_in_microseconds_and_nothing_else_is() {
        let time = |line: &str| match notice(7, line.as_bytes()) {
            Some(Event::SaidMoreTime { process: 7, time }) => Some(time),
            None => None,
            Some(other) => panic!("`{line}` is not {other:?}"),
        };
        let longest = format!("EXTEND_TIMEOUT_USEC={}", u64::MAX);
        assert_eq!(time(&longest), Some(Duration::from_micros(u64::MAX)));
        let second = Some(Duration::from_secs(1));
        assert_eq!(time("EXTEND_TIMEOUT_USEC=1000000"), second);
        for line in [
            "EXTEND_TIMEOUT_USEC=",
            "EXTEND_TIMEOUT_USEC=-1",
            "EXTEND_TIMEOUT_USEC=1s",
            "EXTEND_TIMEOUT_USEC=18446744073709551616",
            "EXTEND_TIMEOUT_USEC",
            "STATUS=EXTEND_TIMEOUT_USEC=1",
        ] {
            assert_eq!(time(line), None, "{line}");
        }
    }

    #[test]
    fn a_long_service_directory_gets_a_short_path_that_ends_with_the_host() {
        let directory = tempfile::tempdir().unwrap();
        let short = SocketPaths::new(directory.path()).unwrap();
        assert_eq!(short.members(), directory.path().join(MEMBERS_SOCKET));

        let long = directory.path().join("x".repeat(120));
        fs::create_dir(&long).unwrap();
        let paths = SocketPaths::new(&long).unwrap();
        let members = paths.members();
        assert!(members.as_os_str().len() <= SOCKET_PATH_BYTES_MAX);
        fs::write(long.join(MEMBERS_SOCKET), "x").unwrap();
        assert_eq!(fs::read(&members).unwrap(), b"x");
        drop(paths);
        assert!(!members.exists());
        assert!(long.join(MEMBERS_SOCKET).exists());
    }
}

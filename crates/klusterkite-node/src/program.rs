//! For programs that a service host started: settings, members, "I am ready".
//!
//! Everything here blocks and needs no runtime; the contract behind it is a file and two sockets, so that a
//! program in any other language can do the same.

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use klusterkite_wire::link::{MANAGER_FRAME_BYTES_MAX, Members};
use serde::de::DeserializeOwned;

use crate::Error;

/// Variable that names the file with the resolved settings as JSON.
pub const VARIABLE_CONFIG: &str = "KLUSTERKITE_CONFIG";
/// Variable that names the file with the resolved settings as HOCON.
pub const VARIABLE_CONFIG_HOCON: &str = "KLUSTERKITE_CONFIG_HOCON";
/// Variable that holds the node id.
pub const VARIABLE_NODE_ID: &str = "KLUSTERKITE_NODE_ID";
/// Variable that holds the code of the node template.
pub const VARIABLE_TEMPLATE: &str = "KLUSTERKITE_TEMPLATE";
/// Variable that holds the number of the configuration.
pub const VARIABLE_CONFIGURATION_ID: &str = "KLUSTERKITE_CONFIGURATION_ID";
/// Variable that holds the kind of the container.
pub const VARIABLE_CONTAINER_TYPE: &str = "KLUSTERKITE_CONTAINER_TYPE";
/// Variable that holds the seed addresses, separated by commas.
pub const VARIABLE_SEEDS: &str = "KLUSTERKITE_SEEDS";
/// Variable that names the directory that outlives restarts.
pub const VARIABLE_DATA: &str = "KLUSTERKITE_DATA";
/// Variable that names the unix socket that answers `GET /members?role=…`.
pub const VARIABLE_SOCKET: &str = "KLUSTERKITE_SOCKET";
/// Variable that names the datagram socket for `READY=1` and its kind (the protocol of systemd).
pub const VARIABLE_NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// How long the service host may take to answer: it answers from memory.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// Reads the resolved settings of this program's node, whole or as far as `T` asks for them.
pub fn settings<T: DeserializeOwned>() -> Result<T, Error> {
    let path = PathBuf::from(variable(VARIABLE_CONFIG)?);
    let text = fs::read(&path).map_err(|source| Error::Read {
        path: path.clone(),
        source,
    })?;
    serde_json::from_slice(&text).map_err(|source| Error::Json { path, source })
}

/// Asks the service host for the ready nodes with a role; without one for all that the node watches.
pub fn members(role: Option<&str>) -> Result<Members, Error> {
    members_at(Path::new(&variable(VARIABLE_SOCKET)?), role)
}

/// Asks the service host at `socket` for the ready nodes with a role.
pub fn members_at(socket: &Path, role: Option<&str>) -> Result<Members, Error> {
    let path = socket.to_owned();
    let answer = ask(socket, role).map_err(|source| Error::AskMembers {
        path: path.clone(),
        source,
    })?;
    let text = String::from_utf8_lossy(&answer);
    let status = text.lines().next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 200 ") {
        let status = status.to_owned();
        return Err(Error::MembersRefused { path, status });
    }
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).map_err(|source| Error::Json { path, source })
}

/// Tells the service host that this program is ready (readiness `notify`).
///
/// Does nothing when nobody wants to know, so that the program can run on its own too.
pub fn notify_ready() -> Result<(), Error> {
    notify("READY=1")
}

/// Tells the service host that this program is about to end.
pub fn notify_stopping() -> Result<(), Error> {
    notify("STOPPING=1")
}

/// Tells the service host that this program is alive (liveness `notify`).
pub fn notify_alive() -> Result<(), Error> {
    notify("WATCHDOG=1")
}

/// Tells the service host that the end of this program takes this much longer from now, if that is more than it has; to be
/// said again before that time is over. The deadline of the node's stop holds.
pub fn notify_more_time(time: Duration) -> Result<(), Error> {
    notify(&format!("EXTEND_TIMEOUT_USEC={}", time.as_micros()))
}

fn notify(state: &str) -> Result<(), Error> {
    let Ok(path) = env::var(VARIABLE_NOTIFY_SOCKET) else {
        return Ok(());
    };
    notify_at(&path, state).map_err(|source| Error::Notify { path, source })
}

fn notify_at(path: &str, state: &str) -> io::Result<()> {
    // A leading `@` means a name without a file, as systemd writes it.
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

fn variable(name: &'static str) -> Result<String, Error> {
    env::var(name).map_err(|_| Error::Variable { name })
}

fn ask(socket: &Path, role: Option<&str>) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
    stream.set_write_timeout(Some(ANSWER_TIME_MAX))?;
    let query = role.map_or(String::new(), |role| format!("?role={}", encode(role)));
    let request =
        format!("GET /members{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    // The members came in one frame of the link, so the answer is not larger than that and its head.
    let limit = MANAGER_FRAME_BYTES_MAX as u64 + 4096;
    let mut answer = Vec::new();
    stream.take(limit).read_to_end(&mut answer)?;
    Ok(answer)
}

/// Encodes everything but letters, digits and `-._~*` as `%XX`.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~*".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            for digit in [byte >> 4, byte & 15] {
                encoded.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_reaches_the_notify_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        notify_at(path.to_str().unwrap(), "READY=1").unwrap();
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1");
    }

    #[test]
    fn a_role_with_odd_letters_is_encoded() {
        assert_eq!(encode("a b/ä&*"), "a%20b%2F%C3%A4%26*");
    }
}

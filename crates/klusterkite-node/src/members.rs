//! The members of the cluster: kept on disk, served to the node's processes over a unix socket.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use klusterkite_wire::link::{Member, Members};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time;

use crate::Error;

/// Longest head of a request, in bytes: a path with a role and what usual clients send along.
const REQUEST_BYTES_MAX: usize = 8 << 10;

/// How many questions are answered at the same time; more wait.
const QUESTIONS_MAX: usize = 32;

/// How long one question may take, so that a silent client does not keep its place.
const QUESTION_TIME_MAX: Duration = Duration::from_secs(5);

/// Shortest pause between two writes of the file: a rolling update of a large cluster changes the members often.
const WRITE_PAUSE: Duration = Duration::from_secs(1);

/// File that keeps the last members over restarts.
#[derive(Debug, Clone)]
pub struct MembersFile {
    path: PathBuf,
}

impl MembersFile {
    /// Names the file; its directory is made when it is written first.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Reads the last members; there are none when there is no file.
    pub fn read(&self) -> Result<Members, Error> {
        let path = self.path.clone();
        match fs::read(&path) {
            Ok(text) => {
                serde_json::from_slice(&text).map_err(|source| Error::Json { path, source })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Members::default()),
            Err(source) => Err(Error::Read { path, source }),
        }
    }

    /// Writes the members, whole or not at all.
    pub fn write(&self, members: &Members) -> Result<(), Error> {
        let path = self.path.clone();
        write_whole(&path, members).map_err(|source| Error::Write { path, source })
    }
}

fn write_whole(path: &Path, members: &Members) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let temporary = path.with_extension("json.new");
    let mut file = fs::File::create(&temporary)?;
    file.write_all(&serde_json::to_vec(members)?)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

/// Binds a unix socket in the place of one that an earlier process left.
///
/// The path should be relative when it may be long: a socket path has at most 107 bytes.
pub fn bind_socket(path: &Path) -> Result<UnixListener, Error> {
    let bind = || {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        UnixListener::bind(path)
    };
    bind().map_err(|source| Error::Bind {
        path: path.to_owned(),
        source,
    })
}

/// Answers `GET /members?role=…` (HTTP/1.1) from memory, and keeps what was published last in a file.
#[derive(Debug)]
pub struct MembersService {
    latest: watch::Sender<Members>,
    tasks: [JoinHandle<()>; 2],
}

impl MembersService {
    /// Starts to serve, with what the file holds. A file that cannot be read is said and passed over: it is a cache.
    pub fn start(listener: UnixListener, file: MembersFile) -> Self {
        let members = file.read().unwrap_or_else(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the kept members are of no use"
            );
            Members::default()
        });
        let (latest, receiver) = watch::channel(members);
        let serve = tokio::spawn(serve(listener, receiver.clone()));
        let keep = tokio::spawn(keep(file, receiver));
        Self {
            latest,
            tasks: [serve, keep],
        }
    }

    /// Replaces the members.
    pub fn publish(&self, members: Members) {
        self.latest.send_if_modified(|latest| {
            let changed = *latest != members;
            *latest = members;
            changed
        });
    }
}

impl Drop for MembersService {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Writes the newest members whenever they changed.
async fn keep(file: MembersFile, mut latest: watch::Receiver<Members>) {
    while latest.changed().await.is_ok() {
        let members = latest.borrow_and_update().clone();
        let file = file.clone();
        let written = tokio::task::spawn_blocking(move || file.write(&members)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the members are not kept"
            );
        }
        time::sleep(WRITE_PAUSE).await;
    }
}

async fn serve(listener: UnixListener, latest: watch::Receiver<Members>) {
    let places = Arc::new(Semaphore::new(QUESTIONS_MAX));
    loop {
        let place = Arc::clone(&places)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: wait until some are free again.
                tracing::warn!(%error, "a question for members could not be accepted");
                time::sleep(WRITE_PAUSE).await;
                continue;
            }
        };
        let latest = latest.clone();
        tokio::spawn(async move {
            let _place = place;
            // A client that fails or is too slow has only itself to tell.
            let _ = time::timeout(QUESTION_TIME_MAX, answer(stream, latest)).await;
        });
    }
}

async fn answer(mut stream: UnixStream, latest: watch::Receiver<Members>) -> io::Result<()> {
    let mut head = Vec::with_capacity(512);
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        if head.len() >= REQUEST_BYTES_MAX {
            return respond(&mut stream, "431 Request Header Fields Too Large", "").await;
        }
        if (&mut stream)
            .take((REQUEST_BYTES_MAX - head.len()) as u64)
            .read_buf(&mut head)
            .await?
            == 0
        {
            return Ok(());
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    match question(&head) {
        Ok(role) => {
            let body = answer_text(&latest.borrow(), role.as_deref());
            respond(&mut stream, "200 OK", &body).await
        }
        Err(status) => respond(&mut stream, status, "").await,
    }
}

async fn respond(stream: &mut UnixStream, status: &str, body: &str) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

/// Reads the role that a request asks for, or says with which status it is refused.
fn question(head: &str) -> Result<Option<String>, &'static str> {
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(protocol)) = (words.next(), words.next(), words.next())
    else {
        return Err("400 Bad Request");
    };
    if !protocol.starts_with("HTTP/1.") {
        return Err("400 Bad Request");
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if path != "/members" {
        return Err("404 Not Found");
    }
    if method != "GET" {
        return Err("405 Method Not Allowed");
    }
    let mut role = None;
    for pair in query.split('&') {
        if let Some(text) = pair.strip_prefix("role=") {
            role = Some(decode(text).ok_or("400 Bad Request")?);
        }
    }
    Ok(role.filter(|role| !role.is_empty() && role != "*"))
}

fn answer_text(members: &Members, role: Option<&str>) -> String {
    let wanted = |member: &&Member| role.is_none_or(|role| member.roles.iter().any(|r| r == role));
    let answer = Members {
        version: members.version,
        members: members.members.iter().filter(wanted).cloned().collect(),
    };
    serde_json::to_string(&answer).expect("members have no keys that JSON cannot write")
}

/// Decodes `%XX` and `+`; nothing when the text is not well-formed.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                (high * 16 + low) as u8
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_a_role_or_is_refused_with_a_status() {
        let cases = [
            ("GET /members HTTP/1.1", Ok(None)),
            ("GET /members?role=web HTTP/1.1", Ok(Some("web"))),
            ("GET /members?x=1&role=a%20b HTTP/1.0", Ok(Some("a b"))),
            ("GET /members?role=* HTTP/1.1", Ok(None)),
            ("GET /members?role=%zz HTTP/1.1", Err("400 Bad Request")),
            ("GET /members?role=%ff HTTP/1.1", Err("400 Bad Request")),
            ("GET /members?role=%4 HTTP/1.1", Err("400 Bad Request")),
            ("POST /members HTTP/1.1", Err("405 Method Not Allowed")),
            ("GET / HTTP/1.1", Err("404 Not Found")),
            ("GET /members SPDY/3", Err("400 Bad Request")),
            ("", Err("400 Bad Request")),
        ];
        for (head, expected) in cases {
            let expected = expected.map(|role: Option<&str>| role.map(ToOwned::to_owned));
            assert_eq!(question(head), expected, "{head}");
        }
    }

    #[test]
    fn a_damaged_file_is_an_error_and_a_missing_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sub/members.json");
        let file = MembersFile::new(&path);
        assert_eq!(file.read().unwrap(), Members::default());
        file.write(&Members {
            version: 3,
            members: Vec::new(),
        })
        .unwrap();
        assert_eq!(file.read().unwrap().version, 3);
        fs::write(&path, "{").unwrap();
        assert!(file.read().is_err());
    }
}

//! Readiness and liveness probes: HTTP, TCP, a program.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use klusterkite_manifest::{Probe, ProbeKind};
use klusterkite_processes::shim::Plan;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time;

use crate::node::Event;
use crate::process::{Program, kill_group};

/// First pause between two readiness probes of a starting process; it doubles up to the interval, so that a fast
/// start is seen at once.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// Longest head of an answer that is read for its status, in bytes.
const HEAD_BYTES_MAX: u64 = 1 << 10;

/// Probes a process for readiness until the task is aborted.
pub(crate) async fn watch_readiness(
    process: usize,
    probe: Probe,
    program: Program,
    events: mpsc::Sender<Event>,
) {
    let mut pause = PAUSE_MIN.min(probe.interval);
    loop {
        time::sleep(pause).await;
        let result = run(&probe, &program).await;
        pause = match result {
            Ok(()) => probe.interval,
            Err(_) => (pause * 2).min(probe.interval),
        };
        if events
            .send(Event::Readiness { process, result })
            .await
            .is_err()
        {
            return;
        }
    }
}

/// Probes a process for liveness until the task is aborted.
pub(crate) async fn watch_liveness(
    process: usize,
    probe: Probe,
    program: Program,
    events: mpsc::Sender<Event>,
) {
    loop {
        time::sleep(probe.interval).await;
        let result = run(&probe, &program).await;
        if events
            .send(Event::Liveness { process, result })
            .await
            .is_err()
        {
            return;
        }
    }
}

async fn run(probe: &Probe, program: &Program) -> Result<(), String> {
    let timeout = probe.timeout;
    match &probe.kind {
        ProbeKind::Http { url } => match time::timeout(timeout, get(url)).await {
            Ok(Ok(200..=399)) => Ok(()),
            Ok(Ok(status)) => Err(format!("GET {url} answered {status}")),
            Ok(Err(error)) => Err(format!("GET {url}: {error}")),
            Err(_) => Err(format!("GET {url} gave no answer within {timeout:?}")),
        },
        ProbeKind::Tcp { address } => {
            match time::timeout(timeout, TcpStream::connect(address)).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(format!("connect to {address}: {error}")),
                Err(_) => Err(format!(
                    "connect to {address} gave no answer within {timeout:?}"
                )),
            }
        }
        ProbeKind::Exec { command } => execute(command, timeout, program).await,
        // It says so itself.
        ProbeKind::Notify => Ok(()),
    }
}

/// Asks for `url` and returns the status of the answer.
async fn get(url: &str) -> io::Result<u16> {
    let (authority, path) = split(url).ok_or_else(|| invalid("is not an `http://` URL"))?;
    let address = if has_port(authority) {
        authority.to_owned()
    } else {
        format!("{authority}:80")
    };
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: klusterkite-service\r\n\
         Accept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    let mut answer = stream.take(HEAD_BYTES_MAX);
    while !head.contains(&b'\n') {
        if answer.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    status(&head).ok_or_else(|| invalid("the answer is not HTTP"))
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Splits a URL into authority and path with query.
fn split(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("http://")?;
    let rest = rest.split('#').next().unwrap_or(rest);
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    };
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    (!authority.is_empty() && plain(authority) && plain(path)).then_some((authority, path))
}

fn has_port(authority: &str) -> bool {
    let after_ip6 = authority.rsplit(']').next().unwrap_or(authority);
    after_ip6.contains(':')
}

fn status(head: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(head.split(|byte| *byte == b'\n').next()?).ok()?;
    let rest = line.strip_prefix("HTTP/1.")?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Runs a program in the environment of the probed one; it has to end with 0.
async fn execute(command: &[String], timeout: Duration, program: &Program) -> Result<(), String> {
    let name = command.first().map_or("", String::as_str);
    let command = program
        .command(command, &Plan::default())
        .map_err(|error| format!("`{name}`: {error:#}"))?;
    let mut child = Command::from(command)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("`{name}` could not be started: {error}"))?;
    let group = child.id();
    let result = match time::timeout(timeout, child.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("`{name}` ended with {status}")),
        Ok(Err(error)) => Err(format!("`{name}`: {error}")),
        Err(_) => Err(format!("`{name}` did not end within {timeout:?}")),
    };
    if let Some(group) = group {
        kill_group(group);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_split_and_nothing_else_gets_into_the_request() {
        let cases = [
            ("http://a:1/x?y#z", Some(("a:1", "/x?y"))),
            ("http://a", Some(("a", "/"))),
            ("http://[::1]:1/", Some(("[::1]:1", "/"))),
            ("https://a/", None),
            ("http:///x", None),
            ("http://a/x y", None),
            ("http://a/\r\nX: 1", None),
        ];
        for (url, expected) in cases {
            assert_eq!(split(url), expected, "{url}");
        }
        assert!(has_port("[::1]:1") && has_port("a:1"));
        assert!(!has_port("[::1]") && !has_port("a"));
    }

    #[test]
    fn a_status_is_read_only_from_http() {
        let cases = [
            (b"HTTP/1.1 200 OK\r\n".as_slice(), Some(200)),
            (b"HTTP/1.0 503\r\n", Some(503)),
            (b"HTTP/1.1", None),
            (b"SSH-2.0-x\r\n", None),
            (b"", None),
            (b"\xff\xff\n", None),
        ];
        for (head, expected) in cases {
            assert_eq!(status(head), expected, "{head:?}");
        }
    }
}

//! Just enough of HTTP for a manager's answers: one request at a time on one connection, bodies with a length.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::stream::{Manager, Stream};

/// Largest answer: a start configuration of a node.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// A connection that is kept for the next request.
pub(crate) struct Http {
    stream: Stream,
    host: SocketAddr,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Reads the body of a success; anything else is an error with what the manager says.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        let text = String::from_utf8_lossy(&self.body);
        ensure!(self.status == 200, "status {}: {text}", self.status);
        serde_json::from_slice(&self.body).with_context(|| format!("not understood: {text}"))
    }
}

impl Http {
    pub(crate) async fn connect(manager: &Manager, container: usize) -> Result<Self> {
        let stream = manager.connect(container).await?;
        Ok(Self {
            stream,
            host: manager.address(),
        })
    }

    /// Posts a body and waits for the whole answer.
    pub(crate) async fn post(
        &mut self,
        path: &str,
        bearer: Option<&str>,
        media_type: &str,
        body: &str,
    ) -> Result<Answer> {
        let authorization = bearer.map_or(String::new(), |token| {
            format!("authorization: Bearer {token}\r\n")
        });
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\n{authorization}content-type: {media_type}\r\ncontent-length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await?;
        self.stream.flush().await?;
        let mut received = Vec::with_capacity(2048);
        loop {
            ensure!(
                self.stream.read_buf(&mut received).await? > 0,
                "the manager closed the connection"
            );
            let Some(end) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
                ensure!(received.len() < ANSWER_BYTES_MAX, "an endless head");
                continue;
            };
            let (status, length) = head(&received[..end])?;
            let whole = end + 4 + length;
            while received.len() < whole {
                ensure!(
                    self.stream.read_buf(&mut received).await? > 0,
                    "the answer ends too early"
                );
            }
            let body = received[end + 4..whole].to_vec();
            return Ok(Answer { status, body });
        }
    }
}

fn head(bytes: &[u8]) -> Result<(u16, usize)> {
    let text = std::str::from_utf8(bytes)?;
    let status = text.get(9..12).and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("no status: {text}"))?;
    for line in text.lines() {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            let length = value.trim().parse()?;
            ensure!(length < ANSWER_BYTES_MAX, "an answer of {length} bytes");
            return Ok((status, length));
        }
    }
    bail!("an answer without a length: {text}")
}

//! The socket to the launcher: one JSON message per line, both ways.

use std::io;
use std::path::Path;

use klusterkite_wire::service_directory::LAUNCHER_SOCKET;
use klusterkite_wire::socket::{HostMessage, LINE_BYTES_MAX, LauncherMessage};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use crate::node::Event;

/// How many messages may wait: `ready`, and one per open order.
const QUEUE_LENGTH: usize = 32;

/// The way to the launcher.
#[derive(Debug)]
pub(crate) struct Launcher {
    messages: mpsc::Sender<HostMessage>,
}

impl Launcher {
    /// Connects to the launcher, if there is one; what it says comes as events, its end as [`Event::LauncherGone`].
    ///
    /// The path is relative to the service directory, because a socket path has at most 107 bytes.
    pub(crate) async fn connect(events: mpsc::Sender<Event>) -> Option<Self> {
        let stream = match UnixStream::connect(Path::new(LAUNCHER_SOCKET)).await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, socket = LAUNCHER_SOCKET, "running without a launcher");
                return None;
            }
        };
        let (read, write) = stream.into_split();
        let (messages, queue) = mpsc::channel(QUEUE_LENGTH);
        tokio::spawn(listen(read, events));
        tokio::spawn(talk(write, queue));
        Some(Self { messages })
    }

    /// Tells the launcher something. One that takes no messages is noticed by the deadlines of the orders.
    pub(crate) fn tell(&self, message: HostMessage) {
        if let Err(error) = self.messages.try_send(message) {
            tracing::warn!(%error, "the launcher takes no message");
        }
    }
}

async fn listen(read: OwnedReadHalf, events: mpsc::Sender<Event>) {
    let mut reader = BufReader::new(read);
    loop {
        let event = match receive(&mut reader).await {
            Ok(Some(message)) => Event::Launcher(message),
            Ok(None) => Event::LauncherGone,
            Err(error) => {
                tracing::warn!(%error, "the launcher's socket failed");
                Event::LauncherGone
            }
        };
        let gone = matches!(event, Event::LauncherGone);
        if events.send(event).await.is_err() || gone {
            return;
        }
    }
}

/// Reads the next message that this version knows; `None` at the end.
async fn receive(reader: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<LauncherMessage>> {
    loop {
        let mut line = Vec::new();
        let mut limited = reader.take(LINE_BYTES_MAX as u64);
        if limited.read_until(b'\n', &mut line).await? == 0 {
            return Ok(None);
        }
        if line.last() != Some(&b'\n') && line.len() >= LINE_BYTES_MAX {
            let text = format!("a line is longer than {LINE_BYTES_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        match serde_json::from_slice(&line) {
            Ok(message) => return Ok(Some(message)),
            // A newer launcher may say more than this version understands.
            Err(error) => tracing::warn!(%error, "a message of the launcher is not known"),
        }
    }
}

async fn talk(mut write: OwnedWriteHalf, mut queue: mpsc::Receiver<HostMessage>) {
    while let Some(message) = queue.recv().await {
        let mut line = serde_json::to_vec(&message)
            .expect("host messages have no keys that JSON cannot write");
        line.push(b'\n');
        if let Err(error) = write.write_all(&line).await {
            // The reading side notices the end too and says it.
            tracing::warn!(%error, "the launcher could not be told");
            return;
        }
    }
}

//! Notifications that a handler sends while it works.

use std::fmt::Display;
use std::io::{self, Write};

use klusterkite_wire::migrator::{LogParams, ProgressParams, RpcMessage};

use crate::error::cut;

/// Longest log line sent to the other side, in bytes: a screen full; more belongs into a file of the migrator.
const LOG_BYTES_MAX: usize = 16 << 10;

/// How important a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// For those who look for a fault.
    Debug,
    /// What is being done.
    Info,
    /// Something to look at later.
    Warn,
    /// Something failed.
    Error,
}

impl Level {
    /// Returns the name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Tells the other side how far the work is.
///
/// Its methods cannot fail for the caller: when nobody reads any more, the serving loop ends with that error after the call.
pub struct Progress<'a> {
    writer: &'a mut dyn Write,
    failed: Option<io::Error>,
}

impl<'a> Progress<'a> {
    /// Sends to `writer`, one message per line.
    pub fn new(writer: &'a mut dyn Write) -> Self {
        Self {
            writer,
            failed: None,
        }
    }

    /// Sends a log line.
    pub fn log(&mut self, level: Level, message: impl Display) {
        let mut message = message.to_string();
        cut(&mut message, LOG_BYTES_MAX);
        let level = level.as_str().to_owned();
        self.send("log", serde_json::json!(LogParams { level, message }));
    }

    /// Sends how much is done, in units of the handler.
    pub fn set(&mut self, done: u64, total: u64) {
        self.send(
            "progress",
            serde_json::json!(ProgressParams { done, total }),
        );
    }

    /// Returns the first error of writing, if there was one.
    pub(crate) fn into_result(self) -> io::Result<()> {
        self.failed.map_or(Ok(()), Err)
    }

    fn send(&mut self, method: &str, params: serde_json::Value) {
        if self.failed.is_none() {
            let message = RpcMessage::notification(method, params);
            self.failed = write_message(self.writer, &message).err();
        }
    }
}

/// Writes one message and its line feed, and flushes.
pub(crate) fn write_message(writer: &mut dyn Write, message: &RpcMessage) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    writer.write_all(&line)?;
    writer.flush()
}

use std::io::{self, BufRead};

use klusterkite_api::events::Event;
use klusterkite_api::operations::{Operation, OperationId};

use super::ApiClient;
use super::sse::{LINE_BYTES_MAX, Parser};
use super::stream::{Connection, patiently, read_line};
use crate::Error;
use crate::http::shown_url;

/// Events as they happen, without a gap: a broken stream goes on after the last event.
pub struct EventStream<'c> {
    client: &'c ApiClient,
    last: Option<i64>,
    connection: Option<Connection>,
    parser: Parser,
}

impl<'c> EventStream<'c> {
    pub(super) fn new(client: &'c ApiClient, after: Option<i64>) -> Self {
        Self {
            client,
            last: after,
            connection: None,
            parser: Parser::default(),
        }
    }

    fn read(&mut self) -> Result<Event, Error> {
        patiently(|| {
            let read = self.read_once();
            if read.is_err() {
                self.connection = None;
            }
            read
        })
    }

    fn read_once(&mut self) -> Result<Event, Error> {
        let url = format!(
            "{}{}",
            self.client.origin,
            Operation::of(OperationId::EventStream).path
        );
        if self.connection.is_none() {
            self.parser = Parser::default();
            self.connection = Some(self.open(&url)?);
        }
        let broken = |source| Error::BrokenOff {
            url: shown_url(&url),
            source,
        };
        let connection = self.connection.as_mut().expect("it was just opened");
        loop {
            let line = read_event_line(connection).map_err(broken)?;
            let Some(message) = self.parser.line(&line) else {
                continue;
            };
            let event: Event =
                serde_json::from_str(&message.data).map_err(|source| Error::Answer {
                    url: shown_url(&url),
                    expected: "an event",
                    source,
                })?;
            self.last = Some(message.id.parse().unwrap_or(event.id));
            return Ok(event);
        }
    }

    fn open(&self, url: &str) -> Result<Connection, Error> {
        let mut headers = vec![("accept", "text/event-stream".to_owned())];
        headers.extend(self.last.map(|last| ("last-event-id", last.to_string())));
        self.client.open(url, false, headers)
    }
}

impl Iterator for EventStream<'_> {
    type Item = Result<Event, Error>;

    /// Waits for the next event. After an error that no new try can mend the caller should stop.
    fn next(&mut self) -> Option<Self::Item> {
        Some(self.read())
    }
}

/// Reads a line of bounded length without its end; the end of the stream is an error, because events have none.
fn read_event_line(reader: &mut impl BufRead) -> io::Result<String> {
    let line = read_line(reader, LINE_BYTES_MAX as u64 + 1)?;
    let mut bytes =
        line.ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "the stream ended"))?;
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

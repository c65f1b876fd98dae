use std::io::{self, BufRead, BufReader, Read};
use std::thread;
use std::time::{Duration, Instant};

use klusterkite_api::events::Event;
use klusterkite_api::operations::{Operation, OperationId};
use ureq::http::Method;
use ureq::{BodyReader, SendBody};

use super::ApiClient;
use super::sse::{LINE_BYTES_MAX, Parser};
use crate::http::shown_url;
use crate::{Error, Kind};

/// Pause before a broken stream is opened again; each further try waits twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(250);

/// Longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How long the manager may be away before the stream gives up: it replaces itself in a migration, and its
/// container may have to fetch packages.
const AWAY_MAX: Duration = Duration::from_mins(3);

/// Events as they happen, without a gap: a broken stream goes on after the last event.
pub struct EventStream<'c> {
    client: &'c ApiClient,
    last: Option<i64>,
    connection: Option<BufReader<BodyReader<'static>>>,
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
        let mut away_since = None::<Instant>;
        let mut pause = PAUSE_FIRST;
        loop {
            let error = match self.read_once() {
                Ok(event) => return Ok(event),
                Err(error) => error,
            };
            self.connection = None;
            let away = away_since.get_or_insert_with(Instant::now).elapsed();
            if error.kind() != Kind::Away || away > AWAY_MAX {
                return Err(error);
            }
            thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
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
            let line = read_line(connection).map_err(broken)?;
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

    fn open(&self, url: &str) -> Result<BufReader<BodyReader<'static>>, Error> {
        let mut headers = vec![("accept", "text/event-stream".to_owned())];
        if let Some(token) = self.client.access_token()? {
            headers.push(("authorization", format!("Bearer {}", token.reveal())));
        }
        if let Some(last) = self.last {
            headers.push(("last-event-id", last.to_string()));
        }
        let open = || {
            self.client
                .http
                .run(&Method::GET, url, &headers, SendBody::none())
        };
        let response = self.client.http.repeat(false, open)?;
        Ok(BufReader::new(response.into_body().into_reader()))
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
fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut bytes = Vec::new();
    let limit = LINE_BYTES_MAX as u64 + 1;
    Read::take(&mut *reader, limit).read_until(b'\n', &mut bytes)?;
    if bytes.pop() != Some(b'\n') {
        let kind = io::ErrorKind::UnexpectedEof;
        return Err(io::Error::new(
            kind,
            "the stream ended, or a line of it is too long",
        ));
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

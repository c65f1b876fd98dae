use std::io::{self, BufRead, BufReader, Read};
use std::marker::PhantomData;
use std::thread;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::http::Method;
use ureq::{BodyReader, SendBody};

use super::ApiClient;
use crate::http::{encoded, shown_url};
use crate::{Error, Kind};

/// Longest line that is read, in bytes: a manager cuts what it shows far below that.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Pause before a broken answer is asked for again; each further pause is twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(250);

/// Longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How long the manager may be away: it replaces itself in a migration, and its container may have to fetch packages.
const AWAY_MAX: Duration = Duration::from_mins(3);

/// Log lines in their order without a gap (`…/logs`): an answer that breaks off goes on after the last line.
pub struct LineStream<'c, T> {
    client: &'c ApiClient,
    /// Without the parameter `after`.
    url: String,
    last: Option<String>,
    connection: Option<BufReader<BodyReader<'static>>>,
    is_over: bool,
    item: PhantomData<T>,
}

impl<'c, T: DeserializeOwned> LineStream<'c, T> {
    pub(super) fn new(client: &'c ApiClient, url: String) -> Self {
        Self {
            client,
            url,
            last: None,
            connection: None,
            is_over: false,
            item: PhantomData,
        }
    }

    fn read(&mut self) -> Result<Option<T>, Error> {
        let mut away_since = None::<Instant>;
        let mut pause = PAUSE_FIRST;
        loop {
            let error = match self.read_once() {
                Ok(item) => return Ok(item),
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

    fn read_once(&mut self) -> Result<Option<T>, Error> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(open(self.client, &self.url, self.last.as_deref())?),
        };
        loop {
            let line = read_line(connection).map_err(|source| Error::BrokenOff {
                url: shown_url(&self.url),
                source,
            })?;
            let Some(line) = line else {
                return Ok(None);
            };
            if line.is_empty() {
                continue;
            }
            let failed = |source| Error::Answer {
                url: shown_url(&self.url),
                expected: "a line of a log",
                source,
            };
            let value: Value = serde_json::from_slice(&line).map_err(failed)?;
            let cursor = value["cursor"].as_str().map(str::to_owned);
            let item = serde_json::from_value(value).map_err(failed)?;
            self.last = cursor.or(self.last.take());
            return Ok(Some(item));
        }
    }
}

fn open(
    client: &ApiClient,
    url: &str,
    after: Option<&str>,
) -> Result<BufReader<BodyReader<'static>>, Error> {
    let separator = if url.contains('?') { '&' } else { '?' };
    let url = after.map_or_else(
        || url.to_owned(),
        |after| format!("{url}{separator}after={}", encoded(after)),
    );
    let mut headers = vec![("accept", "application/x-ndjson".to_owned())];
    if let Some(token) = client.access_token()? {
        headers.push(("authorization", format!("Bearer {}", token.reveal())));
    }
    let open = || {
        client
            .http
            .run(&Method::GET, &url, &headers, SendBody::none())
    };
    let response = client.http.repeat(true, open)?;
    Ok(BufReader::new(response.into_body().into_reader()))
}

impl<T: DeserializeOwned> Iterator for LineStream<'_, T> {
    type Item = Result<T, Error>;

    /// Waits for the next line; there is none after the last one, and none after an error.
    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let item = self.read().transpose();
        self.is_over = !matches!(item, Some(Ok(_)));
        item
    }
}

/// Reads a line of bounded length without its end; `None` at the end of the answer.
fn read_line(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    Read::take(&mut *reader, LINE_BYTES_MAX).read_until(b'\n', &mut bytes)?;
    match bytes.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(bytes)),
        Some(_) => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the answer ended inside a line, or a line of it is too long",
        )),
    }
}

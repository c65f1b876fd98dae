//! Answers that last: opened again when they break off.

use std::io::{self, BufRead, BufReader, Read};
use std::thread;
use std::time::{Duration, Instant};

use ureq::http::Method;
use ureq::{BodyReader, SendBody};

use super::ApiClient;
use crate::{Error, Kind};

/// Pause before a broken answer is asked for again; each further pause is twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(250);

/// Longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How long the manager may be away: it replaces itself in a migration, and its container may have to fetch packages.
const AWAY_MAX: Duration = Duration::from_mins(3);

/// An answer that is being read.
pub(super) type Connection = BufReader<BodyReader<'static>>;

/// Reads `once`, again and again while the manager is away, and gives up when that takes too long.
pub(super) fn patiently<T>(mut once: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    let mut away_since = None::<Instant>;
    let mut pause = PAUSE_FIRST;
    loop {
        let error = match once() {
            Ok(item) => return Ok(item),
            Err(error) => error,
        };
        let away = away_since.get_or_insert_with(Instant::now).elapsed();
        if error.kind() != Kind::Away || away > AWAY_MAX {
            return Err(error);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

impl ApiClient {
    /// Asks for an answer that lasts; `headers` are those beside the bearer. One that is idempotent is asked for some
    /// times before that is an error.
    pub(super) fn open(
        &self,
        url: &str,
        is_idempotent: bool,
        mut headers: Vec<(&'static str, String)>,
    ) -> Result<Connection, Error> {
        if let Some(token) = self.access_token()? {
            headers.push(("authorization", format!("Bearer {}", token.reveal())));
        }
        let open = || self.http.run(&Method::GET, url, &headers, SendBody::none());
        let response = self.http.repeat(is_idempotent, open)?;
        Ok(BufReader::new(response.into_body().into_reader()))
    }
}

/// Reads a line of at most so many bytes, its end included and left out; `None` at the end of the answer.
pub(super) fn read_line(reader: &mut impl BufRead, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    Read::take(&mut *reader, bytes_max).read_until(b'\n', &mut bytes)?;
    match bytes.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(bytes)),
        Some(_) => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the answer ended inside a line, or a line of it is too long",
        )),
    }
}

use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::ApiClient;
use super::stream::{Connection, patiently, read_line};
use crate::Error;
use crate::http::{encoded, shown_url};

/// Longest line that is read, in bytes: a manager cuts what it shows far below that.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Log lines in their order without a gap (`…/logs`): an answer that breaks off goes on after the last line.
pub struct LineStream<'c, T> {
    client: &'c ApiClient,
    /// Without the parameter `after`.
    url: String,
    last: Option<String>,
    connection: Option<Connection>,
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
        patiently(|| {
            let read = self.read_once();
            if read.is_err() {
                self.connection = None;
            }
            read
        })
    }

    fn read_once(&mut self) -> Result<Option<T>, Error> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(open(self.client, &self.url, self.last.as_deref())?),
        };
        loop {
            let line =
                read_line(connection, LINE_BYTES_MAX).map_err(|source| Error::BrokenOff {
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

fn open(client: &ApiClient, url: &str, after: Option<&str>) -> Result<Connection, Error> {
    let separator = if url.contains('?') { '&' } else { '?' };
    let url = after.map_or_else(
        || url.to_owned(),
        |after| format!("{url}{separator}after={}", encoded(after)),
    );
    client.open(
        &url,
        true,
        vec![("accept", "application/x-ndjson".to_owned())],
    )
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

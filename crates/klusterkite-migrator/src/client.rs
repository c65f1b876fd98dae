//! The other side of the protocol: asking a migrator or seeder, over any reader and writer.
//!
//! [`Client`] waits for as long as the other side takes; who needs limits reads the lines itself and lets [`hear`] judge them.

use std::io::{BufRead, Write};

use klusterkite_wire::migrator::{LINE_BYTES_MAX, LogParams, ProgressParams, RpcMessage};
use serde_json::Value;

use crate::Error;
use crate::line::{Line, LineReader};
use crate::progress::write_message;

/// Asks a program that serves the protocol, one request at a time.
#[derive(Debug)]
pub struct Client<R, W> {
    lines: LineReader<R>,
    writer: W,
    last_request: u64,
}

impl<R: BufRead, W: Write> Client<R, W> {
    /// Asks through `writer` and hears through `reader`.
    pub fn new(reader: R, writer: W) -> Self {
        Self {
            lines: LineReader::new(reader, LINE_BYTES_MAX),
            writer,
            last_request: 0,
        }
    }

    /// Calls a method and waits for its answer; `log` and `progress` notifications go to `notified` meanwhile.
    pub fn call(
        &mut self,
        method: &str,
        params: Value,
        mut notified: impl FnMut(&RpcMessage),
    ) -> Result<Value, Error> {
        self.last_request += 1;
        let request = RpcMessage::request(self.last_request, method, params);
        write_message(&mut self.writer, &request).map_err(Error::Write)?;
        loop {
            let line = match self.lines.read().map_err(Error::Read)? {
                Line::Text(line) => line,
                Line::TooLong(length) => {
                    let problem = format!("a line of {length} bytes, more than {LINE_BYTES_MAX}");
                    return Err(Error::Answer(problem));
                }
                Line::End => return Err(Error::NoAnswer(method.to_owned())),
            };
            match hear(&line, self.last_request).map_err(Error::Answer)? {
                Heard::Result(value) => return Ok(value),
                Heard::Failed(message) => return Err(Error::Refused(message)),
                Heard::Notification(message) => notified(&message),
                Heard::Unknown => {}
            }
        }
    }
}

/// Longest piece of a bad line that an error quotes, in characters: enough to recognise what wrote it.
const QUOTE_CHARS_MAX: usize = 120;

/// A line that keeps the protocol.
#[derive(Debug, PartialEq)]
pub enum Heard {
    /// The answer to the request.
    Result(Value),
    /// The migrator could not do it; its own words.
    Failed(String),
    /// `log` or `progress`, to be passed on as it is.
    Notification(Box<RpcMessage>),
    /// A notification that nobody knows: a newer migrator's, passed over.
    Unknown,
}

/// Reads a line while the answer to request `number` is awaited; the error says how it breaks the protocol.
pub fn hear(line: &[u8], number: u64) -> Result<Heard, String> {
    let message: RpcMessage = serde_json::from_slice(line)
        .map_err(|error| format!("`{}` is not a JSON-RPC message ({error})", quote(line)))?;
    if message.jsonrpc != "2.0" {
        return Err(format!("`jsonrpc` is not `2.0` in `{}`", quote(line)));
    }
    match message {
        RpcMessage {
            method: Some(_),
            id: None,
            ..
        } => notification(message, line),
        RpcMessage {
            method: Some(method),
            id: Some(_),
            ..
        } => Err(format!(
            "it sends a request (`{}`)",
            quote(method.as_bytes())
        )),
        RpcMessage { id, .. } if id != Some(number) => Err(format!(
            "`{}` is not the answer to request {number}",
            quote(line)
        )),
        RpcMessage {
            result: Some(result),
            error: None,
            ..
        } => Ok(Heard::Result(result)),
        RpcMessage {
            result: None,
            error: Some(error),
            ..
        } => Ok(Heard::Failed(error.message)),
        _ => Err(format!(
            "`{}` does not have either a `result` or an `error`",
            quote(line)
        )),
    }
}

fn notification(message: RpcMessage, line: &[u8]) -> Result<Heard, String> {
    let params = message.params.clone().unwrap_or(Value::Null);
    let problem = match message.method.as_deref() {
        Some("log") => serde_json::from_value::<LogParams>(params).err(),
        Some("progress") => serde_json::from_value::<ProgressParams>(params).err(),
        _ => return Ok(Heard::Unknown),
    };
    match problem {
        None => Ok(Heard::Notification(Box::new(message))),
        Some(error) => Err(format!("bad notification `{}` ({error})", quote(line))),
    }
}

/// Quotes the beginning of a line that nobody trusts.
pub fn quote(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut quoted: String = text
        .chars()
        .take(QUOTE_CHARS_MAX)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if text.chars().nth(QUOTE_CHARS_MAX).is_some() {
        quoted.push('…');
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_to_the_request_is_an_answer() {
        for (line, expected) in [
            (
                r#"{"jsonrpc":"2.0","id":3,"result":7}"#,
                "Ok(Result(Number(7)))",
            ),
            (
                r#"{"jsonrpc":"2.0","id":3,"result":null}"#,
                "Ok(Result(Null))",
            ),
            (
                r#"{"jsonrpc":"2.0","id":3,"error":{"code":1,"message":"no"}}"#,
                r#"Ok(Failed("no"))"#,
            ),
            (
                r#"{"jsonrpc":"2.0","method":"later","params":[]}"#,
                "Ok(Unknown)",
            ),
            ("Starting up…", "`Starting up…` is not a JSON-RPC message"),
            ("", "`` is not a JSON-RPC message"),
            ("[1]", "`[1]` is not a JSON-RPC message"),
            (r#"{"id":3,"result":7}"#, "missing field `jsonrpc`"),
            (
                r#"{"jsonrpc":"1.0","id":3,"result":7}"#,
                "`jsonrpc` is not `2.0`",
            ),
            (
                r#"{"jsonrpc":"2.0","id":2,"result":7}"#,
                "is not the answer to request 3",
            ),
            (
                r#"{"jsonrpc":"2.0","result":7}"#,
                "is not the answer to request 3",
            ),
            (
                r#"{"jsonrpc":"2.0","id":"3","result":7}"#,
                "is not a JSON-RPC message",
            ),
            (r#"{"jsonrpc":"2.0","id":3}"#, "does not have either"),
            (
                r#"{"jsonrpc":"2.0","id":3,"result":1,"error":{"code":1,"message":"no"}}"#,
                "does not have either",
            ),
            (
                r#"{"jsonrpc":"2.0","id":3,"method":"x"}"#,
                "it sends a request (`x`)",
            ),
            (
                r#"{"jsonrpc":"2.0","method":"log","params":7}"#,
                "bad notification",
            ),
            (
                r#"{"jsonrpc":"2.0","method":"progress","params":{"done":-1,"total":1}}"#,
                "bad notification",
            ),
        ] {
            let heard = format!("{:?}", hear(line.as_bytes(), 3));
            assert!(heard.contains(expected), "{line}: {heard}");
        }
    }

    #[test]
    fn notifications_pass_as_they_are() {
        let line = r#"{"jsonrpc":"2.0","method":"progress","params":{"done":1,"total":2}}"#;
        let Ok(Heard::Notification(message)) = hear(line.as_bytes(), 1) else {
            panic!("not passed");
        };
        assert_eq!(serde_json::to_string(&message).unwrap(), line);
    }

    #[test]
    fn a_quote_is_short_and_printable() {
        let line = [b"\x1b[31m".as_slice(), &[b'x'; 1000], b"\xff"].concat();
        let quoted = quote(&line);
        assert_eq!(quoted.chars().count(), QUOTE_CHARS_MAX + 1);
        assert!(!quoted.contains('\x1b'));
    }
}

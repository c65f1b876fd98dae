//! The first part of a multipart body, which is all that the push protocol uses.
//!
//! Nothing but the chunk at hand and the length of a delimiter is kept in memory, whatever the
//! body says.

use memchr::memmem;

use crate::Error;

/// The longest boundary that a multipart body may have (RFC 2046, 5.1.1).
const BOUNDARY_BYTES_MAX: usize = 70;

/// The most that may stand before the first part, and the largest head of a part: clients send
/// nothing and about 200 bytes.
const PREAMBLE_BYTES_MAX: usize = 16 * 1024;

/// Takes a body piece by piece and gives back what belongs to the first part.
#[derive(Debug)]
pub(super) struct FirstPart {
    /// What ends a part: a line break, two dashes and the boundary.
    delimiter: Vec<u8>,
    state: State,
    /// Bytes that are not decided yet.
    held: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Preamble,
    Head,
    Data,
    Done,
}

impl FirstPart {
    /// Starts with the request's content type.
    pub(super) fn new(content_type: &str) -> Result<Self, Error> {
        let boundary = boundary(content_type).ok_or_else(|| {
            bad("the body must be multipart/form-data with a boundary and the package as its first part")
        })?;
        let delimiter = [b"\r\n--", boundary.as_bytes()].concat();
        // The first delimiter may stand at the very start, without a line break before it.
        Ok(Self {
            delimiter,
            state: State::Preamble,
            held: b"\r\n".to_vec(),
        })
    }

    /// Takes the next bytes of the body and returns the next bytes of the part.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<Vec<u8>, Error> {
        if self.state == State::Done {
            return Ok(Vec::new());
        }
        self.held.extend_from_slice(chunk);
        if self.state == State::Preamble
            && let Some(start) = memmem::find(&self.held, &self.delimiter)
        {
            self.held.drain(..start + self.delimiter.len());
            self.state = State::Head;
        }
        if self.state == State::Head {
            if self.held.starts_with(b"--") {
                return Err(bad("the body has no package"));
            }
            // The line break after the boundary may be the first of the two that end the head.
            if let Some(end) = memmem::find(&self.held, b"\r\n\r\n") {
                self.held.drain(..end + 4);
                self.state = State::Data;
            }
        }
        match self.state {
            State::Data => Ok(self.take_data()),
            _ if self.held.len() > PREAMBLE_BYTES_MAX => {
                Err(bad("the body has no part within its first 16 KiB"))
            }
            _ => Ok(Vec::new()),
        }
    }

    fn take_data(&mut self) -> Vec<u8> {
        if let Some(end) = memmem::find(&self.held, &self.delimiter) {
            self.state = State::Done;
            self.held.truncate(end);
            return std::mem::take(&mut self.held);
        }
        // The end of what is here may be the start of a delimiter.
        let sure = self.held.len().saturating_sub(self.delimiter.len() - 1);
        let rest = self.held.split_off(sure);
        std::mem::replace(&mut self.held, rest)
    }

    /// Tells whether the part is complete; what follows has no meaning.
    pub(super) fn is_complete(&self) -> bool {
        self.state == State::Done
    }
}

/// Reads the boundary of a `multipart/form-data` content type, quoted or not.
fn boundary(content_type: &str) -> Option<String> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("boundary")
            .then(|| value.trim().trim_matches('"'))
    })?;
    let is_right = (1..=BOUNDARY_BYTES_MAX).contains(&boundary.len())
        && boundary.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    is_right.then(|| boundary.to_owned())
}

fn bad(reason: &str) -> Error {
    Error::BadRequest(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a body in pieces of each size; all must give the same.
    fn read(body: &[u8]) -> Option<Vec<u8>> {
        let mut answers: Vec<Option<Vec<u8>>> = Vec::new();
        for size in [1, 2, 3, 7, 64, body.len().max(1)] {
            let mut part = FirstPart::new("multipart/form-data; boundary=\"b-1\"").unwrap();
            let data = body
                .chunks(size)
                .map(|chunk| part.push(chunk))
                .collect::<Result<Vec<_>, _>>();
            answers.push(
                data.ok()
                    .filter(|_| part.is_complete())
                    .map(|data| data.concat()),
            );
        }
        assert!(
            answers.windows(2).all(|pair| pair[0] == pair[1]),
            "{answers:?}"
        );
        answers.remove(0)
    }

    #[test]
    fn the_first_part_is_found_in_pieces_of_any_size() {
        for (body, data) in [
            (&b"--b-1\r\nA: b\r\n\r\ndata\r\n--b-1--\r\n"[..], &b"data"[..]),
            (b"--b-1\r\n\r\ndata\r\n--b-1--", b"data"),
            (b"preamble\r\n--b-1  \r\nA: b\r\n\r\nda\r\n--b-\r\nta\r\n--b-1\r\n\r\nmore\r\n--b-1--", b"da\r\n--b-\r\nta"),
            (b"--b-1\r\nA: b\r\n\r\n\r\n--b-1--", b""),
            (b"--b-1\r\n\r\n\r\n\r\n\r\n--b-1--", b"\r\n\r\n"),
        ] {
            assert_eq!(read(body).as_deref(), Some(data));
        }
    }

    #[test]
    fn bodies_without_a_complete_part_are_not_complete() {
        for body in [
            &b""[..],
            b"garbage",
            b"--b-1--\r\n",
            b"--b-1\r\nA: b",
            b"--b-1\r\n\r\ndata",
            b"--b-1\r\n\r\ndata\r\n--b-",
        ] {
            assert_eq!(read(body), None);
        }
    }

    #[test]
    fn what_stands_before_the_part_is_bounded() {
        let mut part = FirstPart::new("multipart/form-data; boundary=b").unwrap();
        let endless = std::iter::repeat_with(|| part.push(&[b'x'; 1000])).take(100);
        assert!(endless.into_iter().any(|pushed| pushed.is_err()));
    }

    #[test]
    fn boundaries_are_read_quoted_and_bare() {
        for (content_type, expected) in [
            ("multipart/form-data; boundary=abc", Some("abc")),
            (
                "Multipart/Form-Data; charset=utf-8; Boundary=\"a b\"",
                Some("a b"),
            ),
            ("multipart/form-data; boundary=\"\"", None),
            ("multipart/form-data", None),
            ("multipart/mixed; boundary=a", None),
            ("application/octet-stream; boundary=a", None),
        ] {
            assert_eq!(
                boundary(content_type).as_deref(),
                expected,
                "{content_type}"
            );
        }
        assert_eq!(
            boundary(&format!("multipart/form-data; boundary={}", "x".repeat(71))),
            None
        );
    }
}

//! The first part of a multipart body, which is all that the push protocol uses.
//!
//! Nothing but the start of a delimiter is kept in memory, and what stands before the first part, whatever
//! the body says. What belongs to the part is not copied.

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
    /// Finds what ends a part: a line break, two dashes and the boundary.
    delimiter: memmem::Finder<'static>,
    state: State,
    /// Bytes that are not decided yet. Within the part the start of a delimiter, or nothing.
    held: Vec<u8>,
}

/// The next bytes of the part.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Data<'a> {
    /// Bytes that came earlier and were not decided.
    pub(super) earlier: Vec<u8>,
    /// Bytes of the piece at hand, which follow them.
    pub(super) now: &'a [u8],
}

impl Data<'_> {
    /// Returns the number of bytes.
    pub(super) fn len(&self) -> usize {
        self.earlier.len() + self.now.len()
    }
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
            delimiter: memmem::Finder::new(&delimiter).into_owned(),
            state: State::Preamble,
            held: b"\r\n".to_vec(),
        })
    }

    /// Takes the next bytes of the body and returns the next bytes of the part.
    pub(super) fn push<'a>(&mut self, chunk: &'a [u8]) -> Result<Data<'a>, Error> {
        match self.state {
            State::Preamble | State::Head => self.take_head(chunk),
            State::Data => Ok(self.take_data(chunk)),
            State::Done => Ok(Data::default()),
        }
    }

    fn take_head<'a>(&mut self, chunk: &[u8]) -> Result<Data<'a>, Error> {
        self.held.extend_from_slice(chunk);
        if self.state == State::Preamble
            && let Some(start) = self.delimiter.find(&self.held)
        {
            self.held.drain(..start + self.delimiter.needle().len());
            self.state = State::Head;
        }
        if self.state == State::Head {
            if self.held.starts_with(b"--") {
                return Err(bad("the body has no package"));
            }
            // The line break after the boundary may be the first of the two that end the head.
            if let Some(end) = memmem::find(&self.held, b"\r\n\r\n") {
                self.state = State::Data;
                let mut earlier = std::mem::take(&mut self.held);
                earlier.drain(..end + 4);
                let length = self.take_data(&earlier).len();
                earlier.truncate(length);
                return Ok(Data { earlier, now: &[] });
            }
        }
        if self.held.len() > PREAMBLE_BYTES_MAX {
            return Err(bad("the body has no part within its first 16 KiB"));
        }
        Ok(Data::default())
    }

    fn take_data<'a>(&mut self, chunk: &'a [u8]) -> Data<'a> {
        let earlier = if self.held.is_empty() {
            Vec::new()
        } else {
            // A delimiter that starts in what is held ends within this many bytes of the piece.
            let reach = self.delimiter.needle().len() - 1;
            let before = self.held.len();
            self.held
                .extend_from_slice(&chunk[..chunk.len().min(reach)]);
            if let Some(end) = self.delimiter.find(&self.held) {
                self.state = State::Done;
                let mut earlier = std::mem::take(&mut self.held);
                earlier.truncate(end);
                return Data { earlier, now: &[] };
            }
            if chunk.len() < reach {
                let sure = self.held.len() - self.open_end(&self.held);
                let rest = self.held.split_off(sure);
                let earlier = std::mem::replace(&mut self.held, rest);
                return Data { earlier, now: &[] };
            }
            self.held.truncate(before);
            std::mem::take(&mut self.held)
        };
        let now = if let Some(end) = self.delimiter.find(chunk) {
            self.state = State::Done;
            &chunk[..end]
        } else {
            let (sure, open) = chunk.split_at(chunk.len() - self.open_end(chunk));
            self.held.extend_from_slice(open);
            sure
        };
        Data { earlier, now }
    }

    /// Returns how many bytes at the end may be the start of a delimiter.
    fn open_end(&self, bytes: &[u8]) -> usize {
        let delimiter = self.delimiter.needle();
        let lengths = (1..delimiter.len()).rev();
        lengths
            .into_iter()
            .find(|length| bytes.ends_with(&delimiter[..*length]))
            .unwrap_or(0)
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
        for size in (1..12).chain([64, body.len().max(1)]) {
            let mut part = FirstPart::new("multipart/form-data; boundary=\"b-1\"").unwrap();
            let data = body.chunks(size).map(|chunk| {
                let data = part.push(chunk)?;
                Ok::<_, Error>([&data.earlier, data.now].concat())
            });
            let data = data.collect::<Result<Vec<_>, _>>();
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
            (b"--b-1\r\n\r\n\r\r\n\r\n-\r\n--\r\n--b\r\n--b-\r\n--b-1", b"\r\r\n\r\n-\r\n--\r\n--b\r\n--b-"),
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
        assert!((0..100).any(|_| part.push(&[b'x'; 1000]).is_err()));
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

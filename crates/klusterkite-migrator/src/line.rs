//! Reads lines of bounded length from a stream that nobody trusts.

use std::io::{self, BufRead};

/// One line of a stream, or its end.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A line without its line feed; the last one may have come without.
    Text(Vec<u8>),
    /// A line of this many bytes, more than allowed. It was skipped, not kept.
    TooLong(u64),
    /// The stream has ended.
    End,
}

/// Reads lines and never holds more of one than allowed.
#[derive(Debug)]
pub struct LineReader<R> {
    reader: R,
    bytes_max: usize,
}

impl<R: BufRead> LineReader<R> {
    /// Reads from `reader` lines of at most `bytes_max` bytes.
    pub fn new(reader: R, bytes_max: usize) -> Self {
        Self { reader, bytes_max }
    }

    /// Reads the next line; waits for it as the reader does.
    pub fn read(&mut self) -> io::Result<Line> {
        let mut text = Vec::new();
        let mut length: u64 = 0;
        loop {
            let chunk = match self.reader.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                return Ok(if length == 0 {
                    Line::End
                } else {
                    self.finish(text, length)
                });
            }
            let line_feed = chunk.iter().position(|byte| *byte == b'\n');
            let part = &chunk[..line_feed.unwrap_or(chunk.len())];
            length += part.len() as u64;
            if length <= self.bytes_max as u64 {
                text.extend_from_slice(part);
            } else {
                text = Vec::new();
            }
            let used = part.len() + usize::from(line_feed.is_some());
            self.reader.consume(used);
            if line_feed.is_some() {
                return Ok(self.finish(text, length));
            }
        }
    }

    fn finish(&self, text: Vec<u8>, length: u64) -> Line {
        if length > self.bytes_max as u64 {
            Line::TooLong(length)
        } else {
            Line::Text(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: &[u8], buffer: usize) -> Vec<Line> {
        let mut reader = LineReader::new(io::BufReader::with_capacity(buffer, input), 4);
        let mut lines = Vec::new();
        loop {
            let line = reader.read().unwrap();
            if line == Line::End {
                return lines;
            }
            lines.push(line);
        }
    }

    #[test]
    fn lines_are_the_same_whatever_the_buffer() {
        let text = |text: &str| Line::Text(text.into());
        for buffer in [1, 2, 3, 64] {
            assert_eq!(all(b"", buffer), []);
            assert_eq!(all(b"ab\n\ncd", buffer), [text("ab"), text(""), text("cd")]);
            assert_eq!(
                all(b"1234\n12345\n1\n", buffer),
                [text("1234"), Line::TooLong(5), text("1")]
            );
            assert_eq!(all(b"1234567", buffer), [Line::TooLong(7)]);
        }
    }
}

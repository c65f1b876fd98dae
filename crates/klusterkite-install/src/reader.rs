//! Reading a package's file at any position.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Bytes that are read at once: several small files of a package.
const BUFFER_BYTES: usize = 64 << 10;

/// Reads a file that several threads share. Unlike [`std::io::BufReader`] it keeps what it has read
/// when it is positioned: an archive is read by small steps back and forth.
#[derive(Debug)]
pub(crate) struct PackageReader {
    file: Option<Arc<File>>,
    position: u64,
    buffer: Vec<u8>,
    /// Where the bytes of the buffer are in the file, and how many they are.
    start: u64,
    filled: usize,
}

impl PackageReader {
    pub(crate) fn new() -> Self {
        Self {
            file: None,
            position: 0,
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            filled: 0,
        }
    }

    /// Goes on with this file; it is not written to any more.
    pub(crate) fn open(&mut self, file: &Arc<File>) {
        let is_open = self
            .file
            .as_ref()
            .is_some_and(|open| Arc::ptr_eq(open, file));
        if !is_open {
            self.file = Some(Arc::clone(file));
            (self.position, self.filled) = (0, 0);
        }
    }

    pub(crate) fn close(&mut self) {
        self.file = None;
        self.filled = 0;
    }

    fn file(&self) -> io::Result<&File> {
        let file = self.file.as_deref();
        file.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Read for PackageReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut from = self.position.wrapping_sub(self.start);
        if from >= self.filled as u64 {
            if out.len() >= self.buffer.len() {
                let count = self.file()?.read_at(out, self.position)?;
                self.position += count as u64;
                return Ok(count);
            }
            self.filled = 0;
            let file = self.file.as_deref();
            let file = file.ok_or(io::ErrorKind::NotConnected)?;
            self.filled = file.read_at(&mut self.buffer, self.position)?;
            (self.start, from) = (self.position, 0);
        }
        let known = &self.buffer[from as usize..self.filled];
        let count = known.len().min(out.len());
        out[..count].copy_from_slice(&known[..count]);
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for PackageReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.file()?.metadata()?.len().checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_position_of_a_file_can_be_read_and_its_end_is_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let content: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let mut reader = PackageReader::new();
        assert!(reader.read(&mut [0; 1]).is_err(), "no file yet");
        reader.open(&Arc::new(File::open(&path).unwrap()));
        for (position, length) in [
            (0, 10),
            (65_530, 20),
            (5, 100_000),
            (131_000, 69_000),
            (199_999, 1),
            (200_000, 0),
            (300_000, 0),
        ] {
            reader.seek(SeekFrom::Start(position as u64)).unwrap();
            let mut found = Vec::new();
            let wanted = length as u64;
            reader
                .by_ref()
                .take(wanted)
                .read_to_end(&mut found)
                .unwrap();
            let expected = content.get(position..position + length).unwrap_or_default();
            assert_eq!(found, expected, "{position}");
        }
        assert_eq!(reader.seek(SeekFrom::End(-1)).unwrap(), 199_999);
        assert!(reader.seek(SeekFrom::Current(-300_000)).is_err());
    }
}

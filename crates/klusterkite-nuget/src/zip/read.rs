//! Unpacking single entries.

use std::io::{self, Read, Seek, SeekFrom, Write};

use flate2::{Decompress, FlushDecompress, Status};

use super::{Entry, Fields, LOCAL_HEADER, LOCAL_HEADER_BYTES, directory};
use crate::error::{Error, shown};
use crate::limits::Limits;

/// The packed bytes that are read at once.
const INPUT_BYTES: usize = 32 * 1024;

/// The bytes that are unpacked at once: most files of packages are smaller, so each is written by
/// one call.
const OUTPUT_BYTES: usize = 64 * 1024;

/// An archive whose directory was read and checked.
#[derive(Debug)]
pub(crate) struct Archive<R> {
    reader: R,
    entries: Vec<Entry>,
}

impl<R: Read + Seek> Archive<R> {
    pub(crate) fn open(mut reader: R, limits: &Limits) -> Result<Self, Error> {
        let entries = directory::read(&mut reader, limits)?;
        Ok(Self { reader, entries })
    }

    /// Unpacks an entry; see [`Unpacker::unpack`].
    pub(crate) fn copy(
        &mut self,
        index: usize,
        unpacker: &mut Unpacker,
        out: &mut impl Write,
    ) -> Result<u64, Error> {
        unpacker.unpack(&self.entries[index], &mut self.reader, out)
    }
}

impl<R> Archive<R> {
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn into_inner(self) -> R {
        self.reader
    }

    pub(crate) fn detach(self) -> Archive<()> {
        Archive {
            reader: (),
            entries: self.entries,
        }
    }
}

/// The buffers and the state of decompression with which files are unpacked one after another:
/// about 140 KiB, made once instead of once per file.
#[derive(Debug)]
pub struct Unpacker {
    input: Vec<u8>,
    output: Vec<u8>,
    inflate: Decompress,
}

impl Unpacker {
    /// Makes the buffers.
    #[expect(
        clippy::new_without_default,
        reason = "a default of some buffers says nothing to a reader"
    )]
    pub fn new() -> Self {
        Self {
            input: vec![0; INPUT_BYTES],
            output: vec![0; OUTPUT_BYTES],
            inflate: Decompress::new(false),
        }
    }

    /// Unpacks an entry; fails if its bytes are not as many as declared or have another checksum.
    /// Never writes more bytes than declared.
    pub(crate) fn unpack<R: Read + Seek>(
        &mut self,
        entry: &Entry,
        reader: &mut R,
        out: &mut impl Write,
    ) -> Result<u64, Error> {
        seek_data(reader, entry)?;
        let mut sink = Sink {
            entry,
            out,
            crc: crc32fast::Hasher::new(),
            size: 0,
        };
        if entry.deflated {
            self.inflate(reader, &mut sink)?;
        } else {
            self.copy(reader, &mut sink)?;
        }
        sink.finish()
    }

    fn copy<R: Read, W: Write>(
        &mut self,
        reader: &mut R,
        sink: &mut Sink<'_, W>,
    ) -> Result<(), Error> {
        let mut left = sink.entry.packed_size;
        while left > 0 {
            let count = read_full(reader, &mut self.output, left)?;
            if count == 0 {
                return Err(refused(sink.entry, "it is truncated"));
            }
            left -= count as u64;
            sink.write(&self.output[..count])?;
        }
        Ok(())
    }

    fn inflate<R: Read, W: Write>(
        &mut self,
        reader: &mut R,
        sink: &mut Sink<'_, W>,
    ) -> Result<(), Error> {
        const CORRUPT: &str = "its data is corrupt";
        self.inflate.reset(false);
        let mut left = sink.entry.packed_size;
        let (mut start, mut end, mut filled) = (0, 0, 0);
        loop {
            if start == end && left > 0 {
                (start, end) = (0, read_full(reader, &mut self.input, left)?);
                if end == 0 {
                    return Err(refused(sink.entry, CORRUPT));
                }
                left -= end as u64;
            }
            let (taken, given) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(
                &self.input[start..end],
                &mut self.output[filled..],
                FlushDecompress::None,
            );
            let status = status.map_err(|_| refused(sink.entry, CORRUPT))?;
            let taken = (self.inflate.total_in() - taken) as usize;
            let given = (self.inflate.total_out() - given) as usize;
            start += taken;
            filled += given;
            let ended = status == Status::StreamEnd;
            if ended || filled == self.output.len() {
                sink.write(&self.output[..filled])?;
                filled = 0;
            } else if taken == 0 && given == 0 && (start < end || left == 0) {
                // There is room and no more to come: the end is missing.
                return Err(refused(sink.entry, CORRUPT));
            }
            if ended {
                return Ok(());
            }
        }
    }
}

/// Where the bytes of an entry go, and what is known of them.
struct Sink<'a, W> {
    entry: &'a Entry,
    out: &'a mut W,
    crc: crc32fast::Hasher,
    size: u64,
}

impl<W: Write> Sink<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.size += bytes.len() as u64;
        // Checked before anything is written: the declared size passed the limits.
        if self.size > self.entry.size {
            let reason = "it unpacks to more bytes than it declares";
            return Err(refused(self.entry, reason));
        }
        self.crc.update(bytes);
        self.out.write_all(bytes).map_err(|source| Error::Write {
            entry: shown(&self.entry.path),
            source,
        })
    }

    fn finish(self) -> Result<u64, Error> {
        if self.size < self.entry.size {
            let reason = "it unpacks to fewer bytes than it declares";
            return Err(refused(self.entry, reason));
        }
        if self.crc.finalize() != self.entry.crc32 {
            return Err(refused(self.entry, "its checksum is wrong"));
        }
        Ok(self.size)
    }
}

fn refused(entry: &Entry, reason: &'static str) -> Error {
    Error::Entry {
        entry: shown(&entry.path),
        reason,
    }
}

/// Fills the buffer, with at most `left` bytes; returns fewer at the end.
fn read_full<R: Read>(reader: &mut R, buffer: &mut [u8], left: u64) -> Result<usize, Error> {
    let wanted = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
    let mut filled = 0;
    while filled < wanted {
        match reader.read(&mut buffer[filled..wanted]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::Read(error)),
        }
    }
    Ok(filled)
}

/// Positions the reader at an entry's data.
fn seek_data<R: Read + Seek>(reader: &mut R, entry: &Entry) -> Result<(), Error> {
    reader
        .seek(SeekFrom::Start(entry.header_offset))
        .map_err(Error::Read)?;
    let mut header = [0; LOCAL_HEADER_BYTES as usize];
    let mut name = vec![0; entry.raw_name.len()];
    let read = reader
        .read_exact(&mut header)
        .and_then(|()| reader.read_exact(&mut name));
    read.map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => refused(entry, "it is truncated"),
        _ => Error::Read(error),
    })?;

    // After the signature come 22 bytes that the directory has too, then two lengths.
    let is_header = Fields(&header).u32() == Some(LOCAL_HEADER);
    let mut lengths = Fields(&header[26..]);
    let (name_length, extra_length) = (lengths.u16(), lengths.u16());
    let same_name = name_length.map(usize::from) == Some(name.len()) && name == entry.raw_name;
    if !is_header || !same_name {
        let reason = "its own header contradicts the directory";
        return Err(refused(entry, reason));
    }
    let extra_length = i64::from(extra_length.unwrap_or_default());
    reader
        .seek(SeekFrom::Current(extra_length))
        .map_err(Error::Read)?;
    Ok(())
}

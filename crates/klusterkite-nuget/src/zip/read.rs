//! Unpacking single entries.

use std::io::{self, Read, Seek, SeekFrom, Write};

use flate2::read::DeflateDecoder;

use super::{Entry, Fields, LOCAL_HEADER, LOCAL_HEADER_BYTES, directory};
use crate::error::{Error, shown};
use crate::limits::Limits;

/// The bytes that are unpacked at once.
const COPY_BYTES: usize = 64 * 1024;

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

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn into_inner(self) -> R {
        self.reader
    }

    /// Unpacks an entry; fails if its bytes are not as many as declared or have another checksum.
    pub(crate) fn copy(&mut self, index: usize, out: &mut impl Write) -> Result<u64, Error> {
        let entry = self.entries[index].clone();
        let refuse = |reason| Error::Entry {
            entry: shown(&entry.path),
            reason,
        };
        let mut data = self.data(&entry)?;
        let mut crc = crc32fast::Hasher::new();
        let mut buffer = vec![0; COPY_BYTES];
        let mut size: u64 = 0;
        loop {
            let count = match data.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if is_corruption(&error) => return Err(refuse("its data is corrupt")),
                Err(error) => return Err(Error::Read(error)),
            };
            size += count as u64;
            // Checked before anything is written: the declared size passed the limits.
            if size > entry.size {
                return Err(refuse("it unpacks to more bytes than it declares"));
            }
            crc.update(&buffer[..count]);
            out.write_all(&buffer[..count])
                .map_err(|source| Error::Write {
                    entry: shown(&entry.path),
                    source,
                })?;
        }
        if size < entry.size {
            return Err(refuse("it unpacks to fewer bytes than it declares"));
        }
        if crc.finalize() != entry.crc32 {
            return Err(refuse("its checksum is wrong"));
        }
        Ok(size)
    }

    /// Unpacks the first bytes of an entry, without any check of the rest.
    pub(crate) fn head(&mut self, index: usize, count: usize) -> Result<Vec<u8>, Error> {
        let entry = self.entries[index].clone();
        let data = self.data(&entry)?;
        let mut head = Vec::new();
        match data.take(count as u64).read_to_end(&mut head) {
            Ok(_) => Ok(head),
            Err(error) if is_corruption(&error) => Err(Error::Entry {
                entry: shown(&entry.path),
                reason: "its data is corrupt",
            }),
            Err(error) => Err(Error::Read(error)),
        }
    }

    /// Positions the reader at an entry's data.
    fn data(&mut self, entry: &Entry) -> Result<Data<'_, R>, Error> {
        let refuse = |reason| Error::Entry {
            entry: shown(&entry.path),
            reason,
        };
        self.reader
            .seek(SeekFrom::Start(entry.header_offset))
            .map_err(Error::Read)?;
        let mut header = [0; LOCAL_HEADER_BYTES as usize];
        let mut name = vec![0; entry.raw_name.len()];
        let read = self
            .reader
            .read_exact(&mut header)
            .and_then(|()| self.reader.read_exact(&mut name));
        read.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => refuse("it is truncated"),
            _ => Error::Read(error),
        })?;

        // After the signature come 22 bytes that the directory has too, then two lengths.
        let is_header = Fields(&header).u32() == Some(LOCAL_HEADER);
        let mut lengths = Fields(&header[26..]);
        let (name_length, extra_length) = (lengths.u16(), lengths.u16());
        let same_name = name_length.map(usize::from) == Some(name.len()) && name == entry.raw_name;
        if !is_header || !same_name {
            return Err(refuse("its own header contradicts the directory"));
        }
        let extra_length = i64::from(extra_length.unwrap_or_default());
        self.reader
            .seek(SeekFrom::Current(extra_length))
            .map_err(Error::Read)?;
        let packed = self.reader.by_ref().take(entry.packed_size);
        Ok(if entry.deflated {
            Data::Deflated(DeflateDecoder::new(packed))
        } else {
            Data::Stored(packed)
        })
    }
}

/// flate2 reports broken deflate data as one of these.
fn is_corruption(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
    )
}

enum Data<'a, R> {
    Stored(io::Take<&'a mut R>),
    Deflated(DeflateDecoder<io::Take<&'a mut R>>),
}

impl<R: Read> Read for Data<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Stored(data) => data.read(buffer),
            Self::Deflated(data) => data.read(buffer),
        }
    }
}

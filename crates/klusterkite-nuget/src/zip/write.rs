//! Writing archives whose bytes depend on nothing but their contents.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::{
    CENTRAL_HEADER, DEFLATED, END, FLAG_UTF8, LOCAL_HEADER, MADE_BY_UNIX, MODE_REGULAR, STORED,
};
use crate::error::{Error, shown};

/// 1980-01-01 00:00, the first moment that a zip can name: times would make equal packages differ.
const DATE: u16 = 1 << 5 | 1;
const TIME: u16 = 0;

/// The version of the format that readers must know, for deflate.
const VERSION: u16 = 20;

/// Writes entries one after another, then the directory. Without 64-bit records: a package is
/// smaller than 4 GiB and has fewer than 65,535 entries.
pub(crate) struct ArchiveWriter<W> {
    out: W,
    offset: u64,
    directory: Vec<u8>,
    entries: u16,
}

impl<W: Write> ArchiveWriter<W> {
    pub(crate) fn new(out: W) -> Self {
        Self {
            out,
            offset: 0,
            directory: Vec::new(),
            entries: 0,
        }
    }

    /// Adds a file; `name` is written as it is.
    pub(crate) fn add(
        &mut self,
        name: &str,
        contents: &[u8],
        executable: bool,
    ) -> Result<(), Error> {
        let too_large = |reason| Error::Entry {
            entry: shown(name),
            reason,
        };
        let failed = |source| Error::Write {
            entry: shown(name),
            source,
        };

        let packed = deflate(contents).map_err(failed)?;
        let (method, data) = if packed.len() < contents.len() {
            (DEFLATED, packed.as_slice())
        } else {
            (STORED, contents)
        };
        let size =
            u32::try_from(contents.len()).map_err(|_| too_large("it is larger than 4 GiB"))?;
        let offset = u32::try_from(self.offset)
            .map_err(|_| too_large("the package would be larger than 4 GiB"))?;
        let name_length =
            u16::try_from(name.len()).map_err(|_| too_large("its name is too long"))?;
        let entries = self
            .entries
            .checked_add(1)
            .filter(|count| *count < u16::MAX);
        self.entries =
            entries.ok_or_else(|| too_large("the package has more than 65,534 entries"))?;

        // Both headers share these fields.
        let mut shared = Vec::new();
        put_u16(&mut shared, VERSION);
        put_u16(&mut shared, if name.is_ascii() { 0 } else { FLAG_UTF8 });
        put_u16(&mut shared, method);
        put_u16(&mut shared, TIME);
        put_u16(&mut shared, DATE);
        put_u32(&mut shared, crc32fast::hash(contents));
        put_u32(&mut shared, data.len() as u32);
        put_u32(&mut shared, size);
        put_u16(&mut shared, name_length);
        put_u16(&mut shared, 0); // extra field

        let mut local = Vec::new();
        put_u32(&mut local, LOCAL_HEADER);
        local.extend_from_slice(&shared);
        local.extend_from_slice(name.as_bytes());
        for part in [local.as_slice(), data] {
            self.out.write_all(part).map_err(failed)?;
            self.offset += part.len() as u64;
        }

        let mode = MODE_REGULAR | if executable { 0o755 } else { 0o644 };
        put_u32(&mut self.directory, CENTRAL_HEADER);
        put_u16(&mut self.directory, MADE_BY_UNIX << 8 | VERSION);
        self.directory.extend_from_slice(&shared);
        put_u16(&mut self.directory, 0); // comment
        put_u16(&mut self.directory, 0); // disk
        put_u16(&mut self.directory, 0); // internal attributes
        put_u32(&mut self.directory, mode << 16);
        put_u32(&mut self.directory, offset);
        self.directory.extend_from_slice(name.as_bytes());
        Ok(())
    }

    /// Writes the directory and returns the writer.
    pub(crate) fn finish(mut self) -> Result<W, Error> {
        let large = |_| Error::Archive {
            reason: "it would be larger than 4 GiB",
        };
        let failed = |source| Error::Write {
            entry: "the package's directory".to_owned(),
            source,
        };
        let mut end = Vec::new();
        put_u32(&mut end, END);
        put_u32(&mut end, 0); // disks
        put_u16(&mut end, self.entries);
        put_u16(&mut end, self.entries);
        put_u32(
            &mut end,
            u32::try_from(self.directory.len()).map_err(large)?,
        );
        put_u32(&mut end, u32::try_from(self.offset).map_err(large)?);
        put_u16(&mut end, 0); // comment
        self.out.write_all(&self.directory).map_err(failed)?;
        self.out.write_all(&end).map_err(failed)?;
        self.out.flush().map_err(failed)?;
        Ok(self.out)
    }
}

fn deflate(contents: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(contents)?;
    encoder.finish()
}

fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

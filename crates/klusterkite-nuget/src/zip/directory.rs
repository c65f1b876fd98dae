//! The central directory: what an archive says it contains.

use std::io::{Read, Seek, SeekFrom};

use super::names::{PathSet, clean_path};
use super::{
    CENTRAL_HEADER, CENTRAL_HEADER_BYTES, DEFLATED, END, END_64, END_64_BYTES, END_64_LOCATOR,
    END_64_LOCATOR_BYTES, END_BYTES, FLAG_ENCRYPTED, FLAG_MASKED_HEADERS, FLAG_PATCH_DATA,
    FLAG_STRONG_ENCRYPTION, Fields, LOCAL_HEADER_BYTES, MADE_BY_UNIX, MODE_DIRECTORY, MODE_REGULAR,
    MODE_SYMLINK, MODE_TYPE, STORED,
};
use crate::error::{Error, shown};
use crate::limits::{Limits, RATIO_FREE_BYTES};

/// The largest central directory that is read into memory: 64 MiB, which is 1.3 KiB for each of
/// the 50,000 entries that the standard limits allow.
const DIRECTORY_BYTES_MAX: u64 = 64 << 20;

/// The comment at the end of an archive has a 16-bit length.
const COMMENT_BYTES_MAX: u64 = 65_535;

/// One file or directory of an archive, checked.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Relative, with `/`, decoded; a directory's path ends with `/`.
    pub(crate) path: String,
    /// The name as its bytes are in the archive.
    pub(crate) raw_name: Vec<u8>,
    /// Stored or deflated.
    pub(crate) deflated: bool,
    /// The checksum that the unpacked bytes must have.
    pub(crate) crc32: u32,
    /// Bytes in the archive.
    pub(crate) packed_size: u64,
    /// Bytes unpacked, as declared.
    pub(crate) size: u64,
    /// Where the entry's local header starts.
    pub(crate) header_offset: u64,
    /// Permission bits, if a Unix system wrote them.
    pub(crate) mode: Option<u32>,
}

impl Entry {
    pub(crate) fn is_directory(&self) -> bool {
        self.path.ends_with('/')
    }
}

/// Where the central directory is and what it should hold.
struct Location {
    offset: u64,
    size: u64,
    entries: u64,
}

/// Reads and checks the central directory.
pub(super) fn read<R: Read + Seek>(reader: &mut R, limits: &Limits) -> Result<Vec<Entry>, Error> {
    let archive_size = reader.seek(SeekFrom::End(0)).map_err(Error::Read)?;
    let location = locate(reader, archive_size)?;
    limit(
        "the number of entries",
        location.entries,
        limits.entries_max as u64,
    )?;
    limit(
        "the size of its directory in bytes",
        location.size,
        DIRECTORY_BYTES_MAX,
    )?;

    let bytes = read_at(reader, location.offset, location.size)?;
    let mut fields = Fields(&bytes);
    let mut entries = Vec::new();
    for _ in 0..location.entries {
        entries.push(read_entry(&mut fields)?);
    }
    if !fields.0.is_empty() {
        return Err(Error::Archive {
            reason: "its directory holds more than the entries it counts",
        });
    }
    check_sizes(&entries, limits, archive_size)?;
    check_overlap(&entries, location.offset)?;
    let mut paths = PathSet::default();
    for entry in &entries {
        paths.add(&entry.path);
    }
    paths.check()?;
    Ok(entries)
}

fn limit(what: &'static str, actual: u64, limit: u64) -> Result<(), Error> {
    if actual > limit {
        Err(Error::Limit {
            what,
            actual,
            limit,
        })
    } else {
        Ok(())
    }
}

fn read_at<R: Read + Seek>(reader: &mut R, offset: u64, size: u64) -> Result<Vec<u8>, Error> {
    reader.seek(SeekFrom::Start(offset)).map_err(Error::Read)?;
    let mut bytes = Vec::new();
    reader
        .by_ref()
        .take(size)
        .read_to_end(&mut bytes)
        .map_err(Error::Read)?;
    if bytes.len() as u64 != size {
        return Err(Error::Archive {
            reason: "it is truncated",
        });
    }
    Ok(bytes)
}

fn locate<R: Read + Seek>(reader: &mut R, archive_size: u64) -> Result<Location, Error> {
    const NOT_ZIP: Error = Error::Archive {
        reason: "it has no end record; it is truncated or no zip",
    };
    const CONTRADICTION: Error = Error::Archive {
        reason: "its end record contradicts its size",
    };

    let tail_size = archive_size
        .min(END_BYTES as u64 + COMMENT_BYTES_MAX + (END_64_BYTES + END_64_LOCATOR_BYTES) as u64);
    let tail_offset = archive_size - tail_size;
    let tail = read_at(reader, tail_offset, tail_size)?;

    // The record whose comment reaches exactly to the end of the archive.
    let last_start = tail.len().checked_sub(END_BYTES).ok_or(NOT_ZIP)?;
    let (start, mut fields) = (0..=last_start)
        .rev()
        .find_map(|start| {
            let mut fields = Fields(&tail[start..]);
            let found = fields.u32() == Some(END);
            let comment = Fields(&tail[start + END_BYTES - 2..]).u16()?;
            (found && start + END_BYTES + usize::from(comment) == tail.len())
                .then_some((start, fields))
        })
        .ok_or(NOT_ZIP)?;

    let mut next_u16 = || fields.u16().ok_or(NOT_ZIP);
    let (disk, start_disk) = (next_u16()?, next_u16()?);
    let (disk_entries, entries) = (next_u16()?, next_u16()?);
    let (size, offset) = (fields.u32().ok_or(NOT_ZIP)?, fields.u32().ok_or(NOT_ZIP)?);
    if disk != start_disk || disk_entries != entries {
        return Err(Error::Archive {
            reason: "it is one part of several",
        });
    }

    let end_offset = tail_offset + start as u64;
    let needs_64 = entries == u16::MAX || size == u32::MAX || offset == u32::MAX;
    let locator = start.checked_sub(END_64_LOCATOR_BYTES).and_then(|at| {
        let mut fields = Fields(&tail[at..]);
        (fields.u32() == Some(END_64_LOCATOR)).then_some(())?;
        fields.u32()?;
        fields.u64()
    });
    let (location, directory_end) = match locator {
        Some(end_64_offset) if needs_64 => (locate_64(reader, end_64_offset)?, end_64_offset),
        _ => {
            let location = Location {
                offset: offset.into(),
                size: size.into(),
                entries: entries.into(),
            };
            (location, end_offset)
        }
    };
    if location.offset.checked_add(location.size) != Some(directory_end) {
        return Err(CONTRADICTION);
    }
    Ok(location)
}

fn locate_64<R: Read + Seek>(reader: &mut R, offset: u64) -> Result<Location, Error> {
    const BROKEN: Error = Error::Archive {
        reason: "its 64-bit end record is broken",
    };
    let bytes = read_at(reader, offset, END_64_BYTES as u64)?;
    let mut fields = Fields(&bytes);
    if fields.u32() != Some(END_64) {
        return Err(BROKEN);
    }
    // Size of the record, version made by, version needed, numbers of disks.
    fields.bytes(8 + 2 + 2 + 4 + 4).ok_or(BROKEN)?;
    let mut next = || fields.u64().ok_or(BROKEN);
    let (disk_entries, entries, size, offset) = (next()?, next()?, next()?, next()?);
    if disk_entries != entries {
        return Err(Error::Archive {
            reason: "it is one part of several",
        });
    }
    Ok(Location {
        offset,
        size,
        entries,
    })
}

fn read_entry(fields: &mut Fields<'_>) -> Result<Entry, Error> {
    const TRUNCATED: Error = Error::Archive {
        reason: "its directory is truncated",
    };
    let fixed = fields.bytes(CENTRAL_HEADER_BYTES).ok_or(TRUNCATED)?;
    let header = Header::parse(fixed).ok_or(Error::Archive {
        reason: "its directory is broken",
    })?;
    let raw_name = fields
        .bytes(header.name_length.into())
        .ok_or(TRUNCATED)?
        .to_vec();
    let extra = fields.bytes(header.extra_length.into()).ok_or(TRUNCATED)?;
    fields
        .bytes(header.comment_length.into())
        .ok_or(TRUNCATED)?;

    let path = clean_path(&raw_name)?;
    let refuse = |reason| {
        Err(Error::Entry {
            entry: shown(&path),
            reason,
        })
    };
    let encrypted = FLAG_ENCRYPTED | FLAG_STRONG_ENCRYPTION | FLAG_MASKED_HEADERS;
    if header.flags & encrypted != 0 {
        return refuse("it is encrypted");
    }
    if header.flags & FLAG_PATCH_DATA != 0 || !matches!(header.method, STORED | DEFLATED) {
        return refuse("its compression method is neither `stored` nor `deflate`");
    }
    let Some((size, packed_size, header_offset)) = header.sizes(extra) else {
        return refuse("its 64-bit sizes are missing");
    };
    let deflated = header.method == DEFLATED;
    if !deflated && size != packed_size {
        return refuse("it is stored, but its two sizes differ");
    }
    if path.ends_with('/') && size != 0 {
        return refuse("it is a directory with contents");
    }
    let mode = header.mode();
    match mode.map(|mode| mode & MODE_TYPE) {
        None | Some(0 | MODE_REGULAR | MODE_DIRECTORY) => {}
        Some(MODE_SYMLINK) => return refuse("it is a symbolic link"),
        Some(_) => return refuse("it is neither a file nor a directory"),
    }
    let mode = mode.map(|mode| mode & 0o777).filter(|mode| *mode != 0);
    Ok(Entry {
        path,
        raw_name,
        deflated,
        crc32: header.crc32,
        packed_size,
        size,
        header_offset,
        mode,
    })
}

/// The fixed part of a directory record.
struct Header {
    made_by: u16,
    flags: u16,
    method: u16,
    crc32: u32,
    packed_size: u32,
    size: u32,
    name_length: u16,
    extra_length: u16,
    comment_length: u16,
    attributes: u32,
    offset: u32,
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        if fields.u32()? != CENTRAL_HEADER {
            return None;
        }
        let made_by = fields.u16()?;
        fields.u16()?; // version needed: what is needed is seen at the method
        let (flags, method) = (fields.u16()?, fields.u16()?);
        fields.u32()?; // time and date
        let (crc32, packed_size, size) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let (name_length, extra_length, comment_length) =
            (fields.u16()?, fields.u16()?, fields.u16()?);
        fields.u32()?; // disk and internal attributes
        let (attributes, offset) = (fields.u32()?, fields.u32()?);
        Some(Self {
            made_by,
            flags,
            method,
            crc32,
            packed_size,
            size,
            name_length,
            extra_length,
            comment_length,
            attributes,
            offset,
        })
    }

    fn mode(&self) -> Option<u32> {
        (self.made_by >> 8 == MADE_BY_UNIX).then_some(self.attributes >> 16)
    }

    /// Returns size, packed size and offset, from the 64-bit extra field where a 32-bit field is
    /// full; `None` if that field is needed and missing.
    fn sizes(&self, extra: &[u8]) -> Option<(u64, u64, u64)> {
        const ZIP_64_EXTRA: u16 = 1;
        let mut fields = Fields(extra);
        let mut wide = Fields(&[]);
        while let (Some(id), Some(length)) = (fields.u16(), fields.u16()) {
            let Some(data) = fields.bytes(length.into()) else {
                break;
            };
            if id == ZIP_64_EXTRA {
                wide = Fields(data);
                break;
            }
        }
        let mut resolve = |narrow: u32| {
            if narrow == u32::MAX {
                wide.u64()
            } else {
                Some(u64::from(narrow))
            }
        };
        Some((
            resolve(self.size)?,
            resolve(self.packed_size)?,
            resolve(self.offset)?,
        ))
    }
}

fn check_sizes(entries: &[Entry], limits: &Limits, archive_size: u64) -> Result<(), Error> {
    let mut total: u64 = 0;
    for entry in entries {
        limit(
            "the unpacked size of one entry in bytes",
            entry.size,
            limits.entry_bytes_max,
        )?;
        total = total.saturating_add(entry.size);
    }
    limit(
        "the unpacked size of all entries in bytes",
        total,
        limits.total_bytes_max,
    )?;
    let ratio_bytes = archive_size
        .saturating_mul(limits.ratio_max)
        .max(RATIO_FREE_BYTES);
    limit(
        "the unpacked size for an archive this small in bytes",
        total,
        ratio_bytes,
    )
}

/// Refuses entries that share bytes: with them a small archive unpacks to a huge one without any
/// entry being suspicious.
fn check_overlap(entries: &[Entry], directory_offset: u64) -> Result<(), Error> {
    let mut order: Vec<&Entry> = entries.iter().collect();
    order.sort_by_key(|entry| entry.header_offset);
    let mut free_from = 0;
    for entry in order {
        let refuse = |reason| {
            Err(Error::Entry {
                entry: shown(&entry.path),
                reason,
            })
        };
        if entry.header_offset < free_from {
            return refuse("it overlaps another entry");
        }
        let header_size = LOCAL_HEADER_BYTES + entry.raw_name.len() as u64;
        let end = entry
            .header_offset
            .checked_add(header_size)
            .and_then(|at| at.checked_add(entry.packed_size));
        match end {
            Some(end) if end <= directory_offset => free_from = end,
            _ => return refuse("it reaches into the archive's directory"),
        }
    }
    Ok(())
}

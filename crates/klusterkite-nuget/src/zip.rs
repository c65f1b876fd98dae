//! The part of the zip format that packages use, read without trusting any of it.
//!
//! A general zip library repairs and tolerates; for packages whose hashes are frozen, two readers
//! that see different files in the same bytes are a danger. So everything that is ambiguous is
//! refused: duplicate and clashing names, overlapping entries, headers that contradict each other,
//! and a directory that does not end where the archive's end record starts.

mod directory;
mod names;
mod read;
mod write;

pub(crate) use directory::Entry;
pub(crate) use names::PathSet;
pub(crate) use read::Archive;
pub use read::Unpacker;
pub(crate) use write::ArchiveWriter;

/// Signatures of the records, as little-endian numbers.
const LOCAL_HEADER: u32 = 0x0403_4b50;
const CENTRAL_HEADER: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const END_64_LOCATOR: u32 = 0x0706_4b50;

/// Sizes of the records without their variable parts.
const LOCAL_HEADER_BYTES: u64 = 30;
const CENTRAL_HEADER_BYTES: usize = 46;
const END_BYTES: usize = 22;
const END_64_BYTES: usize = 56;
const END_64_LOCATOR_BYTES: usize = 20;

/// Compression methods.
const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// Flag bits.
const FLAG_ENCRYPTED: u16 = 1;
const FLAG_PATCH_DATA: u16 = 1 << 5;
const FLAG_STRONG_ENCRYPTION: u16 = 1 << 6;
const FLAG_UTF8: u16 = 1 << 11;
const FLAG_MASKED_HEADERS: u16 = 1 << 13;

/// The "made by" value of a Unix system, whose external attributes hold a mode.
const MADE_BY_UNIX: u16 = 3;

/// Bits of a Unix mode.
const MODE_TYPE: u32 = 0o170_000;
const MODE_REGULAR: u32 = 0o100_000;
const MODE_DIRECTORY: u32 = 0o040_000;
const MODE_SYMLINK: u32 = 0o120_000;

/// Reads little-endian numbers off a slice; `None` at its end.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

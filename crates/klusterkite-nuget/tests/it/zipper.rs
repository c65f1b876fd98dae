//! Writes zip archives field by field, also wrong ones.

/// One entry; every field is written as it is.
#[derive(Clone)]
pub(crate) struct RawEntry {
    pub(crate) name: Vec<u8>,
    pub(crate) local_name: Vec<u8>,
    pub(crate) data: Vec<u8>,
    pub(crate) method: u16,
    pub(crate) flags: u16,
    pub(crate) crc32: u32,
    pub(crate) size: u32,
    /// Unix mode; 0 with `made_by` 0 for none.
    pub(crate) mode: u32,
    pub(crate) made_by: u16,
    /// Where the directory says the entry is, instead of where it is.
    pub(crate) offset: Option<u32>,
}

impl RawEntry {
    /// A right entry, stored.
    pub(crate) fn stored(name: impl AsRef<[u8]>, data: &[u8]) -> Self {
        Self {
            name: name.as_ref().to_vec(),
            local_name: name.as_ref().to_vec(),
            data: data.to_vec(),
            method: 0,
            flags: 0,
            crc32: crc32(data),
            size: data.len() as u32,
            mode: 0,
            made_by: 0,
            offset: None,
        }
    }

    /// A right entry, deflated.
    pub(crate) fn deflated(name: &str, data: &[u8]) -> Self {
        use std::io::Write as _;
        let mut encoder =
            flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(data).unwrap();
        Self {
            data: encoder.finish().unwrap(),
            method: 8,
            ..Self::stored(name, data)
        }
    }

    pub(crate) fn unix(mut self, mode: u32) -> Self {
        self.made_by = 0x0314;
        self.mode = mode;
        self
    }
}

/// The nuspec that makes an archive a package.
pub(crate) fn nuspec() -> RawEntry {
    RawEntry::stored(
        "Acme.nuspec",
        b"<package><metadata><id>Acme</id><version>1.0.0</version></metadata></package>",
    )
}

/// Writes the archive.
pub(crate) fn zip(entries: &[RawEntry]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut directory = Vec::new();
    for entry in entries {
        let offset = entry.offset.unwrap_or(out.len() as u32);
        let mut shared = Vec::new();
        for value in [20, entry.flags, entry.method, 0, 33] {
            shared.extend_from_slice(&value.to_le_bytes());
        }
        for value in [entry.crc32, entry.data.len() as u32, entry.size] {
            shared.extend_from_slice(&value.to_le_bytes());
        }
        out.extend_from_slice(b"PK\x03\x04");
        out.extend_from_slice(&shared);
        out.extend_from_slice(&(entry.local_name.len() as u16).to_le_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&entry.local_name);
        out.extend_from_slice(&entry.data);

        directory.extend_from_slice(b"PK\x01\x02");
        directory.extend_from_slice(&entry.made_by.to_le_bytes());
        directory.extend_from_slice(&shared);
        directory.extend_from_slice(&(entry.name.len() as u16).to_le_bytes());
        directory.extend_from_slice(&[0; 8]);
        directory.extend_from_slice(&(entry.mode << 16).to_le_bytes());
        directory.extend_from_slice(&offset.to_le_bytes());
        directory.extend_from_slice(&entry.name);
    }
    let offset = out.len() as u32;
    out.extend_from_slice(&directory);
    out.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    out.extend_from_slice(&(entries.len() as u16).to_le_bytes());
    out.extend_from_slice(&(entries.len() as u16).to_le_bytes());
    out.extend_from_slice(&(directory.len() as u32).to_le_bytes());
    out.extend_from_slice(&offset.to_le_bytes());
    out.extend_from_slice(&[0, 0]);
    out
}

fn crc32(data: &[u8]) -> u32 {
    let mut hasher = flate2::Crc::new();
    hasher.update(data);
    hasher.sum()
}

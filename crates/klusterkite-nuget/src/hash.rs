use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{Context, Digest, SHA256, SHA512, digest};
use serde::{Deserialize, Serialize};

use crate::error::{Error, shown};

/// The bytes that are read at once while hashing.
const READ_BYTES: usize = 64 * 1024;

/// A SHA-512 hash; its text is standard base64, as NuGet writes package hashes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha512Hash([u8; 64]);

impl Sha512Hash {
    /// Hashes bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(whole(&digest(&SHA512, bytes)))
    }

    /// Hashes everything that a reader gives; returns the number of bytes too.
    pub fn of_reader(reader: &mut impl Read) -> io::Result<(Self, u64)> {
        let mut hasher = Sha512Hasher::new();
        let mut buffer = vec![0; READ_BYTES];
        let mut size = 0;
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok((hasher.finish(), size)),
                Ok(count) => {
                    hasher.update(&buffer[..count]);
                    size += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns the hash in lower-case hexadecimal digits, as file names use it.
    pub fn hex(&self) -> String {
        to_hex(&self.0)
    }

    /// Parses 128 hexadecimal digits.
    pub fn from_hex(text: &str) -> Result<Self, Error> {
        from_hex(text).map(Self).ok_or_else(|| Error::Hash {
            text: shown(text),
            bits: 512,
        })
    }
}

impl FromStr for Sha512Hash {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bytes = STANDARD
            .decode(text)
            .ok()
            .and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| Error::Hash {
            text: shown(text),
            bits: 512,
        })
    }
}

impl TryFrom<String> for Sha512Hash {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Sha512Hash> for String {
    fn from(hash: Sha512Hash) -> Self {
        hash.to_string()
    }
}

impl fmt::Display for Sha512Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Sha512Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha512Hash({self})")
    }
}

/// Computes a SHA-512 hash of bytes that come piece by piece.
#[derive(Clone)]
pub struct Sha512Hasher(Context);

impl Sha512Hasher {
    /// Starts with no bytes.
    #[expect(
        clippy::new_without_default,
        reason = "a default hash state says nothing to a reader"
    )]
    pub fn new() -> Self {
        Self(Context::new(&SHA512))
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the hash of all bytes taken.
    pub fn finish(self) -> Sha512Hash {
        Sha512Hash(whole(&self.0.finish()))
    }
}

impl Write for Sha512Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Sha512Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sha512Hasher")
    }
}

/// A SHA-256 hash of one file of a package; its text is lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256Hash([u8; 32]);

impl Sha256Hash {
    /// Hashes bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(whole(&digest(&SHA256, bytes)))
    }
}

/// Computes a SHA-256 hash of bytes that are written to it.
pub(crate) struct Sha256Hasher(Context);

impl Sha256Hasher {
    pub(crate) fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// Returns the hash of all bytes taken.
    pub(crate) fn finish(self) -> Sha256Hash {
        Sha256Hash(whole(&self.0.finish()))
    }
}

impl Write for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl FromStr for Sha256Hash {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        from_hex(text).map(Self).ok_or_else(|| Error::Hash {
            text: shown(text),
            bits: 256,
        })
    }
}

impl TryFrom<String> for Sha256Hash {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Sha256Hash> for String {
    fn from(hash: Sha256Hash) -> Self {
        hash.to_string()
    }
}

impl fmt::Display for Sha256Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl fmt::Debug for Sha256Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256Hash({self})")
    }
}

/// Returns all bytes of a digest.
fn whole<const N: usize>(digest: &Digest) -> [u8; N] {
    let bytes = digest.as_ref().try_into();
    bytes.expect("the algorithm's digests are this long")
}

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits: Vec<u8> = text
        .chars()
        .map(|c| c.to_digit(16).map(|digit| digit as u8))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect();
    if digits.len() == 2 * N {
        bytes.try_into().ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_survives_both_of_its_texts() {
        let hash = Sha512Hash::of(b"abc");
        assert!(hash.hex().starts_with("ddaf35a193617abacc417349ae204131"));
        assert_eq!(hash.to_string().parse::<Sha512Hash>().unwrap(), hash);
        assert_eq!(
            Sha512Hash::from_hex(&hash.hex().to_uppercase()).unwrap(),
            hash
        );
        assert_eq!(
            Sha512Hash::of_reader(&mut b"abc".as_slice()).unwrap(),
            (hash, 3)
        );
        let hash = Sha256Hash::of(b"abc");
        assert_eq!(hash.to_string().parse::<Sha256Hash>().unwrap(), hash);
    }

    #[test]
    fn texts_of_another_length_are_no_hashes() {
        for text in ["", "abc", "q83v", &"a".repeat(127), &"ä".repeat(64)] {
            assert!(text.parse::<Sha512Hash>().is_err());
            assert!(Sha512Hash::from_hex(text).is_err());
            assert!(text.parse::<Sha256Hash>().is_err());
        }
    }
}

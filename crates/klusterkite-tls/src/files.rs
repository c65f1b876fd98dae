//! PEM files, and whether they changed.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};

use crate::Error;

/// Largest file that is read, in bytes: ten times a system's whole list of authorities.
const FILE_BYTES_MAX: u64 = 4 << 20;

#[cfg(any(feature = "blocking", feature = "server"))]
/// What tells one content of a file from the next, without reading it: inode, size and time of the last change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamps(Vec<Option<(u64, u64, i64, i64)>>);

#[cfg(any(feature = "blocking", feature = "server"))]
impl Stamps {
    /// Looks at files; one that is not there has a stamp too.
    pub(crate) fn of<'a>(paths: impl IntoIterator<Item = &'a std::path::PathBuf>) -> Self {
        use std::os::unix::fs::MetadataExt as _;

        let stamp = |path: &std::path::PathBuf| {
            // Follows links: certificates are often replaced by pointing one elsewhere.
            let metadata = std::fs::metadata(path).ok()?;
            let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
            Some((metadata.ino(), metadata.len(), seconds, nanoseconds))
        };
        Self(paths.into_iter().map(stamp).collect())
    }
}

/// Reads a small file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::File {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let mut content = Vec::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut content);
    if read.map_err(failed)? as u64 > FILE_BYTES_MAX {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(content)
}

/// Reads every certificate of a file, at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let content = read(path)?;
    let certificates: Result<Vec<_>, pem::Error> =
        CertificateDer::pem_slice_iter(&content).collect();
    let certificates = certificates.map_err(|source| Error::Pem {
        path: path.to_owned(),
        source,
    })?;
    if certificates.is_empty() {
        return Err(Error::NoCertificate {
            path: path.to_owned(),
        });
    }
    Ok(certificates)
}

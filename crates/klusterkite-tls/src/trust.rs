use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use crate::{Error, files, provider};

/// Whose certificates a client accepts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trust {
    /// Those of the authorities that the system lists.
    #[default]
    System,
    /// Those of the authorities in these files (PEM, one or more certificates each), and of nobody else.
    Authorities(Vec<PathBuf>),
}

impl Trust {
    /// Trusts the authorities in files; without any the system's.
    pub fn from_files(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let files: Vec<_> = files.into_iter().collect();
        if files.is_empty() {
            Self::System
        } else {
            Self::Authorities(files)
        }
    }

    /// Returns the files of the authorities; none when the system's are trusted.
    pub fn files(&self) -> &[PathBuf] {
        match self {
            Self::System => &[],
            Self::Authorities(files) => files,
        }
    }

    /// Reads the authorities, for connections of rustls.
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, Error> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.certificates()?);
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring has the standard versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }

    /// Explains why the connection to `url` failed, if TLS is the reason.
    pub fn explain(&self, url: &str, error: &io::Error) -> Option<Error> {
        let source = error.get_ref()?.downcast_ref::<rustls::Error>()?;
        Some(self.explain_handshake(url, source))
    }

    pub(crate) fn explain_handshake(&self, url: &str, source: &rustls::Error) -> Error {
        Error::of_handshake(url, &self.described(), source)
    }

    fn described(&self) -> String {
        if let Self::Authorities(files) = self {
            let files: Vec<_> = files
                .iter()
                .map(|file| format!("`{}`", file.display()))
                .collect();
            format!("the authority in {}", files.join(" or "))
        } else {
            "an authority that this system trusts".to_owned()
        }
    }

    /// Reads the certificates of the authorities; each of an own file has to be one.
    pub(crate) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        let Self::Authorities(files) = self else {
            let found = rustls_native_certs::load_native_certs().certs;
            if found.is_empty() {
                return Err(Error::NoSystemAuthorities);
            }
            return Ok(found);
        };
        let mut all = Vec::new();
        for path in files {
            let certificates = files::certificates(path)?;
            let mut roots = RootCertStore::empty();
            for certificate in &certificates {
                roots
                    .add(certificate.clone())
                    .map_err(|source| Error::Certificate {
                        path: path.clone(),
                        source: Box::new(source),
                    })?;
            }
            all.extend(certificates);
        }
        Ok(all)
    }
}

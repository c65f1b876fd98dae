//! Authorities and certificates for tests; each is made anew, nothing secret is in the repository.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

/// An authority that signs what a test wants.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// Files of a server: certificate and key.
#[derive(Debug, Clone)]
pub struct IdentityFiles {
    /// The certificate.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// When a certificate ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// After every test.
    Late,
    /// In the last century.
    Over,
}

impl Authority {
    /// Makes an authority.
    pub fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("ring makes keys");
        let certificate = parameters.self_signed(&key).expect("ring signs").pem();
        Self {
            issuer: Issuer::new(parameters, key),
            certificate,
        }
    }

    /// Writes the authority's certificate and returns the file.
    pub fn write(&self, directory: &Path) -> PathBuf {
        let path = directory.join("ca.pem");
        fs::write(&path, &self.certificate).expect("the test's directory takes files");
        path
    }

    /// Writes certificate and key of a server with these names (host names or addresses), over those before.
    pub fn write_identity(&self, directory: &Path, names: &[&str], ends: Ends) -> IdentityFiles {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut parameters = CertificateParams::new(names).expect("the test's names are names");
        parameters
            .distinguished_name
            .push(DnType::CommonName, "a server of a test");
        if ends == Ends::Over {
            parameters.not_before = date_time_ymd(1998, 1, 1);
            parameters.not_after = date_time_ymd(1999, 1, 1);
        }
        let key = KeyPair::generate().expect("ring makes keys");
        let certificate = parameters
            .signed_by(&key, &self.issuer)
            .expect("ring signs");
        let files = IdentityFiles {
            certificate: directory.join("server.pem"),
            key: directory.join("server.key"),
        };
        fs::write(&files.key, key.serialize_pem()).expect("the test's directory takes files");
        fs::write(&files.certificate, certificate.pem()).expect("the test's directory takes files");
        files
    }
}

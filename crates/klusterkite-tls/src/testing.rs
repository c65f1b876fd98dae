//! Authorities, certificates and a server for tests; each is made anew, nothing secret is in the repository.

use std::fs;
use std::net::{self, SocketAddr};
use std::path::{Path, PathBuf};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::Identity;

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

/// Ends TLS in front of a server that speaks plain; it lives as long as the test's process.
pub fn front(files: &IdentityFiles, behind: SocketAddr) -> SocketAddr {
    let identity = Identity::read(files.certificate.clone(), files.key.clone());
    let identity = identity.expect("the test's files are good");
    let listener = net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it has an address");
    listener.set_nonblocking(true).expect("it is a socket");
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime starts");
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).expect("the runtime has sockets");
            while let Ok((stream, _)) = listener.accept().await {
                let mut outer = identity.accept(stream);
                tokio::spawn(async move {
                    // Whoever goes away early ends the connection on both sides.
                    let Ok(mut inner) = TcpStream::connect(behind).await else {
                        return;
                    };
                    let _ = copy_bidirectional(&mut outer, &mut inner).await;
                });
            }
        });
    });
    address
}

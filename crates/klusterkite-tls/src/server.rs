//! Certificates and handshakes.

mod detached;
mod stream;

pub use detached::{AttachedStream, DetachedStream};
pub use stream::{HANDSHAKE_MAX, ServerStream};

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::{self, PemObject as _};
use tokio::net::TcpStream;

use crate::files::{self, Stamps};
use crate::{Error, provider};

/// What a server shows: a certificate with its chain, and the key to it, from files. Cheap to clone.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    /// Certificate, key.
    files: [PathBuf; 2],
    current: Mutex<Current>,
}

struct Current {
    stamps: Stamps,
    config: Arc<ServerConfig>,
}

impl Identity {
    /// Reads certificate (the server's first, then those between it and the authority) and key, both PEM.
    pub fn read(certificate: PathBuf, key: PathBuf) -> Result<Self, Error> {
        let files = [certificate, key];
        let stamps = Stamps::of(&files);
        let config = server_config(&files)?;
        Ok(Self(Arc::new(Inner {
            files,
            current: Mutex::new(Current { stamps, config }),
        })))
    }

    /// Makes the server's side of a connection; the handshake takes place when the stream is first used.
    pub fn accept(&self, stream: TcpStream) -> ServerStream {
        ServerStream::secure(stream, self.config())
    }

    /// Returns the present certificate; if its files changed, what they hold now. Files that cannot be used change
    /// nothing: certificate and key are replaced one after the other.
    fn config(&self) -> Arc<ServerConfig> {
        let inner = &*self.0;
        let mut current = inner.current.lock().unwrap_or_else(PoisonError::into_inner);
        // Before the files are read: what changes meanwhile is found by the next call.
        let stamps = Stamps::of(&inner.files);
        if stamps != current.stamps {
            let certificate = inner.files[0].display();
            match server_config(&inner.files) {
                Ok(config) => {
                    tracing::info!(%certificate, "the certificate was renewed");
                    current.config = config;
                }
                Err(error) => {
                    let error = chain(&error);
                    tracing::warn!(error, "the certificate before stays");
                }
            }
            current.stamps = stamps;
        }
        Arc::clone(&current.config)
    }
}

fn server_config([certificate, key]: &[PathBuf; 2]) -> Result<Arc<ServerConfig>, Error> {
    let certificates = files::certificates(certificate)?;
    let private_key = private_key(key)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring has the standard versions")
        .with_no_client_auth()
        .with_single_cert(certificates, private_key)
        .map_err(|source| Error::Pair {
            certificate: certificate.clone(),
            key: key.clone(),
            source: Box::new(source),
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A client keeps its own session: with thousands of them a table here would hold the wrong ones. The key of the
    // tickets is a new one, so that whoever resumes a session has seen this certificate.
    config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(|source| Error::Tickets {
        source: Box::new(source),
    })?;
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let content = files::read(path)?;
    PrivateKeyDer::from_pem_slice(&content).map_err(|source| match source {
        pem::Error::NoItemsFound => Error::NoKey {
            path: path.to_owned(),
        },
        source => Error::Pem {
            path: path.to_owned(),
            source,
        },
    })
}

/// Writes an error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

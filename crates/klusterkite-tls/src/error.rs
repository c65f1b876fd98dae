use std::io;
use std::path::PathBuf;

use rustls::pki_types::pem;

/// What went wrong, on which file or with which server, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of certificates or with a key cannot be read.
    #[error("cannot read `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file is not PEM.
    #[error("`{}` cannot be used: expected PEM, blocks between `-----BEGIN …-----` and `-----END …-----`", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: pem::Error,
    },
    /// A file that should hold certificates holds none.
    #[error("`{}` holds no certificate: expected PEM with a block `CERTIFICATE`", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A file that should hold a private key holds none.
    #[error("`{}` holds no private key: expected PEM with a block `PRIVATE KEY`, without a passphrase", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A file holds a certificate that is none.
    #[error("a certificate in `{}` cannot be used", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Box<rustls::Error>,
    },
    /// Certificate and key do not belong together, or are of a kind that nobody accepts.
    #[error("the certificate in `{}` and the key in `{}` cannot be used together", certificate.display(), key.display())]
    Pair {
        /// File of the certificate.
        certificate: PathBuf,
        /// File of the key.
        key: PathBuf,
        /// The cause.
        source: Box<rustls::Error>,
    },
    /// There is no chance for the keys of session tickets.
    #[error("cannot make a key for session tickets")]
    Tickets {
        /// The cause.
        source: Box<rustls::Error>,
    },
    /// The system has no list of authorities.
    #[error(
        "this system has no list of authorities to check certificates by: name the file of your own one, or install `ca-certificates`"
    )]
    NoSystemAuthorities,
    /// Nobody who is trusted has signed the server's certificate.
    #[error(
        "the certificate of `{url}` is not signed by {trusted}; name the file of its authority (`tls.ca` in settings, `--ca` on the command line)"
    )]
    Untrusted {
        /// The URL that was called.
        url: String,
        /// Who is trusted.
        trusted: String,
    },
    /// The server's certificate is too old.
    #[error(
        "the certificate of `{url}` has expired; renew it there, or set the clock of this machine"
    )]
    Expired {
        /// The URL that was called.
        url: String,
    },
    /// The server's certificate is too young.
    #[error("the certificate of `{url}` is not valid yet; set the clock of this machine")]
    NotYetValid {
        /// The URL that was called.
        url: String,
    },
    /// The server's certificate names other hosts.
    #[error(
        "the certificate of `{url}` is for {names}; call it by such a name, or make a certificate for this one"
    )]
    OtherName {
        /// The URL that was called.
        url: String,
        /// Whom the certificate names.
        names: String,
    },
    /// The server does not speak TLS.
    #[error("`{url}` does not speak TLS; write `http://`, or give the server there a certificate")]
    NotTls {
        /// The URL that was called.
        url: String,
    },
    /// The two sides do not come together for another reason.
    #[error("no secure connection to `{url}`")]
    Handshake {
        /// The URL that was called.
        url: String,
        /// The cause.
        source: Box<rustls::Error>,
    },
}

#[cfg(feature = "client")]
impl Error {
    /// Tells whether a server, and no file of this machine, is at fault: later it may be another.
    pub fn is_of_server(&self) -> bool {
        matches!(
            self,
            Self::Untrusted { .. }
                | Self::Expired { .. }
                | Self::NotYetValid { .. }
                | Self::OtherName { .. }
                | Self::NotTls { .. }
                | Self::Handshake { .. }
        )
    }

    /// Explains why a server was not accepted; `trusted` says who would be.
    pub(crate) fn of_handshake(url: &str, trusted: &str, source: &rustls::Error) -> Self {
        use rustls::{CertificateError, InvalidMessage};

        let url = url.to_owned();
        match source {
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => Self::Untrusted {
                url,
                trusted: trusted.to_owned(),
            },
            rustls::Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            ) => Self::Expired { url },
            rustls::Error::InvalidCertificate(
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
            ) => Self::NotYetValid { url },
            rustls::Error::InvalidCertificate(CertificateError::NotValidForName) => {
                let names = "other names".to_owned();
                Self::OtherName { url, names }
            }
            rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
                presented,
                ..
            }) => Self::OtherName {
                url,
                names: if presented.is_empty() {
                    "no host name at all".to_owned()
                } else {
                    presented.join(", ")
                },
            },
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                Self::NotTls { url }
            }
            other => Self::Handshake {
                url,
                source: Box::new(other.clone()),
            },
        }
    }
}

//! TLS for the programs of a cluster: rustls with ring, and nothing else.
//!
//! - A program that calls (feature `client`, or `blocking` with agents of ureq) says by [`Trust`] whose
//!   certificates it accepts: those of its own authority, or those that the system trusts.
//! - A program that is called (feature `server`) shows a [`Identity`]: certificate and key from PEM files, read
//!   again when they change, so that a renewal needs no restart.
//!
//! Whoever speaks plain HTTP to a port with TLS, or TLS to a port without, is told so: the server answers in plain
//! HTTP, the client's error names the URL and what to write.
//!
//! Architecture invariant: there is no way to switch the check of certificates off.

#[cfg(feature = "blocking")]
mod agents;
mod error;
#[cfg(any(feature = "client", feature = "server"))]
mod files;
#[cfg(feature = "server")]
mod server;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "client")]
mod trust;

#[cfg(feature = "blocking")]
pub use agents::{Agents, failure};
pub use error::Error;
#[cfg(feature = "server")]
pub use server::{AttachedStream, DetachedStream, HANDSHAKE_MAX, Identity, ServerStream};
#[cfg(feature = "client")]
pub use trust::Trust;

/// Returns the one implementation of cryptography, never the process's default, which anybody could set.
#[cfg(any(feature = "client", feature = "server"))]
fn provider() -> std::sync::Arc<rustls::crypto::CryptoProvider> {
    use std::sync::{Arc, OnceLock};

    use rustls::crypto::CryptoProvider;
    use rustls::{CipherSuite, SupportedCipherSuite};

    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let provider = PROVIDER.get_or_init(|| {
        let mut provider = rustls::crypto::ring::default_provider();
        // Thousands of handshakes at once: SHA-256 and AES-128 take less time and room than SHA-384 and AES-256, and
        // nobody breaks either.
        let slower =
            |suite: &SupportedCipherSuite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256;
        provider.cipher_suites.sort_by_key(slower);
        Arc::new(provider)
    });
    Arc::clone(provider)
}

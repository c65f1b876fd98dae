use std::sync::{Arc, Mutex, PoisonError};

use ureq::Agent;
use ureq::config::ConfigBuilder;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::typestate::AgentScope;

use crate::files::Stamps;
use crate::{Error, Trust, provider};

/// Agents for `http` and `https` with the same settings.
///
/// Authorities are read at the first `https` URL, because a system's list takes time and memory, and again when
/// the files of own ones have changed. A redirect from `http` to `https` is not followed to authorities of the
/// system: name `https` at once.
#[derive(Clone)]
pub struct Agents(Arc<Inner>);

struct Inner {
    settings: Box<Settings>,
    trust: Trust,
    plain: Agent,
    secure: Mutex<Option<(Stamps, Agent)>>,
}

type Settings = dyn Fn() -> ConfigBuilder<AgentScope> + Send + Sync;

impl Agents {
    /// Makes agents; `settings` is called for each that is needed.
    pub fn new(
        trust: Trust,
        settings: impl Fn() -> ConfigBuilder<AgentScope> + Send + Sync + 'static,
    ) -> Self {
        // Without authorities of its own ureq would panic at a redirect to `https`.
        let plain = settings().tls_config(tls_config(&[])).build().new_agent();
        Self(Arc::new(Inner {
            settings: Box::new(settings),
            trust,
            plain,
            secure: Mutex::default(),
        }))
    }

    /// Returns the agent for a URL.
    pub fn get(&self, url: &str) -> Result<Agent, Error> {
        if !is_secure(url) {
            return Ok(self.0.plain.clone());
        }
        let mut secure = self.0.secure.lock().unwrap_or_else(PoisonError::into_inner);
        // Before the files are read: what changes meanwhile is found by the next call.
        let stamps = Stamps::of(self.0.trust.files());
        if let Some((known, agent)) = &*secure
            && *known == stamps
        {
            return Ok(agent.clone());
        }
        let certificates = self.0.trust.certificates()?;
        let certificates: Vec<_> = certificates
            .iter()
            .map(|certificate| Certificate::from_der(certificate).to_owned())
            .collect();
        let config = (self.0.settings)().tls_config(tls_config(&certificates));
        let agent = config.build().new_agent();
        *secure = Some((stamps, agent.clone()));
        Ok(agent)
    }

    /// Explains why a call of `url` failed, if TLS is the reason.
    pub fn explain(&self, url: &str, error: &ureq::Error) -> Option<Error> {
        failure(&self.0.trust, url, error)
    }
}

/// Explains why a call of `url` failed, if TLS is the reason.
pub fn failure(trust: &Trust, url: &str, error: &ureq::Error) -> Option<Error> {
    match error {
        ureq::Error::Rustls(source) => Some(trust.explain_handshake(url, source)),
        ureq::Error::Io(error) => trust.explain(url, error),
        _ => None,
    }
}

fn is_secure(url: &str) -> bool {
    const SCHEME: &str = "https://";
    url.get(..SCHEME.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(SCHEME))
}

fn tls_config(certificates: &[Certificate<'static>]) -> TlsConfig {
    TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(certificates))
        .unversioned_rustls_crypto_provider(provider())
        .build()
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn the_scheme_says_which_agent_is_meant_however_it_is_written() {
        for (url, secure) in [
            ("https://a", true),
            ("HTTPS://a", true),
            ("http://a", false),
            ("https", false),
            ("ä", false),
            ("", false),
        ] {
            assert_eq!(is_secure(url), secure, "{url}");
        }
    }

    #[test]
    fn an_error_that_is_not_of_tls_is_not_explained() {
        let error = ureq::Error::Io(io::ErrorKind::ConnectionRefused.into());
        assert!(failure(&Trust::System, "https://a", &error).is_none());
        assert!(failure(&Trust::System, "https://a", &ureq::Error::HostNotFound).is_none());
    }
}

//! Who may do what: API keys with scopes.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use klusterkite_nuget::PackageId;
use klusterkite_wire::Secret;
use sha2::{Digest as _, Sha256};

use crate::Error;

/// Something that a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Search and fetch packages.
    Read,
    /// Publish packages.
    Push,
    /// Hide versions from searches and show them again.
    Unlist,
    /// Remove versions with their bytes.
    Purge,
    /// Say which versions a cluster needs.
    Pin,
    /// Read the counters.
    Metrics,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 6] = [
        Self::Read,
        Self::Push,
        Self::Unlist,
        Self::Purge,
        Self::Pin,
        Self::Metrics,
    ];

    /// Returns the scope's name in settings and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Push => "push",
            Self::Unlist => "unlist",
            Self::Purge => "purge",
            Self::Pin => "pin",
            Self::Metrics => "metrics",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One API key; holds a hash, not the key itself.
#[derive(Clone)]
pub struct Key(Arc<KeyData>);

struct KeyData {
    name: Arc<str>,
    digest: [u8; 32],
    scopes: BTreeSet<Scope>,
    id_prefix: Option<String>,
}

impl Key {
    /// Makes a key that may do what its scopes say, and write only ids that start with the
    /// prefix, case aside.
    pub fn new(
        name: String,
        secret: &Secret,
        scopes: BTreeSet<Scope>,
        id_prefix: Option<String>,
    ) -> Self {
        Self(Arc::new(KeyData {
            name: name.into(),
            digest: digest(secret.reveal().as_bytes()),
            scopes,
            id_prefix,
        }))
    }

    /// Returns the key's name in settings and logs.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    /// Refuses ids that the key may not write.
    pub(crate) fn check_id(&self, id: &PackageId) -> Result<(), Error> {
        match &self.0.id_prefix {
            Some(prefix) if !id.lower().starts_with(&prefix.to_lowercase()) => {
                let (key, prefix) = (self.0.name.to_string(), prefix.clone());
                Err(Error::PrefixRequired {
                    key,
                    prefix,
                    id: id.clone(),
                })
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, {:?})", self.0.name, self.0.scopes)
    }
}

/// All keys of a feed.
#[derive(Clone, Debug)]
pub struct Keys {
    keys: Vec<Key>,
    /// What needs no key.
    anonymous: BTreeSet<Scope>,
}

impl Keys {
    /// Makes the set; requests without a key may do what `anonymous` says.
    pub fn new(keys: Vec<Key>, anonymous: BTreeSet<Scope>) -> Self {
        Self { keys, anonymous }
    }

    /// Checks that a request may use a scope. Returns its key, or `None` where none is needed.
    pub(crate) fn authorize(
        &self,
        headers: &HeaderMap,
        scope: Scope,
    ) -> Result<Option<&Key>, Error> {
        if self.anonymous.contains(&scope) {
            return Ok(None);
        }
        let secret = presented(headers).ok_or(Error::KeyMissing)?;
        let key = self.find(&secret).ok_or(Error::KeyUnknown)?;
        if key.0.scopes.contains(&scope) {
            Ok(Some(key))
        } else {
            Err(Error::ScopeMissing {
                key: key.0.name.to_string(),
                scope,
            })
        }
    }

    /// Compares with every key, each in constant time, so that the time of an answer tells
    /// nothing about a key.
    fn find(&self, secret: &[u8]) -> Option<&Key> {
        let digest = digest(secret);
        let mut found = None;
        for key in &self.keys {
            let difference = key
                .0
                .digest
                .iter()
                .zip(digest)
                .fold(0, |all, (a, b)| all | (a ^ b));
            if difference == 0 {
                found = Some(key);
            }
        }
        found
    }
}

/// Hashing first makes all compared values equally long.
fn digest(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// Returns the key that a request presents: NuGet clients send it in their own header when they
/// write and as the password of any user when they read.
fn presented(headers: &HeaderMap) -> Option<Vec<u8>> {
    if let Some(key) = headers.get("x-nuget-apikey") {
        return Some(key.as_bytes().to_vec());
    }
    let authorization = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, value) = authorization.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(value.trim().as_bytes().to_vec());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(value.trim()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some(decoded[colon + 1..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(anonymous_read: bool) -> Keys {
        let key = |name: &str, scopes: &[Scope], prefix: Option<&str>| {
            let secret = Secret::new(format!("{name}-0123456789abcdef"));
            Key::new(
                name.to_owned(),
                &secret,
                scopes.iter().copied().collect(),
                prefix.map(str::to_owned),
            )
        };
        let all = vec![
            key("reader", &[Scope::Read], None),
            key("pusher", &[Scope::Push], Some("Acme.")),
        ];
        let anonymous = anonymous_read.then_some(Scope::Read);
        Keys::new(all, anonymous.into_iter().collect())
    }

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())])
    }

    #[test]
    fn a_key_is_found_in_each_of_its_places() {
        let keys = keys(false);
        let basic = format!("Basic {}", STANDARD.encode("any:reader-0123456789abcdef"));
        for headers in [
            headers("x-nuget-apikey", "reader-0123456789abcdef"),
            headers("authorization", "bearer reader-0123456789abcdef"),
            headers("authorization", &basic),
        ] {
            assert!(keys.authorize(&headers, Scope::Read).is_ok());
            assert!(matches!(
                keys.authorize(&headers, Scope::Push),
                Err(Error::ScopeMissing { .. })
            ));
        }
    }

    #[test]
    fn a_request_without_a_known_key_is_refused() {
        let keys = keys(false);
        for headers in [
            HeaderMap::new(),
            headers("x-nuget-apikey", ""),
            headers("x-nuget-apikey", "reader-0123456789abcdee"),
            headers("authorization", "Basic !!"),
            headers("authorization", "Basic"),
            headers("authorization", "Digest reader-0123456789abcdef"),
        ] {
            assert!(matches!(
                keys.authorize(&headers, Scope::Read),
                Err(Error::KeyUnknown | Error::KeyMissing)
            ));
        }
    }

    #[test]
    fn anonymous_requests_may_read_only_if_the_feed_says_so() {
        let keys = keys(true);
        assert!(keys.authorize(&HeaderMap::new(), Scope::Read).is_ok());
        assert!(keys.authorize(&HeaderMap::new(), Scope::Push).is_err());
    }

    #[test]
    fn a_prefix_limits_what_a_key_may_write() {
        let keys = keys(false);
        let headers = headers("x-nuget-apikey", "pusher-0123456789abcdef");
        let key = keys.authorize(&headers, Scope::Push).unwrap().unwrap();
        assert!(key.check_id(&"ACME.Orders".parse().unwrap()).is_ok());
        assert!(key.check_id(&"Acmex".parse().unwrap()).is_err());
    }
}

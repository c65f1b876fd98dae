use klusterkite_hocon::{Config, Document, Error as HoconError, quote};

use crate::error::Error;

/// Longest accepted name of a process, endpoint, migrator, seeder or role, in bytes: fits a file name everywhere.
const NAME_BYTES_MAX: usize = 128;

/// An object of a manifest that is being read.
///
/// The same code reads manifests alone and as part of a node: alone, the values of substitutions are open,
/// and whatever is open is taken as right.
pub(crate) struct Cursor<'a> {
    package: &'a str,
    config: Config,
    /// The object with what is open in it, if the manifest is read alone.
    open: Option<Document>,
}

type Read<T> = fn(&Config, &str) -> Result<T, HoconError>;

impl<'a> Cursor<'a> {
    /// Reads a manifest alone.
    pub(crate) fn alone(package: &'a str, document: Document) -> Result<Self, Error> {
        let config = document.literals();
        Ok(Self {
            package,
            config: config.map_err(|source| invalid(package, source))?,
            open: Some(document),
        })
    }

    /// Reads a manifest whose substitutions are resolved.
    pub(crate) fn resolved(package: &'a str, config: Config) -> Self {
        Self {
            package,
            config,
            open: None,
        }
    }

    pub(crate) fn package(&self) -> &'a str {
        self.package
    }

    /// Returns the keys, those with open values included.
    pub(crate) fn keys(&self) -> Vec<String> {
        match &self.open {
            Some(document) => document.keys().map(|(key, _)| key.to_owned()).collect(),
            None => self.config.root().keys().map(str::to_owned).collect(),
        }
    }

    /// Refuses keys that are not in the list.
    pub(crate) fn allow(&self, known: &[&str]) -> Result<(), Error> {
        for key in self.keys() {
            if !known.contains(&key.as_str()) {
                let known: Vec<String> = known.iter().map(|key| format!("`{key}`")).collect();
                let problem = format!("is no known key; known are {}", known.join(", "));
                return Err(self.bad(&key, problem));
            }
        }
        Ok(())
    }

    /// Returns an error about a key.
    pub(crate) fn bad(&self, key: &str, problem: impl Into<String>) -> Error {
        let mut error = self.config.error_at(&quote(key), problem);
        let open = self.open.iter().flat_map(Document::keys);
        let place = open
            .filter(|(name, _)| *name == key)
            .map(|(_, place)| place);
        if let (HoconError::BadValue { origin, .. }, Some(place)) = (&mut error, place.last()) {
            *origin = place.clone();
        }
        invalid(self.package, error)
    }

    /// Tells whether the value of a key is known only when the whole is resolved.
    pub(crate) fn is_open(&self, key: &str) -> bool {
        let is_known = self.config.value(&quote(key)).is_some();
        !is_known && self.keys().iter().any(|name| name == key)
    }

    /// Reads a key that must be there; `stand_in` takes the place of what is open.
    pub(crate) fn required<T>(&self, key: &str, stand_in: T, read: Read<T>) -> Result<T, Error> {
        if self.is_open(key) {
            return Ok(stand_in);
        }
        read(&self.config, &quote(key)).map_err(|source| invalid(self.package, source))
    }

    /// Reads a key that may be missing; what is open counts as missing.
    pub(crate) fn optional<T>(&self, key: &str, read: Read<Option<T>>) -> Result<Option<T>, Error> {
        read(&self.config, &quote(key)).map_err(|source| invalid(self.package, source))
    }

    /// Returns the object of a key, if it is there and not open.
    pub(crate) fn object(&self, key: &str) -> Result<Option<Self>, Error> {
        let key = &quote(key);
        let config = self.config.config_optional(key);
        let Some(config) = config.map_err(|source| invalid(self.package, source))? else {
            return Ok(None);
        };
        let open = match &self.open {
            None => None,
            Some(document) => document
                .section(key)
                .map_err(|source| invalid(self.package, source))?,
        };
        Ok(Some(Self {
            package: self.package,
            config,
            open,
        }))
    }

    /// Returns the names and objects below a key; an object that is open is left out.
    pub(crate) fn named(&self, key: &str) -> Result<Vec<(String, Option<Self>)>, Error> {
        let Some(section) = self.object(key)? else {
            return Ok(Vec::new());
        };
        let mut named = Vec::new();
        for name in section.keys() {
            if !is_name(&name) {
                return Err(section.bad(&name, NAME_PROBLEM));
            }
            let object = section.object(&name)?;
            if object.is_none() && !section.is_open(&name) {
                return Err(section.bad(&name, "must not be null"));
            }
            named.push((name, object));
        }
        Ok(named)
    }
}

pub(crate) const NAME_PROBLEM: &str =
    "is not a valid name: 1 to 128 letters, digits, `.`, `-` or `_`, and not only dots";

pub(crate) fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(allowed)
        && text.bytes().any(|b| b != b'.')
}

pub(crate) fn invalid(package: &str, source: HoconError) -> Error {
    Error::Manifest {
        package: package.to_owned(),
        source,
    }
}

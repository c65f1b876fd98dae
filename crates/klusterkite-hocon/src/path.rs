use std::fmt;
use std::sync::Arc;

use foldhash::fast::RandomState;
use indexmap::IndexMap;

use crate::error::Error;
use crate::limits::NESTING_MAX;
use crate::origin::Origin;
use crate::render::key_text;
use crate::scanner::{Scanner, Token};

/// Stands for the root where an error names a path.
pub(crate) const ROOT: &str = "(root)";

/// One element of a path.
pub(crate) type Key = Arc<str>;

/// Values by key, in the order of their first appearance.
///
/// The hasher is several times as fast as the standard one on short keys, and seeded per process like it.
pub(crate) type Fields<V> = IndexMap<Key, V, RandomState>;

/// A path expression: the keys that lead to a value, `a.b."c.d"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path {
    /// Never empty: there is always something to look up.
    keys: Arc<[Key]>,
}

impl Path {
    /// Parses a path expression.
    ///
    /// Dots outside quotes separate keys; whitespace around the whole expression is dropped, inside it
    /// belongs to the keys. Empty keys have to be quoted.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let origin = Origin::new("path expression", 0, 0);
        Self::parse_at(text, &origin)
    }

    pub(crate) fn parse_at(text: &str, origin: &Origin) -> Result<Self, Error> {
        if let Some(keys) = plain_keys(text)
            && keys.len() <= NESTING_MAX
        {
            return Ok(Self { keys });
        }
        let invalid = |problem: String| Error::Path {
            origin: origin.clone(),
            path: text.to_owned(),
            problem,
        };
        let mut scanner = Scanner::hocon(text, origin);
        let mut builder = PathBuilder::default();
        loop {
            let token = scanner.next_token().map_err(|error| match error {
                Error::Syntax { problem, .. } => invalid(problem),
                other => other,
            })?;
            if token == Token::End {
                break;
            }
            if !builder.push(&token) {
                return Err(invalid(format!("{} is not allowed here", token.describe())));
            }
        }
        builder.finish().map(Self::from_keys).map_err(invalid)
    }

    pub(crate) fn from_keys(keys: Vec<Key>) -> Self {
        debug_assert!(!keys.is_empty(), "a path has at least one key");
        Self { keys: keys.into() }
    }

    /// Returns the path of a key below this one.
    pub fn child(&self, key: &str) -> Self {
        let keys = self.keys.iter().cloned();
        Self::from_keys(keys.chain([Key::from(key)]).collect())
    }

    /// Returns the keys, in order; there is at least one.
    pub fn keys(&self) -> &[Arc<str>] {
        &self.keys
    }
}

/// Writes the path as an expression that parses to it again.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&render_keys(&self.keys))
    }
}

pub(crate) fn render_keys(keys: &[Key]) -> String {
    let mut text = String::new();
    for (index, key) in keys.iter().enumerate() {
        if index > 0 {
            text.push('.');
        }
        text.push_str(&key_text(key));
    }
    text
}

/// Splits the common form, dotted words, without a scanner.
fn plain_keys(text: &str) -> Option<Arc<[Key]>> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    text.split('.')
        .map(|key| (!key.is_empty() && key.bytes().all(plain)).then(|| Key::from(key)))
        .collect()
}

/// Collects the tokens of a path expression.
#[derive(Default)]
pub(crate) struct PathBuilder {
    done: Vec<Key>,
    current: String,
    /// Whether the current key contains something quoted, so that it may be empty.
    quoted: bool,
    /// Whether the expression contains anything.
    started: bool,
    /// Whitespace that belongs to the key if more follows.
    space: String,
    empty_key: bool,
}

impl PathBuilder {
    /// Adds a token and tells whether it may be part of a path.
    pub(crate) fn push(&mut self, token: &Token<'_>) -> bool {
        if let Token::Space(space) = token {
            if self.started {
                self.space.push_str(space);
            }
            return true;
        }
        if !token.is_simple() {
            return false;
        }
        let space = std::mem::take(&mut self.space);
        self.current.push_str(&space);
        self.started = true;
        if let Token::Quoted(text) = token {
            self.current.push_str(text);
            self.quoted = true;
        } else {
            self.push_unquoted(token.text());
        }
        true
    }

    fn push_unquoted(&mut self, text: &str) {
        for (index, part) in text.split('.').enumerate() {
            if index > 0 {
                self.end_key();
            }
            self.current.push_str(part);
        }
    }

    fn end_key(&mut self) {
        self.empty_key |= self.current.is_empty() && !self.quoted;
        self.done.push(Key::from(self.current.as_str()));
        self.current.clear();
        self.quoted = false;
    }

    /// Returns the keys, or why there are none.
    pub(crate) fn finish(mut self) -> Result<Vec<Key>, String> {
        if !self.started {
            return Err("it is empty".to_owned());
        }
        self.end_key();
        if self.empty_key {
            return Err(
                "it has a leading, trailing or doubled `.`; quote empty keys as `\"\"`".to_owned(),
            );
        }
        if self.done.len() > NESTING_MAX {
            // No value lies that deep.
            return Err(format!("it has more than {NESTING_MAX} keys"));
        }
        Ok(self.done)
    }
}

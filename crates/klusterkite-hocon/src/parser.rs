//! Reads HOCON and strict JSON into unresolved trees.

mod include;
mod join;

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::error::Error;
use crate::include::IncludeReader;
use crate::limits::{NESTING_MAX, TEXT_SIZE_BYTES_MAX};
use crate::node::{KeyOrder, Node, NodeKind, ObjectNode, ReferenceNode, put_at_path};
use crate::origin::Origin;
use crate::parser::join::Joined;
use crate::path::{Key, Path, PathBuilder, ROOT};
use crate::properties;
use crate::scanner::{Place, Scanner, Token};

/// The grammar of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// HOCON, which contains JSON.
    Hocon,
    /// Strict JSON (RFC 8259); duplicate keys are errors.
    Json,
    /// A Java properties file; all values are strings.
    Properties,
}

impl Syntax {
    /// Returns the syntax that the extension of a file name stands for.
    pub fn of_file_name(name: &str) -> Option<Self> {
        let (_, extension) = name.rsplit_once('.')?;
        match extension {
            "conf" | "hocon" => Some(Self::Hocon),
            "json" => Some(Self::Json),
            "properties" => Some(Self::Properties),
            _ => None,
        }
    }
}

/// How a text is parsed.
#[derive(Clone, Copy)]
pub struct ParseOptions<'a> {
    /// The grammar of the text.
    pub syntax: Syntax,
    /// Reads included texts; without it `include` is an error.
    pub includes: Option<&'a dyn IncludeReader>,
}

impl ParseOptions<'_> {
    /// HOCON without includes, what texts of others should be parsed with.
    pub const HOCON: Self = Self {
        syntax: Syntax::Hocon,
        includes: None,
    };
}

/// What a text is part of: nothing, or the place of another text that includes it.
pub(crate) struct Context<'a> {
    includes: Option<&'a dyn IncludeReader>,
    /// The texts that are being included, outermost first.
    sources: Vec<Arc<str>>,
    /// The path of the object that includes the text.
    prefix: Vec<Key>,
    /// How deep that object lies, lists included.
    depth: usize,
    /// In how many lists that object lies.
    list_depth: usize,
    totals: &'a Totals,
}

/// What all included texts take together, because includes multiply.
#[derive(Default)]
struct Totals {
    texts: Cell<usize>,
    size_bytes: Cell<usize>,
}

/// Parses a text to its root object.
pub(crate) fn parse(
    text: &str,
    origin: &Origin,
    options: &ParseOptions<'_>,
) -> Result<Node, Error> {
    let totals = Totals::default();
    let context = Context {
        includes: options.includes,
        sources: vec![Arc::from(origin.source())],
        prefix: Vec::new(),
        depth: 0,
        list_depth: 0,
        totals: &totals,
    };
    parse_in(text, origin, options.syntax, &context)
}

fn parse_in(
    text: &str,
    origin: &Origin,
    syntax: Syntax,
    context: &Context<'_>,
) -> Result<Node, Error> {
    let size_bytes = context.totals.size_bytes.get().saturating_add(text.len());
    context.totals.size_bytes.set(size_bytes);
    if size_bytes > TEXT_SIZE_BYTES_MAX {
        return Err(Error::Limit {
            origin: origin.clone(),
            problem: format!(
                "the text, with what it includes, is larger than {TEXT_SIZE_BYTES_MAX} bytes"
            ),
        });
    }
    let json = match syntax {
        Syntax::Hocon => false,
        Syntax::Json => true,
        Syntax::Properties => return properties::parse(text, origin),
    };
    let scanner = if json {
        Scanner::json(text, origin)
    } else {
        Scanner::hocon(text, origin)
    };
    let mut parser = Parser {
        scanner,
        json,
        peeked: None,
        context,
        path: context.prefix.clone(),
        depth: context.depth,
        list_depth: context.list_depth,
        keys: HashSet::default(),
    };
    parser.root()
}

struct Parser<'t, 'c> {
    scanner: Scanner<'t>,
    json: bool,
    peeked: Option<(Token<'t>, Place)>,
    context: &'c Context<'c>,
    /// The path of the object that is being read.
    path: Vec<Key>,
    depth: usize,
    list_depth: usize,
    /// Keys that the text has used, to be shared.
    keys: HashSet<Key, RandomState>,
}

/// Most keys that are shared: those of texts that repeat them, without doubling the memory of those that do not.
const INTERNED_KEYS_MAX: usize = 1000;

/// What stands before a separator, mostly one word.
enum Keys {
    One(Key),
    Several(Vec<Key>),
}

impl Keys {
    fn as_slice(&self) -> &[Key] {
        match self {
            Self::One(key) => std::slice::from_ref(key),
            Self::Several(keys) => keys,
        }
    }
}

impl<'t> Parser<'t, '_> {
    fn root(&mut self) -> Result<Node, Error> {
        let (first, place) = self.next_significant()?;
        let root = match first {
            Token::OpenBrace => self.object(place, true)?,
            Token::OpenBracket => {
                let list = self.list(place)?;
                self.expect_end()?;
                return Err(Error::WrongType {
                    origin: list.origin,
                    path: ROOT.to_owned(),
                    expected: "an object",
                    found: "a list",
                });
            }
            token if self.json => return Err(self.unexpected(&token, place, "`{`")),
            token => {
                self.put_back(token, place);
                self.object(Place::START, false)?
            }
        };
        self.expect_end()?;
        Ok(root)
    }

    fn expect_end(&mut self) -> Result<(), Error> {
        match self.next_significant()? {
            (Token::End, _) => Ok(()),
            (token, place) => Err(self.unexpected(&token, place, "the end of the text")),
        }
    }

    fn next(&mut self) -> Result<(Token<'t>, Place), Error> {
        if let Some(peeked) = self.peeked.take() {
            return Ok(peeked);
        }
        let place = self.scanner.here();
        let token = self.scanner.next_token()?;
        if self.json && matches!(token, Token::Comment | Token::Text(_)) {
            return Err(self.unexpected(&token, place, "JSON"));
        }
        Ok((token, place))
    }

    fn put_back(&mut self, token: Token<'t>, place: Place) {
        debug_assert!(self.peeked.is_none(), "one token of look-ahead");
        self.peeked = Some((token, place));
    }

    /// Returns the next token that is no whitespace, newline or comment.
    fn next_significant(&mut self) -> Result<(Token<'t>, Place), Error> {
        loop {
            match self.next()? {
                (Token::Space(_) | Token::Newline | Token::Comment, _) => {}
                found => return Ok(found),
            }
        }
    }

    /// Reads fields up to the closing brace, or to the end of the text if there was no opening one.
    fn object(&mut self, start: Place, braces: bool) -> Result<Node, Error> {
        let mut object = ObjectNode::default();
        let mut after_comma = false;
        loop {
            let (token, place) = self.next_significant()?;
            match token {
                Token::CloseBrace if braces && !(self.json && after_comma) => break,
                Token::End if !braces => break,
                Token::End => return Err(self.unexpected(&token, place, "a key or `}`")),
                Token::Text("include") if !self.json => {
                    let included = self.include(place)?;
                    include::put_included(&mut object, included);
                }
                token => {
                    self.put_back(token, place);
                    self.field(&mut object)?;
                }
            }
            if self.separator()? {
                after_comma = true;
                continue;
            }
            match self.next_significant()? {
                (Token::CloseBrace, _) if braces => break,
                (Token::End, _) if !braces => break,
                (token, place) => {
                    let expected = if braces {
                        "`,`, the end of the line or `}`"
                    } else {
                        "`,` or the end of the line"
                    };
                    return Err(self.unexpected(&token, place, expected));
                }
            }
        }
        Ok(Node::object(self.scanner.origin(start), object))
    }

    /// Takes what separates two elements, a comma or newlines, and tells whether there was any.
    fn separator(&mut self) -> Result<bool, Error> {
        let mut newline = false;
        loop {
            match self.next()? {
                (Token::Space(_) | Token::Comment, _) => {}
                (Token::Newline, _) => newline = true,
                (Token::Comma, _) => return Ok(true),
                (token, place) => {
                    self.put_back(token, place);
                    return Ok(newline && !self.json);
                }
            }
        }
    }

    fn field(&mut self, object: &mut ObjectNode) -> Result<(), Error> {
        let (keys, key_place) = self.key()?;
        let keys = keys.as_slice();
        self.depth += keys.len();
        if self.depth > NESTING_MAX {
            return Err(Error::too_deep(self.scanner.origin(key_place)));
        }
        let outer_path = self.path.len();
        if self.context.includes.is_some() {
            self.path.extend(keys.iter().cloned());
        }
        let (separator, place) = self.next_significant()?;
        let value = match separator {
            Token::Colon => self.value()?,
            Token::Equals if !self.json => self.value()?,
            Token::PlusEquals if !self.json => self.value()?.appended(),
            // Without a separator nothing can be joined to the object.
            Token::OpenBrace if !self.json => self.object(place, true)?,
            token => {
                return Err(self.unexpected(&token, place, "`=`, `:` or `{` after the key"));
            }
        };
        self.path.truncate(outer_path);
        self.depth -= keys.len();
        if self.json && object.fields.contains_key(&keys[0]) {
            return Err(Scanner::error_at(
                self.scanner.origin(key_place),
                format!("duplicate key `{}`", keys[0]),
            ));
        }
        put_at_path(&mut object.fields, keys, value, KeyOrder::LowFirst);
        Ok(())
    }

    /// Returns the key of a text; a text mostly uses few keys, again and again.
    fn interned(&mut self, text: &str) -> Key {
        if let Some(key) = self.keys.get(text) {
            return Arc::clone(key);
        }
        let key = Key::from(text);
        if self.keys.len() < INTERNED_KEYS_MAX {
            self.keys.insert(Arc::clone(&key));
        }
        key
    }

    fn key(&mut self) -> Result<(Keys, Place), Error> {
        let (first, place) = self.next_significant()?;
        if self.json {
            return match first {
                Token::Quoted(text) => Ok((Keys::One(self.interned(&text)), place)),
                token => Err(self.unexpected(&token, place, "a quoted key")),
            };
        }
        if !first.is_simple() {
            return Err(self.unexpected(&first, place, "a key"));
        }
        let (mut token, mut token_place) = self.next()?;
        let mut space = None;
        if let Token::Space(_) = token {
            space = Some(token);
            (token, token_place) = self.next()?;
        }
        let is_word = matches!(first, Token::Quoted(_)) || !first.text().contains('.');
        if is_word && !token.is_simple() {
            self.put_back(token, token_place);
            return Ok((Keys::One(self.interned(first.text())), place));
        }
        let mut builder = PathBuilder::default();
        let mut written = String::new();
        for part in [Some(first), space].into_iter().flatten() {
            builder.push(&part);
            written.push_str(part.text());
        }
        while builder.push(&token) {
            written.push_str(token.text());
            (token, token_place) = self.next()?;
        }
        self.put_back(token, token_place);
        match builder.finish() {
            Ok(keys) => Ok((Keys::Several(keys), place)),
            Err(problem) => Err(Error::Path {
                origin: self.scanner.origin(place),
                path: written.trim_end().to_owned(),
                problem,
            }),
        }
    }

    /// Reads a value: everything up to the end of the line that is not a separator.
    fn value(&mut self) -> Result<Node, Error> {
        let (first, place) = self.next_significant()?;
        let origin = self.scanner.origin(place);
        let mut joined = Joined::new(origin.clone());
        let mut next = (first, place);
        if next.0.is_simple() {
            // Mostly a scalar stands alone.
            if self.json {
                return Ok(join::scalar_node(next.0, origin));
            }
            let mut following = self.next()?;
            let mut space = None;
            if let Token::Space(text) = following.0 {
                space = Some(text);
                following = self.next()?;
            }
            if following.0.ends_value() {
                self.put_back(following.0, following.1);
                return Ok(join::scalar_node(next.0, origin));
            }
            joined.scalar(next.0, origin)?;
            if let Some(space) = space {
                joined.space(space);
            }
            next = following;
        }
        loop {
            let (token, place) = next;
            match token {
                Token::Space(space) => joined.space(space),
                Token::Reference(reference) if !self.json => {
                    joined.reference(self.reference(reference, place));
                }
                Token::OpenBrace => joined.container(self.object(place, true)?)?,
                Token::OpenBracket => joined.container(self.list(place)?)?,
                token if token.is_simple() => joined.scalar(token, self.scanner.origin(place))?,
                token => {
                    self.put_back(token, place);
                    break;
                }
            }
            if self.json {
                break;
            }
            next = self.next()?;
        }
        if let Some(value) = joined.finish() {
            return Ok(value);
        }
        let (token, place) = self.next()?;
        Err(self.unexpected(&token, place, "a value"))
    }

    fn reference(&self, reference: crate::scanner::Reference, place: Place) -> Node {
        let prefix = &self.context.prefix;
        let path = if prefix.is_empty() {
            reference.path
        } else {
            let written = reference.path.keys();
            Path::from_keys(prefix.iter().chain(written).cloned().collect())
        };
        let reference = ReferenceNode {
            path,
            prefix: prefix.len(),
            optional: reference.optional,
            list: reference.list,
        };
        let origin = self.scanner.origin(place);
        Node::new(origin, NodeKind::Reference(Arc::new(reference)))
    }

    fn list(&mut self, start: Place) -> Result<Node, Error> {
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return Err(Error::too_deep(self.scanner.origin(start)));
        }
        self.list_depth += 1;
        let mut items = Vec::new();
        let mut after_comma = false;
        loop {
            let (token, place) = self.next_significant()?;
            if token == Token::CloseBracket && !(self.json && after_comma) {
                break;
            }
            self.put_back(token, place);
            items.push(self.value()?);
            if self.separator()? {
                after_comma = true;
                continue;
            }
            match self.next_significant()? {
                (Token::CloseBracket, _) => break,
                (token, place) => {
                    let expected = "`,`, the end of the line or `]`";
                    return Err(self.unexpected(&token, place, expected));
                }
            }
        }
        self.list_depth -= 1;
        self.depth -= 1;
        let origin = self.scanner.origin(start);
        Ok(Node::new(origin, NodeKind::List(Arc::new(items))))
    }

    fn unexpected(&self, token: &Token<'_>, place: Place, expected: &str) -> Error {
        let problem = format!("found {}, expected {expected}", token.describe());
        Scanner::error_at(self.scanner.origin(place), problem)
    }
}

//! The `include` statement.

use std::sync::Arc;

use super::{Context, Parser, parse_in};
use crate::error::Error;
use crate::include::{IncludeKind, IncludeRequest};
use crate::limits::{INCLUDE_COUNT_MAX, INCLUDE_DEPTH_MAX};
use crate::node::{KeyOrder, Node, NodeKind, ObjectNode, merge, merge_objects};
use crate::origin::Origin;
use crate::parser::Syntax;
use crate::scanner::{Place, Scanner, Token};

/// An `include` as written.
struct Statement<'a> {
    kind: IncludeKind,
    name: &'a str,
    required: bool,
    origin: &'a Origin,
}

impl Statement<'_> {
    fn error(&self, problem: impl Into<String>) -> Error {
        Error::Include {
            origin: self.origin.clone(),
            name: self.name.to_owned(),
            problem: problem.into(),
        }
    }
}

impl Parser<'_, '_> {
    /// Reads what follows the word `include` and returns the included object.
    pub(super) fn include(&mut self, place: Place) -> Result<Option<Node>, Error> {
        let origin = self.scanner.origin(place);
        let (head, name) = self.include_head()?;
        let (kind, required) = match head.as_str() {
            "" => (IncludeKind::Relative, false),
            "file(" => (IncludeKind::File, false),
            "classpath(" => (IncludeKind::ClassPath, false),
            "required(" => (IncludeKind::Relative, true),
            "required(file(" => (IncludeKind::File, true),
            "required(classpath(" => (IncludeKind::ClassPath, true),
            _ => {
                return Err(Scanner::error_at(
                    origin,
                    "write `include \"name\"`, `include file(\"name\")`, `include classpath(\"name\")` or \
                     `include required(…)` around one of them",
                ));
            }
        };
        self.include_tail(head.matches('(').count())?;
        let statement = Statement {
            kind,
            name: &name,
            required,
            origin: &origin,
        };
        self.load(&statement)
    }

    /// Reads up to the quoted name and returns the words before it, without whitespace.
    fn include_head(&mut self) -> Result<(String, String), Error> {
        let mut head = String::new();
        let (mut token, mut place) = self.next_significant()?;
        loop {
            match token {
                Token::Quoted(name) => return Ok((head, name.into_owned())),
                Token::Text(text) => head.push_str(text),
                Token::Space(_) if head.ends_with('(') => {}
                token => {
                    return Err(self.unexpected(&token, place, "a quoted name after `include`"));
                }
            }
            (token, place) = self.next()?;
        }
    }

    fn include_tail(&mut self, mut open: usize) -> Result<(), Error> {
        while open > 0 {
            let (token, place) = self.next()?;
            match token {
                Token::Space(_) => {}
                Token::Text(text) if text.len() <= open && text.bytes().all(|b| b == b')') => {
                    open -= text.len();
                }
                token => return Err(self.unexpected(&token, place, "`)`")),
            }
        }
        Ok(())
    }

    fn load(&self, statement: &Statement<'_>) -> Result<Option<Node>, Error> {
        let found = if Syntax::of_file_name(statement.name).is_some() {
            self.load_file(statement, statement.name)?
        } else {
            self.load_all_extensions(statement)?
        };
        if found.is_none() && statement.required {
            return Err(statement.error("it is required and does not exist"));
        }
        Ok(found)
    }

    /// Loads `name.properties`, `name.json` and `name.conf`, each over the one before.
    fn load_all_extensions(&self, statement: &Statement<'_>) -> Result<Option<Node>, Error> {
        let mut merged: Option<Node> = None;
        for extension in ["properties", "json", "conf"] {
            let name = format!("{}.{extension}", statement.name);
            let Some(node) = self.load_file(statement, &name)? else {
                continue;
            };
            merged = Some(match merged {
                None => node,
                Some(lower) => merge(lower, node, KeyOrder::LowFirst),
            });
        }
        Ok(merged)
    }

    fn load_file(&self, statement: &Statement<'_>, name: &str) -> Result<Option<Node>, Error> {
        let context = self.context;
        let Some(reader) = context.includes else {
            return Err(statement.error("includes are switched off here"));
        };
        let request = IncludeRequest {
            kind: statement.kind,
            name,
            origin: statement.origin,
        };
        let read = reader.read(&request);
        let Some(found) = read.map_err(|problem| statement.error(problem))? else {
            return Ok(None);
        };
        if context
            .sources
            .iter()
            .any(|source| **source == *found.source)
        {
            return Err(
                statement.error("it is being included already, by itself or what it includes")
            );
        }
        if context.sources.len() > INCLUDE_DEPTH_MAX {
            return Err(statement.error(format!("includes nest over {INCLUDE_DEPTH_MAX} deep")));
        }
        let texts = context.totals.texts.get() + 1;
        context.totals.texts.set(texts);
        if texts > INCLUDE_COUNT_MAX {
            return Err(
                statement.error(format!("more than {INCLUDE_COUNT_MAX} texts are included"))
            );
        }
        let source: Arc<str> = Arc::from(found.source.as_str());
        let mut sources = context.sources.clone();
        sources.push(Arc::clone(&source));
        let inner = Context {
            includes: context.includes,
            sources,
            prefix: self.path.clone(),
            depth: self.depth,
            list_depth: self.list_depth,
            totals: context.totals,
        };
        let syntax = Syntax::of_file_name(name).unwrap_or(Syntax::Hocon);
        let included = parse_in(&found.text, &Origin::new(source, 1, 1), syntax, &inner)?;
        if self.list_depth > 0 && included.has_references() {
            // Its paths would have to name elements of a list, which the notation cannot.
            return Err(statement.error("inside a list it must not contain substitutions"));
        }
        Ok(Some(included))
    }
}

/// Puts an included object above the fields read so far.
pub(super) fn put_included(object: &mut ObjectNode, included: Option<Node>) {
    let Some(Node {
        kind: NodeKind::Object(included),
        ..
    }) = included
    else {
        return;
    };
    let lower = Arc::new(std::mem::take(object));
    let merged = merge_objects(lower, included, KeyOrder::LowFirst);
    *object = Arc::unwrap_or_clone(merged);
}

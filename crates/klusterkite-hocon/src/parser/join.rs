//! Values that stand side by side: `"http://"${host}`, `[1] [2]`, `${base} { x = 1 }`.

use std::sync::Arc;

use crate::error::Error;
use crate::node::{KeyOrder, Node, NodeKind, Piece, merge};
use crate::origin::Origin;
use crate::scanner::Token;

/// Collects the parts of one value; what is known at once is joined at once.
pub(super) struct Joined<'t> {
    origin: Origin,
    pieces: Vec<Piece>,
    /// Scalars since the last other part.
    run: Run,
    /// Whitespace that counts if a scalar or a substitution follows.
    space: Option<&'t str>,
    /// Whether the last part lets following whitespace count.
    after_simple: bool,
    /// The kind of a part that cannot stand beside parts of another kind.
    fixed: Option<&'static str>,
}

const STRING: &str = "a string";

enum Run {
    Empty,
    /// One scalar, which keeps its type if it stays alone.
    Single(Node),
    /// Several, which are a string.
    Text(Origin, String),
}

impl<'t> Joined<'t> {
    pub(super) fn new(origin: Origin) -> Self {
        Self {
            origin,
            pieces: Vec::new(),
            run: Run::Empty,
            space: None,
            after_simple: false,
            fixed: None,
        }
    }

    /// Refuses a string beside a list or object; two containers may still fit, as `{"0" = a}` is a list too.
    fn fix(&mut self, kind: &'static str) -> Result<(), Error> {
        match self.fixed {
            Some(left) if (left == STRING) != (kind == STRING) => Err(Error::Join {
                origin: self.origin.clone(),
                left,
                right: kind,
            }),
            _ => {
                self.fixed = Some(kind);
                Ok(())
            }
        }
    }

    pub(super) fn space(&mut self, space: &'t str) {
        self.space = self.after_simple.then_some(space);
    }

    pub(super) fn scalar(&mut self, token: Token<'_>, origin: Origin) -> Result<(), Error> {
        self.fix(STRING)?;
        let space = self.space.take().unwrap_or_default();
        self.after_simple = true;
        self.run = match std::mem::replace(&mut self.run, Run::Empty) {
            Run::Empty if space.is_empty() => Run::Single(scalar_node(token, origin)),
            Run::Empty => Run::Text(origin, format!("{space}{}", token.text())),
            Run::Single(node) => {
                let text = format!("{}{space}{}", scalar_text(&node), token.text());
                Run::Text(node.origin, text)
            }
            Run::Text(origin, mut text) => {
                text.push_str(space);
                text.push_str(token.text());
                Run::Text(origin, text)
            }
        };
        Ok(())
    }

    pub(super) fn reference(&mut self, reference: Node) {
        if let Some(space) = self.space.take() {
            match &mut self.run {
                Run::Empty => self.pieces.push(Piece::Space(Arc::from(space))),
                Run::Single(node) => {
                    let text = format!("{}{space}", scalar_text(node));
                    self.run = Run::Text(node.origin.clone(), text);
                }
                Run::Text(_, text) => text.push_str(space),
            }
        }
        self.end_run();
        self.pieces.push(Piece::Node(reference));
        self.after_simple = true;
    }

    pub(super) fn container(&mut self, container: Node) -> Result<(), Error> {
        self.fix(match container.kind {
            NodeKind::List(_) => "a list",
            _ => "an object",
        })?;
        self.space = None;
        self.after_simple = false;
        self.end_run();
        if let Some(Piece::Node(last)) = self.pieces.last_mut() {
            match (&mut last.kind, &container.kind) {
                (NodeKind::List(items), NodeKind::List(more)) => {
                    Arc::make_mut(items).extend(more.iter().cloned());
                    return Ok(());
                }
                (NodeKind::Object(_), NodeKind::Object(_)) => {
                    *last = merge(last.take(), container, KeyOrder::LowFirst);
                    return Ok(());
                }
                _ => {}
            }
        }
        self.pieces.push(Piece::Node(container));
        Ok(())
    }

    fn end_run(&mut self) {
        match std::mem::replace(&mut self.run, Run::Empty) {
            Run::Empty => {}
            Run::Single(node) => self.pieces.push(Piece::Node(node)),
            Run::Text(origin, text) => {
                let node = Node::new(origin, NodeKind::String(Arc::from(text)));
                self.pieces.push(Piece::Node(node));
            }
        }
    }

    /// Returns the value, or `None` if nothing was there.
    pub(super) fn finish(mut self) -> Option<Node> {
        self.end_run();
        if self.pieces.len() > 1 {
            let kind = NodeKind::Join(Arc::new(self.pieces));
            return Some(Node::new(self.origin, kind));
        }
        match self.pieces.pop()? {
            Piece::Node(node) => Some(node),
            Piece::Space(_) | Piece::Previous => None,
        }
    }
}

pub(super) fn scalar_node(token: Token<'_>, origin: Origin) -> Node {
    let kind = match token {
        Token::True => NodeKind::Boolean(true),
        Token::False => NodeKind::Boolean(false),
        Token::Null => NodeKind::Null,
        Token::Number(text) => NodeKind::Number(Arc::from(text)),
        token => NodeKind::String(Arc::from(token.text())),
    };
    Node::new(origin, kind)
}

fn scalar_text(node: &Node) -> &str {
    match &node.kind {
        NodeKind::Null => "null",
        NodeKind::Boolean(true) => "true",
        NodeKind::Boolean(false) => "false",
        NodeKind::Number(text) | NodeKind::String(text) => text,
        _ => "",
    }
}

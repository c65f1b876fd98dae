//! What a text says about a path before anything is resolved: the raw material of explanations.

use std::fmt::Write as _;

use crate::document::Document;
use crate::node::{Node, NodeKind, ObjectNode, Piece, ReferenceNode};
use crate::origin::Origin;
use crate::path::{Key, Path};
use crate::render::{key_text, string_text};

/// Longest text of a value that is shown, in bytes; the rest is cut.
const SHOWN_BYTES_MAX: usize = 120;

/// A value that a text has for a path, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Where it stands.
    pub origin: Origin,
    /// The value on one line, substitutions as such; long values end in `…`.
    pub text: String,
    /// The path that is looked up, if the whole value is one substitution.
    pub reference: Option<Path>,
    /// Whether substitutions take part in it.
    pub is_open: bool,
    /// Whether it adds to what lower layers have (`+=`, `${own.path}`, an object) instead of replacing it.
    pub adds: bool,
}

impl Document {
    /// Returns what the document itself says about a path, highest priority first.
    ///
    /// A substitution further up the path counts, because what it stands for may contain the rest of the
    /// path, and so does a value that is no object, because it hides what lies below it. Of two literal
    /// values in one text only the later one is left.
    pub fn written(&self, path: &Path) -> Vec<Written> {
        let mut search = Search {
            path,
            found: Vec::new(),
        };
        search.object(self.root(), path.keys());
        search.found
    }
}

struct Search<'a> {
    path: &'a Path,
    found: Vec<Written>,
}

impl Search<'_> {
    fn object(&mut self, object: &ObjectNode, keys: &[Key]) {
        let Some((first, rest)) = keys.split_first() else {
            return;
        };
        if let Some(node) = object.fields.get(first) {
            self.node(node, rest);
        }
    }

    fn node(&mut self, node: &Node, keys: &[Key]) {
        match &node.kind {
            NodeKind::Object(object) if !keys.is_empty() => self.object(object, keys),
            NodeKind::Stack(layers) => {
                for layer in layers.iter().rev() {
                    self.node(layer, keys);
                }
            }
            NodeKind::Join(pieces) if !keys.is_empty() && pieces.iter().any(is_object) => {
                for piece in pieces.iter().rev() {
                    if let Piece::Node(node) = piece {
                        self.node(node, keys);
                    }
                }
            }
            _ => self.take(node),
        }
    }

    fn take(&mut self, node: &Node) {
        let mut text = String::new();
        write_node(node, &mut text);
        if text.len() > SHOWN_BYTES_MAX {
            text.truncate(text.floor_char_boundary(SHOWN_BYTES_MAX));
            text.push('…');
        }
        let reference = match &node.kind {
            NodeKind::Reference(reference) => Some(reference.path.clone()),
            _ => None,
        };
        self.found.push(Written {
            origin: node.origin.clone(),
            text,
            reference,
            is_open: node.has_references(),
            adds: self.adds(node),
        });
    }

    fn adds(&self, node: &Node) -> bool {
        match &node.kind {
            NodeKind::Object(object) => !object.sealed,
            NodeKind::Reference(reference) => reference.path == *self.path,
            NodeKind::Join(pieces) => pieces.iter().any(|piece| match piece {
                Piece::Previous => true,
                Piece::Space(_) => false,
                Piece::Node(node) => self.adds(node),
            }),
            _ => false,
        }
    }
}

fn is_object(piece: &Piece) -> bool {
    matches!(piece, Piece::Node(node) if matches!(node.kind, NodeKind::Object(_)))
}

/// Writes a value on one line, and stops soon after what is shown.
fn write_node(node: &Node, text: &mut String) {
    if text.len() > SHOWN_BYTES_MAX {
        return;
    }
    match &node.kind {
        NodeKind::Null => text.push_str("null"),
        NodeKind::Boolean(boolean) => text.push_str(if *boolean { "true" } else { "false" }),
        NodeKind::Number(number) => text.push_str(number),
        NodeKind::String(string) => text.push_str(&string_text(string)),
        NodeKind::List(items) => write_list(items, text),
        NodeKind::Object(object) => write_object(object, text),
        NodeKind::Reference(reference) => write_reference(reference, text),
        NodeKind::Join(pieces) => write_pieces(pieces, text),
        NodeKind::Stack(layers) => {
            for (index, layer) in layers.iter().rev().enumerate() {
                text.push_str(if index > 0 { " over " } else { "" });
                write_node(layer, text);
            }
        }
    }
}

fn write_list(items: &[Node], text: &mut String) {
    text.push('[');
    for (index, item) in items.iter().enumerate() {
        if text.len() > SHOWN_BYTES_MAX {
            return;
        }
        text.push_str(if index > 0 { ", " } else { "" });
        write_node(item, text);
    }
    text.push(']');
}

fn write_object(object: &ObjectNode, text: &mut String) {
    text.push('{');
    for (index, (key, node)) in object.fields.iter().enumerate() {
        if text.len() > SHOWN_BYTES_MAX {
            return;
        }
        text.push_str(if index > 0 { ", " } else { " " });
        text.push_str(&key_text(key));
        text.push_str(" = ");
        write_node(node, text);
    }
    text.push_str(if object.fields.is_empty() { "}" } else { " }" });
}

fn write_reference(reference: &ReferenceNode, text: &mut String) {
    let optional = if reference.optional { "?" } else { "" };
    let list = if reference.list { "[]" } else { "" };
    let path = crate::path::render_keys(reference.written());
    write!(text, "${{{optional}{path}{list}}}").expect("strings take all text");
}

fn write_pieces(pieces: &[Piece], text: &mut String) {
    for piece in pieces {
        if text.len() > SHOWN_BYTES_MAX {
            return;
        }
        match piece {
            Piece::Previous => text.push_str("(what was there) "),
            Piece::Space(space) => text.push_str(space),
            // Unquoted, a string would run together with its neighbours.
            Piece::Node(Node {
                kind: NodeKind::String(string),
                ..
            }) => text.push_str(&crate::render::quote(string)),
            Piece::Node(node) => write_node(node, text),
        }
    }
}

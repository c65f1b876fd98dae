use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Config;
use crate::error::Error;
use crate::limits::NESTING_MAX;
use crate::node::{KeyOrder, Node, NodeKind, ObjectNode, Piece, merge_objects};
use crate::origin::Origin;
use crate::parser::{self, ParseOptions};
use crate::path::{Key, Path, ROOT};
use crate::resolve;
use crate::{
    json,
    value::{Value, ValueKind},
};

/// A parsed text, or several merged ones, whose substitutions are not resolved yet. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Document {
    origin: Origin,
    root: Arc<ObjectNode>,
}

impl Document {
    /// Parses HOCON without includes; `origin` names the text in errors, mostly its file name.
    pub fn parse(text: &str, origin: &str) -> Result<Self, Error> {
        Self::parse_with(text, origin, &ParseOptions::HOCON)
    }

    /// Parses a text in the syntax and with the includes of the options.
    pub fn parse_with(text: &str, origin: &str, options: &ParseOptions<'_>) -> Result<Self, Error> {
        let root = parser::parse(text, &Origin::new(origin, 1, 1), options)?;
        Self::of_node(root)
    }

    /// Returns the document without any key.
    pub fn empty() -> Self {
        Self {
            origin: Origin::new("empty configuration", 0, 0),
            root: Arc::default(),
        }
    }

    /// Makes a document from a JSON object; strings in it are values, never substitutions.
    pub fn from_json(value: &serde_json::Value, origin: &str) -> Result<Self, Error> {
        Self::of_node(json::node(value, &Origin::new(origin, 0, 0), 0)?)
    }

    /// Makes a document of a resolved object.
    pub(crate) fn of_value(value: &Value) -> Self {
        let root = match node_of_value(value).kind {
            NodeKind::Object(object) => object,
            _ => Arc::default(),
        };
        Self {
            origin: value.origin().clone(),
            root,
        }
    }

    fn of_node(root: Node) -> Result<Self, Error> {
        match root.kind {
            NodeKind::Object(object) => Ok(Self {
                origin: root.origin,
                root: object,
            }),
            kind => Err(Error::WrongType {
                origin: root.origin,
                path: ROOT.to_owned(),
                expected: "an object",
                found: kind_name(&kind),
            }),
        }
    }

    /// Puts this document above another one: its values win, objects are merged key by key.
    ///
    /// Substitutions stay as they are; on [`resolve`](Self::resolve) they see the merged whole.
    pub fn with_fallback(self, fallback: Self) -> Self {
        Self {
            origin: self.origin,
            root: merge_objects(fallback.root, self.root, KeyOrder::HighFirst),
        }
    }

    /// Puts the whole document under a path: `x = 1` under `a.b` becomes `a.b.x = 1`.
    ///
    /// Paths of substitutions are not changed.
    pub fn nested(self, path: &Path) -> Result<Self, Error> {
        let keys = path.keys();
        if keys.len() + depth(&self.root) > NESTING_MAX {
            return Err(Error::too_deep(self.origin));
        }
        let node = Node::new(self.origin, NodeKind::Object(self.root));
        Self::of_node(node.nested(keys))
    }

    /// Returns the object at a path as a document of its own, `None` if there is nothing.
    ///
    /// Its substitutions still name paths from the root of where it is merged into. A value that is no
    /// object, or is known only after resolving, is an error.
    pub fn section(&self, path: &str) -> Result<Option<Self>, Error> {
        let parsed = Path::parse_at(path, &self.origin)?;
        let mut section = self.clone();
        for (index, key) in parsed.keys().iter().enumerate() {
            let Some(node) = section.root.fields.get(key) else {
                return Ok(None);
            };
            let NodeKind::Object(object) = &node.kind else {
                return Err(Error::WrongType {
                    origin: node.origin.clone(),
                    path: crate::path::render_keys(&parsed.keys()[..=index]),
                    expected: "an object without substitution",
                    found: kind_name(&node.kind),
                });
            };
            section = Self {
                origin: node.origin.clone(),
                root: Arc::clone(object),
            };
        }
        Ok(Some(section))
    }

    /// Returns the keys of the root object in order, each with the place of its value.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = (&str, &Origin)> {
        let fields = self.root.fields.iter();
        fields.map(|(key, node)| (&**key, &node.origin))
    }

    pub(crate) fn root(&self) -> &ObjectNode {
        &self.root
    }

    /// Returns where the root object starts.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Returns the document without one key of its root object.
    pub fn without(mut self, key: &str) -> Self {
        Arc::make_mut(&mut self.root).fields.shift_remove(key);
        self
    }

    /// Returns what is known without resolving: everything in which no substitution takes part.
    ///
    /// It serves checks of texts whose surroundings are not known yet. A key whose value is open is
    /// left out, and so is a list with an open element.
    pub fn literals(&self) -> Result<Config, Error> {
        let mut literal = Self {
            origin: self.origin.clone(),
            root: Arc::clone(&self.root),
        };
        drop_open(Arc::make_mut(&mut literal.root));
        literal.resolve(&BTreeMap::new())
    }

    /// Resolves all substitutions, against the document itself and then against the environment.
    pub fn resolve(&self, environment: &BTreeMap<String, String>) -> Result<Config, Error> {
        let root: Value = resolve::resolve(&self.origin, &self.root, environment)?;
        Ok(Config::new(root))
    }
}

fn node_of_value(value: &Value) -> Node {
    let kind = match value.kind() {
        ValueKind::Null => NodeKind::Null,
        ValueKind::Boolean(boolean) => NodeKind::Boolean(*boolean),
        ValueKind::Number(number) => NodeKind::Number(Arc::from(number.text())),
        ValueKind::String(text) => NodeKind::String(Arc::clone(text)),
        ValueKind::List(list) => {
            NodeKind::List(Arc::new(list.items().iter().map(node_of_value).collect()))
        }
        ValueKind::Object(object) => {
            let fields = object.fields().iter();
            NodeKind::Object(Arc::new(ObjectNode {
                fields: fields
                    .map(|(key, value)| (Arc::clone(key), node_of_value(value)))
                    .collect(),
                sealed: false,
            }))
        }
    };
    Node::new(value.origin().clone(), kind)
}

fn drop_open(object: &mut ObjectNode) {
    object
        .fields
        .retain(|_key: &Key, node| match &mut node.kind {
            NodeKind::Object(inner) => {
                drop_open(Arc::make_mut(inner));
                true
            }
            _ => !node.has_references() && !takes_previous(node),
        });
}

/// Tells whether the value depends on a lower layer, which another document may bring.
fn takes_previous(node: &Node) -> bool {
    match &node.kind {
        NodeKind::Join(pieces) => matches!(pieces.first(), Some(Piece::Previous)),
        NodeKind::Stack(layers) => layers.first().is_some_and(takes_previous),
        _ => false,
    }
}

fn depth(object: &ObjectNode) -> usize {
    object.fields.values().map(node_depth).max().unwrap_or(0)
}

/// Counts the levels from the key of a node down.
fn node_depth(node: &Node) -> usize {
    let nodes_depth = |nodes: &[Node]| nodes.iter().map(node_depth).max().unwrap_or(0);
    match &node.kind {
        NodeKind::Object(object) => 1 + depth(object),
        NodeKind::List(items) => 1 + nodes_depth(items),
        NodeKind::Stack(layers) => nodes_depth(layers),
        NodeKind::Join(pieces) => {
            let depths = pieces.iter().map(|piece| match piece {
                Piece::Node(node) => node_depth(node),
                Piece::Space(_) | Piece::Previous => 1,
            });
            depths.max().unwrap_or(1)
        }
        _ => 1,
    }
}

fn kind_name(kind: &NodeKind) -> &'static str {
    match kind {
        NodeKind::Null => "null",
        NodeKind::Boolean(_) => "a boolean",
        NodeKind::Number(_) => "a number",
        NodeKind::String(_) => "a string",
        NodeKind::List(_) => "a list",
        NodeKind::Object(_) => "an object",
        NodeKind::Reference(_) | NodeKind::Join(_) | NodeKind::Stack(_) => "a substitution",
    }
}

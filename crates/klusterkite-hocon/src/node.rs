//! The tree of a text before its substitutions are resolved, and how such trees are merged.

use std::sync::Arc;

use indexmap::map::Entry;

use crate::origin::Origin;
use crate::path::{Fields, Key, Path};

/// A value as written, with the place where it was written.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) origin: Origin,
    pub(crate) kind: NodeKind,
}

#[derive(Debug, Clone)]
pub(crate) enum NodeKind {
    Null,
    Boolean(bool),
    Number(Arc<str>),
    String(Arc<str>),
    List(Arc<Vec<Node>>),
    Object(Arc<ObjectNode>),
    Reference(Arc<ReferenceNode>),
    /// Values that stand side by side.
    Join(Arc<Vec<Piece>>),
    /// Layers that cannot be merged before substitutions are resolved, lowest priority first.
    ///
    /// At least two; all but the lowest are references, joins or unsealed objects; no two objects
    /// are neighbours.
    Stack(Arc<Vec<Node>>),
}

#[derive(Debug, Clone, Default)]
pub(crate) struct ObjectNode {
    pub(crate) fields: Fields<Node>,
    /// Whether it lies above a value that is no object, so that nothing further below shows through.
    pub(crate) sealed: bool,
}

/// A substitution.
#[derive(Debug, Clone)]
pub(crate) struct ReferenceNode {
    /// The path to look up, with the place of the inclusion in front.
    pub(crate) path: Path,
    /// How many keys of the path are the place of the inclusion; the lookup is repeated without them.
    pub(crate) prefix: usize,
    pub(crate) optional: bool,
    pub(crate) list: bool,
}

impl ReferenceNode {
    /// Returns the keys as they were written.
    pub(crate) fn written(&self) -> &[Key] {
        &self.path.keys()[self.prefix..]
    }
}

/// A part of joined values.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    Node(Node),
    /// Whitespace between two parts; it counts only if the whole becomes a string.
    Space(Arc<str>),
    /// What the key had before, the left side of `+=`.
    ///
    /// Unlike a substitution of the own path it keeps its meaning wherever the object is moved.
    Previous,
}

/// Whose keys come first in a merged object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyOrder {
    LowFirst,
    HighFirst,
}

impl Node {
    pub(crate) fn new(origin: Origin, kind: NodeKind) -> Self {
        Self { origin, kind }
    }

    pub(crate) fn object(origin: Origin, object: ObjectNode) -> Self {
        Self::new(origin, NodeKind::Object(Arc::new(object)))
    }

    /// Returns the node of `key += self`.
    pub(crate) fn appended(self) -> Self {
        let origin = self.origin.clone();
        let list = Self::new(origin.clone(), NodeKind::List(Arc::new(vec![self])));
        let pieces = vec![Piece::Previous, Piece::Node(list)];
        Self::new(origin, NodeKind::Join(Arc::new(pieces)))
    }

    /// Wraps the node into objects, one per key.
    pub(crate) fn nested(self, keys: &[Key]) -> Self {
        keys.iter().rev().fold(self, |inner, key| {
            let origin = inner.origin.clone();
            let mut object = ObjectNode::default();
            object.fields.insert(Arc::clone(key), inner);
            Self::object(origin, object)
        })
    }

    pub(crate) fn is_scalar(&self) -> bool {
        matches!(
            self.kind,
            NodeKind::Null | NodeKind::Boolean(_) | NodeKind::Number(_) | NodeKind::String(_)
        )
    }

    /// Tells whether the value is known only when substitutions are resolved.
    fn is_delayed(&self) -> bool {
        matches!(
            self.kind,
            NodeKind::Reference(_) | NodeKind::Join(_) | NodeKind::Stack(_)
        )
    }

    /// Tells whether nothing of a lower layer can show through.
    fn closes(&self) -> bool {
        match &self.kind {
            NodeKind::Object(object) => object.sealed,
            NodeKind::Reference(_) | NodeKind::Join(_) => false,
            NodeKind::Stack(layers) => layers.first().is_some_and(Self::closes),
            _ => true,
        }
    }

    /// Tells whether there is a substitution anywhere inside.
    pub(crate) fn has_references(&self) -> bool {
        match &self.kind {
            NodeKind::Reference(_) => true,
            NodeKind::List(items) => items.iter().any(Self::has_references),
            NodeKind::Object(object) => object.fields.values().any(Self::has_references),
            NodeKind::Join(pieces) => pieces.iter().any(|piece| match piece {
                Piece::Node(node) => node.has_references(),
                Piece::Space(_) | Piece::Previous => false,
            }),
            NodeKind::Stack(layers) => layers.iter().any(Self::has_references),
            _ => false,
        }
    }

    pub(crate) fn take(&mut self) -> Self {
        let kind = std::mem::replace(&mut self.kind, NodeKind::Null);
        Self::new(self.origin.clone(), kind)
    }

    fn into_layers(self) -> Vec<Self> {
        match self.kind {
            NodeKind::Stack(layers) => Arc::unwrap_or_clone(layers),
            _ => vec![self],
        }
    }
}

/// Merges two values of one key.
///
/// The operation is associative, so layers may be merged in any grouping.
pub(crate) fn merge(low: Node, high: Node, order: KeyOrder) -> Node {
    if high.closes() {
        return high;
    }
    if let (NodeKind::Object(_), false) = (&high.kind, low.is_delayed()) {
        return merge_onto_known(low, high, order);
    }
    let mut layers = low.into_layers();
    for layer in high.into_layers() {
        put_on_top(&mut layers, layer, order);
    }
    if layers.len() == 1 {
        return layers.remove(0);
    }
    let origin = layers[layers.len() - 1].origin.clone();
    Node::new(origin, NodeKind::Stack(Arc::new(layers)))
}

/// Merges an object onto a value that is no substitution.
fn merge_onto_known(low: Node, high: Node, order: KeyOrder) -> Node {
    match (low.kind, high.kind) {
        (NodeKind::Object(low), NodeKind::Object(upper)) => Node::new(
            high.origin,
            NodeKind::Object(merge_objects(low, upper, order)),
        ),
        (_, NodeKind::Object(mut upper)) => {
            Arc::make_mut(&mut upper).sealed = true;
            Node::new(high.origin, NodeKind::Object(upper))
        }
        (_, kind) => Node::new(high.origin, kind),
    }
}

/// Merges two objects, deeply.
pub(crate) fn merge_objects(
    low: Arc<ObjectNode>,
    high: Arc<ObjectNode>,
    order: KeyOrder,
) -> Arc<ObjectNode> {
    if high.sealed {
        return high;
    }
    let sealed = low.sealed;
    let mut merged = match order {
        KeyOrder::LowFirst => {
            let mut low = low;
            let fields = &mut Arc::make_mut(&mut low).fields;
            for (key, upper) in Arc::unwrap_or_clone(high).fields {
                put(fields, key, upper, order);
            }
            low
        }
        KeyOrder::HighFirst => {
            let mut high = high;
            let fields = &mut Arc::make_mut(&mut high).fields;
            for (key, lower) in Arc::unwrap_or_clone(low).fields {
                match fields.entry(key) {
                    Entry::Vacant(entry) => {
                        entry.insert(lower);
                    }
                    Entry::Occupied(mut entry) => {
                        let upper = entry.get_mut().take();
                        *entry.get_mut() = merge(lower, upper, order);
                    }
                }
            }
            high
        }
    };
    Arc::make_mut(&mut merged).sealed = sealed;
    merged
}

/// Sets a key above what it had.
pub(crate) fn put(fields: &mut Fields<Node>, key: Key, value: Node, order: KeyOrder) {
    match fields.entry(key) {
        Entry::Vacant(entry) => {
            entry.insert(value);
        }
        Entry::Occupied(mut entry) => {
            let lower = entry.get_mut().take();
            *entry.get_mut() = merge(lower, value, order);
        }
    }
}

/// Sets a path above what it had, without touching the rest of the object.
pub(crate) fn put_at_path(fields: &mut Fields<Node>, keys: &[Key], value: Node, order: KeyOrder) {
    let Some((first, rest)) = keys.split_first() else {
        return;
    };
    if !rest.is_empty()
        && let Some(Node { kind, .. }) = fields.get_mut(first)
        && let NodeKind::Object(object) = kind
    {
        put_at_path(&mut Arc::make_mut(object).fields, rest, value, order);
        return;
    }
    put(fields, Arc::clone(first), value.nested(rest), order);
}

/// Puts one layer, which is no stack, on top of others.
fn put_on_top(layers: &mut Vec<Node>, layer: Node, order: KeyOrder) {
    if layer.closes() {
        layers.clear();
        layers.push(layer);
        return;
    }
    let Some(top) = layers.last_mut() else {
        layers.push(layer);
        return;
    };
    if matches!(layer.kind, NodeKind::Object(_)) && !top.is_delayed() {
        let lower = top.take();
        let merged = merge_onto_known(lower, layer, order);
        if merged.closes() {
            layers.clear();
        } else {
            layers.pop();
        }
        layers.push(merged);
        return;
    }
    if let Some(layer) = append_into(top, layer) {
        layers.push(layer);
    }
}

/// Folds `+= literal` into a list that lies directly below, or gives the layer back.
///
/// Without it, n appends would make n layers, each of which looks back through all below.
fn append_into(top: &mut Node, layer: Node) -> Option<Node> {
    let added = match &layer.kind {
        NodeKind::Join(pieces) => match pieces.as_slice() {
            [Piece::Previous, Piece::Node(added)] if !added.has_references() => added,
            _ => return Some(layer),
        },
        _ => return Some(layer),
    };
    let NodeKind::List(added) = &added.kind else {
        return Some(layer);
    };
    let target = match &mut top.kind {
        NodeKind::List(items) => items,
        NodeKind::Join(pieces) => match Arc::make_mut(pieces).last_mut() {
            Some(Piece::Node(Node {
                kind: NodeKind::List(items),
                ..
            })) => items,
            _ => return Some(layer),
        },
        _ => return Some(layer),
    };
    Arc::make_mut(target).extend(added.iter().cloned());
    None
}

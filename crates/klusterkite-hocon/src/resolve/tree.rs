//! The merged tree as numbered items with numbered paths.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::trail::Trail;
use crate::node::{Node, NodeKind, ObjectNode, Piece, ReferenceNode};
use crate::origin::Origin;
use crate::path::{Key, render_keys};

/// The number of an item: of two items at one path the lower number has the higher priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ItemId(u32);

/// The number of a path, whether there is something or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PathId(u32);

pub(super) struct Item<'a> {
    pub(super) origin: &'a Origin,
    pub(super) path: PathId,
    /// The key of a scalar in the object at the path. Most values are scalars, and nobody asks for the
    /// paths of most of them, so they get no number.
    key: Option<&'a Key>,
    pub(super) content: Content<'a>,
}

#[derive(Clone)]
pub(super) enum Content<'a> {
    Scalar(&'a NodeKind),
    List(Rc<[ItemId]>),
    /// The items are in the order of the fields.
    Object(&'a ObjectNode, Rc<[ItemId]>),
    Reference(&'a ReferenceNode),
    Join(Rc<[Part<'a>]>),
    /// Highest priority first.
    Stack(Rc<[ItemId]>),
}

/// A part of joined values, in the order of the text.
#[derive(Clone, Copy)]
pub(super) enum Part<'a> {
    Item(ItemId),
    Space(&'a Arc<str>),
    Previous,
}

struct PathEntry {
    parent: Option<PathId>,
    key: Key,
    /// How many keys lead here.
    depth: usize,
    /// The item that relative walks start at: the root, or the list element that contains the path.
    base: ItemId,
    /// Whether a substitution stands exactly here.
    delayed: bool,
    region: u64,
}

pub(super) struct Tree<'a> {
    items: Vec<Item<'a>>,
    paths: Vec<PathEntry>,
    children: HashMap<(PathId, Key), PathId, RandomState>,
}

impl<'a> Tree<'a> {
    pub(super) const ROOT: ItemId = ItemId(0);

    pub(super) fn new(origin: &'a Origin, root: &'a ObjectNode) -> Self {
        let mut tree = Self {
            items: Vec::new(),
            paths: Vec::new(),
            children: HashMap::default(),
        };
        let path = tree.base_path(Self::ROOT, 0);
        tree.add_object(origin, root, path);
        tree
    }

    pub(super) fn item_count(&self) -> usize {
        self.items.len()
    }

    pub(super) fn root_path(&self) -> PathId {
        self.item(Self::ROOT).path
    }

    pub(super) fn item(&self, id: ItemId) -> &Item<'a> {
        &self.items[id.0 as usize]
    }

    /// Returns the object of an item, if it is one, with the items of its fields.
    pub(super) fn object(&self, id: ItemId) -> Option<(&'a ObjectNode, &[ItemId])> {
        match &self.item(id).content {
            Content::Object(object, children) => Some((object, children)),
            _ => None,
        }
    }

    fn entry(&self, path: PathId) -> &PathEntry {
        &self.paths[path.0 as usize]
    }

    /// Adds a path without keys, for the root or an element of a list.
    fn base_path(&mut self, base: ItemId, region: u64) -> PathId {
        let id = PathId(self.paths.len() as u32);
        self.paths.push(PathEntry {
            parent: None,
            key: Key::from(""),
            depth: 0,
            base,
            delayed: false,
            region,
        });
        id
    }

    /// Returns the path of a key below a path.
    pub(super) fn child_path(&mut self, parent: PathId, key: &Key) -> PathId {
        if let Some(id) = self.children.get(&(parent, Arc::clone(key))) {
            return *id;
        }
        let id = PathId(self.paths.len() as u32);
        let entry = self.entry(parent);
        // Everything below one key of the root, or below one list element, is one region.
        let region = match entry.depth {
            0 => 1 << (id.0 % 64),
            _ => entry.region,
        };
        let child = PathEntry {
            parent: Some(parent),
            key: Arc::clone(key),
            depth: entry.depth + 1,
            base: entry.base,
            delayed: false,
            region,
        };
        self.paths.push(child);
        self.children.insert((parent, Arc::clone(key)), id);
        id
    }

    /// Returns the path of keys from the root.
    pub(super) fn path_of(&mut self, keys: &[Key]) -> PathId {
        keys.iter()
            .fold(self.root_path(), |path, key| self.child_path(path, key))
    }

    /// Returns the item and the keys that lead from it to the path.
    pub(super) fn way_to(&self, path: PathId) -> (ItemId, Vec<Key>) {
        let mut keys = Vec::with_capacity(self.entry(path).depth);
        let mut entry = self.entry(path);
        while let Some(parent) = entry.parent {
            keys.push(Arc::clone(&entry.key));
            entry = self.entry(parent);
        }
        keys.reverse();
        (entry.base, keys)
    }

    /// Writes a path, without the list that contains it.
    pub(super) fn path_text(&self, path: PathId) -> String {
        render_keys(&self.way_to(path).1)
    }

    /// Returns the trail with a substitution added.
    pub(super) fn following(&self, trail: &Trail, id: ItemId) -> Trail {
        let path = self.item(id).path;
        trail.with(path, id, self.entry(path).region)
    }

    /// Returns the innermost item that hides something where an item lies, with its place in the trail.
    pub(super) fn hidden_at(&self, id: ItemId, trail: &Trail) -> Option<(ItemId, u32)> {
        if trail.length() == 0 {
            return None;
        }
        let item = self.item(id);
        let path = match item.key {
            // A path without a number is one where no substitution stands.
            Some(key) => *self.children.get(&(item.path, Arc::clone(key)))?,
            None => item.path,
        };
        self.hidden_up_to(path, trail)
    }

    fn hidden_up_to(&self, path: PathId, trail: &Trail) -> Option<(ItemId, u32)> {
        let entry = self.entry(path);
        if !entry.delayed || trail.regions() & entry.region != entry.region {
            return None;
        }
        trail
            .steps()
            .find(|step| step.path == path)
            .map(|step| (step.item, step.number))
    }

    /// Tells whether anything is hidden at the path, above it or below it.
    pub(super) fn hides_around(&self, trail: &Trail, path: PathId) -> bool {
        let region = self.entry(path).region;
        if trail.regions() & region != region {
            return false;
        }
        trail.steps().any(|step| self.related(step.path, path))
    }

    /// Tells whether one path is equal to, or a prefix of, the other.
    fn related(&self, left: PathId, right: PathId) -> bool {
        let depth = |path| self.entry(path).depth;
        let (mut longer, shorter) = if depth(left) >= depth(right) {
            (left, right)
        } else {
            (right, left)
        };
        while depth(longer) > depth(shorter) {
            match self.entry(longer).parent {
                Some(parent) => longer = parent,
                None => return false,
            }
        }
        longer == shorter
    }

    fn push(&mut self, origin: &'a Origin, path: PathId) -> ItemId {
        let id = ItemId(self.items.len() as u32);
        self.items.push(Item {
            origin,
            path,
            key: None,
            content: Content::Scalar(&NodeKind::Null),
        });
        id
    }

    fn set(&mut self, id: ItemId, content: Content<'a>) {
        self.items[id.0 as usize].content = content;
    }

    /// Adds a node and everything in it, in the order of priority.
    fn add(&mut self, node: &'a Node, path: PathId) -> ItemId {
        if let NodeKind::Object(object) = &node.kind {
            return self.add_object(&node.origin, object, path);
        }
        let id = self.push(&node.origin, path);
        let content = match &node.kind {
            NodeKind::List(items) => {
                let ids = items.iter().map(|item| self.add_element(item, path));
                Content::List(ids.collect())
            }
            NodeKind::Reference(reference) => {
                self.paths[path.0 as usize].delayed = true;
                Content::Reference(reference)
            }
            NodeKind::Join(pieces) => {
                self.paths[path.0 as usize].delayed = true;
                Content::Join(self.add_pieces(pieces, path))
            }
            NodeKind::Stack(layers) => {
                let ids = layers.iter().rev().map(|layer| self.add(layer, path));
                Content::Stack(ids.collect())
            }
            scalar => Content::Scalar(scalar),
        };
        self.set(id, content);
        id
    }

    /// Adds an element of a list, which has no path from the root.
    fn add_element(&mut self, node: &'a Node, list: PathId) -> ItemId {
        let is_scalar = !matches!(
            node.kind,
            NodeKind::Object(_) | NodeKind::Reference(_) | NodeKind::Join(_) | NodeKind::Stack(_)
        );
        if is_scalar {
            // Nothing asks for its path.
            return self.add(node, list);
        }
        let base = ItemId(self.items.len() as u32);
        let region = 1 << (base.0 % 64);
        let path = self.base_path(base, region);
        self.add(node, path)
    }

    fn add_object(&mut self, origin: &'a Origin, object: &'a ObjectNode, path: PathId) -> ItemId {
        let id = self.push(origin, path);
        let mut ids = Vec::with_capacity(object.fields.len());
        for (key, node) in &object.fields {
            ids.push(if node.is_scalar() {
                let id = self.push(&node.origin, path);
                let item = &mut self.items[id.0 as usize];
                (item.key, item.content) = (Some(key), Content::Scalar(&node.kind));
                id
            } else {
                let child = self.child_path(path, key);
                self.add(node, child)
            });
        }
        self.set(id, Content::Object(object, ids.into()));
        id
    }

    /// Adds parts of joined values; of objects the later ones have the higher priority.
    fn add_pieces(&mut self, pieces: &'a [Piece], path: PathId) -> Rc<[Part<'a>]> {
        let mut parts: Vec<Part<'a>> = Vec::with_capacity(pieces.len());
        for piece in pieces.iter().rev() {
            parts.push(match piece {
                Piece::Node(node) => Part::Item(self.add(node, path)),
                Piece::Space(space) => Part::Space(space),
                Piece::Previous => Part::Previous,
            });
        }
        parts.reverse();
        parts.into()
    }
}

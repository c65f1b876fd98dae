//! The merged tree as numbered items with numbered paths.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
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

impl PathId {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

pub(super) struct Item<'a> {
    pub(super) origin: &'a Origin,
    pub(super) path: PathId,
    /// The key of a scalar in the object at the path. Most values are scalars, and nobody asks for the
    /// paths of most of them, so they get no number.
    key: Option<&'a Key>,
    pub(super) content: Content<'a>,
}

#[derive(Clone, Copy)]
pub(super) enum Content<'a> {
    Scalar(&'a NodeKind),
    List(Span),
    /// The items are in the order of the fields.
    Object(&'a ObjectNode, Span),
    Reference(&'a ReferenceNode),
    Join(Span),
    /// Highest priority first.
    Stack(Span),
}

/// A range of what an item contains: of [`Tree::items_of`], for joined values of [`Tree::parts_of`].
#[derive(Clone, Copy)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Returns the places, which stay valid while the tree is borrowed for something else.
    pub(super) fn places(self) -> Range<u32> {
        self.start..self.end
    }

    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
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
    /// What objects, lists and stacks contain, each a range: one allocation for all of them.
    contained: Vec<ItemId>,
    /// What joined values contain, each a range.
    parts: Vec<Part<'a>>,
    paths: Vec<PathEntry>,
    children: HashMap<(PathId, Key), PathId, RandomState>,
}

impl<'a> Tree<'a> {
    pub(super) const ROOT: ItemId = ItemId(0);

    pub(super) fn new(origin: &'a Origin, root: &'a ObjectNode) -> Self {
        let mut tree = Self {
            items: Vec::new(),
            contained: Vec::new(),
            parts: Vec::new(),
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

    pub(super) fn path_count(&self) -> usize {
        self.paths.len()
    }

    pub(super) fn root_path(&self) -> PathId {
        self.item(Self::ROOT).path
    }

    pub(super) fn item(&self, id: ItemId) -> &Item<'a> {
        &self.items[id.0 as usize]
    }

    /// Returns the object of an item, if it is one, with the items of its fields.
    pub(super) fn object(&self, id: ItemId) -> Option<(&'a ObjectNode, &[ItemId])> {
        match self.item(id).content {
            Content::Object(object, children) => Some((object, self.items_of(children))),
            _ => None,
        }
    }

    /// Returns the items of an object, a list or a stack.
    pub(super) fn items_of(&self, span: Span) -> &[ItemId] {
        &self.contained[span.range()]
    }

    /// Returns one of the items of an object, a list or a stack.
    pub(super) fn item_at(&self, place: u32) -> ItemId {
        self.contained[place as usize]
    }

    /// Returns the parts of joined values.
    pub(super) fn parts_of(&self, span: Span) -> &[Part<'a>] {
        &self.parts[span.range()]
    }

    /// Returns one of the parts of joined values.
    pub(super) fn part_at(&self, place: u32) -> Part<'a> {
        self.parts[place as usize]
    }

    /// Returns the path of a field of an object that is asked for at a path; `item` is the field's value, and no
    /// scalar.
    ///
    /// An object that stands at that path itself has its fields there too, so that nothing has to be looked up.
    pub(super) fn field_path(
        &mut self,
        object: ItemId,
        at: PathId,
        key: &Key,
        item: ItemId,
    ) -> PathId {
        if self.item(object).path == at {
            return self.item(item).path;
        }
        self.child_path(at, key)
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
        let vacant = match self.children.entry((parent, Arc::clone(key))) {
            Entry::Occupied(known) => return *known.get(),
            Entry::Vacant(vacant) => vacant,
        };
        let id = PathId(self.paths.len() as u32);
        let entry = &self.paths[parent.0 as usize];
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
        vacant.insert(id);
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
                let span = self.reserve(items.len());
                for (place, item) in span.range().zip(items.iter()) {
                    self.contained[place] = self.add_element(item, path);
                }
                Content::List(span)
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
                let span = self.reserve(layers.len());
                for (place, layer) in span.range().zip(layers.iter().rev()) {
                    self.contained[place] = self.add(layer, path);
                }
                Content::Stack(span)
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
        let span = self.reserve(object.fields.len());
        for (place, (key, node)) in span.range().zip(&object.fields) {
            self.contained[place] = if node.is_scalar() {
                let id = self.push(&node.origin, path);
                let item = &mut self.items[id.0 as usize];
                (item.key, item.content) = (Some(key), Content::Scalar(&node.kind));
                id
            } else {
                let child = self.child_path(path, key);
                self.add(node, child)
            };
        }
        self.set(id, Content::Object(object, span));
        id
    }

    /// Makes room for what an item contains; what that contains again comes behind it.
    fn reserve(&mut self, count: usize) -> Span {
        let start = self.contained.len();
        self.contained.resize(start + count, Self::ROOT);
        Span {
            start: start as u32,
            end: self.contained.len() as u32,
        }
    }

    /// Adds parts of joined values; of objects the later ones have the higher priority.
    fn add_pieces(&mut self, pieces: &'a [Piece], path: PathId) -> Span {
        let start = self.parts.len();
        self.parts.resize(start + pieces.len(), Part::Previous);
        let end = self.parts.len();
        for (place, piece) in (start..end).zip(pieces).rev() {
            self.parts[place] = match piece {
                Piece::Node(node) => Part::Item(self.add(node, path)),
                Piece::Space(space) => Part::Space(space),
                Piece::Previous => Part::Previous,
            };
        }
        Span {
            start: start as u32,
            end: end as u32,
        }
    }
}

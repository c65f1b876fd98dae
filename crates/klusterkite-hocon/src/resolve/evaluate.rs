//! Makes values of what a walk has found.

use std::sync::Arc;

use indexmap::IndexMap;

use super::Resolver;
use super::joined::Joined;
use super::trail::Trail;
use super::tree::{Content, ItemId, Part, PathId, Tree};
use super::walk::{Closed, Flow, Layer, View, unresolved};
use crate::error::Error;
use crate::node::{NodeKind, ReferenceNode};
use crate::origin::Origin;
use crate::path::Key;
use crate::value::{Number, Object, Value, ValueKind};

impl Resolver<'_> {
    pub(super) fn root(&mut self) -> Result<Value, Error> {
        let path = self.tree.root_path();
        let root = [Layer::Item(Tree::ROOT)];
        self.object(&root, Some(path), &Trail::default())
    }

    /// Returns the value of a view; `at` is its path if the view is all there is at that path.
    fn evaluate(
        &mut self,
        view: &View,
        at: Option<PathId>,
        trail: &Trail,
    ) -> Result<Option<Value>, Error> {
        if !view.objects.is_empty() {
            return self.object(&view.objects, at, trail).map(Some);
        }
        match &view.closed {
            None => Ok(None),
            Some(Closed::Known(value)) => Ok(Some(value.clone())),
            Some(Closed::Item(id, hidden)) => self.item(*id, at, hidden),
        }
    }

    /// Returns the value of an item alone.
    fn item(
        &mut self,
        id: ItemId,
        at: Option<PathId>,
        trail: &Trail,
    ) -> Result<Option<Value>, Error> {
        if let Some(value) = self.occurrences.get(&id) {
            return Ok(Some(value.clone()));
        }
        let item = self.tree.item(id);
        let (origin, content) = (item.origin, item.content.clone());
        self.step(origin)?;
        match content {
            Content::Scalar(scalar) => Ok(Some(scalar_value(origin, scalar))),
            Content::List(items) => self.deeper(origin, |r| r.list(origin, &items, trail)),
            Content::Object(..) => {
                let layers = [Layer::Item(id)];
                let value = self.deeper(origin, |r| r.object(&layers, at, trail))?;
                Ok(Some(value))
            }
            _ if self.is_hidden(id, trail) => {
                if self.is_required(id) {
                    return Err(self.cycle(id));
                }
                Ok(None)
            }
            Content::Reference(reference) => {
                let trail = self.tree.following(trail, id);
                let value = self.deeper(origin, |r| r.reference(reference, origin, &trail))?;
                Ok(self.remember_occurrence(id, value))
            }
            Content::Join(parts) => {
                let value = self.deeper(origin, |r| r.join(id, &parts, trail))?;
                Ok(self.remember_occurrence(id, value))
            }
            Content::Stack(_) => {
                let mut view = View::default();
                self.deeper(origin, |r| {
                    r.walk(id, &[], trail, &mut view)?;
                    r.evaluate_or_cycle(&view, at, trail)
                })
            }
        }
    }

    fn remember_occurrence(&mut self, id: ItemId, value: Option<Value>) -> Option<Value> {
        if let Some(value) = &value {
            self.occurrences.insert(id, value.clone());
        }
        value
    }

    fn is_hidden(&mut self, id: ItemId, trail: &Trail) -> bool {
        let path = self.tree.item(id).path;
        match self.tree.hidden_up_to(path, trail) {
            Some((up_to, number)) if id <= up_to => {
                self.shallowest_hit = self.shallowest_hit.min(number);
                true
            }
            _ => false,
        }
    }

    fn evaluate_or_cycle(
        &mut self,
        view: &View,
        at: Option<PathId>,
        trail: &Trail,
    ) -> Result<Option<Value>, Error> {
        match view.hidden {
            Some(hidden) if view.is_empty() => Err(self.cycle(hidden)),
            _ => self.evaluate(view, at, trail),
        }
    }

    /// Returns the error of a substitution that met itself.
    fn cycle(&self, id: ItemId) -> Error {
        let mut id = id;
        loop {
            let item = self.tree.item(id);
            let inner = match &item.content {
                Content::Reference(reference) => return unresolved(reference, item.origin, true),
                Content::Join(parts) => parts.iter().find_map(|part| match part {
                    Part::Item(part) if self.is_required(*part) => Some(*part),
                    _ => None,
                }),
                Content::Stack(layers) => {
                    let mut layers = layers.iter().copied();
                    layers.find(|layer| self.is_required(*layer))
                }
                _ => None,
            };
            let Some(inner) = inner else {
                return Error::Unresolved {
                    origin: item.origin.clone(),
                    path: String::new(),
                    cycle: true,
                };
            };
            id = inner;
        }
    }

    fn list(
        &mut self,
        origin: &Origin,
        items: &[ItemId],
        trail: &Trail,
    ) -> Result<Option<Value>, Error> {
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            values.extend(self.item(*item, None, trail)?);
        }
        Value::list(origin.clone(), values).map(Some)
    }

    /// Merges objects, highest priority first.
    fn object(
        &mut self,
        layers: &[Layer],
        at: Option<PathId>,
        trail: &Trail,
    ) -> Result<Value, Error> {
        let origin = match layers {
            [Layer::Known(value)] => return Ok(value.clone()),
            [Layer::Known(value), ..] => value.origin().clone(),
            [Layer::Item(id), ..] => self.tree.item(*id).origin.clone(),
            [] => self.tree.item(Tree::ROOT).origin.clone(),
        };
        let mut fields = IndexMap::new();
        for (key, children) in self.fields(layers) {
            let value = match (self.plain(&children), at) {
                (Some(plain), _) => Some(plain),
                (None, None) => self.field(children, None, trail)?,
                (None, Some(at)) => {
                    let path = self.tree.child_path(at, &key);
                    self.remembering(path, trail, |r| r.field(children, Some(path), trail))?
                }
            };
            if let Some(value) = value {
                fields.insert(key, value);
            }
        }
        Value::object(origin, fields)
    }

    /// Returns what merged objects have at each key, highest priority first; keys that come from below come first.
    fn fields(&self, layers: &[Layer]) -> IndexMap<Key, Vec<Layer>> {
        let mut fields: IndexMap<Key, Vec<Layer>> = IndexMap::new();
        for layer in layers.iter().rev() {
            match layer {
                Layer::Known(value) => {
                    for (key, child) in value.as_object().into_iter().flat_map(Object::fields) {
                        let children = fields.entry(Arc::clone(key)).or_default();
                        children.push(Layer::Known(child.clone()));
                    }
                }
                Layer::Item(id) => {
                    let Some((object, items)) = self.tree.object(*id) else {
                        continue;
                    };
                    for (key, item) in object.fields.keys().zip(items) {
                        let children = fields.entry(Arc::clone(key)).or_default();
                        children.push(Layer::Item(*item));
                    }
                }
            }
        }
        if layers.len() > 1 {
            fields.values_mut().for_each(|children| children.reverse());
        }
        fields
    }

    /// Returns the value of a key that has only a scalar, the most frequent case by far.
    fn plain(&self, children: &[Layer]) -> Option<Value> {
        let [Layer::Item(id)] = children else {
            return None;
        };
        let item = self.tree.item(*id);
        match item.content {
            Content::Scalar(scalar) => Some(scalar_value(item.origin, scalar)),
            _ => None,
        }
    }

    /// Returns the value of one key, given what merged objects have there.
    fn field(
        &mut self,
        children: Vec<Layer>,
        at: Option<PathId>,
        trail: &Trail,
    ) -> Result<Option<Value>, Error> {
        if let [Layer::Item(id)] = children[..] {
            return self.item(id, at, trail);
        }
        let mut view = View::default();
        for child in children {
            let flow = match child {
                Layer::Item(id) => self.walk(id, &[], trail, &mut view)?,
                Layer::Known(value) => view.add_known(value),
            };
            if flow == Flow::Closed {
                break;
            }
        }
        self.evaluate_or_cycle(&view, at, trail)
    }

    /// Returns the value that a substitution, which is on the trail already, stands for.
    fn reference(
        &mut self,
        reference: &ReferenceNode,
        origin: &Origin,
        trail: &Trail,
    ) -> Result<Option<Value>, Error> {
        let (mut found, mut cycle) = self.lookup(reference.path.keys(), trail)?;
        if found.is_none() && reference.prefix > 0 {
            (found, cycle) = self.lookup(reference.written(), trail)?;
        }
        let found = found.or_else(|| self.environment_value(reference));
        match found {
            Some(value) => Ok(Some(value)),
            None if reference.optional => Ok(None),
            None => Err(unresolved(reference, origin, cycle)),
        }
    }

    /// Returns the value of a path, and whether a cycle is why there is none.
    fn lookup(&mut self, keys: &[Key], trail: &Trail) -> Result<(Option<Value>, bool), Error> {
        let path = self.tree.path_of(keys);
        let mut cycle = false;
        let value = self.remembering(path, trail, |r| {
            let mut view = View::default();
            r.walk(Tree::ROOT, keys, trail, &mut view)?;
            cycle = view.hidden.is_some();
            r.evaluate(&view, Some(path), trail)
        })?;
        Ok((value, cycle))
    }

    fn join(
        &mut self,
        id: ItemId,
        parts: &[Part<'_>],
        trail: &Trail,
    ) -> Result<Option<Value>, Error> {
        let (origin, path) = (self.tree.item(id).origin, self.tree.item(id).path);
        let following = self.tree.following(trail, id);
        let mut joined = Joined::new(origin);
        for part in parts {
            match part {
                Part::Space(space) => joined.space(space),
                Part::Previous => {
                    let (base, keys) = self.tree.way_to(path);
                    let mut view = View::default();
                    self.walk(base, &keys, &following, &mut view)?;
                    let value = self.evaluate(&view, None, &following)?;
                    self.copy(origin, joined.value(value)?)?;
                }
                Part::Item(part) => {
                    // What an object is made of may refer to the whole of which it is a part.
                    let is_object = matches!(self.tree.item(*part).content, Content::Object(..));
                    let trail = if is_object { trail } else { &following };
                    let value = self.item(*part, None, trail)?;
                    self.copy(origin, joined.value(value)?)?;
                }
            }
        }
        joined.finish()
    }
}

fn scalar_value(origin: &Origin, scalar: &NodeKind) -> Value {
    let kind = match scalar {
        NodeKind::Boolean(boolean) => ValueKind::Boolean(*boolean),
        NodeKind::Number(text) => ValueKind::Number(Number::new(Arc::clone(text))),
        NodeKind::String(text) => ValueKind::String(Arc::clone(text)),
        _ => ValueKind::Null,
    };
    Value::scalar(origin.clone(), kind)
}

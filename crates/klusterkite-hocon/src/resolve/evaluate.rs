//! Makes values of what a walk has found.

use std::sync::Arc;

use super::joined::Joined;
use super::trail::{Context, Trail, Unfolded};
use super::tree::{Content, ItemId, Part, PathId, Span, Tree};
use super::walk::{Closed, Flow, Layer, View, unresolved};
use super::{Resolver, Stop};
use crate::error::Error;
use crate::node::{NodeKind, ReferenceNode};
use crate::origin::Origin;
use crate::path::{Fields, Key};
use crate::value::{Number, Object, Value, ValueKind};

impl Resolver<'_> {
    pub(super) fn root(&mut self) -> Result<Value, Error> {
        let path = self.tree.root_path();
        let root = [Layer::Item(Tree::ROOT, Unfolded::default())];
        let value = self.object(&root, Some(path), &Trail::default());
        value.map_err(|stop| match stop {
            Stop::Failed(error) => error,
            Stop::Cycle(id) => self.cycle(id),
        })
    }

    /// Returns the value of what a walk finds; `at` is its path if the walk finds all there is at that path.
    ///
    /// A substitution that leads to an object which contains that substitution again has no value.
    fn view(
        &mut self,
        origin: &Origin,
        at: Option<PathId>,
        context: &Context,
        walk: impl Fn(&mut Self, &mut View) -> Result<(), Stop>,
    ) -> Result<Found, Stop> {
        loop {
            let mut view = View::default();
            let found = self.deeper(origin, |r| {
                walk(r, &mut view)?;
                r.evaluate(&view, at, context)
            });
            match found {
                Err(Stop::Cycle(id)) if view.followed.contains(&id) => self.make_void(id)?,
                Err(stop) => return Err(stop),
                Ok(Some(value)) => return Ok(Found::Value(value)),
                Ok(None) => return Ok(view.hidden.map_or(Found::Nothing, Found::Hidden)),
            }
        }
    }

    /// Takes the value from a substitution that would contain itself, which only an optional one survives.
    fn make_void(&mut self, id: ItemId) -> Result<(), Stop> {
        let is_optional = match &self.tree.item(id).content {
            Content::Reference(reference) => reference.optional,
            _ => false,
        };
        if !is_optional {
            return Err(Stop::Failed(self.cycle(id)));
        }
        self.void.insert(id);
        Ok(())
    }

    fn evaluate(
        &mut self,
        view: &View,
        at: Option<PathId>,
        context: &Context,
    ) -> Result<Option<Value>, Stop> {
        if !view.objects.is_empty() {
            return self.object(&view.objects, at, &context.trail).map(Some);
        }
        match &view.closed {
            None => Ok(None),
            Some(Closed::Known(value)) => Ok(Some(value.clone())),
            Some(Closed::Item(id, trail)) => {
                let context = Context {
                    trail: trail.clone(),
                    unfolded: context.unfolded.clone(),
                };
                self.item(*id, at, &context)
            }
        }
    }

    /// Returns the value of an item alone.
    fn item(
        &mut self,
        id: ItemId,
        at: Option<PathId>,
        context: &Context,
    ) -> Result<Option<Value>, Stop> {
        if let Some(value) = self.occurrences.get(&id) {
            return Ok(Some(value.clone()));
        }
        let item = self.tree.item(id);
        let (origin, content) = (item.origin, item.content);
        self.steps(origin, 1)?;
        match content {
            Content::Scalar(scalar) => Ok(Some(scalar_value(origin, scalar))),
            Content::List(items) => {
                let list = self.deeper(origin, |r| r.list(origin, items, context))?;
                Ok(Some(list))
            }
            Content::Object(..) => {
                let layers = [Layer::Item(id, context.unfolded.clone())];
                let value = self.deeper(origin, |r| r.object(&layers, at, &context.trail))?;
                Ok(Some(value))
            }
            _ if self.is_hidden(id, &context.trail) => Err(Stop::Cycle(id)),
            Content::Reference(reference) => {
                if self.void.contains(&id) {
                    return Ok(None);
                }
                // From here on everything is looked up anew.
                let context = Context {
                    trail: self.tree.following(&context.trail, id),
                    unfolded: Unfolded::default(),
                };
                let value = self.deeper(origin, |r| r.reference(reference, origin, &context))?;
                Ok(self.remember_occurrence(id, value))
            }
            Content::Join(parts) => {
                let value = self.deeper(origin, |r| r.join(id, parts, context))?;
                Ok(self.remember_occurrence(id, value))
            }
            Content::Stack(_) => self
                .view(origin, at, context, |r, view| {
                    r.walk(id, &[], context, view).map(drop)
                })?
                .or_cycle(),
        }
    }

    fn remember_occurrence(&mut self, id: ItemId, value: Option<Value>) -> Option<Value> {
        if let Some(value) = &value {
            self.occurrences.insert(id, value.clone());
        }
        value
    }

    fn is_hidden(&mut self, id: ItemId, trail: &Trail) -> bool {
        match self.tree.hidden_at(id, trail) {
            Some((up_to, number)) if id <= up_to => {
                self.shallowest_hit = self.shallowest_hit.min(number);
                true
            }
            _ => false,
        }
    }

    /// Returns the error of a cycle that no substitution on the way has caught.
    fn cycle(&self, id: ItemId) -> Error {
        let item = self.tree.item(id);
        match &item.content {
            Content::Reference(reference) => unresolved(reference, item.origin, true),
            _ => Error::Unresolved {
                origin: item.origin.clone(),
                path: self.tree.path_text(item.path),
                cycle: true,
            },
        }
    }

    fn list(&mut self, origin: &Origin, items: Span, context: &Context) -> Result<Value, Stop> {
        let mut values = Vec::with_capacity(items.places().len());
        for place in items.places() {
            values.extend(self.item(self.tree.item_at(place), None, context)?);
        }
        Ok(Value::list(origin.clone(), values)?)
    }

    /// Merges objects, highest priority first.
    fn object(
        &mut self,
        layers: &[Layer],
        at: Option<PathId>,
        trail: &Trail,
    ) -> Result<Value, Stop> {
        let origin = match layers {
            [Layer::Known(value)] => return Ok(value.clone()),
            [Layer::Known(value), ..] => value.origin().clone(),
            [Layer::Item(id, _), ..] => self.tree.item(*id).origin.clone(),
            [] => self.tree.item(Tree::ROOT).origin.clone(),
        };
        if let [Layer::Item(id, unfolded)] = layers {
            let context = Context {
                trail: trail.clone(),
                unfolded: unfolded.clone(),
            };
            return self.single_object(*id, at, &context);
        }
        let children = self.fields(layers);
        self.steps(&origin, children.len())?;
        let mut fields = Fields::default();
        for (key, children) in children {
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
        Ok(Value::object(origin, fields)?)
    }

    /// Returns the value of an object that is merged with no other, the most frequent case by far.
    fn single_object(
        &mut self,
        id: ItemId,
        at: Option<PathId>,
        context: &Context,
    ) -> Result<Value, Stop> {
        let item = self.tree.item(id);
        let (origin, content) = (item.origin, item.content);
        let mut fields = Fields::default();
        if let Content::Object(object, items) = content {
            self.steps(origin, object.fields.len())?;
            fields.reserve(object.fields.len());
            for (key, place) in object.fields.keys().zip(items.places()) {
                let item = self.tree.item_at(place);
                let value = match (self.tree.item(item).content, at) {
                    (Content::Scalar(scalar), _) => {
                        Some(scalar_value(self.tree.item(item).origin, scalar))
                    }
                    (_, None) => self.item(item, None, context)?,
                    (_, Some(at)) => {
                        let path = self.tree.field_path(id, at, key, item);
                        self.remembering(path, &context.trail, |r| {
                            r.item(item, Some(path), context)
                        })?
                    }
                };
                if let Some(value) = value {
                    fields.insert(Arc::clone(key), value);
                }
            }
        }
        Ok(Value::object(origin.clone(), fields)?)
    }

    /// Returns what merged objects have at each key, highest priority first; keys that come from below come first.
    fn fields(&self, layers: &[Layer]) -> Fields<Vec<Layer>> {
        let mut fields: Fields<Vec<Layer>> = Fields::default();
        for layer in layers.iter().rev() {
            match layer {
                Layer::Known(value) => {
                    for (key, child) in value.as_object().into_iter().flat_map(Object::fields) {
                        let children = fields.entry(Arc::clone(key)).or_default();
                        children.push(Layer::Known(child.clone()));
                    }
                }
                Layer::Item(id, unfolded) => {
                    let Some((object, items)) = self.tree.object(*id) else {
                        continue;
                    };
                    for (key, item) in object.fields.keys().zip(items) {
                        let children = fields.entry(Arc::clone(key)).or_default();
                        children.push(Layer::Item(*item, unfolded.clone()));
                    }
                }
            }
        }
        if layers.len() > 1 {
            fields.values_mut().for_each(|children| children.reverse());
        }
        fields
    }

    /// Returns the value of a key that has only a scalar.
    fn plain(&self, children: &[Layer]) -> Option<Value> {
        let [Layer::Item(id, _)] = children else {
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
    ) -> Result<Option<Value>, Stop> {
        let context = |unfolded: &Unfolded| Context {
            trail: trail.clone(),
            unfolded: unfolded.clone(),
        };
        if let [Layer::Item(id, unfolded)] = &children[..] {
            return self.item(*id, at, &context(unfolded));
        }
        let origin = match &children[0] {
            Layer::Item(id, _) => self.tree.item(*id).origin.clone(),
            Layer::Known(value) => value.origin().clone(),
        };
        self.view(&origin, at, &context(&Unfolded::default()), |r, view| {
            for child in &children {
                let flow = match child {
                    Layer::Item(id, unfolded) => r.walk(*id, &[], &context(unfolded), view)?,
                    Layer::Known(value) => view.add_known(value.clone()),
                };
                if flow == Flow::Closed {
                    break;
                }
            }
            Ok(())
        })?
        .or_cycle()
    }

    /// Returns the value that a substitution, which is on the trail already, stands for.
    fn reference(
        &mut self,
        reference: &ReferenceNode,
        origin: &Origin,
        context: &Context,
    ) -> Result<Option<Value>, Stop> {
        let mut found = self.lookup(reference.path.keys(), origin, context);
        if reference.prefix > 0 && matches!(found, Ok(Found::Nothing | Found::Hidden(_))) {
            found = self.lookup(reference.written(), origin, context);
        }
        let (value, cycle) = match found {
            Ok(Found::Value(value)) => (Some(value), false),
            Ok(Found::Nothing) => (self.environment_value(reference), false),
            Ok(Found::Hidden(_)) => (self.environment_value(reference), true),
            Err(Stop::Cycle(_)) => (None, true),
            Err(failed) => return Err(failed),
        };
        match value {
            Some(value) => Ok(Some(value)),
            None if reference.optional => Ok(None),
            None => Err(Stop::Failed(unresolved(reference, origin, cycle))),
        }
    }

    /// Returns the value of a path.
    fn lookup(&mut self, keys: &[Key], origin: &Origin, context: &Context) -> Result<Found, Stop> {
        let path = self.tree.path_of(keys);
        let mut nothing = Found::Nothing;
        let value = self.remembering(path, &context.trail, |r| {
            let found = r.view(origin, Some(path), context, |r, view| {
                r.walk(Tree::ROOT, keys, context, view).map(drop)
            })?;
            match found {
                Found::Value(value) => Ok(Some(value)),
                found => {
                    nothing = found;
                    Ok(None)
                }
            }
        })?;
        Ok(value.map_or(nothing, Found::Value))
    }

    fn join(&mut self, id: ItemId, parts: Span, context: &Context) -> Result<Option<Value>, Stop> {
        let (origin, path) = (self.tree.item(id).origin, self.tree.item(id).path);
        let following = Context {
            trail: self.tree.following(&context.trail, id),
            unfolded: context.unfolded.clone(),
        };
        let mut joined = Joined::new(origin);
        for place in parts.places() {
            let value = match self.tree.part_at(place) {
                Part::Space(space) => {
                    joined.space(space);
                    continue;
                }
                Part::Previous => {
                    let (base, keys) = self.tree.way_to(path);
                    let found = self.view(origin, None, &following, |r, view| {
                        r.walk(base, &keys, &following, view).map(drop)
                    })?;
                    found.value()
                }
                Part::Item(part) => {
                    // What an object is made of may refer to the whole of which it is a part.
                    let is_object = self.tree.object(part).is_some();
                    self.item(part, None, if is_object { context } else { &following })?
                }
            };
            self.copy(origin, joined.value(value)?)?;
        }
        Ok(joined.finish()?)
    }
}

/// What is at a path.
enum Found {
    Value(Value),
    Nothing,
    /// Nothing but something hidden.
    Hidden(ItemId),
}

impl Found {
    fn value(self) -> Option<Value> {
        match self {
            Self::Value(value) => Some(value),
            Self::Nothing | Self::Hidden(_) => None,
        }
    }

    /// Returns the value of a part of something else, which cannot have that part if it is hidden.
    fn or_cycle(self) -> Result<Option<Value>, Stop> {
        match self {
            Self::Value(value) => Ok(Some(value)),
            Self::Nothing => Ok(None),
            Self::Hidden(id) => Err(Stop::Cycle(id)),
        }
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

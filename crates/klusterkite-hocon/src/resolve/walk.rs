//! Finds what makes up the value of a path.

use super::trail::{Context, Trail, Unfolded};
use super::tree::{Content, ItemId, Part, Span, Tree};
use super::{Known, Resolver, Stop};
use crate::error::Error;
use crate::node::ReferenceNode;
use crate::origin::Origin;
use crate::path::{Key, render_keys};
use crate::value::{Value, ValueKind};

/// What makes up one value.
#[derive(Default)]
pub(super) struct View {
    /// Objects to be merged, highest priority first.
    pub(super) objects: Vec<Layer>,
    /// What lies below them and lets nothing show through. If there are objects it is hidden by them.
    pub(super) closed: Option<Closed>,
    /// Something that would be a part, were it not hidden.
    pub(super) hidden: Option<ItemId>,
    /// The substitutions that were followed on the way.
    pub(super) followed: Vec<ItemId>,
}

/// One of several objects that are merged.
#[derive(Clone)]
pub(super) enum Layer {
    Item(ItemId, Unfolded),
    /// An object that was resolved before.
    Known(Value),
}

/// A value that is no object.
pub(super) enum Closed {
    /// An item, and what is hidden from it.
    Item(ItemId, Trail),
    Known(Value),
}

impl View {
    pub(super) fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.closed.is_none()
    }

    /// Adds a resolved value below what is there.
    pub(super) fn add_known(&mut self, value: Value) -> Flow {
        if value.as_object().is_some() {
            self.objects.push(Layer::Known(value));
            return Flow::Open;
        }
        self.closed = Some(Closed::Known(value));
        Flow::Closed
    }
}

/// Whether something of lower priority shows through what was found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Open,
    Closed,
}

/// What joined values will be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Undefined,
    Object,
    Other,
}

impl Resolver<'_> {
    /// Adds to the view what lies at the keys below an item.
    pub(super) fn walk(
        &mut self,
        start: ItemId,
        keys: &[Key],
        context: &Context,
        view: &mut View,
    ) -> Result<Flow, Stop> {
        let (mut id, mut rest) = (start, keys);
        let mut flow = Flow::Open;
        loop {
            let item = self.tree.item(id);
            let (origin, content) = (item.origin, item.content);
            self.steps(origin, 1)?;
            let hidden = self.tree.hidden_at(id, &context.trail);
            if let Some((up_to, number)) = hidden
                && id <= up_to
                && !matches!(content, Content::Stack(_))
            {
                self.shallowest_hit = self.shallowest_hit.min(number);
                view.hidden = Some(id);
                return Ok(flow);
            }
            match content {
                Content::Object(object, children) => {
                    if object.sealed {
                        flow = Flow::Closed;
                    }
                    let Some((key, below)) = rest.split_first() else {
                        view.objects.push(Layer::Item(id, context.unfolded.clone()));
                        return Ok(flow);
                    };
                    let Some(index) = object.fields.get_index_of(key) else {
                        return Ok(flow);
                    };
                    (id, rest) = (self.tree.items_of(children)[index], below);
                }
                Content::Stack(layers) => {
                    for place in layers.places() {
                        let layer = self.tree.item_at(place);
                        let below = self.deeper(origin, |r| r.walk(layer, rest, context, view))?;
                        if below == Flow::Closed {
                            return Ok(Flow::Closed);
                        }
                    }
                    return Ok(flow);
                }
                Content::Reference(reference) => {
                    if self.void.contains(&id) {
                        return Ok(flow);
                    }
                    if context.unfolded.contains(id) {
                        return Err(Stop::Cycle(id));
                    }
                    view.followed.push(id);
                    let context = Context {
                        trail: self.tree.following(&context.trail, id),
                        unfolded: context.unfolded.with(id),
                    };
                    let below = self.deeper(origin, |r| {
                        r.walk_reference(reference, origin, rest, &context, view)
                    })?;
                    return Ok(if below == Flow::Closed { below } else { flow });
                }
                Content::Join(parts) => {
                    let below =
                        self.deeper(origin, |r| r.walk_join(id, parts, rest, context, view))?;
                    return Ok(if below == Flow::Closed { below } else { flow });
                }
                Content::Scalar(_) | Content::List(_) => {
                    if rest.is_empty() {
                        view.closed = Some(Closed::Item(id, context.trail.clone()));
                    }
                    return Ok(Flow::Closed);
                }
            }
        }
    }

    /// Adds what lies at the keys below the path that a substitution names.
    fn walk_reference(
        &mut self,
        reference: &ReferenceNode,
        origin: &Origin,
        rest: &[Key],
        context: &Context,
        view: &mut View,
    ) -> Result<Flow, Stop> {
        let mut target = reference.path.keys();
        if reference.prefix > 0 && !self.is_defined(target, context)? {
            target = reference.written();
        }
        let target_path = self.tree.path_of(target);
        if let Some(Known::Value(known)) = self.known(target_path, &context.trail) {
            return Ok(walk_known(&known, rest, view));
        }
        let from_environment = self.environment_value(reference);
        if !rest.is_empty() && from_environment.is_some() && !self.is_defined(target, context)? {
            // Nothing lies below a variable of the environment.
            return Ok(Flow::Closed);
        }
        let keys: Vec<Key> = target.iter().chain(rest).cloned().collect();
        let mut found = View::default();
        let flow = self.walk(Tree::ROOT, &keys, context, &mut found)?;
        if found.is_empty() && flow == Flow::Open && rest.is_empty() {
            return match from_environment {
                Some(value) => Ok(view.add_known(value)),
                None if reference.optional => Ok(Flow::Open),
                None => Err(unresolved(reference, origin, found.hidden.is_some()).into()),
            };
        }
        view.objects.append(&mut found.objects);
        view.followed.append(&mut found.followed);
        view.closed = found.closed;
        Ok(flow)
    }

    /// Tells whether there is anything at a path.
    fn is_defined(&mut self, keys: &[Key], context: &Context) -> Result<bool, Stop> {
        let mut found = View::default();
        self.walk(Tree::ROOT, keys, context, &mut found)?;
        Ok(!found.is_empty())
    }

    fn walk_join(
        &mut self,
        id: ItemId,
        parts: Span,
        rest: &[Key],
        context: &Context,
        view: &mut View,
    ) -> Result<Flow, Stop> {
        match self.join_shape(parts, context)? {
            Shape::Undefined => return Ok(Flow::Open),
            Shape::Object => {}
            Shape::Other => {
                if rest.is_empty() {
                    view.closed = Some(Closed::Item(id, context.trail.clone()));
                }
                return Ok(Flow::Closed);
            }
        }
        for place in parts.places().rev() {
            let Part::Item(part) = self.tree.part_at(place) else {
                continue;
            };
            let objects_before = view.objects.len();
            let flow = self.walk(part, rest, context, view)?;
            if let Some(closed) = &view.closed
                && rest.is_empty()
                && view.objects.len() == objects_before
            {
                return Err(Stop::Failed(Error::Join {
                    origin: self.tree.item(id).origin.clone(),
                    left: "an object",
                    right: self.kind_name(closed),
                }));
            }
            if flow == Flow::Closed {
                return Ok(flow);
            }
        }
        Ok(Flow::Open)
    }

    /// Tells what joined values will be, without evaluating more than it takes.
    fn join_shape(&mut self, parts: Span, context: &Context) -> Result<Shape, Stop> {
        let mut object = false;
        let mut references = Vec::new();
        for part in self.tree.parts_of(parts) {
            let Part::Item(part) = part else {
                if matches!(part, Part::Previous) {
                    return Ok(Shape::Other);
                }
                continue;
            };
            match self.tree.item(*part).content {
                Content::Object(..) => object = true,
                Content::Reference(_) => references.push(*part),
                _ => return Ok(Shape::Other),
            }
        }
        if object {
            return Ok(Shape::Object);
        }
        let mut shape = Shape::Undefined;
        for reference in references {
            let mut found = View::default();
            self.walk(reference, &[], context, &mut found)?;
            if !found.objects.is_empty() {
                shape = Shape::Object;
            } else if found.closed.is_some() {
                return Ok(Shape::Other);
            }
        }
        let parts = self.tree.parts_of(parts);
        let has_space = parts.iter().any(|part| matches!(part, Part::Space(_)));
        if shape == Shape::Undefined && has_space {
            // Nothing but whitespace is left: a string.
            return Ok(Shape::Other);
        }
        Ok(shape)
    }

    fn kind_name(&self, closed: &Closed) -> &'static str {
        match closed {
            Closed::Known(value) => value.kind_name(),
            Closed::Item(id, _) => match self.tree.item(*id).content {
                Content::List(_) => "a list",
                _ => "a string",
            },
        }
    }

    /// Returns what the environment says about a substitution.
    pub(super) fn environment_value(&self, reference: &ReferenceNode) -> Option<Value> {
        let name = reference.written().join(".");
        if !reference.list {
            let text = self.environment.get(&name)?;
            return Some(environment_string(&name, text));
        }
        let mut items = Vec::new();
        for index in 0_usize.. {
            let variable = format!("{name}_{index}");
            let Some(text) = self.environment.get(&variable) else {
                break;
            };
            items.push(environment_string(&variable, text));
        }
        if items.is_empty() {
            return None;
        }
        Value::list(Origin::of_environment(&name), items).ok()
    }
}

fn environment_string(name: &str, text: &str) -> Value {
    let kind = ValueKind::String(text.into());
    Value::scalar(Origin::of_environment(name), kind)
}

/// Adds what lies at the keys below a value.
fn walk_known(value: &Value, keys: &[Key], view: &mut View) -> Flow {
    let mut value = value;
    for key in keys {
        let Some(object) = value.as_object() else {
            return Flow::Closed;
        };
        let Some(child) = object.get(key) else {
            return Flow::Open;
        };
        value = child;
    }
    view.add_known(value.clone())
}

pub(super) fn unresolved(reference: &ReferenceNode, origin: &Origin, cycle: bool) -> Error {
    Error::Unresolved {
        origin: origin.clone(),
        path: render_keys(reference.written()),
        cycle,
    }
}

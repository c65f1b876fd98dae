//! Joins resolved values: objects are merged, lists concatenated, everything else makes a string.

use std::sync::Arc;

use indexmap::map::Entry;

use crate::error::Error;
use crate::origin::Origin;
use crate::path::{Fields, Key};
use crate::value::{Value, ValueKind};

pub(super) struct Joined<'a> {
    origin: &'a Origin,
    /// Whitespace since the last value, and before the first one.
    space: String,
    state: State,
}

enum State {
    Empty,
    /// One value, which keeps its type if it stays alone.
    Single(Value),
    Text(String),
    List(Vec<Value>),
    Object(Fields<Value>),
}

impl<'a> Joined<'a> {
    pub(super) fn new(origin: &'a Origin) -> Self {
        Self {
            origin,
            space: String::new(),
            state: State::Empty,
        }
    }

    pub(super) fn space(&mut self, space: &str) {
        self.space.push_str(space);
    }

    /// Adds a value, if there is one, and returns how many bytes were copied.
    pub(super) fn value(&mut self, value: Option<Value>) -> Result<usize, Error> {
        let Some(value) = value else {
            return Ok(0);
        };
        let space = std::mem::take(&mut self.space);
        let text = text_of(&value);
        let mut copied = text.map_or(0, str::len);
        self.state = match (std::mem::replace(&mut self.state, State::Empty), text) {
            (State::Empty, Some(text)) if !space.is_empty() => State::Text(space + text),
            (State::Empty, _) => State::Single(value),
            (State::Text(mut joined), Some(text)) => {
                joined.push_str(&space);
                joined.push_str(text);
                State::Text(joined)
            }
            (State::Single(left), Some(text)) if text_of(&left).is_some() => {
                let left = text_of(&left).unwrap_or_default();
                copied += left.len();
                State::Text(format!("{left}{space}{text}"))
            }
            (left, _) => self.containers(left, &value, &mut copied)?,
        };
        Ok(copied)
    }

    fn containers(&self, left: State, right: &Value, copied: &mut usize) -> Result<State, Error> {
        let mismatch = |left: &'static str| Error::Join {
            origin: self.origin.clone(),
            left,
            right: right.kind_name(),
        };
        let mut left = match left {
            State::Single(value) => match value.kind() {
                ValueKind::Object(object) => {
                    *copied += object.len() * size_of::<(Key, Value)>();
                    State::Object(object.fields().clone())
                }
                ValueKind::List(list) => {
                    *copied += size_of_val(list.items());
                    State::List(list.items().to_vec())
                }
                _ => return Err(mismatch(value.kind_name())),
            },
            left => left,
        };
        if let (State::Object(low), Some(high)) = (&mut left, right.as_object()) {
            merge_fields(low, high.fields(), copied)?;
            return Ok(left);
        }
        let mut items = match left {
            State::List(items) => items,
            State::Object(fields) => {
                let object = Value::object(self.origin.clone(), fields)?;
                object.to_list().ok_or_else(|| mismatch("an object"))?
            }
            _ => return Err(mismatch("a string")),
        };
        let more = right.to_list().ok_or_else(|| mismatch("a list"))?;
        *copied += size_of_val(more.as_slice());
        items.extend(more);
        Ok(State::List(items))
    }

    pub(super) fn finish(self) -> Result<Option<Value>, Error> {
        let string =
            |text: String| Value::scalar(self.origin.clone(), ValueKind::String(Arc::from(text)));
        match self.state {
            State::Empty if self.space.is_empty() => Ok(None),
            State::Empty => Ok(Some(string(self.space))),
            State::Single(value) => Ok(Some(match text_of(&value) {
                Some(text) if !self.space.is_empty() => string(format!("{text}{}", self.space)),
                _ => value,
            })),
            State::Text(text) => Ok(Some(string(text + &self.space))),
            State::List(items) => Value::list(self.origin.clone(), items).map(Some),
            State::Object(fields) => Value::object(self.origin.clone(), fields).map(Some),
        }
    }
}

/// Returns what a value adds to a string; `null` adds the word.
fn text_of(value: &Value) -> Option<&str> {
    if value.is_null() {
        Some("null")
    } else {
        value.as_text()
    }
}

/// Merges fields onto others, deeply.
fn merge_fields(
    low: &mut Fields<Value>,
    high: &Fields<Value>,
    copied: &mut usize,
) -> Result<(), Error> {
    *copied += high.len() * size_of::<(Key, Value)>();
    for (key, upper) in high {
        match low.entry(Arc::clone(key)) {
            Entry::Vacant(entry) => {
                entry.insert(upper.clone());
            }
            Entry::Occupied(mut entry) => {
                let merged = match (entry.get().as_object(), upper.as_object()) {
                    (Some(lower), Some(object)) => {
                        *copied += lower.len() * size_of::<(Key, Value)>();
                        let mut fields = lower.fields().clone();
                        merge_fields(&mut fields, object.fields(), copied)?;
                        Value::object(upper.origin().clone(), fields)?
                    }
                    _ => upper.clone(),
                };
                entry.insert(merged);
            }
        }
    }
    Ok(())
}

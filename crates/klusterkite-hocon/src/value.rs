use std::sync::Arc;

use crate::error::Error;
use crate::limits::{EXPANDED_SIZE_BYTES_MAX, NESTING_MAX};
use crate::origin::Origin;
use crate::path::Fields;

/// A resolved value and the place where it was written. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Value {
    origin: Origin,
    kind: ValueKind,
}

/// What a [`Value`] is.
#[derive(Debug, Clone)]
pub enum ValueKind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A number, as written.
    Number(Number),
    /// A string.
    String(Arc<str>),
    /// A list.
    List(List),
    /// An object.
    Object(Object),
}

/// A number that keeps its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number(Arc<str>);

/// A list of values. Cheap to clone.
#[derive(Debug, Clone)]
pub struct List(Arc<Counted<Vec<Value>>>);

/// Keys and values in the order of their first appearance. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Object(Arc<Counted<Fields<Value>>>);

/// A container with the size that it has when written out; substitutions share values, so that size
/// has nothing to do with memory. Only [`Value::list`] and [`Value::object`] make one, within the limits.
#[derive(Debug)]
struct Counted<T> {
    content: T,
    depth: usize,
    size_bytes: u64,
}

/// The share of a value in the size of what contains it, beside its text: separators, quotes, a place in memory.
const VALUE_OVERHEAD_BYTES: u64 = 8;

impl Number {
    pub(crate) fn new(text: Arc<str>) -> Self {
        Self(text)
    }

    /// Returns the text as written.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Returns the number if it is a whole one that fits; `1e3` and `42.0` are whole.
    pub fn as_i64(&self) -> Option<i64> {
        whole_number(&self.0)
    }

    /// Returns the nearest floating point number; `None` if it is out of range.
    pub fn as_f64(&self) -> Option<f64> {
        self.0
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        if let Ok(number) = self.0.parse::<i64>() {
            return number.into();
        }
        if let Ok(number) = self.0.parse::<u64>() {
            return number.into();
        }
        let is_integer = !self.0.contains(['.', 'e', 'E']);
        let float = if is_integer { None } else { self.as_f64() };
        match float.and_then(serde_json::Number::from_f64) {
            Some(number) => number.into(),
            None => self.text().into(),
        }
    }
}

/// Up to 2^53 every whole number has a float of its own.
const EXACT_FLOAT_MAX: f64 = 9_007_199_254_740_992.0;

/// Reads a whole number, also one written with a fraction of zeros or an exponent.
pub(crate) fn whole_number(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    if !crate::scanner::is_number(text) || !text.contains(['.', 'e', 'E']) {
        return None;
    }
    let float: f64 = text.parse().ok()?;
    (float.fract() == 0.0 && float.abs() <= EXACT_FLOAT_MAX).then_some(float as i64)
}

impl List {
    /// Returns the elements.
    pub fn items(&self) -> &[Value] {
        &self.0.content
    }
}

impl Object {
    /// Returns the value of a key; `null` counts as a value.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.content.get(key)
    }

    /// Returns keys and values in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.0.content.iter().map(|(key, value)| (&**key, value))
    }

    /// Returns the keys in order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.content.keys().map(|key| &**key)
    }

    /// Returns how many keys there are.
    pub fn len(&self) -> usize {
        self.0.content.len()
    }

    /// Tells whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.content.is_empty()
    }

    pub(crate) fn fields(&self) -> &Fields<Value> {
        &self.0.content
    }
}

impl Value {
    pub(crate) fn scalar(origin: Origin, kind: ValueKind) -> Self {
        Self { origin, kind }
    }

    /// Makes a list within the limits.
    pub(crate) fn list(origin: Origin, items: Vec<Self>) -> Result<Self, Error> {
        let size_bytes = items.iter().map(Self::size_bytes).sum();
        let depth = items.iter().map(Self::depth).max();
        let content = counted(&origin, items, depth, size_bytes)?;
        Ok(Self {
            origin,
            kind: ValueKind::List(List(Arc::new(content))),
        })
    }

    /// Makes an object within the limits.
    pub(crate) fn object(origin: Origin, fields: Fields<Self>) -> Result<Self, Error> {
        let size_bytes = fields
            .iter()
            .map(|(key, value)| key.len() as u64 + value.size_bytes())
            .sum();
        let depth = fields.values().map(Self::depth).max();
        let content = counted(&origin, fields, depth, size_bytes)?;
        Ok(Self {
            origin,
            kind: ValueKind::Object(Object(Arc::new(content))),
        })
    }

    /// Returns where the value was written.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Returns what the value is.
    pub fn kind(&self) -> &ValueKind {
        &self.kind
    }

    /// Names the kind for messages: "a list", "null".
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            ValueKind::Null => "null",
            ValueKind::Boolean(_) => "a boolean",
            ValueKind::Number(_) => "a number",
            ValueKind::String(_) => "a string",
            ValueKind::List(_) => "a list",
            ValueKind::Object(_) => "an object",
        }
    }

    /// Tells whether the value is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self.kind, ValueKind::Null)
    }

    /// Returns the object, if it is one.
    pub fn as_object(&self) -> Option<&Object> {
        match &self.kind {
            ValueKind::Object(object) => Some(object),
            _ => None,
        }
    }

    /// Returns the elements, if it is a list.
    pub fn as_list(&self) -> Option<&[Self]> {
        match &self.kind {
            ValueKind::List(list) => Some(list.items()),
            _ => None,
        }
    }

    /// Returns the text of a string, number or boolean as written.
    pub fn as_text(&self) -> Option<&str> {
        match &self.kind {
            ValueKind::Boolean(true) => Some("true"),
            ValueKind::Boolean(false) => Some("false"),
            ValueKind::Number(number) => Some(number.text()),
            ValueKind::String(text) => Some(text),
            ValueKind::Null | ValueKind::List(_) | ValueKind::Object(_) => None,
        }
    }

    /// Returns the value as JSON; see the crate's documentation on numbers.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.kind {
            ValueKind::Null => serde_json::Value::Null,
            ValueKind::Boolean(boolean) => (*boolean).into(),
            ValueKind::Number(number) => number.to_json(),
            ValueKind::String(text) => (&**text).into(),
            ValueKind::List(list) => list.items().iter().map(Self::to_json).collect(),
            ValueKind::Object(object) => object
                .iter()
                .map(|(key, value)| (key.to_owned(), value.to_json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }

    /// Returns the elements of a list, or of an object whose keys are numbers, in their order.
    ///
    /// Properties files and `-D` style overrides can only write lists as `name.0`, `name.1`, …, so the
    /// specification converts such objects; keys that are no numbers are ignored.
    pub fn to_list(&self) -> Option<Vec<Self>> {
        match &self.kind {
            ValueKind::List(list) => Some(list.items().to_vec()),
            ValueKind::Object(object) => {
                let mut numbered: Vec<(u64, &Self)> = object
                    .iter()
                    .filter_map(|(key, value)| Some((list_index(key)?, value)))
                    .collect();
                numbered.sort_by_key(|(index, _)| *index);
                let items = numbered.into_iter().map(|(_, value)| value.clone());
                Some(items.collect()).filter(|items: &Vec<_>| !items.is_empty())
            }
            _ => None,
        }
    }

    fn size_bytes(&self) -> u64 {
        let content = match &self.kind {
            ValueKind::Null | ValueKind::Boolean(_) => 0,
            ValueKind::Number(number) => number.text().len() as u64,
            ValueKind::String(text) => text.len() as u64,
            ValueKind::List(list) => list.0.size_bytes,
            ValueKind::Object(object) => object.0.size_bytes,
        };
        // No overflow: every part is at most EXPANDED_SIZE_BYTES_MAX or one text.
        content + VALUE_OVERHEAD_BYTES
    }

    fn depth(&self) -> usize {
        match &self.kind {
            ValueKind::List(list) => list.0.depth,
            ValueKind::Object(object) => object.0.depth,
            _ => 0,
        }
    }
}

/// Two values are equal if they are of the same kind and content; places do not count.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            (ValueKind::Null, ValueKind::Null) => true,
            (ValueKind::Boolean(a), ValueKind::Boolean(b)) => a == b,
            (ValueKind::Number(a), ValueKind::Number(b)) => a == b,
            (ValueKind::String(a), ValueKind::String(b)) => a == b,
            (ValueKind::List(a), ValueKind::List(b)) => a.items() == b.items(),
            (ValueKind::Object(a), ValueKind::Object(b)) => a.fields() == b.fields(),
            _ => false,
        }
    }
}

fn counted<T>(
    origin: &Origin,
    content: T,
    deepest: Option<usize>,
    size_bytes: u64,
) -> Result<Counted<T>, Error> {
    let depth = 1 + deepest.unwrap_or(0);
    // The root object is no level of its own, as in a text.
    if depth > NESTING_MAX + 1 {
        return Err(Error::too_deep(origin.clone()));
    }
    if size_bytes > EXPANDED_SIZE_BYTES_MAX {
        return Err(Error::Limit {
            origin: origin.clone(),
            problem: format!(
                "with its substitutions the value is larger than {EXPANDED_SIZE_BYTES_MAX} bytes"
            ),
        });
    }
    Ok(Counted {
        content,
        depth,
        size_bytes,
    })
}

fn list_index(key: &str) -> Option<u64> {
    if !key.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    key.parse().ok()
}

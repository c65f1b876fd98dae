use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::de;
use crate::document::Document;
use crate::error::Error;
use crate::path::{Key, Path, render_keys};
use crate::render;
use crate::units::{self, Period};
use crate::value::{Object, Value, ValueKind, whole_number};

/// A resolved configuration object. Cheap to clone.
///
/// Getters convert as HOCON prescribes: a number or boolean is also a string, and a string that looks
/// like one is also a number, boolean, duration or size, because environment variables are strings. The
/// `_optional` variants return `None` for a setting that is missing or `null`.
#[derive(Debug, Clone)]
pub struct Config {
    /// Always an object.
    root: Value,
    /// Where the object lies in the whole configuration, for errors.
    prefix: Arc<[Key]>,
}

/// Why a value cannot be converted.
enum Mismatch {
    Type,
    Content(String),
}

impl Config {
    pub(crate) fn new(root: Value) -> Self {
        Self {
            root,
            prefix: Arc::new([]),
        }
    }

    /// Returns the value at a path, `null` included; `None` also for what is no path expression.
    pub fn value(&self, path: &str) -> Option<&Value> {
        let path = Path::parse(path).ok()?;
        self.at(path.keys())
    }

    /// Returns the whole object as a value.
    pub fn as_value(&self) -> &Value {
        &self.root
    }

    /// Returns the whole object.
    pub fn root(&self) -> &Object {
        self.root
            .as_object()
            .expect("the root is an object, as every constructor makes sure")
    }

    /// Tells whether there is a value that is not `null`.
    pub fn has(&self, path: &str) -> bool {
        self.value(path).is_some_and(|value| !value.is_null())
    }

    fn at(&self, keys: &[Key]) -> Option<&Value> {
        let mut value = &self.root;
        for key in keys {
            value = value.as_object()?.get(key)?;
        }
        Some(value)
    }

    /// Returns a value and its full path, `None` if it is missing or `null`.
    fn find(&self, path: &str) -> Result<(Option<&Value>, Path), Error> {
        let parsed = Path::parse_at(path, self.root.origin())?;
        let value = self.at(parsed.keys());
        Ok((value, parsed))
    }

    fn full_path(&self, path: &Path) -> String {
        let keys: Vec<Key> = self.prefix.iter().chain(path.keys()).cloned().collect();
        render_keys(&keys)
    }

    fn required<T>(
        &self,
        path: &str,
        expected: &'static str,
        convert: impl FnOnce(&Value) -> Result<T, Mismatch>,
    ) -> Result<T, Error> {
        let (value, parsed) = self.find(path)?;
        match value {
            None => Err(self.missing(&parsed)),
            Some(value) if value.is_null() => Err(Error::Null {
                origin: value.origin().clone(),
                path: self.full_path(&parsed),
                expected,
            }),
            Some(value) => self.converted(value, &parsed, expected, convert),
        }
    }

    fn optional<T>(
        &self,
        path: &str,
        expected: &'static str,
        convert: impl FnOnce(&Value) -> Result<T, Mismatch>,
    ) -> Result<Option<T>, Error> {
        let (value, parsed) = self.find(path)?;
        match value {
            None => Ok(None),
            Some(value) if value.is_null() => Ok(None),
            Some(value) => self.converted(value, &parsed, expected, convert).map(Some),
        }
    }

    fn missing(&self, path: &Path) -> Error {
        // The innermost object that does exist is where the setting belongs.
        let keys = path.keys();
        let mut parents = (0..keys.len()).rev();
        let parent = parents.find_map(|length| self.at(&keys[..length]));
        Error::Missing {
            origin: parent.unwrap_or(&self.root).origin().clone(),
            path: self.full_path(path),
        }
    }

    fn converted<T>(
        &self,
        value: &Value,
        path: &Path,
        expected: &'static str,
        convert: impl FnOnce(&Value) -> Result<T, Mismatch>,
    ) -> Result<T, Error> {
        convert(value).map_err(|mismatch| {
            let origin = value.origin().clone();
            let path = self.full_path(path);
            match mismatch {
                Mismatch::Type => Error::WrongType {
                    origin,
                    path,
                    expected,
                    found: value.kind_name(),
                },
                Mismatch::Content(problem) => Error::BadValue {
                    origin,
                    path,
                    problem,
                },
            }
        })
    }

    /// Returns an error about the value at a path, for a check that the caller makes.
    ///
    /// `problem` continues the sentence "`path` …".
    pub fn error_at(&self, path: &str, problem: impl Into<String>) -> Error {
        match self.find(path) {
            Err(error) => error,
            Ok((value, parsed)) => Error::BadValue {
                origin: value.unwrap_or(&self.root).origin().clone(),
                path: self.full_path(&parsed),
                problem: problem.into(),
            },
        }
    }

    /// Returns a string; numbers and booleans as they were written.
    pub fn string(&self, path: &str) -> Result<String, Error> {
        self.required(path, "a string", as_string)
    }

    /// Returns a string, if there is one.
    pub fn string_optional(&self, path: &str) -> Result<Option<String>, Error> {
        self.optional(path, "a string", as_string)
    }

    /// Returns a whole number.
    pub fn integer(&self, path: &str) -> Result<i64, Error> {
        self.required(path, "a whole number", as_integer)
    }

    /// Returns a whole number, if there is one.
    pub fn integer_optional(&self, path: &str) -> Result<Option<i64>, Error> {
        self.optional(path, "a whole number", as_integer)
    }

    /// Returns a number.
    pub fn float(&self, path: &str) -> Result<f64, Error> {
        self.required(path, "a number", as_float)
    }

    /// Returns a number, if there is one.
    pub fn float_optional(&self, path: &str) -> Result<Option<f64>, Error> {
        self.optional(path, "a number", as_float)
    }

    /// Returns a boolean: `true`, `yes`, `on` or `false`, `no`, `off`.
    pub fn boolean(&self, path: &str) -> Result<bool, Error> {
        self.required(path, "a boolean", as_boolean)
    }

    /// Returns a boolean, if there is one.
    pub fn boolean_optional(&self, path: &str) -> Result<Option<bool>, Error> {
        self.optional(path, "a boolean", as_boolean)
    }

    /// Returns a duration, see [`units::parse_duration`]; numbers are milliseconds.
    pub fn duration(&self, path: &str) -> Result<Duration, Error> {
        self.required(path, "a duration", as_duration)
    }

    /// Returns a duration, if there is one.
    pub fn duration_optional(&self, path: &str) -> Result<Option<Duration>, Error> {
        self.optional(path, "a duration", as_duration)
    }

    /// Returns a calendar period, see [`units::parse_period`]; numbers are days.
    pub fn period(&self, path: &str) -> Result<Period, Error> {
        self.required(path, "a period", as_period)
    }

    /// Returns a calendar period, if there is one.
    pub fn period_optional(&self, path: &str) -> Result<Option<Period>, Error> {
        self.optional(path, "a period", as_period)
    }

    /// Returns a size in bytes, see [`units::parse_size`].
    pub fn size_bytes(&self, path: &str) -> Result<u64, Error> {
        self.required(path, "a size", as_size)
    }

    /// Returns a size in bytes, if there is one.
    pub fn size_bytes_optional(&self, path: &str) -> Result<Option<u64>, Error> {
        self.optional(path, "a size", as_size)
    }

    /// Returns the elements of a list, or of an object with numbers as keys.
    pub fn list(&self, path: &str) -> Result<Vec<Value>, Error> {
        self.required(path, "a list", as_list)
    }

    /// Returns the elements of a list, if there is one.
    pub fn list_optional(&self, path: &str) -> Result<Option<Vec<Value>>, Error> {
        self.optional(path, "a list", as_list)
    }

    /// Returns a list of strings.
    pub fn string_list(&self, path: &str) -> Result<Vec<String>, Error> {
        self.required(path, "a list of strings", as_string_list)
    }

    /// Returns a list of strings, if there is one.
    pub fn string_list_optional(&self, path: &str) -> Result<Option<Vec<String>>, Error> {
        self.optional(path, "a list of strings", as_string_list)
    }

    /// Returns an object as a configuration of its own; its errors still name full paths.
    pub fn config(&self, path: &str) -> Result<Self, Error> {
        let value = self.required(path, "an object", as_object)?;
        self.sub(path, value)
    }

    /// Returns an object as a configuration of its own, if there is one.
    pub fn config_optional(&self, path: &str) -> Result<Option<Self>, Error> {
        let value = self.optional(path, "an object", as_object)?;
        value.map(|value| self.sub(path, value)).transpose()
    }

    fn sub(&self, path: &str, root: Value) -> Result<Self, Error> {
        let path = Path::parse_at(path, self.root.origin())?;
        let prefix = self.prefix.iter().chain(path.keys()).cloned().collect();
        Ok(Self { root, prefix })
    }

    /// Returns the same object as a root: its errors name paths from here.
    pub fn into_root(self) -> Self {
        Self::new(self.root)
    }

    /// Returns the configuration without one key of its root object.
    pub fn without(&self, key: &str) -> Self {
        let mut fields = self.root().fields().clone();
        fields.shift_remove(key);
        let root = Value::object(self.root.origin().clone(), fields)
            .expect("a part of a value within the limits is within them");
        Self {
            root,
            prefix: Arc::clone(&self.prefix),
        }
    }

    /// Returns the configuration as JSON; integers outside 64 bits become strings.
    pub fn to_json(&self) -> serde_json::Value {
        self.root.to_json()
    }

    /// Returns the configuration as a document, for further merging.
    pub fn to_document(&self) -> Document {
        Document::of_value(&self.root)
    }

    /// Returns the configuration as HOCON text without comments or substitutions.
    pub fn render(&self) -> String {
        render::render_root(self.root())
    }

    /// Reads the value at a path into a type; the empty path is the whole configuration.
    ///
    /// Scalars are converted as by the getters. Errors name the full path and the place of the value.
    pub fn deserialize<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        if path.is_empty() {
            return de::deserialize(&self.root, &self.prefix);
        }
        let (value, parsed) = self.find(path)?;
        let value = value.ok_or_else(|| self.missing(&parsed))?;
        let keys: Vec<Key> = self.prefix.iter().chain(parsed.keys()).cloned().collect();
        de::deserialize(value, &keys)
    }
}

/// Two configurations are equal if they hold equal values, wherever those were written.
impl PartialEq for Config {
    fn eq(&self, other: &Self) -> bool {
        self.root == other.root
    }
}

fn as_string(value: &Value) -> Result<String, Mismatch> {
    value.as_text().map(str::to_owned).ok_or(Mismatch::Type)
}

fn as_integer(value: &Value) -> Result<i64, Mismatch> {
    number_text(value)
        .and_then(whole_number)
        .ok_or(Mismatch::Type)
}

fn as_float(value: &Value) -> Result<f64, Mismatch> {
    let number = number_text(value).and_then(|text| text.parse::<f64>().ok());
    number
        .filter(|float| float.is_finite())
        .ok_or(Mismatch::Type)
}

fn as_boolean(value: &Value) -> Result<bool, Mismatch> {
    match value.kind() {
        ValueKind::Boolean(boolean) => Ok(*boolean),
        ValueKind::String(text) => boolean_of_text(text).ok_or(Mismatch::Type),
        _ => Err(Mismatch::Type),
    }
}

pub(crate) fn boolean_of_text(text: &str) -> Option<bool> {
    match text {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn as_duration(value: &Value) -> Result<Duration, Mismatch> {
    let text = value.as_text().ok_or(Mismatch::Type)?;
    units::parse_duration(text).map_err(Mismatch::Content)
}

fn as_period(value: &Value) -> Result<Period, Mismatch> {
    let text = value.as_text().ok_or(Mismatch::Type)?;
    units::parse_period(text).map_err(Mismatch::Content)
}

fn as_size(value: &Value) -> Result<u64, Mismatch> {
    let text = value.as_text().ok_or(Mismatch::Type)?;
    units::parse_size(text).map_err(Mismatch::Content)
}

fn as_list(value: &Value) -> Result<Vec<Value>, Mismatch> {
    value.to_list().ok_or(Mismatch::Type)
}

fn as_string_list(value: &Value) -> Result<Vec<String>, Mismatch> {
    as_list(value)?.iter().map(as_string).collect()
}

fn as_object(value: &Value) -> Result<Value, Mismatch> {
    match value.as_object() {
        Some(_) => Ok(value.clone()),
        None => Err(Mismatch::Type),
    }
}

/// Returns the text of a value that can be a number.
fn number_text(value: &Value) -> Option<&str> {
    match value.kind() {
        ValueKind::Number(number) => Some(number.text()),
        ValueKind::String(text) => Some(text),
        _ => None,
    }
}

//! Explanations of settings.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::one_line;

/// Why a setting has its value.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The setting.
    pub path: String,
    /// Its value.
    pub value: Value,
    /// Where the value was written, which may be behind a substitution.
    pub origin: Place,
    /// What the files have for the path, highest priority first.
    pub layers: Vec<Layer>,
}

/// What one file has for a path.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Layer {
    /// What became of it.
    pub role: Role,
    /// Where it stands.
    pub origin: Place,
    /// The value as written, on one line.
    pub written: String,
}

/// What became of something that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// A substitution that has no value, or none for this path.
    Undefined,
    /// It gave the value.
    Value,
    /// It is a part of the value, beside other layers.
    Part,
    /// Something above replaced it.
    Overridden,
}

/// A place in a file, or a variable of the environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// File, or the name of what is no file.
    pub source: String,
    /// Line, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Column in characters, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&one_line(&self.source))?;
        for number in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{number}")?;
        }
        Ok(())
    }
}

/// Renders each setting with its layers below it.
pub fn explanations(explanations: &[Explanation]) -> String {
    let mut text = String::new();
    for explanation in explanations {
        let Explanation { path, value, .. } = explanation;
        text += &[one_line(path).as_str(), " = ", &value.to_string(), "\n"].concat();
        let rows = rows(explanation);
        let width = rows.iter().map(|row| row.1.chars().count()).max();
        let width = width.unwrap_or(0);
        for (role, place, written) in rows {
            let line = format!("  {role:10}  {place:width$}  {}", one_line(&written));
            text += line.trim_end();
            text.push('\n');
        }
    }
    text
}

fn rows(explanation: &Explanation) -> Vec<(&'static str, String, String)> {
    let mut rows = Vec::new();
    for layer in &explanation.layers {
        let role = match layer.role {
            Role::Undefined => "undefined",
            Role::Value => "value",
            Role::Part => "part",
            Role::Overridden => "overridden",
        };
        rows.push((role, layer.origin.to_string(), layer.written.clone()));
        if layer.role == Role::Value && layer.origin != explanation.origin {
            rows.push(("found at", explanation.origin.to_string(), String::new()));
        }
    }
    if rows.is_empty() {
        rows.push(("found at", explanation.origin.to_string(), String::new()));
    }
    rows
}

//! Writes resolved values as HOCON.

use std::fmt::Write;

use crate::scanner::{is_number, is_space};
use crate::value::{Object, Value, ValueKind};

const INDENT: &str = "  ";

/// Returns the text as a quoted string, valid in HOCON and JSON.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            // Escaped too: what some tools take for an end of line or of the text.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                write!(quoted, "\\u{:04x}", c as u32).expect("strings take all text");
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Returns a key as it is written in a path: quoted only if it has to be.
pub(crate) fn key_text(key: &str) -> String {
    let plain = !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if plain && key != "include" {
        key.to_owned()
    } else {
        quote(key)
    }
}

/// Writes the fields of the root object, one per line, without braces around them.
pub(crate) fn render_root(root: &Object) -> String {
    let mut text = String::new();
    render_fields(root, 0, &mut text);
    text
}

fn render_fields(object: &Object, level: usize, text: &mut String) {
    for (key, value) in object.iter() {
        indent(level, text);
        text.push_str(&key_text(key));
        if value.as_object().is_some() {
            text.push(' ');
        } else {
            text.push_str(" = ");
        }
        render_value(value, level, text);
        text.push('\n');
    }
}

fn render_value(value: &Value, level: usize, text: &mut String) {
    match value.kind() {
        ValueKind::Null => text.push_str("null"),
        ValueKind::Boolean(boolean) => text.push_str(if *boolean { "true" } else { "false" }),
        ValueKind::Number(number) => text.push_str(number.text()),
        ValueKind::String(string) => text.push_str(&string_text(string)),
        ValueKind::Object(object) if object.is_empty() => text.push_str("{}"),
        ValueKind::Object(object) => {
            text.push_str("{\n");
            render_fields(object, level + 1, text);
            indent(level, text);
            text.push('}');
        }
        ValueKind::List(list) if list.items().is_empty() => text.push_str("[]"),
        ValueKind::List(list) => render_list(list.items(), level, text),
    }
}

/// Short scalars share a line, everything else gets a line of its own.
fn render_list(items: &[Value], level: usize, text: &mut String) {
    const LINE_ITEMS_MAX: usize = 8;
    let scalars = items.iter().all(|item| item.as_text().is_some());
    if scalars && items.len() <= LINE_ITEMS_MAX {
        text.push('[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                text.push_str(", ");
            }
            render_value(item, level, text);
        }
        text.push(']');
        return;
    }
    text.push_str("[\n");
    for item in items {
        indent(level + 1, text);
        render_value(item, level + 1, text);
        text.push_str(",\n");
    }
    indent(level, text);
    text.push(']');
}

/// Returns the string without quotes where it reads back as the same string.
pub(crate) fn string_text(string: &str) -> String {
    let mut chars = string.chars();
    let plain = chars.next().is_some_and(|c| c.is_ascii_alphabetic())
        && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
        && !string.contains("//")
        && !matches!(string, "true" | "false" | "null");
    debug_assert!(!plain || (!is_number(string) && !string.contains(is_space)));
    if plain {
        string.to_owned()
    } else {
        quote(string)
    }
}

fn indent(level: usize, text: &mut String) {
    for _ in 0..level {
        text.push_str(INDENT);
    }
}

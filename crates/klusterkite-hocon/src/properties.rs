//! Java properties files, which HOCON can include.

use std::sync::Arc;

use crate::error::Error;
use crate::limits::NESTING_MAX;
use crate::node::{Node, NodeKind, ObjectNode};
use crate::origin::Origin;
use crate::path::{Fields, Key};
use crate::scanner::Scanner;

/// Parses `key = value` lines; dots in keys make objects, all values are strings.
///
/// Where a key is both a value and an object, the object wins: the order of lines has no meaning.
pub(crate) fn parse(text: &str, origin: &Origin) -> Result<Node, Error> {
    let mut root = ObjectNode::default();
    for (number, line) in logical_lines(text) {
        let place = origin.at(number, 1);
        let (key, value) = split(&line, &place)?;
        let keys: Vec<Key> = key.split('.').map(Key::from).collect();
        if keys.len() > NESTING_MAX {
            return Err(Error::too_deep(place));
        }
        let value = Node::new(place, NodeKind::String(Arc::from(value)));
        put(&mut root.fields, &keys, value);
    }
    Ok(Node::object(origin.clone(), root))
}

/// Joins continued lines and drops comments and blank lines; numbers count from 1.
fn logical_lines(text: &str) -> Vec<(u32, String)> {
    let mut lines = Vec::new();
    let mut current: Option<(u32, String)> = None;
    for (index, raw) in text.lines().enumerate() {
        let line = raw.trim_start_matches([' ', '\t', '\u{c}']);
        let (number, mut joined) = match current.take() {
            Some(started) => started,
            None if line.is_empty() || line.starts_with(['#', '!']) => continue,
            None => (index as u32 + 1, String::new()),
        };
        let backslashes = line.bytes().rev().take_while(|b| *b == b'\\').count();
        if backslashes % 2 == 1 {
            joined.push_str(&line[..line.len() - 1]);
            current = Some((number, joined));
        } else {
            joined.push_str(line);
            lines.push((number, joined));
        }
    }
    lines.extend(current);
    lines
}

fn split(line: &str, origin: &Origin) -> Result<(String, String), Error> {
    let space = |c: char| matches!(c, ' ' | '\t' | '\u{c}');
    let mut escaped = false;
    let key_end = line
        .char_indices()
        .find(|(_, c)| {
            let ends = !escaped && (space(*c) || matches!(c, '=' | ':'));
            escaped = *c == '\\' && !escaped;
            ends
        })
        .map_or(line.len(), |(index, _)| index);
    let rest = line[key_end..].trim_start_matches(space);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    let value = rest.trim_start_matches(space);
    Ok((
        unescape(&line[..key_end], origin)?,
        unescape(value, origin)?,
    ))
}

fn unescape(text: &str, origin: &Origin) -> Result<String, Error> {
    let mut plain = String::with_capacity(text.len());
    let mut units: Vec<u16> = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.next() } else { None };
        if escaped == Some('u') {
            let digits = chars.as_str().get(..4).unwrap_or_default();
            let unit = u16::from_str_radix(digits, 16)
                .ok()
                .filter(|_| digits.bytes().all(|b| b.is_ascii_hexdigit()));
            let Some(unit) = unit else {
                return Err(Scanner::error_at(
                    origin.clone(),
                    "`\\u` needs four hexadecimal digits",
                ));
            };
            units.push(unit);
            chars = chars.as_str()[4..].chars();
            continue;
        }
        plain.push_str(&String::from_utf16_lossy(&units));
        units.clear();
        plain.push(match (c, escaped) {
            ('\\', Some('t')) => '\t',
            ('\\', Some('n')) => '\n',
            ('\\', Some('r')) => '\r',
            ('\\', Some('f')) => '\u{c}',
            ('\\', Some(other)) => other,
            (c, _) => c,
        });
    }
    plain.push_str(&String::from_utf16_lossy(&units));
    Ok(plain)
}

fn put(fields: &mut Fields<Node>, keys: &[Key], value: Node) {
    let Some((first, rest)) = keys.split_first() else {
        return;
    };
    let existing = fields.get_mut(first).map(|node| &mut node.kind);
    match existing {
        Some(NodeKind::Object(object)) => put(&mut Arc::make_mut(object).fields, rest, value),
        _ => {
            fields.insert(Arc::clone(first), value.nested(rest));
        }
    }
}

//! JSON values as documents.

use std::sync::Arc;

use crate::error::Error;
use crate::limits::NESTING_MAX;
use crate::node::{Node, NodeKind, ObjectNode};
use crate::origin::Origin;
use crate::path::Key;

/// Makes an unresolved tree from a JSON value that lies at the given depth.
pub(crate) fn node(
    value: &serde_json::Value,
    origin: &Origin,
    depth: usize,
) -> Result<Node, Error> {
    if depth > NESTING_MAX {
        return Err(Error::too_deep(origin.clone()));
    }
    let kind = match value {
        serde_json::Value::Null => NodeKind::Null,
        serde_json::Value::Bool(boolean) => NodeKind::Boolean(*boolean),
        serde_json::Value::Number(number) => NodeKind::Number(Arc::from(number.to_string())),
        serde_json::Value::String(text) => NodeKind::String(Arc::from(text.as_str())),
        serde_json::Value::Array(items) => {
            let items: Result<_, Error> = items
                .iter()
                .map(|item| node(item, origin, depth + 1))
                .collect();
            NodeKind::List(Arc::new(items?))
        }
        serde_json::Value::Object(fields) => {
            let mut object = ObjectNode::default();
            for (key, value) in fields {
                let value = node(value, origin, depth + 1)?;
                object.fields.insert(Key::from(key.as_str()), value);
            }
            NodeKind::Object(Arc::new(object))
        }
    };
    Ok(Node::new(origin.clone(), kind))
}

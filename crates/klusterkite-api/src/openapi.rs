//! The OpenAPI 3.1 document, generated from the table of operations.

use std::collections::BTreeMap;

use klusterkite_wire::problem::{PROBLEM_MEDIA_TYPE, Problem};
use serde_json::{Map, Value, json as value};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::operations::{Access, OPERATIONS, Operation};

/// Adds the schemas of a type to a collection and returns the type's schema or a reference to it.
type SchemaOf = fn(&mut Schemas) -> RefOr<Schema>;

type Schemas = BTreeMap<String, RefOr<Schema>>;

/// Body of a request or response.
#[derive(Clone, Copy)]
pub enum Body {
    /// No body.
    Nothing,
    /// A body of a media type with a schema.
    Typed(&'static str, SchemaOf),
    /// A body of a media type without a schema.
    Text(&'static str),
}

/// Makes a JSON body of a type.
pub const fn json<T: ToSchema>() -> Body {
    Body::Typed("application/json", schema_of::<T>)
}

/// Makes a body of JSON objects, one a line.
pub const fn lines<T: ToSchema>() -> Body {
    Body::Typed("application/x-ndjson", schema_of::<T>)
}

/// Makes a form body of a type.
pub const fn form<T: ToSchema>() -> Body {
    Body::Typed("application/x-www-form-urlencoded", schema_of::<T>)
}

/// Makes a body of a media type without a schema.
pub const fn text(media_type: &'static str) -> Body {
    Body::Text(media_type)
}

/// Makes an absent body.
pub const fn nothing() -> Body {
    Body::Nothing
}

/// Generates the document.
pub fn document() -> Value {
    let mut schemas = Schemas::new();
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let item = paths.entry(operation.path).or_insert_with(|| value!({}));
        item[operation.method.as_str().to_ascii_lowercase()] = describe(operation, &mut schemas);
    }
    value!({
        "openapi": "3.1.0",
        "info": {
            "title": "KlusterKite manager",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn describe(operation: &Operation, schemas: &mut Schemas) -> Value {
    let mut described = value!({
        "operationId": operation.id.as_str(),
        "summary": operation.summary,
        "parameters": parameters(operation),
        "responses": {
            operation.status.to_string(): response("Success", operation.response, schemas),
            "default": response("Failure", Body::Typed(PROBLEM_MEDIA_TYPE, schema_of::<Problem>), schemas),
        },
        "security": security(operation.access),
    });
    if let Some(privilege) = privilege(operation.access) {
        described["x-privilege"] = value!(privilege);
    }
    if let Some(content) = content(operation.request, schemas) {
        described["requestBody"] = value!({ "required": true, "content": content });
    }
    described
}

fn parameters(operation: &Operation) -> Vec<Value> {
    let in_path = operation.path.split('/').filter_map(|segment| {
        let name = segment.strip_prefix('{')?.strip_suffix('}')?;
        Some(value!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
    });
    let in_query = operation.query.iter().map(|(name, meaning)| {
        value!({ "name": name, "in": "query", "description": meaning, "schema": { "type": "string" } })
    });
    in_path.chain(in_query).collect()
}

fn response(description: &str, body: Body, schemas: &mut Schemas) -> Value {
    let mut response = value!({ "description": description });
    if let Some(content) = content(body, schemas) {
        response["content"] = content;
    }
    response
}

fn content(body: Body, schemas: &mut Schemas) -> Option<Value> {
    match body {
        Body::Nothing => None,
        Body::Text(media_type) => Some(value!({ media_type: {} })),
        Body::Typed(media_type, schema) => {
            Some(value!({ media_type: { "schema": schema(schemas) } }))
        }
    }
}

fn security(access: Access) -> Value {
    match access {
        Access::Open => value!([]),
        _ => value!([{ "bearer": [] }]),
    }
}

/// Returns the privilege that an access rule asks for.
fn privilege(access: Access) -> Option<&'static str> {
    match access {
        Access::Privilege(privilege) | Access::NodeOr(privilege) => Some(privilege.as_str()),
        Access::Open | Access::AnyToken | Access::Node => None,
    }
}

fn schema_of<T: ToSchema>(schemas: &mut Schemas) -> RefOr<Schema> {
    let name = T::name().into_owned();
    if !schemas.contains_key(&name) {
        let mut inner = Vec::new();
        T::schemas(&mut inner);
        schemas.insert(name.clone(), <T as PartialSchema>::schema());
        schemas.extend(inner);
    }
    RefOr::Ref(utoipa::openapi::Ref::from_schema_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_in_the_document_leads_to_a_schema() {
        let document = document();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let mut references = Vec::new();
        collect_references(&document, &mut references);
        assert!(
            references.len() > 100,
            "only {} references",
            references.len()
        );
        for reference in references {
            let name = reference.strip_prefix("#/components/schemas/").unwrap();
            assert!(schemas.contains_key(name), "{reference} leads nowhere");
        }
    }

    fn collect_references(value: &Value, references: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(reference)) = object.get("$ref") {
                    references.push(reference.clone());
                }
                object
                    .values()
                    .for_each(|value| collect_references(value, references));
            }
            Value::Array(items) => items
                .iter()
                .for_each(|value| collect_references(value, references)),
            _ => {}
        }
    }
}

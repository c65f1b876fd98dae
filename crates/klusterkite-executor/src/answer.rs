//! What the result of a migrator's `resources` means.

use std::collections::BTreeSet;

use klusterkite_migrator::client::quote;
use klusterkite_wire::migrator::{ResourceAnswer, ResourceDescription};
use serde_json::Value;

/// Reads the result of `resources`: those that could be read, and why the others could not.
pub(crate) fn resources(result: Value) -> (Vec<ResourceDescription>, Vec<String>) {
    let Value::Array(items) = result else {
        return (Vec::new(), vec!["`resources` is not a list".to_owned()]);
    };
    let mut seen = BTreeSet::new();
    let mut resources = Vec::new();
    let mut errors = Vec::new();
    for item in items {
        let quoted = quote(item.to_string().as_bytes());
        match serde_json::from_value::<ResourceAnswer>(item) {
            Err(error) => errors.push(format!("`{quoted}` is not a resource ({error})")),
            Ok(answer) if !seen.insert(answer.code.clone()) => {
                errors.push(format!("resource `{}` is listed twice", answer.code));
            }
            Ok(ResourceAnswer {
                code,
                error: Some(error),
                ..
            }) => errors.push(format!("cannot read where resource `{code}` is: {error}")),
            Ok(answer) => resources.push(ResourceDescription {
                code: answer.code,
                name: answer.name,
                current_point: answer.current_point,
            }),
        }
    }
    (resources, errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_resource_does_not_hide_the_others() {
        let (resources, errors) = resources(serde_json::json!([
            {"code": "a", "name": "A", "currentPoint": "1"},
            {"code": "", "name": "B", "currentPoint": null},
            {"code": "c", "name": "C", "error": "no disk"},
            {"code": "a", "name": "again"},
            7,
            {"code": "d", "name": "D", "currentPoint": null},
        ]));
        let codes: Vec<&str> = resources.iter().map(|r| r.code.as_str()).collect();
        assert_eq!(codes, ["a", "d"]);
        assert_eq!(errors.len(), 4, "{errors:?}");
        assert_eq!(errors[1], "cannot read where resource `c` is: no disk");
        assert_eq!(
            super::resources(Value::Null).1,
            ["`resources` is not a list"]
        );
    }
}

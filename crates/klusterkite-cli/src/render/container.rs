//! Containers in which nothing runs.

use klusterkite_api::nodes::Container;

use super::{or_none, table, word};

/// Renders a list of containers.
pub fn list(containers: &[Container]) -> String {
    let rows = containers.iter().map(|container| {
        [
            container.node_id.to_string(),
            word(&container.state),
            container.container_type.to_string(),
            or_none(container.last_template.as_ref()),
            or_none(container.last_crash.as_ref()),
            container.reason.clone(),
        ]
    });
    table(
        [
            "CONTAINER",
            "STATE",
            "TYPE",
            "LAST TEMPLATE",
            "LAST CRASH",
            "REASON",
        ],
        rows,
    )
}

/// Renders containers that are out of service below another list; nothing if there is none.
pub fn out_of_service(containers: &[Container]) -> String {
    if containers.is_empty() {
        return String::new();
    }
    format!("\nout of service, nothing runs there\n{}", list(containers))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_shows_why_nothing_runs_there() {
        let containers: Vec<Container> = serde_json::from_value(json!([
            { "nodeId": "0a000000-0000-4000-8000-000000000000", "containerType": "worker", "runtime": "linux-x64",
              "state": "cordoned", "reason": "it is out of service", "lastTemplate": "hello", "lastCrash": "signal 9" },
            { "nodeId": "0b000000-0000-4000-8000-000000000000", "containerType": "worker", "runtime": "linux-x64",
              "state": "waiting", "reason": "every template is full" }]))
        .unwrap();
        expect![[r"
            CONTAINER                             STATE     TYPE    LAST TEMPLATE  LAST CRASH  REASON
            0a000000-0000-4000-8000-000000000000  cordoned  worker  hello          signal 9    it is out of service
            0b000000-0000-4000-8000-000000000000  waiting   worker  -              -           every template is full
        "]]
        .assert_eq(&list(&containers));
        assert_eq!(out_of_service(&[]), "");
    }
}

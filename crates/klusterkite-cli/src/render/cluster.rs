//! State of the cluster.

use std::fmt::Write as _;

use klusterkite_api::cluster::ClusterState;
use klusterkite_api::migrations::Migration;
use klusterkite_api::nodes::{Container, Template};

use super::{or_none, pairs, table, waits, word};

/// Renders the cluster at a glance.
pub fn status(
    url: &str,
    state: &ClusterState,
    templates: &[Template],
    containers_waiting: u64,
    cordoned: &[Container],
) -> String {
    let mut text = pairs([
        ("manager", url.to_owned()),
        ("configuration", or_none(state.active_configuration_id)),
        (
            "migration",
            state
                .migration
                .as_ref()
                .map_or_else(|| "none".to_owned(), running),
        ),
        ("busy", busy(state)),
        (
            "spare",
            match containers_waiting {
                1 => "1 container waits for work".to_owned(),
                count => format!("{count} containers wait for work"),
            },
        ),
    ]);
    let rows = templates.iter().map(|template| {
        [
            template.code.to_string(),
            template.ready.to_string(),
            template.starting.to_string(),
            template.obsolete.to_string(),
            template.upgrading.to_string(),
            template.unreachable.to_string(),
            template.minimum.to_string(),
            or_none(template.maximum),
        ]
    });
    text.push('\n');
    text += &table(
        [
            "TEMPLATE",
            "READY",
            "STARTING",
            "OBSOLETE",
            "UPGRADING",
            "UNREACHABLE",
            "MIN",
            "MAX",
        ],
        rows,
    );
    text += &super::container::out_of_service(cordoned);
    text + &trouble(state)
}

/// Renders the running migration with its resources.
pub fn migration(state: &ClusterState) -> String {
    let steps: Vec<String> = state
        .steps
        .iter()
        .map(|step| {
            let word = word(step);
            if Some(*step) == state.current_step {
                format!("[{word}]")
            } else {
                word
            }
        })
        .collect();
    let mut text = pairs([
        (
            "migration",
            state
                .migration
                .as_ref()
                .map_or_else(|| "none".to_owned(), running),
        ),
        (
            "steps",
            if steps.is_empty() {
                "-".to_owned()
            } else {
                steps.join(" > ")
            },
        ),
        ("busy", busy(state)),
    ]);
    let mut rows = Vec::new();
    for template in &state.templates {
        for migrator in &template.migrators {
            for resource in &migrator.resources {
                rows.push([
                    format!("{}:{}:{}", template.code, migrator.type_name, resource.code),
                    or_none(resource.current_point.as_ref()),
                    or_none(resource.source_point.as_ref()),
                    or_none(resource.destination_point.as_ref()),
                    word(&resource.position),
                    word(&migrator.direction),
                ]);
            }
        }
    }
    text.push('\n');
    text += &table(
        [
            "RESOURCE",
            "POINT",
            "SOURCE",
            "DESTINATION",
            "POSITION",
            "DIRECTION",
        ],
        rows,
    );
    let operations: Vec<String> = state
        .operations
        .iter()
        .filter(|operation| operation.allowed)
        .map(|operation| {
            if operation.recommended {
                format!("{} (next)", operation.id)
            } else {
                operation.id.clone()
            }
        })
        .collect();
    let _ = writeln!(text, "\nallowed: {}", super::joined(&operations));
    text + &trouble(state)
}

/// Says in one line what is being done and waited for.
pub fn progress(state: &ClusterState) -> String {
    let mut parts = Vec::new();
    if let Some(step) = &state.current_step {
        parts.push(format!("step {}", word(step)));
    }
    if state.busy {
        parts.push(busy(state));
    }
    if let Some(wait) = state.waiting_on.first() {
        parts.push(format!("waits: {}", wait.message));
    }
    if parts.is_empty() {
        "no migration runs".to_owned()
    } else {
        parts.join(", ")
    }
}

/// Says which commands a manual migration waits for, the recommended one first.
pub fn next(state: &ClusterState) -> String {
    let step = state.current_step.as_ref().map_or(String::new(), word);
    let mut allowed: Vec<_> = state
        .operations
        .iter()
        .filter(|operation| operation.allowed)
        .collect();
    allowed.sort_by_key(|operation| !operation.recommended);
    let mut text = format!("at step {step} it waits for one of");
    for operation in allowed {
        let command = match operation.id.as_str() {
            "migrateResources" => "resources --to destination|source",
            "updateNodesToDestination" => "nodes destination",
            "updateNodesToSource" => "nodes source",
            "cancel" => "cancel",
            "finish" => "finish",
            _ => continue,
        };
        let mark = if operation.recommended {
            "  (next)"
        } else {
            ""
        };
        let _ = write!(text, "\n  klusterkite migration {command}{mark}");
    }
    text
}

fn running(migration: &Migration) -> String {
    let mut text = format!(
        "{} from {} to {}, {}, {}",
        migration.id,
        migration.from_configuration_id,
        migration.to_configuration_id,
        word(&migration.mode),
        word(&migration.state),
    );
    if let Some(step) = &migration.step {
        let _ = write!(text, ", step {}", word(step));
    }
    if let Some(reason) = &migration.reason {
        let _ = write!(text, ": {}", reason.message);
    }
    text
}

fn busy(state: &ClusterState) -> String {
    match (&state.busy_with, state.busy) {
        (Some(work), true) => work.clone(),
        (None, true) => "yes".to_owned(),
        (_, false) => "no".to_owned(),
    }
}

fn trouble(state: &ClusterState) -> String {
    let mut text = String::new();
    if !state.waiting_on.is_empty() {
        let _ = write!(text, "\nwaiting\n{}", waits(&state.waiting_on));
    }
    if !state.resource_errors.is_empty() {
        text += "\nresources that cannot be read\n";
        for error in &state.resource_errors {
            let migrator = error
                .migrator
                .as_ref()
                .map_or(String::new(), |name| format!(":{name}"));
            let _ = writeln!(
                text,
                "  {}{migrator} ({}): {}",
                error.template, error.side, error.message
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    fn state() -> ClusterState {
        serde_json::from_value(json!({
            "busy": true, "busyWith": "moving hello:Hello.Db:schema", "currentStep": "nodesUpdating",
            "steps": ["start", "nodesUpdating", "finish"],
            "operations": [{ "id": "pause", "allowed": true, "recommended": true },
                { "id": "finish", "allowed": false, "reason": { "code": "nodesObsolete", "message": "m" } }],
            "activeConfigurationId": 2,
            "migration": { "id": 4, "state": "ready", "fromConfigurationId": 1, "toConfigurationId": 2,
                "mode": "automatic", "onFailure": "pause", "goal": "destination",
                "started": "2026-11-22T12:00:00Z", "step": "nodesUpdating" },
            "migratableResources": [],
            "templates": [{ "code": "hello", "position": "present", "migrators": [{ "typeName": "Hello.Db",
                "name": "schema of hello", "position": "present", "direction": "upgrade",
                "dependencyType": "codeDependsOnResource", "priority": 1, "points": ["1", "2", "3"],
                "resources": [{ "code": "schema", "name": "schema", "currentPoint": "2", "sourcePoint": "2",
                    "destinationPoint": "3", "position": "source" }] }] }],
            "resourceErrors": [{ "side": "source", "template": "hello", "migrator": "Hello.Site", "message": "it crashed" }],
            "waitingOn": [{ "code": "atMinimum", "message": "hello is at its minimum of 2" }],
        }))
        .unwrap()
    }

    #[test]
    fn the_status_shows_migration_counts_and_waits() {
        let templates: Vec<Template> = serde_json::from_value(json!([{ "code": "hello", "name": "Hello", "minimum": 2,
            "maximum": 3, "priority": 100, "containerTypes": ["worker"], "ready": 2, "starting": 0, "obsolete": 1,
            "upgrading": 1, "unreachable": 0 }]))
        .unwrap();
        let cordoned: Vec<Container> = serde_json::from_value(json!([{
            "nodeId": "0a000000-0000-4000-8000-000000000000", "containerType": "worker", "runtime": "linux-x64",
            "state": "cordoned", "reason": "it is out of service", "lastTemplate": "hello" }]))
        .unwrap();
        expect![[r"
            manager        http://m:8080
            configuration  2
            migration      4 from 1 to 2, automatic, ready, step nodesUpdating
            busy           moving hello:Hello.Db:schema
            spare          1 container waits for work

            TEMPLATE  READY  STARTING  OBSOLETE  UPGRADING  UNREACHABLE  MIN  MAX
            hello     2      0         1         1          0            2    3

            out of service, nothing runs there
            CONTAINER                             STATE     TYPE    LAST TEMPLATE  LAST CRASH  REASON
            0a000000-0000-4000-8000-000000000000  cordoned  worker  hello          -           it is out of service

            waiting
              atMinimum: hello is at its minimum of 2

            resources that cannot be read
              hello:Hello.Site (source): it crashed
        "]]
        .assert_eq(&status(
            "http://m:8080",
            &state(),
            &templates,
            1,
            &cordoned,
        ));
    }

    #[test]
    fn a_migration_shows_steps_resources_and_what_is_allowed() {
        let state = ClusterState {
            waiting_on: Vec::new(),
            resource_errors: Vec::new(),
            ..state()
        };
        expect![[r"
            migration  4 from 1 to 2, automatic, ready, step nodesUpdating
            steps      start > [nodesUpdating] > finish
            busy       moving hello:Hello.Db:schema

            RESOURCE               POINT  SOURCE  DESTINATION  POSITION  DIRECTION
            hello:Hello.Db:schema  2      2       3            source    upgrade

            allowed: pause (next)
        "]]
        .assert_eq(&migration(&state));
    }

    #[test]
    fn what_a_manual_migration_waits_for_is_shown_as_commands() {
        let operations = serde_json::from_value(
            json!([{ "id": "updateNodesToSource", "allowed": true },
            { "id": "finish", "allowed": false, "reason": { "code": "nodesObsolete", "message": "m" } },
            { "id": "migrateResources", "allowed": true, "recommended": true }, { "id": "recheck", "allowed": true }]),
        );
        let state = ClusterState {
            operations: operations.unwrap(),
            ..state()
        };
        expect![[r"
            at step nodesUpdating it waits for one of
              klusterkite migration resources --to destination|source  (next)
              klusterkite migration nodes source"]]
        .assert_eq(&next(&state));
    }

    #[test]
    fn progress_is_one_line() {
        expect![
            "step nodesUpdating, moving hello:Hello.Db:schema, waits: hello is at its minimum of 2"
        ]
        .assert_eq(&progress(&state()));
    }
}

//! Migrations.

use std::fmt::Write as _;

use klusterkite_api::migrations::{
    Migration, MigrationLogEntry, MigrationPlan, MigrationStatus, MigratorLine,
};
use klusterkite_core::plan::migration::PlannedMove;

use super::{joined, one_line, or_none, pairs, table, waits, word};

/// Renders a list of migrations.
pub fn list(migrations: &[Migration]) -> String {
    let rows = migrations.iter().map(|migration| {
        [
            migration.id.to_string(),
            word(&migration.state),
            migration.from_configuration_id.to_string(),
            migration.to_configuration_id.to_string(),
            word(&migration.mode),
            migration.started.clone(),
            or_none(migration.finished.as_ref()),
        ]
    });
    table(
        ["ID", "STATE", "FROM", "TO", "MODE", "STARTED", "FINISHED"],
        rows,
    )
}

/// Renders what a migration would do.
pub fn plan(plan: &MigrationPlan) -> String {
    let steps: Vec<String> = plan.plan.steps.iter().map(word).collect();
    let mut text = pairs([
        ("plan", plan.plan_id.clone()),
        ("from", plan.from_configuration_id.to_string()),
        ("to", plan.to_configuration_id.to_string()),
        (
            "steps",
            if steps.is_empty() {
                "-".to_owned()
            } else {
                steps.join(" > ")
            },
        ),
    ]);
    text += &moves("resources before the nodes", &plan.plan.before_nodes);
    text += "\nnodes\n";
    let rows = plan.plan.nodes.templates.iter().map(|template| {
        [
            template.template.to_string(),
            template.restart.len().to_string(),
            template.ready.to_string(),
            template.lowest_ready.to_string(),
            template.floor.to_string(),
        ]
    });
    text += &table(
        ["TEMPLATE", "RESTART", "READY", "LOWEST READY", "FLOOR"],
        rows,
    );
    for template in &plan.plan.nodes.templates {
        for restart in &template.restart {
            let _ = writeln!(
                text,
                "  {} {}: {}",
                template.template,
                restart.node_id,
                one_line(&restart.message)
            );
        }
    }
    text += &moves("resources after the nodes", &plan.plan.after_nodes);
    let lasting: Vec<String> = plan
        .plan
        .before_nodes
        .iter()
        .chain(&plan.plan.after_nodes)
        .filter(|planned| planned.cannot_be_undone)
        .map(|planned| planned.key.to_string())
        .collect();
    let _ = writeln!(text, "\ncannot be undone: {}", joined(&lasting));
    if plan.plan.blockers.is_empty() {
        return text + "nothing blocks it\n";
    }
    text + &format!("blocked by\n{}", waits(&plan.plan.blockers))
}

fn moves(title: &str, moves: &[PlannedMove]) -> String {
    if moves.is_empty() {
        return format!("\n{title}: none\n");
    }
    let rows = moves.iter().map(|planned| {
        [
            planned.key.to_string(),
            word(&planned.kind),
            or_none(planned.from.as_ref()),
            planned.to.to_string(),
            planned.executor.to_string(),
        ]
    });
    format!(
        "\n{title}\n{}",
        table(["RESOURCE", "MOVE", "FROM", "TO", "MIGRATOR OF"], rows)
    )
}

/// Says how a migration ended, or why it does not go on.
pub fn ended(migration: &Migration) -> String {
    let how = match migration.state {
        MigrationStatus::Completed => "is completed",
        MigrationStatus::RolledBack => "was rolled back",
        MigrationStatus::Failed => "has failed",
        MigrationStatus::Paused => "is paused",
        MigrationStatus::Preparing => "is being prepared",
        MigrationStatus::Ready => "is running",
    };
    let reason = migration.reason.as_ref();
    let reason = reason.map_or(String::new(), |reason| {
        format!(": {}", one_line(&reason.message))
    });
    format!("migration {} {how}{reason}", migration.id)
}

/// Renders a line of a migrator.
pub fn line(line: &MigratorLine) -> String {
    let MigratorLine {
        at,
        stream,
        line,
        template_code,
        migrator_type_name,
        resource_code,
        ..
    } = line;
    one_line(&format!(
        "{at}  {template_code}:{migrator_type_name}:{resource_code}  {stream}  {line}"
    ))
}

/// Renders the log of a migration.
pub fn log(entries: &[MigrationLogEntry]) -> String {
    let rows = entries.iter().map(|entry| {
        let parts = [
            entry.template_code.as_ref().map(ToString::to_string),
            entry.migrator_type_name.as_ref().map(ToString::to_string),
            entry.resource_code.as_ref().map(ToString::to_string),
        ];
        let resource = parts.into_iter().flatten().collect::<Vec<_>>().join(":");
        let points = match (&entry.from_point, &entry.to_point) {
            (None, None) => String::new(),
            (from, to) => format!("{} -> {}", or_none(from.as_ref()), or_none(to.as_ref())),
        };
        [
            entry.at.clone(),
            entry.kind.clone(),
            resource,
            points,
            entry.message.clone(),
        ]
    });
    table(["AT", "KIND", "RESOURCE", "POINTS", "MESSAGE"], rows)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plan_names_moves_restarts_counts_and_blockers() {
        let value: MigrationPlan = serde_json::from_value(json!({
            "planId": "p1", "fromConfigurationId": 1, "toConfigurationId": 2,
            "steps": ["start", "preNodeResourcesUpdated", "nodesUpdated", "finish"],
            "beforeNodes": [{ "templateCode": "hello", "migratorTypeName": "Hello.Db", "resourceCode": "schema",
                "kind": "upgrade", "from": "2", "to": "3", "executor": "destination", "cannotBeUndone": false }],
            "nodes": { "templates": [{ "template": "hello", "restart": [{
                    "nodeId": "0a000000-0000-4000-8000-000000000000", "reason": { "code": "forceUpdate" },
                    "message": "package Hello changes from 1.0.0 to 2.0.0" }],
                "ready": 3, "lowestReady": 2, "floor": 2 }], "blockers": [] },
            "afterNodes": [{ "templateCode": "hello", "migratorTypeName": "Hello.Site", "resourceCode": "site",
                "kind": "create", "from": null, "to": "2", "executor": "destination", "cannotBeUndone": true }],
            "blockers": [{ "code": "packageMissing", "message": "Hello 2.0.0 is not in the feed" }],
        }))
        .unwrap();
        expect![[r"
            plan   p1
            from   1
            to     2
            steps  start > preNodeResourcesUpdated > nodesUpdated > finish

            resources before the nodes
            RESOURCE               MOVE     FROM  TO  MIGRATOR OF
            hello:Hello.Db:schema  upgrade  2     3   destination

            nodes
            TEMPLATE  RESTART  READY  LOWEST READY  FLOOR
            hello     1        3      2             2
              hello 0a000000-0000-4000-8000-000000000000: package Hello changes from 1.0.0 to 2.0.0

            resources after the nodes
            RESOURCE               MOVE    FROM  TO  MIGRATOR OF
            hello:Hello.Site:site  create  -     2   destination

            cannot be undone: hello:Hello.Site:site
            blocked by
              packageMissing: Hello 2.0.0 is not in the feed
        "]]
        .assert_eq(&plan(&value));
    }

    #[test]
    fn an_end_says_why() {
        let migration: Migration = serde_json::from_value(json!({ "id": 4, "state": "paused",
            "fromConfigurationId": 1, "toConfigurationId": 2, "mode": "automatic", "onFailure": "pause",
            "goal": "destination", "started": "2026-11-22T12:00:00Z",
            "reason": { "code": "failureGate", "message": "hello never became ready" } }))
        .unwrap();
        assert_eq!(
            ended(&migration),
            "migration 4 is paused: hello never became ready"
        );
    }

    #[test]
    fn a_log_shows_resources_and_points() {
        let entries: Vec<MigrationLogEntry> = serde_json::from_value(json!([
            { "id": 1, "at": "t1", "kind": "started", "message": "started" },
            { "id": 2, "at": "t2", "kind": "resourceMoved", "templateCode": "hello", "migratorTypeName": "Hello.Db",
              "resourceCode": "schema", "fromPoint": "2", "toPoint": "3", "message": "moved" }]))
        .unwrap();
        expect![[r"
            AT  KIND           RESOURCE               POINTS  MESSAGE
            t1  started                                       started
            t2  resourceMoved  hello:Hello.Db:schema  2 -> 3  moved
        "]]
        .assert_eq(&log(&entries));
    }
}

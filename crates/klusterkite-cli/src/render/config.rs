//! Configurations.

use std::fmt::Write as _;

use klusterkite_api::configurations::{Configuration, ConfigurationDiff};
use klusterkite_core::check::Finding;
use klusterkite_core::configuration::{ChangeKind, FieldChange, TemplateChange};
use serde_json::Value;

use super::{or_none, pairs, table, word, yes_or_no};

/// Longest value of a setting that a difference shows, in characters.
const VALUE_CHARS_MAX: usize = 60;

/// Renders a list of configurations.
pub fn list(configurations: &[Configuration]) -> String {
    let rows = configurations.iter().map(|configuration| {
        [
            configuration.id.to_string(),
            word(&configuration.state),
            version(configuration),
            configuration.name.clone(),
            yes_or_no(configuration.is_stable),
            configuration.created.clone(),
            or_none(configuration.started.as_ref()),
        ]
    });
    table(
        [
            "ID", "STATE", "VERSION", "NAME", "STABLE", "CREATED", "STARTED",
        ],
        rows,
    )
}

/// Renders one configuration.
pub fn show(configuration: &Configuration) -> String {
    let settings = configuration.settings.as_ref();
    let feed = settings.map(|settings| &settings.nuget_feed);
    let seeds = settings.map(|settings| super::joined(&settings.seed_addresses));
    let mut text = pairs([
        ("configuration", configuration.id.to_string()),
        ("name", configuration.name.clone()),
        ("version", version(configuration)),
        ("state", word(&configuration.state)),
        ("stable", yes_or_no(configuration.is_stable)),
        ("notes", configuration.notes.clone()),
        ("created", configuration.created.clone()),
        ("started", or_none(configuration.started.as_ref())),
        ("finished", or_none(configuration.finished.as_ref())),
        ("feed", or_none(feed)),
        ("seeds", or_none(seeds)),
    ]);
    let Some(settings) = settings else {
        return text;
    };
    let rows = settings.node_templates.iter().map(|template| {
        [
            template.code.clone(),
            template.minimum_required_instances.to_string(),
            or_none(template.maximum_needed_instances),
            template.priority.to_string(),
            super::joined(&template.container_types),
            packages(
                template
                    .package_requirements
                    .iter()
                    .map(|package| (&package.id, &package.specific_version)),
            ),
        ]
    });
    let _ = write!(
        text,
        "\n{}",
        table(
            [
                "TEMPLATE",
                "MIN",
                "MAX",
                "PRIORITY",
                "CONTAINERS",
                "PACKAGES"
            ],
            rows
        )
    );
    let rows = settings.migrator_templates.iter().map(|template| {
        [
            template.code.clone(),
            template.priority.to_string(),
            packages(
                template
                    .package_requirements
                    .iter()
                    .map(|package| (&package.id, &package.specific_version)),
            ),
        ]
    });
    let _ = write!(
        text,
        "\n{}",
        table(["MIGRATORS", "PRIORITY", "PACKAGES"], rows)
    );
    let rows = settings
        .packages
        .iter()
        .map(|pin| [pin.id.clone(), pin.version.clone()]);
    text + &format!("\n{}", table(["PACKAGE", "VERSION"], rows))
}

fn version(configuration: &Configuration) -> String {
    format!(
        "{}.{}",
        configuration.major_version, configuration.minor_version
    )
}

fn packages<'a>(requirements: impl Iterator<Item = (&'a String, &'a Option<String>)>) -> String {
    let named = requirements.map(|(id, version)| match version {
        Some(version) => format!("{id} {version}"),
        None => id.clone(),
    });
    super::joined(&named.collect::<Vec<_>>())
}

/// Renders what a check found.
pub fn findings(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "nothing is wrong\n".to_owned();
    }
    let rows = findings.iter().map(|finding| {
        let place = match (finding.line, finding.column) {
            (Some(line), Some(column)) => format!("{line}:{column}"),
            _ => super::NONE.to_owned(),
        };
        let field = or_none(finding.field.as_ref());
        [
            word(&finding.severity),
            word(&finding.code),
            field,
            place,
            finding.message.clone(),
        ]
    });
    table(["SEVERITY", "CODE", "FIELD", "PLACE", "MESSAGE"], rows)
}

/// Renders the differences of two configurations.
pub fn diff(diff: &ConfigurationDiff) -> String {
    let mut text = format!("against configuration {}\n", diff.against);
    if diff.diff.is_empty() {
        return text + "no difference\n";
    }
    if !diff.diff.packages.is_empty() {
        let rows = diff.diff.packages.iter().map(|package| {
            [
                package.id.clone(),
                or_none(package.from.as_ref()),
                or_none(package.to.as_ref()),
            ]
        });
        let _ = write!(text, "\n{}", table(["PACKAGE", "FROM", "TO"], rows));
    }
    text += &templates("node template", &diff.diff.node_templates);
    text += &templates("migrator template", &diff.diff.migrator_templates);
    if !diff.diff.other.is_empty() {
        let _ = write!(text, "\nother settings\n{}", fields(&diff.diff.other));
    }
    if diff.restarts.is_empty() {
        return text + "\nno node has to restart\n";
    }
    text += "\nnodes that have to restart\n";
    for restart in &diff.restarts {
        let _ = writeln!(text, "  {}: {}", restart.template, restart.reason);
    }
    text
}

fn templates(kind: &str, changes: &[TemplateChange]) -> String {
    let render = |change: &TemplateChange| {
        let fields = match change.kind {
            ChangeKind::Added => values(&change.fields),
            ChangeKind::Removed => String::new(),
            ChangeKind::Changed => fields(&change.fields),
        };
        let (code, is) = (&change.code, word(&change.kind));
        format!("\n{kind} {code} is {is}\n{fields}")
    };
    changes.iter().map(render).collect()
}

/// Renders what a new template says; what is empty says nothing.
fn values(changes: &[FieldChange]) -> String {
    let is_empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    let said = changes
        .iter()
        .filter(|change| !is_empty(&change.to) && change.field != "code");
    let render = |change: &FieldChange| format!("  {}: {}\n", change.field, short(&change.to));
    said.map(render).collect()
}

fn fields(changes: &[FieldChange]) -> String {
    let render = |change: &FieldChange| {
        format!(
            "  {}: {} -> {}\n",
            change.field,
            short(&change.from),
            short(&change.to)
        )
    };
    changes.iter().map(render).collect()
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= VALUE_CHARS_MAX {
        return text;
    }
    text.chars().take(VALUE_CHARS_MAX).collect::<String>() + "…"
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    fn configuration() -> Configuration {
        serde_json::from_value(json!({ "id": 2, "name": "Second", "majorVersion": 1, "minorVersion": 1, "notes": "",
            "state": "draft", "isStable": false, "created": "2026-11-22T12:00:00Z", "revision": 3,
            "settings": { "packages": [{ "id": "Hello", "version": "2.0.0" }],
                "nodeTemplates": [{ "code": "hello", "containerTypes": ["worker"], "minimumRequiredInstances": 2,
                    "priority": 100, "packageRequirements": [{ "id": "Hello", "specificVersion": null },
                        { "id": "Extra", "specificVersion": "1.0.0" }] }],
                "nugetFeed": "http://feed/v3/index.json", "seedAddresses": ["10.0.0.5:3090"] } }))
        .unwrap()
    }

    #[test]
    fn a_configuration_shows_its_templates_and_packages() {
        expect![[r"
            configuration  2
            name           Second
            version        1.1
            state          draft
            stable         no
            notes
            created        2026-11-22T12:00:00Z
            started        -
            finished       -
            feed           http://feed/v3/index.json
            seeds          10.0.0.5:3090

            TEMPLATE  MIN  MAX  PRIORITY  CONTAINERS  PACKAGES
            hello     2    -    100       worker      Hello, Extra 1.0.0

            MIGRATORS  PRIORITY  PACKAGES

            PACKAGE  VERSION
            Hello    2.0.0
        "]]
        .assert_eq(&show(&configuration()));
    }

    #[test]
    fn a_list_is_one_line_per_configuration() {
        expect![[r"
            ID  STATE  VERSION  NAME    STABLE  CREATED               STARTED
            2   draft  1.1      Second  no      2026-11-22T12:00:00Z  -
        "]]
        .assert_eq(&list(&[configuration()]));
    }

    #[test]
    fn findings_show_where_to_look() {
        let found: Vec<Finding> = serde_json::from_value(json!([
            { "code": "configurationInvalid", "severity": "error", "field": "nodeTemplates[\"hello\"].configuration",
              "message": "expected a value", "line": 3, "column": 7 },
            { "code": "packageUnused", "severity": "warning", "message": "no template uses `Extra`" }]))
        .unwrap();
        expect![[r#"
            SEVERITY  CODE                  FIELD                                 PLACE  MESSAGE
            error     configurationInvalid  nodeTemplates["hello"].configuration  3:7    expected a value
            warning   packageUnused         -                                     -      no template uses `Extra`
        "#]]
        .assert_eq(&findings(&found));
        assert_eq!(findings(&[]), "nothing is wrong\n");
    }

    #[test]
    fn a_new_template_shows_what_it_says_and_a_removed_one_its_name() {
        let value: ConfigurationDiff = serde_json::from_value(json!({ "against": 1,
            "diff": { "packages": [], "migratorTemplates": [], "other": [], "nodeTemplates": [
                { "code": "greet", "kind": "added", "fields": [
                    { "field": "code", "from": null, "to": "greet" },
                    { "field": "notes", "from": null, "to": "" },
                    { "field": "priority", "from": null, "to": 200 }] },
                { "code": "hello", "kind": "removed", "fields": [
                    { "field": "priority", "from": 100, "to": null }] }] },
            "restarts": [] }))
        .unwrap();
        expect![[r"
            against configuration 1

            node template greet is added
              priority: 200

            node template hello is removed

            no node has to restart
        "]]
        .assert_eq(&diff(&value));
    }

    #[test]
    fn a_difference_names_packages_fields_and_restarts() {
        let value: ConfigurationDiff = serde_json::from_value(json!({ "against": 1,
            "diff": { "packages": [{ "id": "Hello", "from": "1.0.0", "to": "2.0.0" }],
                "nodeTemplates": [{ "code": "hello", "kind": "changed", "fields": [
                    { "field": "priority", "from": 1, "to": 2 },
                    { "field": "configuration", "from": "", "to": "x".repeat(100) }] }],
                "migratorTemplates": [], "other": [{ "field": "assignment", "from": "strict", "to": "weighted" }] },
            "restarts": [{ "template": "hello", "reason": "package Hello changes" }] }))
        .unwrap();
        expect![[r#"
            against configuration 1

            PACKAGE  FROM   TO
            Hello    1.0.0  2.0.0

            node template hello is changed
              priority: 1 -> 2
              configuration: "" -> "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…

            other settings
              assignment: "strict" -> "weighted"

            nodes that have to restart
              hello: package Hello changes
        "#]]
        .assert_eq(&diff(&value));
    }
}

//! Every rule of KlusterKite's own check, and everything that it does not check, with an input that breaks
//! it. `rules.txt` shows what is found.

use std::fmt::Write as _;

use expect_test::expect_file;
use serde_json::{Value, json};

use super::{CONTEXT, facts, feed, settings};
use crate::check::*;
use crate::settings::MANAGER_PACKAGE;

/// What breaks a rule: new values at JSON pointers of settings that pass, and another feed.
struct Row {
    rule: &'static str,
    settings: Vec<(&'static str, Value)>,
    feed: fn(&mut Vec<PackageFacts>),
}

fn row<const N: usize>(rule: &'static str, settings: [(&'static str, Value); N]) -> Row {
    Row {
        rule,
        settings: settings.into(),
        feed: |_| {},
    }
}

fn feed_row(rule: &'static str, feed: fn(&mut Vec<PackageFacts>)) -> Row {
    Row {
        rule,
        settings: Vec::new(),
        feed,
    }
}

/// Replaces package `Web` by one with these needs, files and manifest.
fn web(feed: &mut [PackageFacts], needs: &[(&str, &str)], file: &str, manifest: Option<&str>) {
    feed[3] = facts("Web", "1.0.0", needs, &[(file, "other content")], manifest);
}

const CONFIG: Option<&str> = Some("config { Web { port = 1 } }");

/// The rules by the numbers of KlusterKite's check; 0 finds nothing, and 2 is not wrong (B19).
fn numbered() -> Vec<Row> {
    vec![
        row("1: no node templates", [("/nodeTemplates", json!([]))]),
        row(
            "2: no migrator templates (a valid cluster, B19)",
            [("/migratorTemplates", json!([]))],
        ),
        row("3: no packages", [("/packages", json!([]))]),
        row(
            "4: package version unparsable",
            [("/packages/4/version", json!("one"))],
        ),
        row(
            "5: package/version not in the feed",
            [("/packages/4/version", json!("9.0.0"))],
        ),
        row(
            "6: some listed package depends on a package not listed",
            [("/packages/4", json!({"id": "Lib2", "version": "1.0.0"}))],
        ),
        feed_row("6: for the nearest framework only (B20)", |feed| {
            for framework in ["net8.0", "net9.0"] {
                let group =
                    json!({"targetFramework": framework, "dependencies": [{"id": framework}]});
                feed[3]
                    .dependency_groups
                    .push(serde_json::from_value(group).unwrap());
            }
        }),
        row(
            "7: listed version of a dependency outside some dependant's range",
            [("/packages/4/version", json!("2.0.0"))],
        ),
        row(
            "8: template without requirements",
            [("/nodeTemplates/0/packageRequirements", json!([]))],
        ),
        row(
            "8: migrator template without requirements",
            [("/migratorTemplates/0/packageRequirements", json!([]))],
        ),
        row(
            "executor package not listed",
            [("/packages/2", json!({"id": "Other", "version": "1.0.0"}))],
        ),
        row(
            "9: unpinned requirement not in Packages",
            [(
                "/nodeTemplates/0/packageRequirements/0/id",
                json!("Unlisted"),
            )],
        ),
        row(
            "10: pinned version unparsable",
            [(
                "/nodeTemplates/0/packageRequirements/0/specificVersion",
                json!("?"),
            )],
        ),
        row(
            "11: pinned version not in the feed",
            [(
                "/nodeTemplates/0/packageRequirements/0/specificVersion",
                json!("5.0.0"),
            )],
        ),
        feed_row(
            "12: dependency neither direct nor in Packages, deep down",
            |feed| feed[4] = facts("Lib", "1.0.0", &[("Base", "1.0.0")], &[], None),
        ),
        feed_row(
            "13: dependency found but version outside range, deep down",
            |feed| feed[4] = facts("Lib", "1.0.0", &[("Db", "[2.0.0, 3.0.0)")], &[], None),
        ),
        row(
            "13: a template's own pin outside the range",
            [(
                "/nodeTemplates/0/packageRequirements",
                json!([{"id": "Web"}, {"id": "Lib", "specificVersion": "2.0.0"}]),
            )],
        ),
        row("14: no seed addresses", [("/seedAddresses", json!([]))]),
        row("15: blank feed", [("/nugetFeed", json!(" "))]),
        row(
            "16: template Configuration text does not parse",
            [("/nodeTemplates/0/configuration", json!("a = 1\n  b = {"))],
        ),
        row(
            "16: nor does that of a node template without any migrator template (B19)",
            [
                ("/migratorTemplates", json!([])),
                ("/nodeTemplates/0/configuration", json!("a = 1\nb = ]")),
            ],
        ),
        row(
            "16: nor does that of a migrator template",
            [("/migratorTemplates/0/configuration", json!("a = [1,\n"))],
        ),
    ]
}

/// What KlusterKite does not check.
fn unchecked() -> Vec<Row> {
    vec![
        row(
            "duplicate template codes",
            [("/nodeTemplates/0/code", json!("clusterManager"))],
        ),
        row(
            "duplicate codes of migrator templates",
            [(
                "/migratorTemplates",
                json!([{"code": "db", "configuration": "KlusterKite.NodeManager.Migrators = [Db]",
                        "packageRequirements": [{"id": "Db"}]},
                       {"code": "db", "configuration": "KlusterKite.NodeManager.Migrators = [Db]",
                        "packageRequirements": [{"id": "Db"}]}]),
            )],
        ),
        row(
            "duplicate package ids, in whatever case",
            [
                ("/packages/5/id", json!("LIB")),
                ("/migratorTemplates", json!([])),
            ],
        ),
        row(
            "duplicate requirements",
            [(
                "/nodeTemplates/0/packageRequirements",
                json!([{"id": "Web"}, {"id": "WEB"}]),
            )],
        ),
        row(
            "minimum > maximum",
            [
                ("/nodeTemplates/0/minimumRequiredInstances", json!(3)),
                ("/nodeTemplates/0/maximumNeededInstances", json!(2)),
            ],
        ),
        row(
            "negative counts: minimum",
            [("/nodeTemplates/0/minimumRequiredInstances", json!(-1))],
        ),
        row(
            "negative counts: maximum",
            [("/nodeTemplates/0/maximumNeededInstances", json!(-1))],
        ),
        row(
            "negative counts: canary, failures, surge",
            [(
                "/nodeTemplates/0/rollout",
                json!({"canary": -1, "maxFailed": -1, "surge": -1}),
            )],
        ),
        row(
            "negative times",
            [(
                "/nodeTemplates/0/rollout",
                json!({"minStableSeconds": -1, "progressDeadlineSeconds": 0, "startDeadlineSeconds": 0}),
            )],
        ),
        row(
            "negative priorities",
            [
                ("/nodeTemplates/0/priority", json!(-1.0)),
                ("/migratorTemplates/0/priority", json!(-0.5)),
            ],
        ),
        row("empty codes", [("/nodeTemplates/0/code", json!(""))]),
        row(
            "empty codes of migrator templates",
            [("/migratorTemplates/0/code", json!(""))],
        ),
        row(
            "no container types",
            [("/nodeTemplates/0/containerTypes", json!([]))],
        ),
        row(
            "empty container types",
            [("/nodeTemplates/0/containerTypes/0", json!(""))],
        ),
        row(
            "seed address syntax",
            [("/seedAddresses", json!(["nonsense", "host:0", "host:1"]))],
        ),
        row(
            "existence of the migrator types",
            [(
                "/migratorTemplates/0/configuration",
                json!("KlusterKite.NodeManager.Migrators = [Db, Unknown]"),
            )],
        ),
        row(
            "that a migrator template lists any migrator",
            [("/migratorTemplates/0/configuration", json!(""))],
        ),
        row(
            "settings that do not merge: a reference to nothing",
            [(
                "/nodeTemplates/0/configuration",
                json!("// port\na = ${Web.prot}"),
            )],
        ),
        feed_row("settings that do not merge: in a manifest", |feed| {
            web(
                feed,
                &[("Lib", "1.0.0")],
                "content/w",
                Some(
                    "config { Web { port = 1 } }\nprocesses { web { command = [${Web.nothing}] } }",
                ),
            );
        }),
        feed_row("a manifest that cannot be parsed", |feed| {
            web(
                feed,
                &[("Lib", "1.0.0")],
                "content/w",
                Some("config {\n  a = \n}}"),
            );
        }),
        feed_row("a stop that an order has no time for", |feed| {
            let manifest = "config { Web { port = 1 } }
                processes { web { command = [web], stop { drain = 2m, grace = 3m } } }";
            web(feed, &[], "content/a", Some(manifest));
        }),
        feed_row("files that collide", |feed| {
            web(feed, &[("Lib", "1.0.0")], "content/lib/a.txt", CONFIG);
        }),
        feed_row("files that collide with a directory", |feed| {
            web(feed, &[("Lib", "1.0.0")], "content/lib", CONFIG);
        }),
        feed_row("files of the launcher", |feed| {
            web(feed, &[("Lib", "1.0.0")], "content/Start.hocon", CONFIG);
        }),
        feed_row("packages that need each other", |feed| {
            feed[4] = facts("Lib", "1.0.0", &[("Web", "1.0.0")], &[], None);
        }),
    ]
}

/// What only this system has.
fn own() -> Vec<Row> {
    vec![
        row("feed that is no URL", [("/nugetFeed", json!("ftp://x"))]),
        row("no runtimes", [("/runtimes", json!([]))]),
        row(
            "duplicate runtimes",
            [("/runtimes", json!(["linux-x64", "linux-x64"]))],
        ),
        row(
            "a runtime without the entry point",
            [("/runtimes", json!(["linux-x64", "linux-arm64"]))],
        ),
        row(
            "ids that are none",
            [
                ("/packages/4/id", json!("no id!")),
                ("/nodeTemplates/0/code", json!("a/b")),
            ],
        ),
        row(
            "a replaced template that is still there",
            [("/nodeTemplates/0/replaces", json!(["clusterManager"]))],
        ),
        row(
            "an entry point outside of the service directory",
            [("/nodeTemplates/0/entryPoint", json!("../x"))],
        ),
        row(
            "an entry point that no package brings",
            [("/nodeTemplates/0/entryPoint", json!("missing"))],
        ),
        row(
            "`exclusive`, which is not carried out yet",
            [("/nodeTemplates/0/exclusive", json!(true))],
        ),
        row(
            "a batch that is none",
            [("/nodeTemplates/0/rollout", json!({"batch": "none"}))],
        ),
        row(
            "no room for an update",
            [
                ("/nodeTemplates/0/minimumRequiredInstances", json!(2)),
                ("/nodeTemplates/0/maximumNeededInstances", json!(2)),
                ("/nodeTemplates/0/rollout", json!({"surge": 0})),
            ],
        ),
        row(
            "a deadline that no node can meet",
            [(
                "/nodeTemplates/0/rollout",
                json!({"progressDeadlineSeconds": 20}),
            )],
        ),
        row(
            "no manager",
            [("/nodeTemplates/1/packageRequirements/0/id", json!("Web"))],
        ),
        row(
            "two managers on SQLite",
            [("/nodeTemplates/1/maximumNeededInstances", json!(2))],
        ),
        row(
            "a variable of the node's environment",
            [("/nodeTemplates/0/configuration", json!("a = ${SOME_PORT}"))],
        ),
        row(
            "a package that nobody uses",
            [
                ("/nodeTemplates/0/packageRequirements/0/id", json!("Lib")),
                ("/nodeTemplates/0/configuration", json!("")),
            ],
        ),
    ]
}

/// Runs the check and writes what it finds.
fn found(row: &Row) -> String {
    // Through the type, so that fields with a default can be pointed at too.
    let typed: Settings = serde_json::from_value(settings()).unwrap();
    let mut changed = serde_json::to_value(typed).unwrap();
    for (pointer, value) in &row.settings {
        *changed.pointer_mut(pointer).unwrap() = value.clone();
    }
    let mut packages = feed();
    (row.feed)(&mut packages);
    let facts = super::by_version(packages);
    let changed: Settings = serde_json::from_value(changed).unwrap();
    match check(&changed, &facts, CONTEXT) {
        Ok(checked) => written(&checked.warnings),
        Err(findings) => written(&findings),
    }
}

fn written(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let field = finding.field.as_deref().unwrap_or("-");
        let place = match (finding.line, finding.column) {
            (Some(line), Some(column)) => format!(":{line}:{column}"),
            _ => String::new(),
        };
        let Finding {
            code,
            severity,
            message,
            ..
        } = finding;
        writeln!(
            text,
            "    {severity} {code} {field}{place}\n        {message}"
        )
        .unwrap();
    }
    if text.is_empty() {
        text.push_str("    nothing\n");
    }
    text
}

#[test]
fn every_rule_finds_what_breaks_it() {
    let mut text = String::new();
    for (title, rows) in [
        ("Rules of KlusterKite, by number", numbered()),
        ("What KlusterKite does not check", unchecked()),
        ("Rules of this system only", own()),
    ] {
        writeln!(text, "# {title}\n").unwrap();
        for row in rows {
            writeln!(text, "{}\n{}", row.rule, found(&row)).unwrap();
        }
    }
    let without_feed = check_without_feed(
        &serde_json::from_value(settings()).unwrap(),
        Some(FeedProblem {
            code: FindingCode::FeedUnavailable,
            message: "cannot reach `http://feed/v3/index.json`".to_owned(),
        }),
        CONTEXT,
    );
    write!(
        text,
        "# The feed\n\nfeed reachable\n{}",
        written(&without_feed)
    )
    .unwrap();
    expect_file!["rules.txt"].assert_eq(&text);
}

#[test]
fn every_code_of_an_error_has_a_row() {
    let rows = numbered().into_iter().chain(unchecked()).chain(own());
    let text: String = rows.map(|row| found(&row)).collect();
    // Those come from the shell around the check, from floods, and from packages that the feed would refuse.
    let elsewhere = [
        FindingCode::FeedUnavailable,
        FindingCode::FeedCredential,
        FindingCode::FeedAnswerInvalid,
        FindingCode::VersionLabelTaken,
        FindingCode::MoreFindings,
        FindingCode::FilesInvalid,
        FindingCode::DependenciesInvalid,
    ];
    for code in FindingCode::ALL
        .iter()
        .filter(|code| !elsewhere.contains(code))
    {
        assert!(text.contains(&format!(" {code} ")), "no row for `{code}`");
    }
    assert!(
        feed()
            .iter()
            .any(|facts| facts.id.as_str() == MANAGER_PACKAGE)
    );
}

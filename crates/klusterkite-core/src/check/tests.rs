use klusterkite_nuget::{Sha256Hash, Sha512Hash};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

mod rules;

const CONTEXT: CheckContext = CheckContext {
    single_manager: true,
};

/// Describes a package: what it needs, what files it has (path and content), its manifest.
fn facts(
    id: &str,
    version: &str,
    needs: &[(&str, &str)],
    files: &[(&str, &str)],
    manifest: Option<&str>,
) -> PackageFacts {
    let dependencies: Vec<Value> = needs
        .iter()
        .map(|(id, range)| json!({"id": id, "range": range}))
        .collect();
    let files: Vec<Value> = files
        .iter()
        .map(|(path, content)| json!({"path": path, "size": 1, "sha256": Sha256Hash::of(content.as_bytes())}))
        .collect();
    serde_json::from_value(json!({
        "id": id, "version": version, "sha512": Sha512Hash::of(id.as_bytes()), "size": 7, "listed": true,
        "published": "2026-01-01T00:00:00Z", "dependencyGroups": [{"dependencies": dependencies}],
        "files": files, "manifest": manifest
    }))
    .unwrap()
}

fn program(name: &str) -> String {
    format!("runtimes/linux-x64/native/{name}")
}

/// A feed with our own packages and a small application.
fn feed() -> Vec<PackageFacts> {
    let native = |id: &str, name: &str| facts(id, "1.0.0", &[], &[(&program(name), id)], None);
    vec![
        native(SERVICE_PACKAGE, "klusterkite-service"),
        native(crate::settings::MANAGER_PACKAGE, "klusterkite-manager"),
        native(EXECUTOR_PACKAGE, "klusterkite-executor"),
        facts(
            "Web",
            "1.0.0",
            &[("Lib", "[1.0.0, 2.0.0)")],
            &[("content/web.txt", "w")],
            Some("config { Web { port = 1 } }"),
        ),
        facts("Lib", "1.0.0", &[], &[("content/lib/a.txt", "a")], None),
        facts("Lib", "2.0.0", &[], &[("content/lib/a.txt", "a2")], None),
        facts(
            "Db",
            "1.0.0",
            &[],
            &[],
            Some("migrators { \"Db\" { command = [db] } }"),
        ),
    ]
}

/// Settings that pass, as JSON to change.
fn settings() -> Value {
    json!({
        "packages": [
            {"id": SERVICE_PACKAGE, "version": "1.0.0"}, {"id": crate::settings::MANAGER_PACKAGE, "version": "1.0.0"},
            {"id": EXECUTOR_PACKAGE, "version": "1.0.0"}, {"id": "Web", "version": "1.0.0"},
            {"id": "Lib", "version": "1.0.0"}, {"id": "Db", "version": "1.0.0"}],
        "nodeTemplates": [
            {"code": "web", "containerTypes": ["worker"], "configuration": "a = ${Web.port}",
             "packageRequirements": [{"id": "Web"}]},
            {"code": "clusterManager", "containerTypes": ["manager"], "maximumNeededInstances": 1, "rollout": {"surge": 0},
             "packageRequirements": [{"id": crate::settings::MANAGER_PACKAGE}]}],
        "migratorTemplates": [
            {"code": "db", "configuration": "KlusterKite.NodeManager.Migrators = [Db]", "packageRequirements": [{"id": "Db"}]}],
        "seedAddresses": ["10.0.0.5:3090"], "nugetFeed": "http://feed/v3/index.json", "runtimes": ["linux-x64"]
    })
}

fn run(settings: Value, feed: Vec<PackageFacts>) -> Result<Checked, Vec<Finding>> {
    let settings: Settings = serde_json::from_value(settings).unwrap();
    check(&settings, &by_version(feed), CONTEXT)
}

fn by_version(feed: Vec<PackageFacts>) -> FactsByPackage {
    feed.into_iter()
        .map(|facts| ((facts.id.clone(), facts.version.clone()), Arc::new(facts)))
        .collect()
}

/// Changes the settings at a JSON pointer and lists `code field` of the errors.
fn errors_with(pointer: &str, value: Value) -> Vec<String> {
    // Through the type, so that fields with a default can be pointed at too.
    let settings: Settings = serde_json::from_value(settings()).unwrap();
    let mut settings = serde_json::to_value(settings).unwrap();
    *settings.pointer_mut(pointer).unwrap() = value;
    errors(run(settings, feed()))
}

fn errors(outcome: Result<Checked, Vec<Finding>>) -> Vec<String> {
    let findings = outcome.err().unwrap_or_default();
    let errors = findings
        .into_iter()
        .filter(|finding| finding.severity == Severity::Error);
    errors
        .map(|finding| format!("{} {}", finding.code, finding.field.unwrap_or_default()))
        .collect()
}

#[test]
fn a_sound_configuration_freezes_exact_packages_with_ours_among_them() {
    let checked = run(settings(), feed()).unwrap();
    assert_eq!(checked.warnings, []);
    let runtime = "linux-x64".parse().unwrap();
    let ids = |packages: &crate::release::PackagesByRuntime| -> Vec<String> {
        packages[&runtime]
            .iter()
            .map(|package| format!("{} {}", package.id, package.version))
            .collect()
    };
    let web = &checked.frozen.node_templates[&"web".parse().unwrap()];
    assert_eq!(
        ids(web),
        ["KlusterKite.Core.Service 1.0.0", "Lib 1.0.0", "Web 1.0.0"]
    );
    assert_eq!(web[&runtime][2].sha512, Sha512Hash::of(b"Web").to_string());
    let db = &checked.frozen.migrator_templates[&"db".parse().unwrap()];
    assert_eq!(
        ids(db),
        [
            "Db 1.0.0",
            "KlusterKite.NodeManager.Migrator.Executor 1.0.0"
        ]
    );
}

#[test]
fn needed_names_listed_and_pinned_packages() {
    let mut settings = settings();
    settings["nodeTemplates"][0]["packageRequirements"][0]["specificVersion"] = json!("3.0");
    settings["packages"][4]["version"] = json!("not a version");
    let needed = needed(&serde_json::from_value(settings).unwrap());
    let names: Vec<String> = needed
        .iter()
        .map(|(id, version)| format!("{id} {version}"))
        .collect();
    assert!(
        names.contains(&"Web 3.0.0".to_owned()) && names.contains(&"Web 1.0.0".to_owned()),
        "{names:?}"
    );
    assert!(
        !names.iter().any(|name| name.starts_with("Lib")),
        "{names:?}"
    );
}

#[test]
fn a_package_that_is_not_in_the_feed_is_reported_once() {
    assert_eq!(
        errors_with("/packages/4/version", json!("9.0.0")),
        ["packageNotFound packages[\"Lib\"]"]
    );
}

#[test]
fn b20_only_the_group_for_the_nearest_framework_counts() {
    let mut feed = feed();
    for (framework, needs) in [
        ("net8.0", "Missing"),
        ("net9.0", "Lib"),
        ("net11.0", "Missing"),
    ] {
        let group = json!({"targetFramework": framework, "dependencies": [{"id": needs}]});
        let group = serde_json::from_value(group).unwrap();
        feed[3].dependency_groups.push(group);
    }
    assert!(run(settings(), feed).is_ok());
}

#[test]
fn errors_of_dependencies_name_the_whole_way_to_them() {
    let mut feed = feed();
    feed[4] = facts(
        "Lib",
        "1.0.0",
        &[("Base", "[1.0.0, )"), ("Db", "2.0.0")],
        &[],
        None,
    );
    let findings = run(settings(), feed).unwrap_err();
    let of_template = findings.iter().filter(|finding| {
        finding.field.as_deref() == Some("nodeTemplates[\"web\"].packageRequirements[\"Lib\"]")
    });
    let messages: Vec<&str> = of_template
        .map(|finding| finding.message.as_str())
        .collect();
    assert_eq!(
        messages,
        [
            "`Web 1.0.0 -> Lib 1.0.0 -> Base [1.0.0, )` needs a package that is not listed; add `Base`",
            "`Web 1.0.0 -> Lib 1.0.0 -> Db [2.0.0, )` does not accept version 1.0.0, which the template gets"
        ]
    );
}

#[test]
fn a_listed_pre_release_is_accepted_by_whoever_accepts_its_number() {
    let mut feed = feed();
    feed[4] = facts(
        "Lib",
        "1.5.0-rc.1",
        &[],
        &[("content/lib/a.txt", "a")],
        None,
    );
    let mut settings = settings();
    settings["packages"][4]["version"] = json!("1.5.0-rc.1");
    let checked = run(settings, feed).unwrap();
    let web = &checked.frozen.node_templates[&"web".parse().unwrap()];
    assert_eq!(web[&"linux-x64".parse().unwrap()][1].version, "1.5.0-rc.1");
}

#[test]
fn a_template_gets_its_own_pin_and_the_others_the_listed_version() {
    let mut settings = settings();
    settings["nodeTemplates"][1]["packageRequirements"] = json!([
        {"id": crate::settings::MANAGER_PACKAGE}, {"id": "Lib", "specificVersion": "2.0.0"}]);
    let checked = run(settings, feed()).unwrap();
    let version = |template: &str| {
        let packages = &checked.frozen.node_templates[&template.parse().unwrap()];
        let packages = &packages[&"linux-x64".parse().unwrap()];
        let lib = packages.iter().find(|package| package.id == "Lib").unwrap();
        lib.version.clone()
    };
    assert_eq!(
        [version("web"), version("clusterManager")],
        ["1.0.0", "2.0.0"]
    );
}

#[test]
fn a_thousand_packages_that_bring_one_file_are_told_in_linear_time() {
    let mut feed = feed();
    let mut settings = settings();
    for number in 0..1000 {
        let id = format!("P{number}");
        feed.push(facts(&id, "1.0.0", &[], &[("content/readme", &id)], None));
        settings["packages"]
            .as_array_mut()
            .unwrap()
            .push(json!({"id": id, "version": "1.0.0"}));
        settings["nodeTemplates"][0]["packageRequirements"]
            .as_array_mut()
            .unwrap()
            .push(json!({"id": id}));
    }
    let findings = run(settings, feed).unwrap_err();
    assert_eq!(findings[500].message, "499 more findings are not shown");
    assert!(
        findings[..500]
            .iter()
            .all(|finding| finding.code == FindingCode::FileCollision)
    );
}

#[test]
fn without_the_feed_everything_else_is_checked() {
    let mut settings = settings();
    settings["nodeTemplates"][0]["priority"] = json!(-1.0);
    settings["nodeTemplates"][0]["configuration"] = json!("a = 1\nb = {");
    settings["packages"][0]["version"] = json!("x");
    let settings: Settings = serde_json::from_value(settings).unwrap();
    let problem = FeedProblem {
        code: FindingCode::FeedUnavailable,
        message: "cannot reach `http://feed`".to_owned(),
    };
    let findings = check_without_feed(&settings, Some(problem), CONTEXT);
    let found: Vec<String> = findings
        .iter()
        .map(|finding| format!("{} {}", finding.code, finding.field.as_deref().unwrap()))
        .collect();
    assert_eq!(
        found,
        [
            "feedUnavailable nugetFeed",
            "outOfRange nodeTemplates[\"web\"].priority",
            "versionInvalid packages[\"KlusterKite.Core.Service\"]",
            "configurationInvalid nodeTemplates[\"web\"].configuration"
        ]
    );
    assert_eq!(findings[3].line, Some(2));
}

#[test]
fn a_reference_to_nothing_is_found_before_a_node_starts() {
    assert_eq!(
        errors_with("/nodeTemplates/0/configuration", json!("a = ${Web.prot}")),
        ["configurationInvalid nodeTemplates[\"web\"].configuration"]
    );
    let mut broken = feed();
    broken[3].manifest = Some(
        "processes { web { command = [${Web.nothing}] } }, config { Web.port = 1 }".to_owned(),
    );
    assert_eq!(
        errors(run(settings(), broken)),
        ["manifestInvalid nodeTemplates[\"web\"].packageRequirements[\"Web\"]"]
    );
}

#[test]
fn the_nodes_environment_and_the_launchers_settings_may_be_referred_to() {
    let text = json!(
        "a = ${?SOME_PORT}, b = ${KlusterKite.NodeManager.NodeId}, c = ${KlusterKite.Cluster.Seeds}"
    );
    assert!(errors_with("/nodeTemplates/0/configuration", text).is_empty());
    let mut settings = settings();
    settings["nodeTemplates"][0]["configuration"] = json!("a = ${SOME_PORT}");
    let warnings = run(settings, feed()).unwrap().warnings;
    assert_eq!(warnings[0].code, FindingCode::EnvironmentRequired);
    assert!(
        errors_with(
            "/nodeTemplates/0/configuration",
            json!("a = ${KLUSTERKITE_DATA}/x")
        )
        .is_empty()
    );
}

#[test]
fn two_packages_may_not_define_the_same_process() {
    let process = |port: u16| {
        Some(format!(
            "processes {{ web {{ command = [web] }} }}, config {{ Web.port = {port} }}"
        ))
    };
    let mut feed = feed();
    (feed[3].manifest, feed[4].manifest) = (process(1), process(2));
    assert_eq!(
        errors(run(settings(), feed)),
        ["manifestInvalid nodeTemplates[\"web\"].packageRequirements"]
    );
}

#[test]
fn a_stop_that_takes_longer_than_there_is_time_is_refused() {
    let finding = |stop: &str| {
        let mut feed = feed();
        let manifest = format!(
            "config.Web.port = 1, processes {{ web {{ command = [web], stop {{ {stop} }} }} }}"
        );
        feed[3] = facts("Web", "1.0.0", &[], &[], Some(&manifest));
        let findings = match run(settings(), feed) {
            Ok(checked) => checked.warnings,
            Err(findings) => findings,
        };
        let too_long = findings
            .iter()
            .find(|finding| finding.code == FindingCode::StopTooLong);
        too_long.map(|finding| (finding.severity, finding.message.contains("`stopGrace`")))
    };
    let cases = [
        ("drain = 5s, command = [x], timeout = 5s, grace = 20s", None),
        (
            "drain = 5s, command = [x], timeout = 5s, grace = 21s",
            Some((Severity::Warning, true)),
        ),
        (
            "drain = 200s, command = [x], timeout = 50s, grace = 48s",
            Some((Severity::Warning, true)),
        ),
        (
            "drain = 200s, command = [x], timeout = 50s, grace = 49s",
            Some((Severity::Error, false)),
        ),
    ];
    for (stop, expected) in cases {
        assert_eq!(finding(stop), expected, "{stop}");
    }
}

#[test]
fn a_wrong_manifest_names_its_package_and_line() {
    let mut feed = feed();
    feed[3].manifest = Some("config { Web.port = 1 }\nproceses {}".to_owned());
    let findings = run(settings(), feed).unwrap_err();
    let finding = &findings[0];
    assert_eq!(
        finding.field.as_deref(),
        Some("nodeTemplates[\"web\"].packageRequirements[\"Web\"]")
    );
    assert_eq!(
        (finding.code, finding.line),
        (FindingCode::ManifestInvalid, Some(2))
    );
}

#[test]
fn migrators_have_to_be_listed_and_to_exist() {
    let field = "migratorTemplates[\"db\"].configuration";
    for (text, code) in [
        ("", "migratorsMissing"),
        ("KlusterKite.NodeManager.Migrators = []", "migratorsMissing"),
        (
            "KlusterKite.NodeManager.Migrators = [Db, Other]",
            "migratorNotFound",
        ),
        ("KlusterKite.NodeManager.Migrators = [Db, Db]", "duplicate"),
        (
            "KlusterKite.NodeManager.Migrators = {}",
            "configurationInvalid",
        ),
    ] {
        let found = errors_with("/migratorTemplates/0/configuration", json!(text));
        assert_eq!(found, [format!("{code} {field}")], "{text}");
    }
}

#[test]
fn two_packages_may_bring_the_same_file_only_with_the_same_content() {
    let with = |path: &str, content: &str| {
        let mut feed = feed();
        feed[3] = facts(
            "Web",
            "1.0.0",
            &[("Lib", "1.0.0")],
            &[(path, content)],
            None,
        );
        let mut settings = settings();
        settings["nodeTemplates"][0]["configuration"] = json!("");
        errors(run(settings, feed))
    };
    let field = "nodeTemplates[\"web\"].packageRequirements[\"Web\"]";
    assert!(with("content/lib/a.txt", "a").is_empty());
    assert_eq!(
        with("content/lib/a.txt", "other"),
        [format!("fileCollision {field}")]
    );
    assert_eq!(with("content/lib", "x"), [format!("fileCollision {field}")]);
    assert_eq!(
        with("content/lib/a.txt/b", "x"),
        [format!("fileCollision {field}")]
    );
    assert_eq!(
        with("content/Start.hocon", "x"),
        [format!("fileReserved {field}")]
    );
}

#[test]
fn b9_a_runtime_without_the_entry_point_is_left_out_with_a_warning() {
    let mut settings = settings();
    settings["runtimes"] = json!(["linux-x64", "linux-arm64"]);
    let checked = run(settings, feed()).unwrap();
    assert_eq!(
        checked.frozen.node_templates[&"web".parse().unwrap()].len(),
        1
    );
    assert!(
        checked
            .warnings
            .iter()
            .all(|warning| warning.code == FindingCode::EntryPointMissing),
        "{:?}",
        checked.warnings
    );
}

#[test]
fn what_looks_wrong_but_works_is_a_warning() {
    let mut settings = settings();
    settings["packages"]
        .as_array_mut()
        .unwrap()
        .push(json!({"id": "Extra", "version": "1.0.0"}));
    settings["nodeTemplates"][0]["rollout"] = json!({"progressDeadlineSeconds": 20});
    let mut feed = feed();
    feed.push(facts("Extra", "1.0.0", &[], &[], None));
    let warnings = run(settings, feed).unwrap().warnings;
    let codes: Vec<FindingCode> = warnings.iter().map(|warning| warning.code).collect();
    assert_eq!(
        codes,
        [FindingCode::DeadlineTooShort, FindingCode::PackageUnused]
    );
}

#[test]
fn everything_is_reported_at_once() {
    let found = errors(run(json!({}), Vec::new()));
    assert_eq!(
        found,
        [
            "nodeTemplatesMissing nodeTemplates",
            "packagesMissing packages",
            "seedAddressesMissing seedAddresses",
            "nugetFeedInvalid nugetFeed",
            "runtimesMissing runtimes",
        ]
    );
}

#[test]
fn a_flood_of_findings_is_cut_and_counted() {
    let mut settings = settings();
    settings["seedAddresses"] = json!(vec!["nonsense"; 10_000]);
    let findings = run(settings, feed()).unwrap_err();
    assert_eq!(findings.len(), 501);
    assert_eq!(findings[500].message, "9500 more findings are not shown");
}

proptest! {
    #[test]
    fn no_text_in_a_draft_makes_the_check_panic(
        texts in prop::collection::vec("[\\PC\\n]{0,30}|[a-z0-9.%{}=$\\[\\]\"-]{0,30}", 12), number in any::<i64>(), priority in any::<f64>()
    ) {
        let mut settings = settings();
        for (pointer, text) in [
            "/nodeTemplates/0/code", "/nodeTemplates/0/configuration", "/nodeTemplates/0/containerTypes/0",
            "/nodeTemplates/0/packageRequirements/0/id", "/migratorTemplates/0/configuration", "/migratorTemplates/0/code",
            "/packages/3/id", "/packages/4/version", "/seedAddresses/0", "/nugetFeed", "/runtimes/0",
        ].into_iter().zip(&texts) {
            *settings.pointer_mut(pointer).unwrap() = json!(text);
        }
        settings["nodeTemplates"][1]["rollout"] = json!({"batch": texts[11], "surge": number, "minStableSeconds": number});
        settings["nodeTemplates"][1]["minimumRequiredInstances"] = json!(number);
        settings["nodeTemplates"][1]["priority"] = json!(priority);
        if settings["nodeTemplates"][1]["priority"].is_null() {
            settings["nodeTemplates"][1]["priority"] = json!(0.0);
        }
        let outcome = run(settings.clone(), feed());
        if let Ok(checked) = outcome {
            // What passed the check is a release.
            let settings: Settings = serde_json::from_value(settings).unwrap();
            crate::release::Release::new(klusterkite_wire::ConfigurationId(1), &settings, &checked.frozen).unwrap();
        }
    }

    #[test]
    fn what_passes_the_check_is_a_release(
        minimum in -1_i64..4, maximum in -1_i64..4, batch in "[0-9]{1,2}%?", surge in -1_i64..3, seconds in -1_i64..40_000_000,
        code in "[a-z.]{0,3}", priority in -1.0_f64..2.0
    ) {
        let mut settings = settings();
        let template = &mut settings["nodeTemplates"][0];
        template["code"] = json!(code);
        template["priority"] = json!(priority);
        template["minimumRequiredInstances"] = json!(minimum);
        template["maximumNeededInstances"] = json!(maximum);
        template["rollout"] = json!({"batch": batch, "surge": surge, "progressDeadlineSeconds": seconds});
        let outcome = run(settings.clone(), feed());
        let settings: Settings = serde_json::from_value(settings).unwrap();
        let id = klusterkite_wire::ConfigurationId(1);
        match outcome {
            Ok(checked) => prop_assert!(crate::release::Release::new(id, &settings, &checked.frozen).is_ok()),
            Err(findings) => prop_assert!(findings.iter().any(|finding| finding.severity == Severity::Error)),
        }
    }
}

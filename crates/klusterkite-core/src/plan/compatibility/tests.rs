use klusterkite_wire::ConfigurationId;
use serde_json::{Value, json};

use super::*;
use crate::release::FrozenPackages;
use crate::settings::Settings;

/// Makes a release with one template `web` whose fields are `template` and whose frozen packages are `packages`.
fn release(id: i64, template: Value, packages: &Value) -> Release {
    let mut web =
        json!({ "code": "web", "configuration": "a = 1", "packageRequirements": [{"id": "Web"}] });
    for (field, value) in template.as_object().unwrap() {
        web[field] = value.clone();
    }
    let settings: Settings = serde_json::from_value(json!({ "nodeTemplates": [web] })).unwrap();
    let frozen: FrozenPackages =
        serde_json::from_value(json!({ "nodeTemplates": { "web": { "linux-x64": packages } } }))
            .unwrap();
    Release::new(ConfigurationId(id), &settings, &frozen).unwrap()
}

fn package(id: &str, version: &str, sha512: &str) -> Value {
    json!({ "id": id, "version": version, "sha512": sha512, "size": 1 })
}

fn standard() -> Value {
    json!([
        package("Web", "1.0.0", "AA=="),
        package("Indirect", "1.0.0", "BB==")
    ])
}

fn ask(from: &Release, to: &Release) -> Option<RestartReason> {
    restart_reason(
        from,
        to,
        &"web".parse().unwrap(),
        &"linux-x64".parse().unwrap(),
    )
}

/// Asks in both directions and expects the same kind of answer.
fn both_ways(template: Value, packages: &Value) -> Option<RestartReason> {
    let (one, two) = (
        release(1, json!({}), &standard()),
        release(2, template, packages),
    );
    let forward = ask(&one, &two);
    let back = ask(&two, &one);
    let kind = |reason: &Option<RestartReason>| reason.as_ref().map(std::mem::discriminant);
    assert_eq!(
        kind(&forward),
        kind(&back),
        "forward {forward:?}, back {back:?}"
    );
    forward
}

#[test]
fn what_makes_no_difference_to_a_node_needs_no_restart() {
    for template in [
        json!({}),
        json!({"name": "Web", "notes": "n", "priority": 7.0, "minimumRequiredInstances": 3}),
        json!({"containerTypes": ["x"], "maximumNeededInstances": 9, "rollout": {"batch": "3"}}),
        json!({"packageRequirements": [{"id": "WEB"}]}),
    ] {
        assert_eq!(both_ways(template.clone(), &standard()), None, "{template}");
    }
}

#[test]
fn every_difference_of_a_template_is_named() {
    assert_eq!(
        both_ways(json!({"configuration": "a = 2"}), &standard()),
        Some(RestartReason::SettingsChanged)
    );
    assert_eq!(
        both_ways(json!({"entryPoint": "other"}), &standard()),
        Some(RestartReason::EntryPointChanged)
    );
}

#[test]
fn b1_a_changed_added_or_removed_requirement_restarts_nodes() {
    for requirements in [
        json!([{"id": "Web", "specificVersion": "1.0.0"}]),
        json!([{"id": "Web"}, {"id": "Indirect"}]),
        json!([]),
    ] {
        let template = json!({"packageRequirements": requirements});
        assert_eq!(
            both_ways(template, &standard()),
            Some(RestartReason::RequirementsChanged),
            "{requirements}"
        );
    }
}

#[test]
fn b5_force_update_restarts_nodes_of_every_other_configuration() {
    let (plain, forced) = (
        release(1, json!({}), &standard()),
        release(2, json!({"forceUpdate": true}), &standard()),
    );
    assert_eq!(ask(&plain, &forced), Some(RestartReason::ForceUpdate));
    assert_eq!(ask(&forced, &forced), None);
}

#[test]
fn b22_a_changed_indirect_package_restarts_nodes_in_both_directions() {
    let other = json!([
        package("Web", "1.0.0", "AA=="),
        package("Indirect", "1.1.0", "CC==")
    ]);
    let reason = both_ways(json!({}), &other).unwrap();
    assert_eq!(
        reason.to_string(),
        "packages changed: `Indirect` 1.0.0 → 1.1.0"
    );
}

#[test]
fn b22_going_back_restarts_nothing_when_nothing_differs() {
    let (one, three) = (
        release(1, json!({}), &standard()),
        release(3, json!({"name": "again"}), &standard()),
    );
    assert_eq!(ask(&three, &one), None);
}

#[test]
fn the_same_version_with_another_hash_is_another_package() {
    let other = json!([
        package("Web", "1.0.0", "ZZ=="),
        package("Indirect", "1.0.0", "BB==")
    ]);
    let reason = both_ways(json!({}), &other).unwrap();
    assert_eq!(
        reason.to_string(),
        "packages changed: `Web` 1.0.0 has another content"
    );
}

#[test]
fn a_long_list_of_packages_is_counted_not_recited() {
    let many: Vec<Value> = (0..9)
        .map(|n| package(&format!("P{n}"), "1.0.0", "AA=="))
        .collect();
    let reason = both_ways(json!({}), &json!(many)).unwrap().to_string();
    assert!(reason.ends_with(" and 8 more"), "{reason}");
}

#[test]
fn a_removed_template_and_an_unknown_one_are_told_apart() {
    let empty = Release::new(
        ConfigurationId(5),
        &Settings::default(),
        &FrozenPackages::default(),
    )
    .unwrap();
    let web = release(1, json!({}), &standard());
    assert_eq!(ask(&web, &empty), Some(RestartReason::TemplateRemoved));
    assert_eq!(ask(&empty, &web), Some(RestartReason::UnknownConfiguration));
}

#[test]
fn a_reason_is_an_object_with_a_code() {
    let json = serde_json::to_value(RestartReason::SettingsChanged).unwrap();
    assert_eq!(json, json!({"code": "settingsChanged"}));
}

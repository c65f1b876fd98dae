use super::*;
use serde_json::json;

fn frozen(template: &str) -> FrozenPackages {
    serde_json::from_value(json!({ "nodeTemplates": { template: { "linux-x64": [
        { "id": "Acme.Orders", "version": "1.4.0", "sha512": "AA==", "size": 3 } ] } } }))
    .unwrap()
}

fn release(template: serde_json::Value) -> Result<Release, Error> {
    let settings = json!({ "nodeTemplates": [template], "seedAddresses": ["a", "b", "c"], "runtimes": ["linux-x64"],
        "nugetFeed": "http://feed/v3/index.json" });
    let settings: Settings = serde_json::from_value(settings).unwrap();
    Release::new(ConfigurationId(7), &settings, &frozen("orders"))
}

#[test]
fn a_release_makes_the_start_configuration_of_its_templates() {
    let release = release(json!({"code": "orders", "configuration": "a = 1", "rollout": {"startDeadlineSeconds": 90}})).unwrap();
    let (orders, linux) = ("orders".parse().unwrap(), "linux-x64".parse().unwrap());
    let start = release.start_configuration(&orders, &linux, 1).unwrap();
    assert_eq!(
        (start.configuration_id, start.start_deadline_seconds),
        (ConfigurationId(7), 90)
    );
    assert_eq!(start.entry_point, "klusterkite-service");
    assert_eq!(start.packages[0].id, "Acme.Orders");
    let mut seeds = start.seeds;
    seeds.sort();
    assert_eq!(seeds, ["a", "b", "c"]);
    assert!(
        release
            .start_configuration(&orders, &"win-x64".parse().unwrap(), 1)
            .is_none()
    );
    assert!(
        release
            .start_configuration(&"other".parse().unwrap(), &linux, 1)
            .is_none()
    );
}

#[test]
fn the_template_that_requires_the_manager_is_the_managers() {
    let manager =
        release(json!({"code": "m", "packageRequirements": [{"id": "klusterkite.nodemanager"}]}))
            .unwrap();
    assert!(manager.manager_template().is_some());
    let other = release(
        json!({"code": "m", "packageRequirements": [{"id": "KlusterKite.NodeManager.Client"}]}),
    )
    .unwrap();
    assert!(other.manager_template().is_none());
}

#[test]
fn settings_that_the_check_would_refuse_are_no_release() {
    for (template, field) in [
        (json!({"code": "../x"}), "nodeTemplates.code"),
        (
            json!({"code": "x", "minimumRequiredInstances": -1}),
            "minimumRequiredInstances",
        ),
        (
            json!({"code": "x", "minimumRequiredInstances": 2, "maximumNeededInstances": 1}),
            "maximumNeededInstances",
        ),
        (json!({"code": "x", "priority": -1.0}), "priority"),
        (
            json!({"code": "x", "containerTypes": [""]}),
            "containerTypes",
        ),
        (json!({"code": "x", "rollout": {"batch": "0"}}), "batch"),
        (
            json!({"code": "x", "rollout": {"minStableSeconds": 1_000_000_000}}),
            "minStableSeconds",
        ),
    ] {
        let error = release(template).unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
}

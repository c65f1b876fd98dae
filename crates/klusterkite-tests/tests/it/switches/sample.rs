//! The samples Hello and Clock in one cluster: three templates, four resources, both kinds of dependency.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::repository;

/// Samples that become one.
const SAMPLES: [&str; 2] = ["hello", "clock-py"];

/// Writes a sample with the packages and first settings of both.
pub(super) fn hello_and_clock() -> TempDir {
    let directory = tempfile::Builder::new().prefix("kk").tempdir().unwrap();
    let packages = directory.path().join("packages");
    fs::create_dir(&packages).unwrap();
    let mut settings = json!({});
    for sample in SAMPLES {
        let sample = repository().join("samples").join(sample);
        for package in fs::read_dir(sample.join("packages")).unwrap() {
            let package = package.unwrap();
            symlink(package.path(), packages.join(package.file_name())).unwrap();
        }
        let text = fs::read_to_string(sample.join("cluster.json")).unwrap();
        add(&mut settings, serde_json::from_str(&text).unwrap());
    }
    adjust(&mut settings);
    fs::write(directory.path().join("cluster.json"), settings.to_string()).unwrap();
    directory
}

/// Adds what other settings have more: keys, and items of lists.
fn add(settings: &mut Value, others: Value) {
    match (settings, others) {
        (Value::Object(settings), Value::Object(others)) => {
            for (key, value) in others {
                match settings.get_mut(&key) {
                    Some(known) => add(known, value),
                    None => drop(settings.insert(key, value)),
                }
            }
        }
        (Value::Array(items), Value::Array(others)) => {
            let is_new = |other: &Value| !items.contains(other);
            let new: Vec<Value> = others.into_iter().filter(is_new).collect();
            items.extend(new);
        }
        _ => {}
    }
}

/// Two nodes of each service, as fast as the rules allow, and a fourth resource: a second place of the site.
fn adjust(settings: &mut Value) {
    let templates = settings["nodeTemplates"].as_array_mut().unwrap();
    assert_eq!(templates.len(), 3);
    for template in templates {
        template["rollout"]["minStableSeconds"] = json!(0);
        if template["code"] != "clusterManager" {
            template["minimumRequiredInstances"] = json!(1);
            template["maximumNeededInstances"] = json!(2);
        }
    }
    let mirror = json!({
        "code": "mirror",
        "name": "Second place of the site",
        "notes": "",
        "configuration": "KlusterKite.NodeManager.Migrators = [\"Hello.Site\"]\nHello.Site.Directory = \"{data}/mirror\"",
        "priority": 2,
        "packageRequirements": [{ "id": "Hello.Site" }],
    });
    let migrators = settings["migratorTemplates"].as_array_mut().unwrap();
    migrators.push(mirror);
}

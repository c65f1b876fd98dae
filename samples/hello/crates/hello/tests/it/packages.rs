//! The files of all samples that no program of theirs reads: packages before packing, and first configurations.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use klusterkite_core::settings::Settings;
use klusterkite_hocon::{Config, Document};
use klusterkite_manifest::{ManifestText, ProbeKind, assemble};
use serde_json::Value;

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

fn directories(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_dir()).collect()
}

/// Returns the directories of all packages, with id and version.
fn packages() -> Vec<(PathBuf, String, String)> {
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut packages = Vec::new();
    for sample in ["hello", "clock-py"] {
        for package in directories(&samples().join(sample).join("packages")) {
            for version in directories(&package) {
                packages.push((version.clone(), name(&package), name(&version)));
            }
        }
    }
    packages
}

fn parse(path: &Path) -> Config {
    let text = fs::read_to_string(path).unwrap();
    let document = Document::parse(&text, &path.display().to_string()).unwrap();
    document.resolve(&BTreeMap::new()).unwrap()
}

#[test]
fn every_package_says_what_it_is_where_it_lies() {
    let packages = packages();
    assert_eq!(packages.len(), 10);
    for (directory, id, version) in packages {
        let pack = parse(&directory.join("pack.hocon"));
        assert_eq!(pack.string("id").unwrap(), id);
        assert_eq!(pack.string("version").unwrap(), version);
        assert!(!pack.string("description").unwrap().is_empty());
        for binary in pack.string_list("binaries").unwrap() {
            let program = samples().join("hello/crates").join(&binary);
            assert!(program.is_dir(), "{id}: no program `{binary}`");
        }
        assert!(directory.join("klusterkite.hocon").is_file());
    }
}

#[test]
fn the_manifests_make_nodes_and_migrators_with_the_port_of_the_container() {
    let start = "KlusterKite.NodeManager.NodeTemplate = test";
    for (directory, id, version) in packages() {
        let manifest = ManifestText {
            package: id.clone(),
            text: fs::read_to_string(directory.join("klusterkite.hocon")).unwrap(),
        };
        let manifests = [manifest];
        for (environment, expected) in [(None, None), (Some("9000"), Some(9000))] {
            let variables = ["HELLO_PORT", "CLOCK_PORT"].map(str::to_owned);
            let variables = variables.into_iter().zip(environment.into_iter().cycle());
            let variables: BTreeMap<String, String> = variables
                .map(|(name, value)| (name, value.to_owned()))
                .collect();
            let assembly = assemble(&manifests, "Test = 1", start, &variables).unwrap();
            if assembly.processes.is_empty() {
                let migrators: Vec<&str> = assembly.migrators.keys().map(String::as_str).collect();
                assert_eq!(migrators, [id.as_str()], "{id} {version}");
                continue;
            }
            let port = assembly.endpoints[0].port;
            assert_eq!(
                port,
                expected.unwrap_or(if id == "Hello" { 8080 } else { 8090 })
            );
            let readiness = assembly.processes[0].readiness.as_ref().unwrap();
            let url = format!("http://127.0.0.1:{port}/ready");
            assert_eq!(readiness.kind, ProbeKind::Http { url });
            let stop = &assembly.processes[0].stop;
            assert_eq!((stop.drain.as_secs(), stop.grace.as_secs()), (1, 5));
        }
    }
}

/// Sees that everything in `given` is also in `read`, which may have more.
fn check_kept(given: &Value, read: &Value, path: &str) {
    match (given, read) {
        (Value::Object(given), Value::Object(_)) => {
            for (key, value) in given {
                let found = read
                    .get(key)
                    .unwrap_or_else(|| panic!("{path}.{key} is not known"));
                check_kept(value, found, &format!("{path}.{key}"));
            }
        }
        (Value::Array(given), Value::Array(read)) => {
            assert_eq!(given.len(), read.len(), "{path}");
            for (index, (given, read)) in given.iter().zip(read).enumerate() {
                check_kept(given, read, &format!("{path}[{index}]"));
            }
        }
        (Value::Number(given), Value::Number(read)) => {
            assert_eq!(given.as_f64(), read.as_f64(), "{path}");
        }
        _ => assert_eq!(given, read, "{path}"),
    }
}

#[test]
fn the_first_configurations_are_settings_of_packages_that_are_there() {
    let packages = packages();
    for sample in ["hello", "clock-py"] {
        let text = fs::read_to_string(samples().join(sample).join("cluster.json")).unwrap();
        let text = text.replace("{data}", "/data");
        let text = text.replace(
            "{managerConfiguration}",
            "KlusterKite.NodeManager.Listen = x",
        );
        let given: Value = serde_json::from_str(&text).unwrap();
        let settings: Settings = serde_json::from_value(given.clone()).unwrap();
        check_kept(&given, &serde_json::to_value(&settings).unwrap(), sample);
        let pinned = |id: &str| settings.packages.iter().find(|pin| pin.id == id);
        let nodes = settings.node_templates.iter();
        let nodes = nodes.map(|t| (&t.configuration, &t.package_requirements));
        let migrators = settings.migrator_templates.iter();
        let migrators = migrators.map(|t| (&t.configuration, &t.package_requirements));
        for (configuration, requirements) in nodes.chain(migrators) {
            let document = Document::parse(configuration, sample).unwrap();
            document.resolve(&BTreeMap::new()).unwrap();
            for requirement in requirements {
                let pin = pinned(&requirement.id).unwrap();
                let ours = pin.id.starts_with("KlusterKite.");
                let there = |(_, id, version): &(_, String, String)| {
                    *id == pin.id && *version == pin.version
                };
                assert!(ours || packages.iter().any(there), "{pin:?}");
            }
        }
    }
}

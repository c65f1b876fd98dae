//! Service directories that cannot be used: every request says why.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::fixture::{PATIENT, Place};

#[test]
fn a_service_directory_that_cannot_be_used_says_why() {
    for (settings, expected) in [
        (
            "",
            "setting `KlusterKite.NodeManager.Migrators`: is missing",
        ),
        (
            "KlusterKite {",
            "cannot assemble the settings of the service directory",
        ),
        (
            "KlusterKite.NodeManager.Migrators = 7",
            "KlusterKite.NodeManager.Migrators",
        ),
        (
            "KlusterKite.NodeManager.Migrators = [a, a]",
            "lists `a` twice",
        ),
        (
            "KlusterKite.NodeManager.Migrators = [\"a/b\"]",
            "`a/b` is not a valid migrator name",
        ),
        (
            "KlusterKite.NodeManager { Migrators = [a], Executor.CallTimeout = 0s }",
            "setting `KlusterKite.NodeManager.Executor.CallTimeout`: 0ns is not between 1 ms and 30 days",
        ),
        (
            "KlusterKite.NodeManager { Migrators = [a], Executor.CallTimeout = soon }",
            "KlusterKite.NodeManager.Executor.CallTimeout",
        ),
    ] {
        let place = Place::empty();
        place.settings(settings);
        let mut executor = place.start();
        for method in ["describe", "describe"] {
            let error = executor.call(method, Value::Null).unwrap_err();
            assert!(error.contains(expected), "{settings}: {error}");
        }
        assert_eq!(executor.call("shutdown", Value::Null).unwrap(), Value::Null);
    }
}

#[test]
fn a_migrator_that_no_manifest_has_is_its_own_error() {
    let place = Place::new(&["good"], PATIENT);
    place.settings("KlusterKite.NodeManager.Migrators = [missing, good]");
    let described = place.start().describe();
    let expected = "migrator `missing` is in no manifest of the template's packages";
    assert!(described[0].errors[0].contains(expected), "{described:?}");
    assert!(described[1].errors.is_empty(), "{described:?}");
}

#[test]
fn a_program_that_is_not_there_is_its_own_error() {
    let place = Place::empty();
    place.manifest("P", "migrators { gone { command = [no-such-program] } }");
    place.settings("KlusterKite.NodeManager.Migrators = [gone]");
    let described = place.start().describe();
    let error = &described[0].errors[0];
    assert!(
        error.contains("migrator `gone` ended (exit code 127)"),
        "{error}"
    );
    assert!(error.contains("cannot start `no-such-program`"), "{error}");
}

#[test]
fn the_merged_settings_are_written_for_the_owner_only() {
    let place = Place::new(&["good"], PATIENT);
    place.start().describe();
    let path = place.service().join("settings.json");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let settings: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    assert_eq!(settings["Test"]["Name"], "tested");
    assert!(place.service().join("settings.hocon").exists());
}

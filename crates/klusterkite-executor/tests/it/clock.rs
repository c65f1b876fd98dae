//! The sample in Python, through the executor: any language will do.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::fixture::{Place, signal, start_raw, wait_until};

/// Makes the service directory of a version of the sample, with its state in `place`.
fn version(version: &str, data: &Path) -> Place {
    let place = Place::empty();
    let package = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../samples/clock-py/packages/Clock.Migrator")
        .join(version);
    for entry in fs::read_dir(package.join("content")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), place.service().join(entry.file_name())).unwrap();
        }
    }
    let manifest = fs::read_to_string(package.join("klusterkite.hocon")).unwrap();
    place.manifest("Clock.Migrator", &manifest);
    let state = data.join("clock.json");
    place.settings(&format!(
        "KlusterKite.NodeManager.Migrators = [\"Clock.Migrator\"]\nClock.State = \"{}\"",
        state.display()
    ));
    place
}

fn params(point: &str, fence: u64) -> Value {
    json!({ "migrator": "Clock.Migrator", "resource": "clock-state", "point": point, "fence": fence })
}

fn state(data: &Path) -> Value {
    serde_json::from_slice(&fs::read(data.join("clock.json")).unwrap()).unwrap()
}

#[test]
fn the_story_forward_and_back() {
    let data = tempfile::tempdir().unwrap();
    let (first, second) = (version("1.0.0", data.path()), version("2.0.0", data.path()));
    let (mut first, mut second) = (first.start(), second.start());
    let described = first.describe();
    assert!(described[0].errors.is_empty(), "{described:?}");
    assert_eq!(described[0].description.as_ref().unwrap().points.len(), 1);
    assert_eq!(described[0].resources[0].current_point, None);
    assert!(!data.path().join("clock.json").exists());

    first.call("migrate", params("0001_zone", 1)).unwrap();
    assert_eq!(state(data.path())["zoneMinutes"], 0);
    second.call("migrate", params("0002_format", 2)).unwrap();
    assert_eq!(second.log, ["info: apply 0002_format"]);
    assert_eq!(
        state(data.path())["points"],
        json!(["0001_zone", "0002_format"])
    );
    second.call("migrate", params("0002_format", 2)).unwrap();
    assert_eq!(second.log.len(), 1);

    let old = second.call("migrate", params("0001_zone", 1)).unwrap_err();
    assert!(old.contains("its fence is 1"), "{old}");
    let lost = first.call("migrate", params("0001_zone", 3)).unwrap_err();
    assert!(
        lost.contains("`0002_format` of the state is not one of"),
        "{lost}"
    );
    second.call("migrate", params("0001_zone", 3)).unwrap();
    assert_eq!(
        state(data.path()),
        json!({ "points": ["0001_zone"], "fence": 3, "zoneMinutes": 0 })
    );
    assert_eq!(
        first.describe()[0].resources[0]
            .current_point
            .as_ref()
            .unwrap()
            .as_str(),
        "0001_zone"
    );
}

#[test]
fn a_state_that_is_no_json_is_an_error_of_the_resource() {
    let data = tempfile::tempdir().unwrap();
    fs::write(data.path().join("clock.json"), "{").unwrap();
    let described = version("1.0.0", data.path()).start().describe();
    assert!(described[0].resources.is_empty());
    let expected = "cannot read where resource `clock-state` is: JSONDecodeError";
    assert!(described[0].errors[0].contains(expected), "{described:?}");
}

#[test]
fn a_migrator_that_is_killed_while_it_writes_leaves_the_old_state() {
    let data = tempfile::tempdir().unwrap();
    let place = version("2.0.0", data.path());
    let mut executor = place.start();
    executor.call("migrate", params("0001_zone", 1)).unwrap();
    drop(executor);
    // Opening a pipe that nobody reads blocks the writer in the middle of its step.
    let pipe = data.path().join("clock.json.new");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "migrate", "params": params("0002_format", 2) });
    let (mut killed, _stdin) = start_raw(&place, &format!("{request}\n"));
    wait_until("the move does not begin", || place.journal().len() == 3);
    signal(killed.id(), "KILL");
    killed.wait().unwrap();
    assert_eq!(state(data.path())["points"], json!(["0001_zone"]));
    fs::remove_file(&pipe).unwrap();
    let mut executor = place.start();
    executor.call("migrate", params("0002_format", 2)).unwrap();
    assert_eq!(
        state(data.path())["points"],
        json!(["0001_zone", "0002_format"])
    );
}

//! Moves by commands.

use serde_json::{Value, json};

use crate::fixture::Place;

/// A tool that does one step at a time.
fn steps() -> Value {
    json!({
        "points": [
            "1",
            { "point": "2", "down": ["tool", "set", "1"] },
            { "point": "3", "up": ["sh", "-c", "./tool set three && ./tool set 3"], "down": ["tool", "set", "2"] },
        ],
        "current": ["tool", "get"],
        "up": ["tool", "set", "{point}"],
        "resources": { "main": { "name": "Main", "env": { "COLOUR": "blue" } } },
    })
}

#[test]
fn each_point_is_a_command() {
    let place = Place::new(steps());
    assert_eq!(place.point().unwrap(), "-");
    let log = place.migrate("2", 1).unwrap();
    assert_eq!(
        log,
        [
            "up `1`: `tool set {point}`",
            "moving to 1",
            "up `2`: `tool set {point}`",
            "moving to 2"
        ]
    );
    place.migrate("3", 1).unwrap();
    place.migrate("3", 1).unwrap();
    place.migrate("1", 1).unwrap();
    assert_eq!(place.point().unwrap(), "1");
    assert_eq!(
        place.calls(),
        "up 1 from= blue\nup 2 from=1 blue\nup 3 from=2 blue\nup 3 from=2 blue\n\
         down 3 from=3 blue\ndown 2 from=2 blue\n"
    );
    let description = place.start().initialize().unwrap();
    assert_eq!(description["irreversible"], json!(["1"]));
}

#[test]
fn one_command_can_do_whole_moves() {
    let place = Place::new(json!({
        "points": ["1", "2", "3"],
        "current": ["tool", "get"],
        "migrate": ["tool", "set", "{point}"],
        "resources": { "main": {} },
    }));
    place.migrate("3", 1).unwrap();
    place.migrate("1", 1).unwrap();
    assert_eq!(place.calls(), "up 3 from= \ndown 1 from=3 \n");
    assert_eq!(place.point().unwrap(), "1");
}

#[test]
fn a_command_that_fails_or_lies_ends_the_move() {
    for (command, expected) in [
        (
            json!(["tool", "fail"]),
            "`tool fail` failed: exit status: 3",
        ),
        (json!(["true"]), "the resource is at `1`, not at `2`"),
        (json!(["no-such-program"]), "cannot start `no-such-program`"),
    ] {
        let mut place = Place::new(steps());
        place.section()["points"][1]["up"] = command;
        let error = place.migrate("3", 1).unwrap_err();
        assert!(error.contains(expected), "{error}");
        assert_eq!(place.point().unwrap(), "1");
    }
}

#[test]
fn a_resource_that_cannot_be_read_is_an_error() {
    for (command, expected) in [
        (json!(["tool", "fail"]), "failed"),
        (
            json!(["sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x"]),
            "prints more than",
        ),
        (json!(["printf", "a\\nb"]), "does not print a point"),
    ] {
        let mut place = Place::new(steps());
        place.section()["current"] = command;
        let error = place.point().unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn settings_that_cannot_be_used_are_named() {
    for (key, value, expected) in [
        ("points", json!([]), "`points` has 0 entries"),
        ("resources", json!({}), "`resources` has 0 entries"),
        ("current", json!([]), "`current` names no program"),
        ("up", json!(null), "how to go to `1`"),
        ("up", json!([]), "names no program"),
        ("migrate", json!(["x"]), "nothing to do for `up`"),
        ("colour", json!("blue"), "colour"),
    ] {
        let mut place = Place::new(steps());
        place.section()[key] = value;
        let error = place.start().initialize().unwrap_err();
        assert!(error.contains(expected), "{key}: {error}");
    }
}

//! What the records of a database are good for.

use serde_json::json;

use crate::fixture::{Moves as _, Place};

const SCRIPTS: &[(&str, &str)] = &[
    ("0001_a.up", "CREATE TABLE a (id INTEGER PRIMARY KEY);"),
    ("0001_a.down", "DROP TABLE a;"),
    ("0002_b.up", "CREATE TABLE b (id INTEGER PRIMARY KEY);"),
    ("0002_b.down", "DROP TABLE b;"),
    ("0003_c.up", "CREATE TABLE c (id INTEGER PRIMARY KEY);"),
    ("0003_c.down", "DROP TABLE c;"),
];

const TABLES: &str = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'klusterkite%' ORDER BY name";

#[test]
fn b52_a_database_moves_up_and_down_and_never_beyond_the_point() {
    let place = Place::sqlite();
    place.scripts(SCRIPTS);
    assert_eq!(place.point(), "-");
    assert!(!place.path("main.db").exists(), "reading creates nothing");
    for (point, tables) in [
        ("0002_b", "a;b"),
        ("0002_b", "a;b"),
        ("0003_c", "a;b;c"),
        ("0001_a", "a"),
        ("0003_c", "a;b;c"),
    ] {
        place.migrate(point).unwrap();
        assert_eq!(place.point(), point);
        assert_eq!(place.query(TABLES), tables);
    }
}

#[test]
fn a_point_without_a_way_back_is_declared_irreversible() {
    let place = Place::sqlite();
    place.scripts(SCRIPTS);
    place.remove_script("0003_c.down");
    place.migrate("0003_c").unwrap();
    let description = place.start("migrate").initialize().unwrap();
    assert_eq!(description["irreversible"], json!(["0003_c"]));
    let error = place.migrate("0001_a").unwrap_err();
    assert!(
        error.contains("`0003_c` cannot be left downward"),
        "{error}"
    );
    assert_eq!(place.point(), "0003_c");
}

#[test]
fn a_script_that_was_edited_after_it_was_applied_is_refused() {
    let place = Place::sqlite();
    place.scripts(SCRIPTS);
    place.migrate("0002_b").unwrap();
    place.scripts(&[("0001_a.up", "CREATE TABLE other (id INTEGER);")]);
    for error in [
        place.migrator().point("main").unwrap_err(),
        place.migrate("0003_c").unwrap_err(),
    ] {
        assert!(
            error.contains("`0001_a.up.sql` is not the script that was applied"),
            "{error}"
        );
    }
    assert_eq!(place.query(TABLES), "a;b");
    // The way back may be repaired.
    place.scripts(SCRIPTS);
    place.scripts(&[("0002_b.down", "DROP TABLE IF EXISTS b;")]);
    place.migrate("0001_a").unwrap();
}

#[test]
fn a_point_that_is_put_between_applied_ones_is_refused() {
    let place = Place::sqlite();
    place.scripts(SCRIPTS);
    place.migrate("0002_b").unwrap();
    place.scripts(&[("00015_x.up", "CREATE TABLE x (id INTEGER);")]);
    place.scripts(&[("0001_y.up", "CREATE TABLE y (id INTEGER);")]);
    let error = place.start("migrate").initialize().unwrap_err();
    assert!(error.contains("have the same number"), "{error}");
    place.remove_script("0001_y.up");
    place.migrator().point("main").unwrap();
    place.remove_script("00015_x.up");
    place.remove_script("0002_b.up");
    place.remove_script("0002_b.down");
    let error = place.migrator().point("main").unwrap_err();
    assert!(error.contains("has `0002_b` as its point 2"), "{error}");
}

#[test]
fn a_database_of_a_newer_package_says_its_point_and_is_not_moved() {
    let place = Place::sqlite();
    place.scripts(SCRIPTS);
    place.migrate("0003_c").unwrap();
    place.remove_script("0003_c.up");
    place.remove_script("0003_c.down");
    assert_eq!(place.point(), "0003_c");
    let error = place.migrate("0001_a").unwrap_err();
    assert!(error.contains("point `0003_c` is not one of"), "{error}");
}

#[test]
fn an_existing_database_needs_a_baseline() {
    let mut place = Place::sqlite();
    place.scripts(SCRIPTS);
    place.migrate("0002_b").unwrap();
    // What an older tool has made looks like this: tables, and no records.
    place.query("DROP TABLE klusterkite_points");
    place.query("DROP TABLE klusterkite_points_fence");
    let error = place.migrator().point("main").unwrap_err();
    assert!(error.contains("no `klusterkite_points`"), "{error}");
    place.section()["databases"]["main"]["baseline"] = json!("0009_none");
    let error = place.migrator().point("main").unwrap_err();
    assert!(error.contains("no point of the package"), "{error}");
    place.section()["databases"]["main"]["baseline"] = json!("0002_b");
    assert_eq!(place.point(), "0002_b");
    place.migrate("0003_c").unwrap();
    assert_eq!(place.query(TABLES), "a;b;c");
    assert_eq!(
        place.query("SELECT how FROM klusterkite_points ORDER BY position"),
        "baseline;baseline;applied"
    );
    place.migrate("0001_a").unwrap();
    assert_eq!(place.query(TABLES), "a");
}

#[test]
fn a_dry_run_tells_the_steps_and_changes_nothing() {
    let place = Place::sqlite();
    place.scripts(SCRIPTS);
    let mut migrator = place.migrator();
    migrator.migrate("0002_b", 1, true).unwrap();
    assert_eq!(
        migrator.log,
        [
            "would apply `0001_a`: 1 statements",
            "would apply `0002_b`: 1 statements"
        ]
    );
    assert!(!place.path("main.db").exists());
}

#[test]
fn an_order_of_an_older_fence_is_refused() {
    let place = Place::sqlite();
    place.scripts(SCRIPTS);
    place.migrator().migrate("0001_a", 7, false).unwrap();
    let error = place.migrator().migrate("0002_b", 6, false).unwrap_err();
    assert!(error.contains("its fence is 6"), "{error}");
    assert_eq!(place.point(), "0001_a");
    place.migrator().migrate("0002_b", 7, false).unwrap();
}

#[test]
fn settings_and_folders_that_cannot_be_used_are_named() {
    for (change, expected) in [
        (json!({ "folder": "nowhere" }), "nowhere"),
        (json!({ "databases": {} }), "`databases` has 0 entries"),
        (
            json!({ "databases": { "a": {} } }),
            "either `url` or `file`",
        ),
        (
            json!({ "databases": { "a": { "file": "a.db" } } }),
            "absolute path",
        ),
        (
            json!({ "databases": { "a": { "url": "mysql://x/y" } } }),
            "postgres://",
        ),
        (
            json!({ "databases": { "a": { "fiel": "x" } } }),
            "databases.a",
        ),
        (json!({ "table": "x; DROP" }), "`table`"),
        (json!({ "lockTimeout": "soon" }), "lockTimeout"),
    ] {
        let mut place = Place::sqlite();
        place.scripts(SCRIPTS);
        for (key, value) in change.as_object().unwrap() {
            place.section()[key] = value.clone();
        }
        let error = place.start("migrate").initialize().unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

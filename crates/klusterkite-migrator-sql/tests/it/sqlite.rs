//! What is SQLite's own.

use crate::fixture::{Moves as _, Place};

#[test]
fn a_script_that_fails_leaves_nothing_of_its_point() {
    let place = Place::sqlite();
    place.scripts(&[
        ("0001_a.up", "CREATE TABLE a (id INTEGER PRIMARY KEY);"),
        (
            "0002_b.up",
            "CREATE TABLE b (id INTEGER);\nINSERT INTO a VALUES (1);\nINSERT INTO a VALUES (1);",
        ),
    ]);
    let error = place.migrate("0002_b").unwrap_err();
    assert!(
        error.contains("`0002_b.up.sql`: UNIQUE constraint"),
        "{error}"
    );
    assert!(error.contains("at `0001_a`"), "{error}");
    assert_eq!(place.point(), "0001_a");
    assert_eq!(
        place.query("SELECT name FROM sqlite_schema WHERE name IN ('a', 'b')"),
        "a"
    );
    place.scripts(&[("0002_b.up", "CREATE TABLE b (id INTEGER);")]);
    place.migrate("0002_b").unwrap();
}

#[test]
fn a_table_that_others_refer_to_can_be_rebuilt() {
    let place = Place::sqlite();
    place.scripts(&[
        (
            "0001_a.up",
            "CREATE TABLE a (id INTEGER PRIMARY KEY);
             CREATE TABLE b (a INTEGER NOT NULL REFERENCES a (id) ON DELETE CASCADE);
             INSERT INTO a VALUES (1);
             INSERT INTO b VALUES (1);",
        ),
        (
            "0002_rebuilt.up",
            "CREATE TABLE new (id INTEGER PRIMARY KEY, name TEXT);
             INSERT INTO new (id) SELECT id FROM a;
             DROP TABLE a;
             ALTER TABLE new RENAME TO a;",
        ),
        ("0003_torn.up", "DELETE FROM a;"),
    ]);
    place.migrate("0002_rebuilt").unwrap();
    assert_eq!(place.query("SELECT CAST(a AS TEXT) FROM b"), "1");
    let error = place.migrate("0003_torn").unwrap_err();
    assert!(
        error.contains("`0003_torn.up.sql` leaves 1 rows"),
        "{error}"
    );
    assert_eq!(place.point(), "0002_rebuilt");
}

#[test]
fn what_cannot_run_in_a_transaction_runs_without_one() {
    let place = Place::sqlite();
    place.scripts(&[
        ("0001_a.up", "CREATE TABLE a (id INTEGER PRIMARY KEY);"),
        ("0002_small.up", "VACUUM;"),
        ("0002_small.down", "-- nothing to take back"),
    ]);
    let error = place.migrate("0002_small").unwrap_err();
    assert!(error.contains("VACUUM"), "{error}");
    let script = "-- klusterkite: no transaction\nVACUUM;";
    place.scripts(&[("0002_small.up", script)]);
    place.migrate("0002_small").unwrap();
    assert_eq!(place.point(), "0002_small");
    place.migrate("0001_a").unwrap();
}

#[test]
fn a_script_without_transaction_that_was_cut_off_runs_again_or_is_taken_back() {
    let place = Place::sqlite();
    let failing = "-- klusterkite: no transaction
CREATE TABLE IF NOT EXISTS b (id INTEGER);
INSERT INTO nowhere VALUES (1);";
    place.scripts(&[
        ("0001_a.up", "CREATE TABLE a (id INTEGER PRIMARY KEY);"),
        ("0002_b.up", failing),
        (
            "0002_b.down",
            "-- klusterkite: no transaction\nDROP TABLE IF EXISTS b;",
        ),
    ]);
    let tables = "SELECT name FROM sqlite_schema WHERE name IN ('a', 'b') ORDER BY name";
    let error = place.migrate("0002_b").unwrap_err();
    assert!(error.contains("`0002_b.up.sql` line 3"), "{error}");
    assert!(error.contains("what it did before stays"), "{error}");
    assert_eq!(place.query(tables), "a;b");
    assert_eq!(place.point(), "0001_a", "the point is not reached");
    // Asked to where it is, the migrator takes back what was begun.
    let mut migrator = place.migrator();
    migrator.migrate("0001_a", 1, false).unwrap();
    assert!(
        migrator.log[0].contains("`0002_b` was begun"),
        "{:?}",
        migrator.log
    );
    assert_eq!(place.query(tables), "a");
    // Repaired, it goes on from wherever it was cut off.
    place.migrate("0002_b").unwrap_err();
    place.scripts(&[("0002_b.up", &failing.replace("nowhere", "b"))]);
    place.migrate("0002_b").unwrap();
    assert_eq!(place.point(), "0002_b");
    assert_eq!(place.query(tables), "a;b");
}

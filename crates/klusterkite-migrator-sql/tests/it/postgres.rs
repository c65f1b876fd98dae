//! What is PostgreSQL's own.

use klusterkite_tests::postgres::{Postgres, Tls};
use klusterkite_tests::process::wait_until;
use klusterkite_tls::testing::{Authority, Ends};
use serde_json::json;
use std::time::Duration;

use crate::fixture::Place;

/// Longest wait for something that takes milliseconds, on a machine that is busy.
const DEADLINE: Duration = Duration::from_mins(1);

fn place(server: &Postgres) -> Place {
    server.sql("postgres", "CREATE DATABASE main").unwrap();
    Place::new(json!({ "url": server.url("postgres", "main") }))
}

#[test]
fn a_script_that_fails_leaves_nothing_of_its_point_and_is_named_with_its_line() {
    let server = Postgres::start().unwrap();
    let place = place(&server);
    place.scripts(&[
        ("0001_a.up", "CREATE TABLE a (id INT PRIMARY KEY);"),
        (
            "0002_b.up",
            "CREATE TABLE b (id INT);\n-- ä\nINSERT INTO nowhere VALUES (1);",
        ),
        ("0002_b.down", "DROP TABLE b;"),
    ]);
    let error = place.migrate("0002_b").unwrap_err();
    assert!(
        error.contains("`0002_b.up.sql` line 3: relation \"nowhere\" does not exist"),
        "{error}"
    );
    assert_eq!(place.point(), "0001_a");
    assert_eq!(
        server
            .sql("main", "SELECT to_regclass('b') IS NULL")
            .unwrap(),
        "t"
    );
    let before = server.schema("main").unwrap();
    place.scripts(&[(
        "0002_b.up",
        "CREATE TABLE b (id INT); INSERT INTO b VALUES (1);",
    )]);
    place.migrate("0002_b").unwrap();
    place.migrate("0001_a").unwrap();
    assert_eq!(server.schema("main").unwrap(), before);
}

#[test]
fn a_script_may_set_its_session_and_does_not_set_that_of_the_next() {
    let server = Postgres::start().unwrap();
    let place = place(&server);
    server.sql("main", "CREATE ROLE other").unwrap();
    place.scripts(&[
        (
            "0001_a.up",
            "SELECT pg_catalog.set_config('search_path', '', false);
             CREATE TABLE public.a (id INT);
             SET ROLE other;",
        ),
        (
            "0002_b.up",
            "CREATE TABLE b AS SELECT current_user::text AS name;",
        ),
    ]);
    place.migrate("0002_b").unwrap();
    assert_eq!(
        server.sql("main", "SELECT name FROM public.b").unwrap(),
        "postgres"
    );
}

#[test]
fn scripts_with_functions_and_quotes_run_as_they_are() {
    let server = Postgres::start().unwrap();
    let place = place(&server);
    place.scripts(&[(
        "0001_a.up",
        "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $body$
         BEGIN
           -- COMMIT;
           RETURN 1;
         END; $body$;
         CREATE FUNCTION g() RETURNS int BEGIN ATOMIC; SELECT 2; END;
         CREATE TABLE t AS SELECT f() + g() AS sum, 'COMMIT; it''s' AS text;",
    )]);
    place.migrate("0001_a").unwrap();
    assert_eq!(
        server.sql("main", "SELECT sum, text FROM t").unwrap(),
        "3|COMMIT; it's"
    );
}

#[test]
fn an_index_can_be_made_concurrently() {
    let server = Postgres::start().unwrap();
    let place = place(&server);
    place.scripts(&[
        (
            "0001_a.up",
            "CREATE TABLE a (id INT); INSERT INTO a VALUES (1), (1);",
        ),
        (
            "0002_i.up",
            "-- klusterkite: no transaction
DROP INDEX CONCURRENTLY IF EXISTS i;
CREATE UNIQUE INDEX CONCURRENTLY i ON a (id);",
        ),
        (
            "0002_i.down",
            "-- klusterkite: no transaction\nDROP INDEX CONCURRENTLY IF EXISTS i;",
        ),
    ]);
    let index = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('i')";
    let error = place.migrate("0002_i").unwrap_err();
    assert!(error.contains("`0002_i.up.sql` line 3"), "{error}");
    assert_eq!(place.point(), "0001_a");
    assert_eq!(
        server.sql("main", index).unwrap(),
        "f",
        "an invalid one is left"
    );
    server.sql("main", "DELETE FROM a").unwrap();
    place.migrate("0002_i").unwrap();
    assert_eq!(server.sql("main", index).unwrap(), "t");
    place.migrate("0001_a").unwrap();
    assert_eq!(server.sql("main", index).unwrap(), "");
}

#[test]
fn two_migrators_do_not_move_one_database_at_once() {
    let server = Postgres::start().unwrap();
    let mut place = place(&server);
    place.section()["lockTimeout"] = json!("500ms");
    place.scripts(&[("0001_a.up", "CREATE TABLE a (id INT);")]);
    let mut other = server
        .session(
            "main",
            "SELECT pg_advisory_lock(hashtextextended('klusterkite \"public\".klusterkite_points', 0));",
        )
        .unwrap();
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted";
    assert!(wait_until(DEADLINE, || server.sql("main", locks).unwrap() == "1"));
    let error = place.migrate("0001_a").unwrap_err();
    assert!(error.contains("another migrator holds the lock"), "{error}");
    drop(other.stdin.take());
    other.wait().unwrap();
    place.migrate("0001_a").unwrap();
}

#[test]
fn a_table_that_is_in_use_is_waited_for_no_longer_than_said() {
    let server = Postgres::start().unwrap();
    let mut place = place(&server);
    place.section()["lockTimeout"] = json!("200ms");
    place.scripts(&[
        ("0001_a.up", "CREATE TABLE a (id INT);"),
        ("0002_b.up", "ALTER TABLE a ADD name TEXT;"),
    ]);
    place.migrate("0001_a").unwrap();
    let mut reader = server.session("main", "BEGIN; SELECT * FROM a;").unwrap();
    let locks = "SELECT count(*) FROM pg_locks WHERE relation = 'a'::regclass AND granted";
    assert!(wait_until(DEADLINE, || server.sql("main", locks).unwrap() == "1"));
    let error = place.migrate("0002_b").unwrap_err();
    assert!(error.contains("lock timeout"), "{error}");
    drop(reader.stdin.take());
    reader.wait().unwrap();
    place.migrate("0002_b").unwrap();
}

#[test]
fn b53_a_database_that_does_not_exist_is_not_created_and_that_is_no_error() {
    let server = Postgres::start().unwrap();
    let place = Place::new(json!({ "url": server.url("postgres", "nowhere") }));
    place.scripts(&[("0001_a.up", "CREATE TABLE a (id INT);")]);
    assert_eq!(place.point(), "-");
    let error = place.migrate("0001_a").unwrap_err();
    assert!(error.contains("its seeder creates it"), "{error}");
}

#[test]
fn a_server_that_is_away_is_an_error_and_not_an_empty_database() {
    let mut server = Postgres::start().unwrap();
    let place = place(&server);
    place.scripts(&[("0001_a.up", "CREATE TABLE a (id INT);")]);
    place.migrate("0001_a").unwrap();
    server.kill().unwrap();
    let error = place.migrator().point("main").unwrap_err();
    assert!(error.contains("cannot connect"), "{error}");
    server.start_again().unwrap();
    assert_eq!(place.point(), "0001_a");
}

#[test]
fn a_password_shows_up_nowhere() {
    let place = Place::new(json!({ "url": "postgres://me:hunter2@127.0.0.1:1/main" }));
    place.scripts(&[("0001_a.up", "CREATE TABLE a (id INT);")]);
    let mut migrator = place.migrator();
    let resources = migrator.call("resources", json!(null)).unwrap().to_string();
    assert!(resources.contains("127.0.0.1"), "{resources}");
    assert!(!resources.contains("hunter2"), "{resources}");
    let error = place.migrate("0001_a").unwrap_err();
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn a_server_that_wants_tls_is_spoken_to_only_when_its_certificate_is_right() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let authority = Authority::new("ours");
    let files = authority.write_identity(path, &["127.0.0.1"], Ends::Late);
    let ours = authority.write(path).display().to_string();
    let other = tempfile::tempdir().unwrap();
    let theirs = Authority::new("theirs")
        .write(other.path())
        .display()
        .to_string();
    let server = Postgres::start_with_tls(Tls {
        certificate: &files.certificate,
        key: &files.key,
    })
    .unwrap();
    let url = |options: &str| server.url_of_tcp("postgres", "postgres") + options;
    let verified = |authority: &str| url(&format!("?sslmode=verify-full&sslrootcert={authority}"));
    for (url, expected) in [
        (verified(&ours), Ok("-")),
        (url("?sslmode=require"), Ok("-")),
        (verified(&theirs), Err("certificate")),
        (url("?sslmode=disable"), Err("no encryption")),
    ] {
        let place = Place::new(json!({ "url": url }));
        place.scripts(&[("0001_a.up", "CREATE TABLE a (id INT);")]);
        let point = place.migrator().point("main");
        match (point.as_deref(), expected) {
            (Ok(point), Ok(expected)) => assert_eq!(point, expected, "{url}"),
            (Err(error), Err(expected)) => assert!(error.contains(expected), "{url}: {error}"),
            (point, _) => panic!("{url}: {point:?}"),
        }
    }
}

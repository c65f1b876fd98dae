//! Seeding: databases and roles that are not there yet.

use klusterkite_tests::postgres::Postgres;
use serde_json::json;

use crate::fixture::Place;

#[test]
fn role_and_database_are_created_once() {
    let server = Postgres::start().unwrap();
    let mut place = Place::new(json!({
        "url": server.url("shop", "shop db"),
        "password": "it's \"odd\"",
        "admin": { "url": server.url("postgres", "postgres") },
    }));
    place.scripts(&[("0001_a.up", "CREATE TABLE a (id INT);")]);
    let error = place.migrator().point("main").unwrap_err();
    assert!(error.contains("role \"shop\" does not exist"), "{error}");
    let seeded = place.seed().unwrap();
    assert_eq!(
        seeded,
        json!({ "changed": true, "message": "created the role `shop`; created the database `shop db` of `shop`" })
    );
    let again = place.seed().unwrap();
    assert_eq!(
        again,
        json!({ "changed": false, "message": "all 1 databases are there" })
    );
    let password = "SELECT rolpassword LIKE 'SCRAM%' FROM pg_authid WHERE rolname = 'shop'";
    assert_eq!(server.sql("postgres", password).unwrap(), "t");
    place.migrate("0001_a").unwrap();
    let owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'a'";
    assert_eq!(server.sql("shop db", owner).unwrap(), "shop");

    // The next run has a second database to make, and leaves the first as it is.
    place.section()["databases"]["other"] = json!({
        "url": server.url("shop", "other"),
        "admin": { "url": server.url("postgres", "postgres") },
    });
    let third = place.seed().unwrap();
    assert_eq!(third["message"], "created the database `other` of `shop`");
}

#[test]
fn an_existing_database_gets_the_records_of_its_baseline_once() {
    let server = Postgres::start().unwrap();
    server.sql("postgres", "CREATE DATABASE old").unwrap();
    server.sql("old", "CREATE TABLE a (id INT)").unwrap();
    let place = Place::new(json!({ "url": server.url("postgres", "old"), "baseline": "0001_a" }));
    place.scripts(&[
        ("0001_a.up", "CREATE TABLE a (id INT);"),
        ("0002_b.up", "CREATE TABLE b (id INT);"),
    ]);
    let seeded = place.seed().unwrap();
    assert_eq!(
        seeded["message"],
        "`main`: recorded its points up to `0001_a` as applied"
    );
    assert_eq!(place.seed().unwrap()["changed"], false);
    place.migrate("0002_b").unwrap();
    assert_eq!(place.seed().unwrap()["changed"], false);
    assert_eq!(place.point(), "0002_b");
}

#[test]
fn a_file_is_made_once() {
    let place = Place::sqlite();
    place.scripts(&[("0001_a.up", "CREATE TABLE a (id INT);")]);
    assert_eq!(place.seed().unwrap()["changed"], true);
    assert_eq!(place.seed().unwrap()["changed"], false);
    assert_eq!(place.point(), "-");
    place.migrate("0001_a").unwrap();
    assert_eq!(place.seed().unwrap()["changed"], false);
}

#[test]
fn a_server_that_is_away_and_what_nobody_may_create_are_errors() {
    let place = Place::new(json!({
        "url": "postgres://me@127.0.0.1:1/main",
        "admin": { "url": "postgres://postgres@127.0.0.1:1/postgres" },
    }));
    place.scripts(&[("0001_a.up", "CREATE TABLE a (id INT);")]);
    let error = place.seed().unwrap_err();
    assert!(error.contains("cannot connect as `admin`"), "{error}");

    let server = Postgres::start().unwrap();
    let mut place = Place::new(json!({ "url": server.url("postgres", "nowhere") }));
    place.scripts(&[("0001_a.up", "CREATE TABLE a (id INT);")]);
    let error = place.seed().unwrap_err();
    assert!(error.contains("there is no `admin`"), "{error}");
    place.section()["databases"]["main"] = json!({
        "url": server.url("nobody", "main"),
        "admin": { "url": server.url("postgres", "postgres") },
    });
    let error = place.seed().unwrap_err();
    assert!(error.contains("no password for it"), "{error}");
}

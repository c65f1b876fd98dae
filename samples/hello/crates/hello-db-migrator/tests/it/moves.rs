//! What happens to the database.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection};

use crate::fixture::{Moves as _, Place, kill};

/// Longest wait for something that takes milliseconds.
const DEADLINE: Duration = Duration::from_mins(1);

/// Runs a query for one column of text.
fn query(database: &Path, sql: &str) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(database);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        let sql = AssertSqlSafe(sql.to_owned());
        let rows = sqlx::query_scalar(sql).fetch_all(&mut connection).await;
        connection.close().await.unwrap();
        rows.unwrap()
    })
}

fn tables(database: &Path) -> Vec<String> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";
    query(database, sql)
}

/// Makes content of other points than the package's.
fn content(place: &Path, points: &[(&str, &str, &str)]) -> PathBuf {
    let directory = place.join("hello-db");
    fs::create_dir_all(&directory).unwrap();
    let names: Vec<&str> = points.iter().map(|(name, ..)| *name).collect();
    let list = serde_json::json!({ "points": names });
    fs::write(directory.join("points.json"), list.to_string()).unwrap();
    for (name, up, down) in points {
        fs::write(directory.join(format!("{name}.up.sql")), up).unwrap();
        fs::write(directory.join(format!("{name}.down.sql")), down).unwrap();
    }
    place.to_owned()
}

#[test]
fn version_1_knows_two_points_and_version_2_three() {
    let place = Place::new();
    for (version, expected) in [
        ("1.0.0", r#"["0001_visitors","0002_greetings"]"#),
        (
            "2.0.0",
            r#"["0001_visitors","0002_greetings","0003_languages"]"#,
        ),
    ] {
        let description = place.start(version).initialize().unwrap();
        assert_eq!(description["points"].to_string(), expected);
        assert_eq!(description["dependencyType"], "codeDependsOnResource");
    }
}

#[test]
fn the_story_forward_and_back() {
    let place = Place::new();
    let database = place.resource();
    let mut first = place.start("1.0.0");
    assert_eq!(first.place(), "-");
    first.migrate("0002_greetings", 1).unwrap();
    assert_eq!(query(&database, "SELECT text FROM greetings"), ["Hello"]);

    let mut second = place.start("2.0.0");
    assert_eq!(second.place(), "0002_greetings");
    second.migrate("0003_languages", 2).unwrap();
    let german = "SELECT text FROM greetings WHERE language = 'de'";
    assert_eq!(query(&database, german), ["Hallo"]);
    // The old version sees that the database is where it cannot take it from.
    assert_eq!(first.place(), "0003_languages");
    let refused = first.migrate("0002_greetings", 3).unwrap_err();
    assert!(
        refused.contains("point `0003_languages` is not one of"),
        "{refused}"
    );

    second.migrate("0002_greetings", 4).unwrap();
    assert_eq!(query(&database, "SELECT text FROM greetings"), ["Hello"]);
    first.migrate("0001_visitors", 5).unwrap();
    assert_eq!(
        tables(&database),
        ["hello_fence", "hello_points", "visitors"]
    );
    assert_eq!(second.place(), "0001_visitors");
}

#[test]
fn a_repeated_move_changes_nothing() {
    let place = Place::new();
    let mut migrator = place.start("2.0.0");
    migrator.migrate("0003_languages", 1).unwrap();
    let steps = migrator.log.len();
    migrator.migrate("0003_languages", 1).unwrap();
    assert_eq!(migrator.log.len(), steps);
    let all = "SELECT text FROM greetings ORDER BY id";
    assert_eq!(query(&place.resource(), all), ["Hello", "Hallo", "Bonjour"]);
}

#[test]
fn b52_a_move_to_a_middle_point_never_runs_later_ones() {
    let place = Place::new();
    let mut migrator = place.start("2.0.0");
    migrator.migrate("0002_greetings", 1).unwrap();
    assert_eq!(
        migrator.log,
        ["apply `0001_visitors`", "apply `0002_greetings`"]
    );
    migrator.migrate("0001_visitors", 2).unwrap();
    assert_eq!(migrator.log[2..], ["take `0002_greetings` back"]);
}

#[test]
fn b53_a_missing_or_empty_database_is_not_created_and_stays_so() {
    let place = Place::new();
    let mut migrator = place.start("2.0.0");
    assert_eq!(migrator.place(), "-");
    assert!(!place.resource().exists());
    let dry = serde_json::json!({
        "resource": "hello-db", "point": "0001_visitors", "fence": 1, "dryRun": true
    });
    migrator.call("migrate", dry).unwrap();
    assert_eq!(migrator.log, ["would apply `0001_visitors`"]);
    assert!(!place.resource().exists());
    fs::write(place.resource(), "").unwrap();
    assert_eq!(migrator.place(), "-");
    migrator.migrate("0001_visitors", 1).unwrap();
    assert_eq!(migrator.place(), "0001_visitors");
}

#[test]
fn an_order_with_an_older_fence_is_refused() {
    let place = Place::new();
    let mut migrator = place.start("2.0.0");
    migrator.migrate("0002_greetings", 7).unwrap();
    let refused = migrator.migrate("0003_languages", 6).unwrap_err();
    assert!(refused.contains("its fence is 6"), "{refused}");
    assert_eq!(migrator.place(), "0002_greetings");
    migrator.migrate("0003_languages", 7).unwrap();
}

#[test]
fn a_step_that_fails_leaves_the_database_at_the_step_before() {
    let place = Place::new();
    let other = tempfile::tempdir().unwrap();
    let points = [
        ("a", "CREATE TABLE one (id INTEGER)", "DROP TABLE one"),
        ("b", "CREATE TABLE two (id INTEGER); SELECT nonsense", ""),
    ];
    let mut migrator = place.start_in(&content(other.path(), &points));
    let failed = migrator.migrate("b", 1).unwrap_err();
    assert!(
        failed.contains("the SQL of Up(Point(\"b\")) failed"),
        "{failed}"
    );
    assert!(failed.contains("nonsense"), "{failed}");
    assert_eq!(migrator.place(), "a");
    let expected = ["hello_fence", "hello_points", "one"];
    assert_eq!(tables(&place.resource()), expected);
}

#[test]
fn a_migrator_that_is_killed_in_the_middle_of_a_step_has_not_done_it() {
    let place = Place::new();
    let other = tempfile::tempdir().unwrap();
    let forever = "
        CREATE TABLE two (id INTEGER);
        WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 100000000000)
        INSERT INTO two SELECT MAX(x) FROM n;";
    let first = ("a", "CREATE TABLE one (id INTEGER)", "DROP TABLE one");
    let slow = [first, ("b", forever, "DROP TABLE two")];
    let mut migrator = place.start_in(&content(other.path(), &slow));
    let process_id = migrator.id();
    std::thread::scope(|scope| {
        let moving = scope.spawn(|| migrator.migrate("b", 1));
        let deadline = Instant::now() + DEADLINE;
        // The first step is committed, so the second one is running.
        let applied = "SELECT point FROM hello_points";
        while !place.resource().exists() || query_points(&place, applied) != ["a"] {
            assert!(Instant::now() < deadline, "the first step does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
        kill(process_id);
        let ended = moving.join().unwrap().unwrap_err();
        assert!(ended.contains("ended before it answered"), "{ended}");
    });
    let fast = [
        first,
        ("b", "CREATE TABLE two (id INTEGER)", "DROP TABLE two"),
    ];
    let mut migrator = place.start_in(&content(other.path(), &fast));
    assert_eq!(migrator.place(), "a");
    assert!(!tables(&place.resource()).contains(&"two".to_owned()));
    migrator.migrate("b", 1).unwrap();
    assert_eq!(migrator.place(), "b");
}

/// Asks for points while the migrator may not have made their table yet.
fn query_points(place: &Place, sql: &str) -> Vec<String> {
    let database = place.resource();
    if !tables(&database).contains(&"hello_points".to_owned()) {
        return Vec::new();
    }
    query(&database, sql)
}

#[test]
fn what_is_wrong_with_the_settings_is_the_answer() {
    let place = Place::new();
    let other = tempfile::tempdir().unwrap();
    let missing = place.start_in(other.path()).initialize().unwrap_err();
    assert!(
        missing.contains("cannot read `hello-db/points.json`"),
        "{missing}"
    );
    let mut content = content(other.path(), &[("a", "", "")]);
    content.push("hello-db/points.json");
    fs::write(&content, "{").unwrap();
    let broken = place.start_in(other.path()).initialize().unwrap_err();
    assert!(broken.contains("cannot parse `points.json`"), "{broken}");
}

#[test]
fn a_database_that_is_none_is_an_error_of_the_resource() {
    let place = Place::new();
    fs::write(
        place.resource(),
        "not a database at all, but long enough".repeat(50),
    )
    .unwrap();
    let mut migrator = place.start("1.0.0");
    migrator.initialize().unwrap();
    let resources = migrator.call("resources", serde_json::Value::Null).unwrap();
    let error = resources[0]["error"].as_str().unwrap();
    assert!(error.contains("not a database"), "{error}");
}

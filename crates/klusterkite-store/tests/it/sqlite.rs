//! SQLite: the contract, and what only a file can do.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use klusterkite_store::{Change, Created, Error, Store};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::TempDir;

use crate::contract::contract;
use crate::samples;

contract! { open_seeded }

async fn open_seeded() -> (Store, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cluster.db");
    assert_eq!(
        Store::create(&path, &samples::seed()).await.unwrap(),
        Created::Seeded
    );
    (Store::open(&path).await.unwrap(), directory)
}

/// Connects as a foreign program does.
async fn foreign(path: &Path) -> SqliteConnection {
    let url = format!("sqlite://{}", path.display());
    SqliteConnectOptions::from_str(&url)
        .unwrap()
        .create_if_missing(true)
        .connect()
        .await
        .unwrap()
}

fn listing(directory: &TempDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory.path()).unwrap();
    let mut names: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().file_name().into())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_second_creation_changes_nothing_even_while_a_manager_runs() {
    let (store, directory) = open_seeded().await;
    let path = store.path().to_owned();
    let before = store.snapshot().await.unwrap();
    let mut other = samples::seed();
    other.users.clear();
    assert_eq!(
        Store::create(&path, &other).await.unwrap(),
        Created::AlreadyThere
    );
    assert!(Store::is_seeded(&path).await.unwrap());
    assert_eq!(store.snapshot().await.unwrap(), before);
    store.close().await.unwrap();
    assert_eq!(
        Store::create(&path, &other).await.unwrap(),
        Created::AlreadyThere
    );
    assert_eq!(
        listing(&directory),
        [
            PathBuf::from("cluster.db"),
            PathBuf::from("cluster.db.lock")
        ]
    );
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_database_that_is_not_there_is_named_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cluster.db");
    assert!(!Store::is_seeded(&path).await.unwrap());
    let error = Store::open(&path).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains(&path.display().to_string()) && text.contains("klusterkite-seeder"),
        "{text}"
    );
    assert!(listing(&directory).is_empty());
}

#[tokio::test]
async fn a_file_that_holds_no_cluster_is_refused_and_kept() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty.db");
    fs::write(&empty, "").unwrap();
    let text = directory.path().join("text.db");
    fs::write(&text, "this is no database. ".repeat(100)).unwrap();
    let foreign_path = directory.path().join("foreign.db");
    let mut connection = foreign(&foreign_path).await;
    sqlx::raw_sql("CREATE TABLE t (a)")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();

    for path in [&empty, &text, &foreign_path] {
        let bytes = fs::read(path).unwrap();
        for error in [
            Store::open(path).await.unwrap_err(),
            Store::create(path, &samples::seed()).await.unwrap_err(),
        ] {
            let expected = matches!(error, Error::NotSeeded { .. }) || path == &text;
            assert!(expected, "{error:?}");
            assert_eq!(
                matches!(error, Error::Corrupt { .. }),
                path == &text,
                "{error:?}"
            );
            assert!(
                error.to_string().contains(&path.display().to_string()),
                "{error}"
            );
        }
        assert_eq!(fs::read(path).unwrap(), bytes);
    }
}

#[tokio::test]
async fn one_store_holds_the_database_at_a_time() {
    let (store, _directory) = open_seeded().await;
    let path = store.path().to_owned();
    let error = Store::open(&path).await.unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error:?}");
    drop(store);
    Store::open(&path).await.unwrap();
}

#[tokio::test]
async fn a_database_that_a_foreign_program_locks_is_named_and_nothing_is_written() {
    let (store, _directory) = open_seeded().await;
    let epoch = store.leader_acquire("test", 1).await.unwrap();
    let mut connection = foreign(store.path()).await;
    sqlx::raw_sql("BEGIN IMMEDIATE")
        .execute(&mut connection)
        .await
        .unwrap();
    let change = [Change::NodePut(samples::node(1))];
    let error = store.commit(epoch, &change).await.unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error:?}");
    sqlx::raw_sql("ROLLBACK")
        .execute(&mut connection)
        .await
        .unwrap();
    assert!(store.snapshot().await.unwrap().nodes.is_empty());
    store.commit(epoch, &change).await.unwrap();
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_named() {
    let (store, _directory) = open_seeded().await;
    let mut connection = foreign(store.path()).await;
    let cases = [
        (
            "UPDATE configurations SET state = 'gone'",
            "row `1` of table `configurations`",
            "`state`",
        ),
        (
            "UPDATE configurations SET state = 'active', settings = '{'",
            "`configurations`",
            "`settings`",
        ),
        (
            "UPDATE configurations SET settings = '{}', created = -1",
            "`configurations`",
            "`created`",
        ),
    ];
    for (sql, table, column) in cases {
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        let error = store.snapshot().await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Row { .. }), "{error:?}");
        assert!(text.contains(table) && text.contains(column), "{text}");
    }
}

#[tokio::test]
async fn a_newer_schema_is_used_as_long_as_it_says_that_it_may_be() {
    let (store, _directory) = open_seeded().await;
    let path = store.path().to_owned();
    store.close().await.unwrap();
    let mut connection = foreign(&path).await;
    let newer = "ALTER TABLE nodes ADD COLUMN zone TEXT; UPDATE store_schema SET version = 3";
    sqlx::raw_sql(newer).execute(&mut connection).await.unwrap();

    let store = Store::open(&path).await.unwrap();
    let epoch = store.leader_acquire("test", 1).await.unwrap();
    store
        .commit(epoch, &[Change::NodePut(samples::node(1))])
        .await
        .unwrap();
    sqlx::raw_sql("UPDATE nodes SET zone = 'b'")
        .execute(&mut connection)
        .await
        .unwrap();
    store
        .commit(epoch, &[Change::NodePut(samples::full_node(1))])
        .await
        .unwrap();
    let kept = "SELECT COUNT(*) FROM nodes WHERE zone = 'b' AND cordoned";
    let kept: i64 = sqlx::query_scalar(kept)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(kept, 1, "an older release loses nothing of a newer one");
    store.close().await.unwrap();

    let incompatible = "UPDATE store_schema SET version = 4, compatible = 3";
    sqlx::raw_sql(incompatible)
        .execute(&mut connection)
        .await
        .unwrap();
    let error = Store::open(&path).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Newer {
                version: 4,
                compatible: 3,
                ours: 2,
                ..
            }
        ),
        "{error:?}"
    );
}

/// The fixture is what schema 1 wrote; it never changes, so that what customers have stays readable.
#[tokio::test]
async fn a_database_of_the_first_schema_is_opened_and_upgraded() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cluster.db");
    let mut connection = foreign(&path).await;
    sqlx::raw_sql(include_str!("fixtures/schema-1.sql"))
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();

    let store = Store::open(&path).await.unwrap();
    let snapshot = store.snapshot().await.unwrap();
    assert_eq!(snapshot.configurations[0].name, "First");
    assert_eq!(
        snapshot.nodes[0].run.as_ref().unwrap().template.as_str(),
        "orders"
    );
    assert_eq!(snapshot.orders.len(), 1);
    assert_eq!(snapshot.migration.unwrap().id, 1);
    assert_eq!(
        (
            snapshot.users.len(),
            snapshot.roles.len(),
            snapshot.clients.len()
        ),
        (1, 1, 1)
    );
    assert_eq!(snapshot.last_configuration_id, 2);
    let epoch = store.leader_acquire("test", 1).await.unwrap();
    assert_eq!(epoch.0, 1_763_826_000_001, "the epoch goes on");
    store
        .commit(epoch, &[Change::NodePut(samples::full_node(3))])
        .await
        .unwrap();
}

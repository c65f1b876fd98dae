//! Migrators that need no code, in a cluster, as `docs/how-to/migrators.md` says; seeders, from packages of a real feed.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use klusterkite_tests::local::LocalCluster;
use klusterkite_tests::postgres::Postgres;
use klusterkite_tests::process::wait_until;
use serde_json::{Value, json};

use crate::support::{TestCluster, programs, repository};

/// Longest wait for a line of a program that is about to write it.
const DEADLINE: Duration = Duration::from_mins(1);

#[test]
fn the_page_about_migrators_works_as_it_is_written() {
    let mut test = TestCluster::start("hello", 2);
    let place = tempfile::tempdir().unwrap();
    symlink(repository().join("packages"), place.path().join("packages")).unwrap();
    fs::create_dir(place.path().join("target")).unwrap();
    symlink(programs(), place.path().join("target/debug")).unwrap();
    let page = fs::read_to_string(repository().join("docs/how-to/migrators.md")).unwrap();
    let output = Command::new("sh")
        .args(["-eu", "-c", &script_of(&page)])
        .current_dir(place.path())
        .envs(test.cluster.environment())
        .output()
        .unwrap();
    let said = both(&output);
    assert!(output.status.success(), "{said}\n{}", test.kept());
    assert!(said.contains("Welcome\n"), "{said}");
    let system = test.cluster.system();
    let read = |name: &str| fs::read_to_string(system.join(name)).unwrap();
    assert_eq!(read("shop-site/current/index.html"), "We open soon\n");
    assert_eq!(read("shop-index"), "v1\n");
    let state = test.operator().get("/cluster/state").unwrap();
    let shop = state["templates"].as_array().unwrap().iter();
    let shop = shop.filter(|template| template["code"] == "shop");
    let migrators = shop.flat_map(|template| template["migrators"].as_array().unwrap().clone());
    let points: Vec<Value> = migrators
        .map(|migrator| migrator["resources"][0]["currentPoint"].clone())
        .collect();
    assert_eq!(
        points,
        ["0001_customers", "0001_opening", "v1"],
        "{state:#}"
    );
    test.cluster.stop().unwrap();
}

/// Returns the commands of a page, those of the fences `sh`.
fn script_of(page: &str) -> String {
    let mut script = String::new();
    let mut is_script = false;
    for line in page.lines() {
        match line {
            "```sh" => is_script = true,
            "```" => is_script = false,
            line if is_script => writeln!(script, "{line}").unwrap(),
            _ => {}
        }
    }
    script
}

#[test]
fn seeders_of_packages_create_what_is_missing_once_and_wait_for_what_is_away() {
    let mut test = TestCluster::start("hello", 1);
    let mut server = Postgres::start().unwrap();
    let cluster = &test.cluster;
    let own = repository().join("packages/KlusterKite.NodeManager.Migrator.Sql");
    cluster.pack_and_push(&own, "0.1.0").unwrap();
    let place = tempfile::tempdir().unwrap();
    package(cluster, place.path());
    let settings = seeder_settings(cluster, &server, place.path());
    let file = place.path().join("seeder.hocon");
    fs::write(&file, settings.to_string()).unwrap();
    let seed = || {
        let mut seeder = Command::new(programs().join("klusterkite-seeder"));
        seeder.arg(&file);
        seeder
    };

    let first = seed().output().unwrap();
    let said = both(&first);
    assert!(first.status.success(), "{said}");
    for expected in [
        "seeder `Shop.Db` changed: created the role `shop`; created the database `shop` of `shop`",
        "seeder `Shop.Other` unchanged: nothing to do",
        "created the cluster in",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert!(!said.contains("secret of shop"), "{said}");
    let owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'shop'";
    assert_eq!(server.sql("postgres", owner).unwrap(), "shop");

    let again = seed().output().unwrap();
    let said = both(&again);
    assert!(again.status.success(), "{said}");
    for expected in [
        "seeder `Shop.Db` unchanged: all 1 databases are there",
        "unchanged: `",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }

    server.sql("postgres", "DROP DATABASE shop").unwrap();
    server.kill().unwrap();
    let log = place.path().join("log");
    let mut waiting = seed()
        .stdout(fs::File::create(&log).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let read = || fs::read_to_string(&log).unwrap();
    let waits = wait_until(DEADLINE, || read().contains("waiting: seeder `Shop.Db`"));
    assert!(waits, "{}", read());
    server.start_again().unwrap();
    assert!(waiting.wait().unwrap().success(), "{}", read());
    assert!(read().contains("created the database `shop`"), "{}", read());
    test.cluster.stop().unwrap();
}

/// Publishes a package with two seeders: the ready-made one, and one in the language of the shell.
fn package(cluster: &LocalCluster, place: &Path) {
    let directory = place.join("package");
    fs::create_dir_all(directory.join("content/shop-db")).unwrap();
    let pack = "id = Shop.Db\ndependencies { \"KlusterKite.NodeManager.Migrator.Sql\" = \"0.1\" }";
    fs::write(directory.join("pack.hocon"), pack).unwrap();
    let manifest = r#"
        migrators { "Shop.Db" { command = [klusterkite-migrator-sql, migrate, Shop.Db] } }
        seeders {
          "Shop.Db" { command = [klusterkite-migrator-sql, seed, Shop.Db] }
          "Shop.Other" { command = [python3, other.py] }
        }
        config { Shop.Db { folder = shop-db } }"#;
    fs::write(directory.join("klusterkite.hocon"), manifest).unwrap();
    let script = directory.join("content/shop-db/0001_a.up.sql");
    fs::write(script, "CREATE TABLE a (id INTEGER PRIMARY KEY);").unwrap();
    let other = r#"
import json
import sys

for line in sys.stdin:
    request = json.loads(line)
    result = {
        "initialize": {"protocol": 1, "name": "other"},
        "seed": {"changed": False, "message": "nothing to do"},
    }.get(request["method"])
    print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}), flush=True)
"#;
    fs::write(directory.join("content/other.py"), other).unwrap();
    cluster.pack_and_push(&directory, "1.0.0").unwrap();
}

/// Returns the settings of a seeder that makes another cluster, with a migrator template more, from the same feed.
fn seeder_settings(cluster: &LocalCluster, server: &Postgres, place: &Path) -> Value {
    let seed = cluster.logs().join("../seed");
    let first = fs::read_to_string(seed.join("settings.json")).unwrap();
    let mut settings: Value = serde_json::from_str(&first).unwrap();
    for (id, version) in [
        ("KlusterKite.NodeManager.Migrator.Sql", "0.1.0"),
        ("Shop.Db", "1.0.0"),
    ] {
        let packages = settings["packages"].as_array_mut().unwrap();
        packages.push(json!({ "id": id, "version": version }));
    }
    let template = json!({
        "KlusterKite": { "NodeManager": { "Migrators": ["Shop.Db"] } },
        "Shop": { "Db": { "databases": { "main": {
            "url": server.url("shop", "shop"), "password": "secret of shop",
        } } } },
    });
    let templates = settings["migratorTemplates"].as_array_mut().unwrap();
    templates.push(json!({
        "code": "shop", "name": "Shop", "priority": 2, "configuration": template.to_string(),
        "packageRequirements": [{ "id": "Shop.Db" }],
    }));
    let admin = json!({ "admin": { "url": server.url("postgres", "postgres") } });
    json!({
        "database": place.join("other.db"),
        "settings": settings,
        "feedCredentialFile": seed.join("../feed/reader.json"),
        "credentialsFile": place.join("credentials.json"),
        "clients": ["manager", "worker"],
        "wait": "2m",
        "seeders": [{
            "migratorTemplate": "shop",
            "run": ["Shop.Db", "Shop.Other"],
            "settings": { "Shop": { "Db": { "databases": { "main": admin } } } },
        }],
    })
}

fn both(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

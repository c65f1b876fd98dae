use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::{PasswordVerifier as _, phc::PasswordHash};
use klusterkite_core::configuration::ConfigurationState;
use klusterkite_store::{Snapshot, Store};
use klusterkite_tests::disk::SmallDisk;
use klusterkite_wire::start::StartConfiguration;
use serde_json::{Value, json};

use crate::cluster::{Cluster, feed, index_url, stderr, stdout};

fn snapshot(cluster: &Cluster) -> Snapshot {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = Store::open(&cluster.path("cluster.db")).await.unwrap();
        let snapshot = store.snapshot().await.unwrap();
        store.close().await.unwrap();
        snapshot
    })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn a_cluster_is_created_once() {
    let (cluster, feed) = (Cluster::new(), feed(|_| false));
    let mut seeder = cluster.seeder(&index_url(&feed), |_| ());
    let first = seeder.output().unwrap();
    assert!(first.status.success(), "{}", stderr(&first));
    assert!(
        stdout(&first).starts_with("created the cluster in "),
        "{}",
        stdout(&first)
    );

    let credentials = cluster.credentials();
    let snapshot = snapshot(&cluster);
    let configuration = &snapshot.configurations[0];
    assert_eq!(
        (configuration.id.0, configuration.state),
        (1, ConfigurationState::Active)
    );
    assert!(configuration.started.is_some());
    let packages = configuration.settings.packages.iter();
    let versions: Vec<_> = packages.map(|pin| pin.version.as_str()).collect();
    assert_eq!(versions, ["1.0.0", "2.0.0", "2.0.0"]);
    let frozen = configuration.frozen.as_ref().unwrap();
    assert_eq!(frozen.node_templates.len(), 2);

    for (name, role) in [("admin", "Admin"), ("guest", "Guest")] {
        let user = snapshot
            .users
            .iter()
            .find(|user| user.login == name)
            .unwrap();
        assert_eq!(user.roles, [role]);
        let hash = PasswordHash::new(&user.password_hash).unwrap();
        let password = text(&credentials[name]["password"]);
        assert_eq!(password.len(), 64, "256 random bits");
        Argon2::default()
            .verify_password(password.as_bytes(), &hash)
            .unwrap();
    }
    let admin = snapshot
        .roles
        .iter()
        .find(|role| role.name == "Admin")
        .unwrap();
    assert!(admin.allowed.contains(&"MigrateCluster".to_owned()));
    assert!(!admin.allowed.contains(&"GetConfiguration".to_owned()));
    let guest = snapshot
        .roles
        .iter()
        .find(|role| role.name == "Guest")
        .unwrap();
    assert_eq!(guest.allowed.len(), 3);
    let clients: Vec<_> = snapshot
        .clients
        .iter()
        .map(|client| client.id.as_str())
        .collect();
    assert_eq!(clients, ["launcher-manager", "launcher-worker"]);
    assert_eq!(credentials["clients"]["worker"]["id"], "launcher-worker");

    let fallback = fs::read(cluster.path("seed/fallback/clusterManager.linux-x64.json")).unwrap();
    let fallback: StartConfiguration = serde_json::from_slice(&fallback).unwrap();
    assert_eq!(
        (fallback.configuration_id.0, fallback.packages.len()),
        (1, 2)
    );
    assert!(fallback.node_token.is_none());

    let output = stdout(&first) + &stderr(&first);
    for name in ["admin", "guest"] {
        assert!(!output.contains(text(&credentials[name]["password"])));
    }

    drop(feed);
    let before = cluster.files();
    let second = seeder.output().unwrap();
    assert!(
        second.status.success(),
        "the feed is not needed any more: {}",
        stderr(&second)
    );
    assert!(
        stdout(&second).starts_with("unchanged"),
        "{}",
        stdout(&second)
    );
    assert_eq!(cluster.files(), before);
}

#[test]
fn feed_and_packages_are_waited_for_by_name() {
    let calls = AtomicU32::new(0);
    let cluster = Cluster::new();
    // First the whole feed is missing, then one package.
    let feed = feed(move |request| {
        let call = calls.fetch_add(1, Ordering::SeqCst);
        call == 0 || call < 8 && request.target.contains("/facts/hello/")
    });
    let output = cluster.seeder(&index_url(&feed), |_| ()).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let lines = stdout(&output);
    let feed_missing = "waiting: package `KlusterKite.NodeManager` cannot be looked up";
    assert!(lines.contains(feed_missing), "{lines}");
    assert!(
        lines.contains("waiting: package `Hello 2.0.0` is not in the feed `http://"),
        "{lines}"
    );
    assert!(lines.contains("created"), "{lines}");
}

#[test]
fn waiting_ends_when_the_settings_say_so() {
    let cluster = Cluster::new();
    let feed = feed(|request| request.target.contains("/facts/hello/"));
    let mut seeder = cluster.seeder(&index_url(&feed), |settings| settings["wait"] = json!("1s"));
    let output = seeder.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = stderr(&output);
    let expected = "gave up after 1 seconds: package `Hello 2.0.0` is not in the feed";
    assert!(error.contains(expected), "{error}");
    assert_eq!(cluster.files().len(), 1, "only the settings are there");
}

#[test]
fn a_full_disk_is_named_and_the_next_run_finishes_the_work() {
    let feed = feed(|_| false);
    // The disk of the database, and that of the credentials and fallback files.
    for full in ["data", "seed"] {
        let cluster = Cluster::new();
        let directory = cluster.path(full);
        fs::create_dir(&directory).unwrap();
        let Some(_mount) = SmallDisk::mount(&directory, 1) else {
            return;
        };
        let filler = directory.join("filler");
        let _ = fs::write(&filler, vec![0; 2 << 20]);
        let database = cluster.path("data/cluster.db");
        fs::create_dir_all(cluster.path("data")).unwrap();
        let mut seeder = cluster.seeder(&index_url(&feed), |settings| {
            settings["database"] = json!(database);
        });
        let output = seeder.output().unwrap();
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{full}: {text}");
        assert!(text.contains(directory.to_str().unwrap()), "{full}: {text}");
        assert!(
            text.contains("full") || text.contains("No space left"),
            "{full}: {text}"
        );
        assert!(!database.exists(), "{full}");
        fs::remove_file(&filler).unwrap();
        let output = seeder.output().unwrap();
        assert!(output.status.success(), "{full}: {}", stderr(&output));
        assert!(database.exists());
        cluster.credentials();
    }
}

#[test]
fn settings_files_of_any_bytes_are_named_and_end_with_2() {
    let directory = tempfile::tempdir().unwrap();
    let deep = "{a:".repeat(100_000);
    let texts: [&[u8]; 5] = [
        b"",
        b"\xff\xfe\x00",
        b"database = \"",
        deep.as_bytes(),
        b"{} {}",
    ];
    let mut paths = vec!["/dev/zero".to_owned(), "/nowhere/seeder.hocon".to_owned()];
    for (index, text) in texts.into_iter().enumerate() {
        let path = directory.path().join(format!("{index}.hocon"));
        fs::write(&path, text).unwrap();
        paths.push(path.display().to_string());
    }
    for path in paths {
        let output = Command::new(env!("CARGO_BIN_EXE_klusterkite-seeder"))
            .arg(&path)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{path}: {text}");
        assert!(text.contains(&path), "{path}: {text}");
        assert!(!text.contains("panicked"), "{text}");
    }
}

#[test]
fn settings_that_cannot_be_used_are_named_and_end_with_2() {
    type Change = fn(&mut Value);
    let cases: &[(Change, &str)] = &[
        (|s| s["database"] = json!("cluster.db"), "absolute path"),
        (|s| s["databse"] = json!("x"), "databse"),
        (|s| s["clients"] = json!([]), "`clients` is empty"),
        (|s| s["clients"] = json!(["a/b"]), "clients"),
        (|s| s["settingsFile"] = json!("x.json"), "`settingsFile`"),
        (|s| s["settings"] = json!(null), "`settings`"),
        (
            |s| s["feed"] = json!("ftp://f/v3/index.json"),
            "has to start with `http://` or `https://`",
        ),
        (
            |s| s["tls"] = json!({ "ca": "/none/ca.pem" }),
            "/none/ca.pem",
        ),
        (
            |s| s["settings"]["nodeTemplates"][1]["minimum"] = json!(1),
            "nodeTemplates.1.minimum",
        ),
        (
            |s| s["settings"]["packages"][0]["version"] = json!(""),
            "has no version",
        ),
        (
            |s| s["users"] = json!({ "admin": { "password": "short" } }),
            "at least 12",
        ),
        (
            |s| s["users"] = json!({ "admin": { "login": "guest" } }),
            "same login",
        ),
        (
            |s| s["users"] = json!({ "admin": { "passwordFile": "none" } }),
            "none",
        ),
        (
            |s| s["feedCredentialFile"] = json!("/none/key.json"),
            "/none/key.json",
        ),
        (
            |s| s["fallbackDirectory"] = json!(null),
            "fallbackDirectory",
        ),
        (|s| s["wait"] = json!("soon"), "wait"),
        (
            |s| s["seeders"] = json!([{ "migratorTemplate": "db", "run": ["x"] }]),
            "the migrator template `db`, which the configuration does not have",
        ),
        (
            |s| s["seeders"] = json!([{ "run": ["x"] }]),
            "migratorTemplate",
        ),
    ];
    let feed = feed(|_| false);
    for (change, expected) in cases {
        let cluster = Cluster::new();
        let output = cluster.seeder(&index_url(&feed), change).output().unwrap();
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{expected}: {error}");
        assert!(error.contains(expected), "{expected}: {error}");
        assert_eq!(cluster.files().len(), 1, "{expected}");
    }
    assert!(feed.requests().is_empty());
}

#[test]
fn a_configuration_that_does_not_pass_the_check_is_explained_and_nothing_is_written() {
    let (cluster, feed) = (Cluster::new(), feed(|_| false));
    let mut seeder = cluster.seeder(&index_url(&feed), |settings| {
        settings["settings"]["nodeTemplates"][0]["maximumNeededInstances"] = json!(2);
        settings["settings"]["nodeTemplates"][1]["containerTypes"] = json!([]);
    });
    let output = seeder.output().unwrap();
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.contains("\n  nodeTemplates[\"clusterManager\"]"),
        "{error}"
    );
    assert!(error.contains("\n  nodeTemplates[\"hello\"]"), "{error}");
    assert_eq!(cluster.files().len(), 1);
}

#[test]
fn credentials_come_from_settings_files_and_the_environment() {
    let (cluster, feed) = (Cluster::new(), feed(|_| false));
    fs::write(cluster.path("worker.secret"), "a secret of the worker\n").unwrap();
    let mut seeder = cluster.seeder(&index_url(&feed), |settings| {
        settings["users"] =
            json!({ "admin": { "login": "root", "password": "from the settings" } });
        settings["clients"] =
            json!({ "worker": { "id": "w", "secretFile": "worker.secret" }, "manager": {} });
    });
    seeder.env("KLUSTERKITE_SEEDER_ADMIN_PASSWORD", "from the environment");
    let elsewhere = cluster.path("elsewhere.json");
    seeder.env("KLUSTERKITE_SEEDER_CREDENTIALS_FILE", &elsewhere);
    let output = seeder.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let credentials: Value = serde_json::from_slice(&fs::read(elsewhere).unwrap()).unwrap();
    let admin = json!({ "login": "root", "password": "from the environment" });
    assert_eq!(credentials["admin"], admin);
    let worker = json!({ "id": "w", "secret": "a secret of the worker" });
    assert_eq!(credentials["clients"]["worker"], worker);
    assert_eq!(credentials["clients"]["manager"]["id"], "launcher-manager");
}

#[test]
fn a_foreign_file_is_never_overwritten() {
    let (cluster, feed) = (Cluster::new(), feed(|_| false));
    fs::write(cluster.path("cluster.db"), "my diary").unwrap();
    let mut seeder = cluster.seeder(&index_url(&feed), |_| ());
    let output = seeder.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_eq!(fs::read(cluster.path("cluster.db")).unwrap(), b"my diary");

    fs::remove_file(cluster.path("cluster.db")).unwrap();
    fs::create_dir(cluster.path("seed")).unwrap();
    fs::write(cluster.path("seed/credentials.json"), "my passwords").unwrap();
    let output = seeder.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("seed/credentials.json"),
        "{}",
        stderr(&output)
    );
    assert_eq!(
        fs::read(cluster.path("seed/credentials.json")).unwrap(),
        b"my passwords"
    );
}

#[test]
fn a_killed_seeder_starts_over_with_the_credentials_that_it_had_handed_out() {
    let feed = feed(|_| false);
    for round in 0..24 {
        let cluster = Cluster::new();
        let mut seeder = cluster.seeder(&index_url(&feed), |_| ());
        let mut child = seeder.stdout(Stdio::null()).spawn().unwrap();
        // The moment of the kill is the subject of the test, not a way to wait.
        std::thread::sleep(Duration::from_millis(5) * round);
        child.kill().unwrap();
        child.wait().unwrap();

        let is_there = cluster.path("seed/credentials.json").exists();
        let handed_out = is_there.then(|| cluster.credentials());
        let was_seeded = cluster.path("cluster.db").exists();
        assert!(
            handed_out.is_some() || !was_seeded,
            "a visible database has credentials"
        );
        let output = seeder.stdout(Stdio::piped()).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(stdout(&output).starts_with("unchanged"), was_seeded);
        if let Some(handed_out) = handed_out {
            assert_eq!(cluster.credentials(), handed_out);
        }
        assert_eq!(snapshot(&cluster).users.len(), 2);
    }
}

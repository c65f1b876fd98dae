use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use klusterkite_node::program::members_at;
use klusterkite_wire::socket::HostMessage;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::bench::{NODE_ID, ServiceDirectory};

#[tokio::test]
async fn processes_get_the_settings_and_know_their_node() {
    let directory = ServiceDirectory::new(&json!({
        "a": { "command": ["a", "x y"], "env": { "COLOUR": "blue" } },
    }));
    directory.write("service.hocon", r#"{ "Acme": { "port": 8081 } }"#);
    directory.script(
        "a",
        r#"pwd > out; echo "$1" >> out; env >> out; cp "$KLUSTERKITE_CONFIG" copy; echo end >> out; exec sleep 1000"#,
    );
    let mut host = directory.host();
    crate::bench::until(|| directory.read("out").ends_with("end\n")).await;
    let out = directory.read("out");
    let path = directory.path.display();
    for line in [
        &format!("{path}"),
        "x y",
        "COLOUR=blue",
        &format!("KLUSTERKITE_CONFIG={path}/settings.json"),
        &format!("KLUSTERKITE_CONFIG_HOCON={path}/settings.hocon"),
        &format!("KLUSTERKITE_NODE_ID={NODE_ID}"),
        "KLUSTERKITE_TEMPLATE=orders",
        "KLUSTERKITE_CONFIGURATION_ID=7",
        "KLUSTERKITE_CONTAINER_TYPE=worker",
        "KLUSTERKITE_SEEDS=10.0.0.5:3090,10.0.0.6:3090",
        &format!("KLUSTERKITE_DATA={path}/../data"),
        &format!("KLUSTERKITE_SOCKET={path}/members.sock"),
        &format!("NOTIFY_SOCKET={path}/notify-0.sock"),
    ] {
        assert!(out.lines().any(|found| found == line), "{line} in {out}");
    }
    let settings: Value = serde_json::from_str(&directory.read("copy")).unwrap();
    assert_eq!(
        settings["Acme"],
        json!({ "greeting": "hello", "port": 8081 })
    );
    assert!(!directory.read("settings.hocon").is_empty());
    for name in ["settings.json", "settings.hocon"] {
        let metadata = fs::metadata(directory.path.join(name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
    }
    host.signal(Signal::TERM);
    assert_eq!(host.end().await.0, 0);
}

#[tokio::test]
async fn a_wrong_service_directory_is_named_and_ends_the_host_with_78() {
    let cases = [
        (
            "packages/Acme.Orders/klusterkite.hocon",
            "roles = [",
            "Acme.Orders",
        ),
        (
            "packages/Acme.Orders/klusterkite.hocon",
            r#"{"processes":{"a":{"command":7}}}"#,
            "Acme.Orders",
        ),
        ("service.hocon", "a = ${nowhere}", "nowhere"),
        ("service.hocon", "{", "settings are wrong"),
        (
            "start.hocon",
            "{}",
            "`KlusterKite.NodeManager.NodeId` is missing",
        ),
        ("release.json", "{}", "release.json"),
    ];
    for (name, text, expected) in cases {
        let directory = ServiceDirectory::new(&json!({}));
        directory.write(name, text);
        let (code, err) = directory.host().end().await;
        assert_eq!(code, 78, "{name}: {err}");
        assert!(err.contains(expected), "{expected} in {err}");
    }
    let directory = ServiceDirectory::new(&json!({}));
    fs::remove_file(directory.path.join("start.hocon")).unwrap();
    let (code, err) = directory.host().end().await;
    assert_eq!(code, 78, "{err}");
    assert!(err.contains("start.hocon"), "{err}");
}

#[test]
fn a_host_takes_no_arguments_and_says_so() {
    let output = Command::new(env!("CARGO_BIN_EXE_klusterkite-service"))
        .arg("--check")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("usage: klusterkite-service"), "{text}");
}

#[tokio::test]
async fn settings_of_any_bytes_and_size_end_the_host_with_78_and_no_panic() {
    let deep = "{a:".repeat(100_000);
    let large = " ".repeat(5 << 20);
    let files = [
        "service.hocon",
        "start.hocon",
        "release.json",
        "packages/Acme.Orders/klusterkite.hocon",
    ];
    for name in files {
        for text in [deep.as_str(), large.as_str(), "\u{0}\u{1}\u{fffd}}]"] {
            let directory = ServiceDirectory::new(&json!({}));
            directory.write(name, text);
            let (code, err) = directory.host().end().await;
            assert_eq!(code, 78, "{name}: {err}");
            assert!(!err.contains("panicked"), "{name}: {err}");
        }
        let directory = ServiceDirectory::new(&json!({}));
        directory.write(name, "x");
        fs::write(directory.path.join(name), [0xff, 0xfe, 0x00]).unwrap();
        let (code, err) = directory.host().end().await;
        assert_eq!(code, 78, "{name}: {err}");
        assert!(err.contains(name), "{name}: {err}");
    }
}

#[tokio::test]
async fn a_command_that_cannot_be_started_is_named() {
    let cases = [
        (json!(["no-such-program"]), "no-such-program"),
        (json!(["data.txt"]), "data.txt` is not executable"),
    ];
    for (command, expected) in cases {
        let directory = ServiceDirectory::new(&json!({ "a": { "command": command } }));
        directory.write("data.txt", "x");
        let (code, err) = directory.host().end().await;
        assert_eq!(code, 1, "{err}");
        assert!(err.contains(expected), "{expected} in {err}");
        assert!(
            err.contains("process `a` ended (could not be started"),
            "{err}"
        );
    }
}

#[tokio::test]
async fn a_very_long_service_directory_works_too() {
    let name = format!("{}/{}", "d".repeat(100), "e".repeat(100));
    let directory = ServiceDirectory::at(
        &name,
        &json!({ "a": { "command": ["a"], "readiness": { "notify": true } } }),
    );
    directory.script(
        "a",
        "python3 -c 'import os, socket\n\
         notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
         notify.sendto(b\"READY=1\", os.environ[\"NOTIFY_SOCKET\"])'\n\
         echo $KLUSTERKITE_SOCKET > socket; exec sleep 1000",
    );
    let launcher = directory.launcher();
    let mut host = directory.host();
    let mut socket = launcher.accept().await;
    assert_eq!(socket.next().await, HostMessage::Ready);
    let path = directory.wait_for("socket").await;
    let path = path.trim().to_owned();
    assert!(path.len() <= 107, "{path}");
    let answer = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || members_at(Path::new(&path), None)).await
    };
    assert!(answer.unwrap().unwrap().members.is_empty());
    host.signal(Signal::TERM);
    assert_eq!(host.end().await.0, 0);
    assert!(!Path::new(&path).exists());
}

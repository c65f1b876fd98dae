//! The migrator's protocol against lines that nobody should send.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// Sends lines to the migrator and returns its answers, without the texts of errors.
fn answers(lines: &[&str]) -> Vec<Value> {
    let directory = tempfile::tempdir().unwrap();
    let settings = directory.path().join("settings.json");
    let clock = json!({ "Clock": { "State": directory.path().join("clock.json") } });
    std::fs::write(&settings, clock.to_string()).unwrap();
    let mut child = Command::new("python3")
        .arg("clock_migrator.py")
        .current_dir(crate::content("Clock.Migrator", "2.0.0"))
        .env("KLUSTERKITE_CONFIG", &settings)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(lines.join("\n").as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let output = String::from_utf8(output.stdout).unwrap();
    output
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn every_bad_line_is_one_error_and_the_next_is_answered() {
    let deep = "[".repeat(100_000);
    let lines = [
        "garbage",
        "[]",
        "7",
        &deep,
        r#"{"jsonrpc":"2.0","id":1}"#,
        r#"{"jsonrpc":"2.0","id":2,"method":"drop"}"#,
        r#"{"jsonrpc":"2.0","id":3,"method":"initialize","params":{"protocol":2}}"#,
        r#"{"jsonrpc":"2.0","id":4,"method":"currentPoint","params":{"resource":"nobody"}}"#,
        r#"{"jsonrpc":"2.0","id":5,"method":"migrate","params":{"resource":"clock-state","point":"x","fence":1}}"#,
        r#"{"jsonrpc":"2.0","id":6,"method":"migrate","params":[]}"#,
        r#"{"jsonrpc":"2.0","method":"note"}"#,
    ];
    let mut all = lines.to_vec();
    all.push(r#"{"jsonrpc":"2.0","id":9,"method":"resources"}"#);
    let answers = answers(&all);
    assert_eq!(answers.len(), lines.len());
    let (last, errors) = answers.split_last().unwrap();
    for error in errors {
        assert!(error["error"]["message"].is_string(), "{error}");
        assert!(error["error"]["code"].is_i64(), "{error}");
    }
    assert_eq!(last["result"][0]["code"], "clock-state");
    assert_eq!(last["result"][0]["currentPoint"], Value::Null);
}

#[test]
fn shutdown_is_answered_and_ends_it() {
    let lines = [
        r#"{"jsonrpc":"2.0","id":1,"method":"shutdown"}"#,
        r#"{"jsonrpc":"2.0","id":2,"method":"resources"}"#,
    ];
    assert_eq!(
        answers(&lines),
        [json!({ "jsonrpc": "2.0", "id": 1, "result": null })]
    );
}

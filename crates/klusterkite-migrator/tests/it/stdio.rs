//! The `main` helper, in a process of its own: this test binary again, told to be a migrator.

use std::io::Write;
use std::process::{Command, Stdio};

use klusterkite_migrator::stdio::run_migrator;

use crate::fixture::Memory;

const AS_MIGRATOR: &str = "KLUSTERKITE_TEST_AS_MIGRATOR";

#[test]
fn what_a_migrator_prints_becomes_a_log_line_and_not_a_broken_message() {
    if std::env::var_os(AS_MIGRATOR).is_some() {
        let code = run_migrator(Ok::<_, std::io::Error>(Memory::with(&["db", "panics"])));
        std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
    }
    let name = "stdio::what_a_migrator_prints_becomes_a_log_line_and_not_a_broken_message";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", name])
        .env(AS_MIGRATOR, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let requests = [
        r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocol":1}}"#,
        r#"{"jsonrpc":"2.0","id":2,"method":"migrate","params":{"resource":"db","point":"p2","fence":7}}"#,
        r#"{"jsonrpc":"2.0","id":3,"method":"currentPoint","params":{"resource":"panics"}}"#,
    ];
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(requests.join("\n").as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let messages: Vec<&str> = stdout
        .lines()
        .filter(|line| line.starts_with('{'))
        .collect();
    assert_eq!(messages.len(), 7, "{stdout}");
    assert!(!stdout.contains("stray"), "{stdout}");
    assert!(!stdout.contains("panicked at"), "{stdout}");
    assert!(stderr.contains("a stray line of fence 7"), "{stderr}");
    assert!(stderr.contains("panicked at"), "{stderr}");
    assert_eq!(output.status.code(), Some(1));
}

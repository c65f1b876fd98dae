//! However the executor ends, nothing of it is left.

use serde_json::Value;

use crate::fixture::{PATIENT, Place, hanging, runs, signal, start_raw, wait_until};

const MOVE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"migrate","params":{"migrator":"hang-migrate","resource":"db","point":"p1","fence":1}}"#;

#[test]
fn b23_nothing_is_left_when_stdin_closes_in_the_middle_of_a_move() {
    let place = Place::new(&["hang-migrate"], PATIENT);
    let (mut executor, stdin) = start_raw(&place, &format!("{MOVE}\n"));
    let left = hanging(&place, "hang-migrate");
    drop(stdin);
    assert_eq!(executor.wait().unwrap().code(), Some(0));
    for process_id in left {
        wait_until("it is left behind", || !runs(process_id));
    }
    let journal = place.journal();
    assert_eq!(journal.len(), 1);
    assert_eq!(journal[0]["event"], "started");
}

#[test]
fn nothing_is_left_when_the_executor_is_killed_or_terminated() {
    for name in ["KILL", "TERM"] {
        let place = Place::new(&["hang-migrate"], PATIENT);
        let (mut executor, _stdin) = start_raw(&place, &format!("{MOVE}\n"));
        let left = hanging(&place, "hang-migrate");
        signal(executor.id(), name);
        executor.wait().unwrap();
        for process_id in left {
            wait_until("it is left behind", || !runs(process_id));
        }
    }
}

#[test]
fn a_child_in_a_session_of_its_own_ends_with_its_migrator() {
    // Ended by a limit, by itself, and because it was asked and answered.
    for (fault, arguments) in [
        ("escape-hang", "CallTimeout = 3s, MigrateTimeout = 3s"),
        ("escape-crash", PATIENT),
        ("escape", PATIENT),
    ] {
        let place = Place::new(&[fault], arguments);
        let mut executor = place.start();
        let moved = executor.migrate(fault, "p1", 1);
        assert_eq!(moved.is_ok(), fault == "escape", "{moved:?}");
        for process_id in hanging(&place, fault) {
            assert!(
                !runs(process_id),
                "{fault}: {process_id} runs after the move"
            );
        }
    }
}

#[test]
fn it_ends_when_stdin_closes_while_nothing_is_to_do() {
    let place = Place::new(&["good"], PATIENT);
    assert_eq!(place.start().close(), Some(0));
    let mut executor = place.start();
    executor.describe();
    assert_eq!(executor.close(), Some(0));
}

#[test]
fn it_ends_when_stdin_closes_although_nobody_reads_its_answers() {
    let place = Place::new(&["babble"], &format!("{PATIENT}, OutputLimit = 3MiB"));
    let describe = r#"{"jsonrpc":"2.0","id":1,"method":"describe"}"#;
    let (mut executor, stdin) = start_raw(&place, &format!("{describe}\n"));
    wait_until("nothing is started", || !children(executor.id()).is_empty());
    wait_until("babble goes on", || children(executor.id()).is_empty());
    drop(stdin);
    assert_eq!(executor.wait().unwrap().code(), Some(0));
}

#[test]
fn shutdown_lets_the_migrators_end_by_themselves() {
    let place = Place::new(&["good"], PATIENT);
    let mut executor = place.start();
    executor.describe();
    assert_eq!(executor.call("shutdown", Value::Null).unwrap(), Value::Null);
    assert_eq!(executor.wait(), Some(0));
    assert!(place.data().join("good.shutdown").exists());
}

#[test]
fn a_migrator_that_is_killed_between_two_calls_is_started_again() {
    let place = Place::new(&["good"], PATIENT);
    let mut executor = place.start();
    executor.migrate("good", "p2", 1).unwrap();
    assert_eq!(executor.current_point("good").unwrap(), "p2");
    let guard = children(executor.process_id());
    let migrator = children(guard[0]);
    signal(migrator[0], "KILL");
    wait_until("it is not killed", || !runs(guard[0]));
    assert_eq!(executor.current_point("good").unwrap(), "p2");
}

fn children(process_id: u32) -> Vec<u32> {
    let path = format!("/proc/{process_id}/task/{process_id}/children");
    let text = std::fs::read_to_string(path).unwrap();
    let children = text.split_whitespace();
    children.map(|id| id.parse().unwrap()).collect()
}

#[test]
fn arguments_are_refused_with_the_usage() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_klusterkite-executor"))
        .arg("--help")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .starts_with("usage: ")
    );
}

//! Moving: one at a time, journalled, verified.

use std::fs::{self, File};

use klusterkite_tests::disk::SmallDisk;
use serde_json::json;

use crate::fixture::{PATIENT, Place, hanging, runs, signal, start_raw, wait_until};

#[test]
fn a_move_passes_log_and_progress_and_is_journalled() {
    let place = Place::new(&["good"], PATIENT);
    let mut executor = place.start();
    let moved = executor.migrate("good", "p3", 5).unwrap();
    assert_eq!(moved, json!({ "point": "p3" }));
    assert_eq!(executor.log, ["info: going from None to p3 with fence 5"]);
    assert_eq!(executor.progress, ["1/2"]);
    executor.migrate("good", "p1", 6).unwrap();
    assert_eq!(fs::read_to_string(place.state("good")).unwrap(), "p1");
    let record = |event: &str, from: Option<&str>, to: &str, fence: u64| {
        let mut record = json!({ "event": event, "migrator": "good", "resource": "db" });
        if let Some(from) = from {
            record["from"] = json!(from);
        }
        record["to"] = json!(to);
        record["fence"] = json!(fence);
        record
    };
    assert_eq!(
        place.journal(),
        [
            record("started", None, "p3", 5),
            record("finished", None, "p3", 5),
            record("started", Some("p3"), "p1", 6),
            record("finished", Some("p3"), "p1", 6),
        ]
    );
}

#[test]
fn a_dry_run_moves_nothing_and_needs_no_lock() {
    let place = Place::new(&["good"], PATIENT);
    let held = File::create(place.lock_file()).unwrap();
    held.lock().unwrap();
    let params = json!({
        "migrator": "good", "resource": "db", "point": "p2", "fence": 1, "dryRun": true
    });
    let mut executor = place.start();
    executor.call("migrate", params).unwrap();
    assert_eq!(executor.log, ["info: would go from None to p2"]);
    assert!(!place.state("good").exists());
}

#[test]
fn a_failed_move_names_migrator_resource_and_point_and_is_journalled() {
    for (fault, expected) in [
        (
            "refuse",
            "migrator `refuse` failed `migrate`: not on a Sunday",
        ),
        (
            "crash-migrate",
            "`crash-migrate` ended (exit code 4) before it answered `migrate`, its log ends with `Traceback: the disk is full`",
        ),
        (
            "other-point",
            "migrator `other-point` answers that the resource is at `p1`",
        ),
        (
            "lies",
            "migrator `lies` shows after the move that the resource is not created",
        ),
        (
            "hang-migrate",
            "`hang-migrate` did not answer `migrate` within 2 s and was killed",
        ),
    ] {
        let place = Place::new(&[fault, "good"], &format!("{PATIENT}, MigrateTimeout = 2s"));
        let mut executor = place.start();
        let error = executor.migrate(fault, "p2", 1).unwrap_err();
        let named = format!("cannot move resource `db` of migrator `{fault}` to `p2`: ");
        assert!(error.starts_with(&named), "{error}");
        assert!(error.contains(expected), "{error}");
        let journal = place.journal();
        assert_eq!(journal.len(), 2, "{journal:?}");
        let told = journal[1]["error"].as_str().unwrap();
        assert!(error.ends_with(told), "{told}");
        executor.migrate("good", "p2", 2).unwrap();
    }
}

#[test]
fn nothing_moves_when_the_journal_has_no_room() {
    let place = Place::new(&["good"], PATIENT);
    let Some(_mount) = SmallDisk::mount(place.data(), 1) else {
        return;
    };
    let filler = place.data().join("filler");
    let _ = fs::write(&filler, vec![0; 2 << 20]);
    let mut executor = place.start();
    let error = executor.migrate("good", "p2", 1).unwrap_err();
    assert!(error.contains(place.data().to_str().unwrap()), "{error}");
    assert!(error.contains("No space left on device"), "{error}");
    assert!(!place.state("good").exists(), "the resource moved");
    fs::remove_file(&filler).unwrap();
    executor.migrate("good", "p2", 2).unwrap();
    assert_eq!(place.journal().len(), 2);
}

#[test]
fn a_point_off_the_line_is_refused_before_anything_moves() {
    let place = Place::new(&["good"], PATIENT);
    let mut executor = place.start();
    let error = executor.migrate("good", "p9", 1).unwrap_err();
    let expected = "point `p9` is not one of the migrator's points (`p1`, `p2`, `p3`)";
    assert!(error.contains(expected), "{error}");
    assert!(!place.data().join("executor.journal.jsonl").exists());
}

#[test]
fn a_second_executor_waits_for_the_first_and_gives_up_after_its_limit() {
    let place = Place::new(&["good"], &format!("{PATIENT}, LockTimeout = 300ms"));
    let held = File::create(place.lock_file()).unwrap();
    held.lock().unwrap();
    fs::write(place.lock_file(), "process 77\n").unwrap();
    let mut executor = place.start();
    let error = executor.migrate("good", "p1", 1).unwrap_err();
    assert!(
        error.contains("another executor (process 77) holds `"),
        "{error}"
    );
    assert!(error.contains("for more than 0.3 s"), "{error}");
    assert!(!place.state("good").exists());
    assert_eq!(
        executor.log,
        ["info: waiting for another executor's move (process 77)"]
    );
    drop(held);
    executor.migrate("good", "p1", 1).unwrap();
}

#[test]
fn a_second_executor_moves_after_the_first_was_killed_in_the_middle() {
    let place = Place::new(&["hang-migrate", "good"], PATIENT);
    let request = r#"{"jsonrpc":"2.0","id":1,"method":"migrate","params":{"migrator":"hang-migrate","resource":"db","point":"p1","fence":1}}"#;
    let (mut first, _stdin) = start_raw(&place, &format!("{request}\n"));
    let left = hanging(&place, "hang-migrate");
    signal(first.id(), "KILL");
    let mut second = place.start();
    second.migrate("good", "p1", 2).unwrap();
    let cut_off = "the move of resource `db` of migrator `hang-migrate` to `p1` was cut off before";
    assert!(
        second.log.contains(&format!("warn: {cut_off}")),
        "{:?}",
        second.log
    );
    for process_id in left {
        assert!(!runs(process_id), "{process_id} runs beside the next move");
    }
    first.wait().unwrap();
    let events: Vec<String> = place
        .journal()
        .iter()
        .map(|record| format!("{} {}", record["migrator"], record["event"]))
        .collect();
    let expected = [
        "\"hang-migrate\" \"started\"",
        "\"good\" \"started\"",
        "\"good\" \"finished\"",
    ];
    assert_eq!(events, expected);
}

/// Starts a move of a migrator whose child has a session of its own and holds nothing, and returns all three processes
/// below the executor: guard, migrator, child.
fn escaping(place: &Place) -> (std::process::Child, std::process::ChildStdin, Vec<u32>) {
    let request = r#"{"jsonrpc":"2.0","id":1,"method":"migrate","params":{"migrator":"escape-hang","resource":"db","point":"p1","fence":1}}"#;
    let (executor, stdin) = start_raw(place, &format!("{request}\n"));
    let mut left = hanging(place, "escape-hang");
    left.insert(0, parent(left[0]));
    (executor, stdin, left)
}

fn parent(process_id: u32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{process_id}/stat")).unwrap();
    let fields = stat.rsplit_once(") ").unwrap().1;
    fields.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn whoever_moves_next_begins_when_the_last_process_of_a_killed_executor_is_gone() {
    let place = Place::new(&["escape-hang", "good"], PATIENT);
    let (mut first, _stdin, left) = escaping(&place);
    let guard = left[0];
    // A guard that stands still has killed nobody yet: the lock is not free, although its taker is dead.
    signal(guard, "STOP");
    let held = File::open(place.lock_file()).unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(held.try_lock().is_err(), "the lock died with the executor");
    drop(held);
    let mut second = place.start();
    second.migrate("good", "p1", 2).unwrap();
    for process_id in left {
        assert!(!runs(process_id), "{process_id} runs beside the next move");
    }
}

#[test]
fn what_an_executor_and_its_guard_left_that_were_killed_together_ends_before_the_next_move() {
    let place = Place::new(&["escape-hang", "good"], PATIENT);
    let (mut first, _stdin, left) = escaping(&place);
    // The executor first stands still, so that it does not see its guard die.
    signal(first.id(), "STOP");
    signal(left[0], "KILL");
    signal(first.id(), "KILL");
    first.wait().unwrap();
    assert!(runs(left[1]), "nobody is left to end the migrator");
    assert!(runs(left[2]), "nobody is left to end its child");
    let mut second = place.start();
    second.migrate("good", "p1", 2).unwrap();
    for process_id in left {
        assert!(!runs(process_id), "{process_id} runs beside the next move");
    }
}

#[test]
fn two_executors_never_move_at_the_same_time() {
    let place = Place::new(&["hang-migrate", "good"], PATIENT);
    let request = r#"{"jsonrpc":"2.0","id":1,"method":"migrate","params":{"migrator":"hang-migrate","resource":"db","point":"p1","fence":1}}"#;
    let (mut first, stdin) = start_raw(&place, &format!("{request}\n"));
    let left = hanging(&place, "hang-migrate");
    let mut second = place.start();
    std::thread::scope(|scope| {
        let moving = scope.spawn(|| second.migrate("good", "p1", 2));
        // The second one has begun nothing while the first one moves.
        let journal = place.journal();
        assert_eq!(journal.len(), 1, "{journal:?}");
        assert!(!place.state("good").exists());
        drop(stdin);
        first.wait().unwrap();
        moving.join().unwrap().unwrap();
    });
    for process_id in left {
        wait_until("it is left behind", || !runs(process_id));
    }
}

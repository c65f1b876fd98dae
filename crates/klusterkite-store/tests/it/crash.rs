//! Processes that are killed in the middle of their work.
//!
//! A test runs its own binary again; the variables below tell the copy that it is to be the victim.

use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use klusterkite_store::{Change, Store};

use crate::samples;

const COMMITTER: &str = "KLUSTERKITE_TEST_COMMITTER";
const SEEDER: &str = "KLUSTERKITE_TEST_SEEDER";

/// How many commits a victim makes before it is killed, at least.
const COMMITS: usize = 50;

/// How often the seeder is killed, each time half a millisecond later: a seeding takes about ten.
const SEEDINGS: u32 = 40;

/// Starts this test binary again for one test, which finds the path in its environment.
fn victim(test: &str, variable: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture"])
        .env(variable, path)
        .stdout(Stdio::piped());
    command
}

fn kill(child: &mut Child) {
    // `Child::kill` sends SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn the_last_acknowledged_commit_survives_a_kill() {
    if let Some(path) = std::env::var_os(COMMITTER) {
        return commit_until_killed(Path::new(&path)).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cluster.db");
    Store::create(&path, &samples::seed()).await.unwrap();
    let test = "crash::the_last_acknowledged_commit_survives_a_kill";
    let mut child = victim(test, COMMITTER, &path).spawn().unwrap();
    let mut acknowledged = 0;
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..COMMITS {
        acknowledged =
            next_acknowledged(&mut lines).expect("the victim commits until it is killed");
    }
    kill(&mut child);
    // What was still in the pipe was acknowledged too.
    while let Some(id) = next_acknowledged(&mut lines) {
        acknowledged = id;
    }

    let store = Store::open(&path).await.unwrap();
    let snapshot = store.snapshot().await.unwrap();
    // The commit that was being made may be there, then as a whole: event and node together.
    assert!(
        (acknowledged..=acknowledged + 1).contains(&snapshot.last_event_id),
        "{acknowledged}"
    );
    let incarnation = i64::try_from(snapshot.nodes[0].incarnation.0).unwrap();
    assert_eq!(incarnation, snapshot.last_event_id);
}

fn next_acknowledged(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> Option<i64> {
    // The test harness prints lines of its own.
    lines.find_map(|line| line.ok()?.strip_prefix("committed ")?.parse().ok())
}

async fn commit_until_killed(path: &Path) {
    let store = Store::open(path).await.unwrap();
    let epoch = store.leader_acquire("victim", 1).await.unwrap();
    for id in 1.. {
        let mut node = samples::node(1);
        node.incarnation = klusterkite_wire::Incarnation(u64::try_from(id).unwrap());
        let changes = [
            Change::EventAppend(samples::event(id)),
            Change::NodePut(node),
        ];
        store.commit(epoch, &changes).await.unwrap();
        let mut out = std::io::stdout();
        writeln!(out, "committed {id}").unwrap();
        out.flush().unwrap();
    }
}

#[tokio::test]
async fn a_killed_seeder_leaves_nothing_or_everything() {
    if let Some(path) = std::env::var_os(SEEDER) {
        writeln!(std::io::stdout(), "seeding").unwrap();
        Store::create(Path::new(&path), &samples::seed())
            .await
            .unwrap();
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    for round in 0..SEEDINGS {
        let path = directory.path().join(format!("{round}.db"));
        let test = "crash::a_killed_seeder_leaves_nothing_or_everything";
        let mut child = victim(test, SEEDER, &path).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        lines
            .find(|line| line.as_ref().unwrap().ends_with("seeding"))
            .unwrap()
            .unwrap();
        // The moment of the kill is the subject of the test, not a way to wait.
        std::thread::sleep(Duration::from_micros(500) * round);
        kill(&mut child);

        let was_there = Store::is_seeded(&path).await.unwrap();
        assert_eq!(path.exists(), was_there);
        Store::create(&path, &samples::seed()).await.unwrap();
        let store = Store::open(&path).await.unwrap();
        let snapshot = store.snapshot().await.unwrap();
        assert_eq!(snapshot.users, samples::seed().users);
        assert_eq!(snapshot.configurations, [samples::seed().configuration]);
    }
}

#[tokio::test]
async fn a_disk_that_takes_no_more_is_named_and_nothing_is_half_written() {
    if let Some(path) = std::env::var_os(COMMITTER) {
        return commit_until_it_fails(Path::new(&path)).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cluster.db");
    Store::create(&path, &samples::seed()).await.unwrap();
    let test = "crash::a_disk_that_takes_no_more_is_named_and_nothing_is_half_written";
    // The shell limits the size of files (in blocks of 512 bytes) and ignores the signal that tells of it, so
    // that writing fails as on a full disk.
    let output = Command::new("sh")
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 1000; exec \"$0\" --exact \"$1\" --nocapture",
        ])
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(COMMITTER, &path)
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{stdout} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let acknowledged =
        next_acknowledged(&mut stdout.lines().rev().map(|line| Ok(line.to_owned()))).unwrap();

    let store = Store::open(&path).await.unwrap();
    let snapshot = store.snapshot().await.unwrap();
    assert_eq!(snapshot.last_event_id, acknowledged);
    assert_eq!(snapshot.nodes.len(), 1);
}

async fn commit_until_it_fails(path: &Path) {
    let store = Store::open(path).await.unwrap();
    let epoch = store.leader_acquire("victim", 1).await.unwrap();
    for id in 1..10_000 {
        let mut event = samples::event(id);
        event.message = "x".repeat(50_000);
        let changes = [
            Change::NodePut(samples::node(1)),
            Change::EventAppend(event),
        ];
        if let Err(error) = store.commit(epoch, &changes).await {
            assert!(
                error.to_string().contains(&path.display().to_string()),
                "{error}"
            );
            // It goes on reading, and what it reads is whole.
            assert_eq!(store.snapshot().await.unwrap().last_event_id, id - 1);
            return;
        }
        writeln!(std::io::stdout(), "committed {id}").unwrap();
    }
    panic!("the limit was never reached");
}

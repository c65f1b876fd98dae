//! A manager that led once, comes back, and carries out nothing more.

use klusterkite_tests::process::{signal, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::bench::{Bench, DEADLINE, Text};

const FROM: Text = "
    all Db     before 1 one,two a
    all Site after  1 main    a";
const TO: Text = "
    all Db     before 1 one,two a,b
    all Site after  1 main    a,b";

#[test]
fn a_former_leader_that_comes_back_changes_nothing_says_so_and_ends() {
    let mut bench = Bench::start(&[FROM, TO], "Db.one=a Db.two=a Site.main=a");
    bench.migrate(2, &Value::Null);
    bench.allowed_when("migrateResources");

    // It stands still, and its lock is lost with its machine.
    let former = bench.manager.id();
    signal(former, Signal::STOP);
    let (mut former, stale) = bench.another_leads();
    bench.allowed_when("migrateResources");
    bench.move_to("destination", "Db.one");
    assert_eq!(bench.moves(), ["Db.one a b"]);
    let before = bench.state();

    // What was asked of it while it stood still, or is asked when it goes on, is not done.
    let calls = [
        (
            "/migrations/current/resources",
            bench.request("Db.two", "destination"),
        ),
        ("/migrations/current/cancel", json!({})),
        ("/migrations/current/pause", json!({})),
        ("/cluster/recheck", json!({})),
    ];
    let answers = std::thread::scope(|scope| {
        let threads = calls.map(|(path, body)| {
            let stale = &stale;
            scope.spawn(move || stale.call("POST", path, Some(body)))
        });
        signal(former.id(), Signal::CONT);
        threads.map(|thread| thread.join().unwrap())
    });
    let ended = wait_until(DEADLINE, || !former.runs());
    assert!(ended, "the former leader goes on");
    let mut refused = 0;
    for answer in answers {
        // It may end before it answers; whatever it answers is no success.
        let Ok(answer) = answer else { continue };
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (503, &json!("notLeader")),
            "{answer:?}"
        );
        refused += 1;
    }
    assert!(refused > 0, "nobody was told");
    assert_eq!(bench.moves(), [""; 0]);
    let after = bench.state();
    for field in ["currentStep", "migration", "templates", "operations"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    // The one that leads goes on.
    bench.move_to("destination", "Db.two");
    bench.nodes_to("destination");
    bench.move_to("destination", "Site.main");
    bench.step("finish", json!({}));
    bench.migration_when("completed");
    assert_eq!(bench.moves(), ["Db.two a b", "Site.main a b"]);
}

#[test]
fn a_former_leader_to_whom_nobody_speaks_notices_it_and_ends() {
    let mut bench = Bench::start(&[FROM, TO], "Db.one=a Db.two=a Site.main=a");
    let (mut former, _stale) = bench.another_leads();
    let ended = wait_until(DEADLINE, || !former.runs());
    assert!(ended, "the former leader goes on");
    bench.migrate(2, &Value::Null);
    bench.step("cancel", json!({}));
}

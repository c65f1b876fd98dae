//! Operators who act at the same time: one of them wins, the others hear why.

use std::sync::Barrier;

use klusterkite_tests::api::Answer;
use serde_json::{Value, json};

use super::bench::{Bench, Text};

const FROM: Text = "
    all Db     before 1 one,two a
    all Site after  1 main    a";
const TO: Text = "
    all Db     before 1 one,two a,b
    all Site after  1 main    a,b";
const NODES_ONLY: Text = FROM;
const POINTS: &str = "Db.one=a Db.two=a Site.main=a";

impl Bench {
    /// Sends both requests at the same moment; returns the index of the winner.
    ///
    /// The other one has to get 409 with one of the codes.
    #[track_caller]
    fn race(&self, requests: [(&str, Value); 2], codes: &[&str]) -> usize {
        let barrier = Barrier::new(2);
        let send = |(path, body): &(&str, Value)| -> Answer {
            let (path, body) = (path.to_owned(), body.clone());
            barrier.wait();
            self.call("POST", path, Some(body))
        };
        let answers = std::thread::scope(|scope| {
            let threads = requests
                .each_ref()
                .map(|request| scope.spawn(|| send(request)));
            threads.map(|thread| thread.join().unwrap())
        });
        let won = |answer: &Answer| answer.status / 100 == 2;
        let (winner, loser) = match answers.each_ref().map(won) {
            [true, false] => (0, &answers[1]),
            [false, true] => (1, &answers[0]),
            _ => panic!("{requests:?}: {answers:?}"),
        };
        let code = loser.body["code"].as_str().unwrap();
        assert!(
            loser.status == 409 && codes.contains(&code),
            "{requests:?}: {loser:?}"
        );
        assert_ne!(loser.body["detail"], "", "{loser:?}");
        winner
    }

    #[track_caller]
    fn race_of_one(&self, path: &str, body: &Value, codes: &[&str]) {
        self.race([(path, body.clone()), (path, body.clone())], codes);
    }
}

#[test]
fn of_two_operators_at_once_exactly_one_wins_each_step_and_the_other_hears_why() {
    let current = |call: &str| format!("/migrations/current/{call}");
    let (resources, nodes) = (current("resources"), current("nodes"));
    let (cancel, finish, pause, resume) = (
        current("cancel"),
        current("finish"),
        current("pause"),
        current("resume"),
    );
    let nobody = json!({});
    let (to, from) = (
        json!({ "target": "destination" }),
        json!({ "target": "source" }),
    );
    let bench = Bench::start(&[FROM, TO, NODES_ONLY], POINTS);

    bench.allowed_when("createMigration");
    bench.race(
        [
            ("/migrations", json!({ "toConfigurationId": 2 })),
            (
                "/migrations",
                json!({ "toConfigurationId": 3, "mode": "automatic" }),
            ),
        ],
        &["migrationRuns"],
    );
    if bench.state()["migration"]["toConfigurationId"] == 3 {
        // The automatic one has nothing to do but nodes, of which there are none.
        bench.migration_when("completed");
        bench.migrate(1, &json!({}));
        bench.nodes_to("destination");
        bench.step("finish", json!({}));
        bench.migrate(2, &json!({}));
    }
    bench.allowed_when("migrateResources");
    // Moves take as long as a race does.
    let slow = |bench: &Bench, fault: &str| {
        bench.fault("Db", fault);
        bench.fault("Site", fault);
    };

    // Start: one moves, one gives up. Busy while it moves, and nothing is cancelled after that.
    let raced = [
        (resources.as_str(), bench.request("Db.one", "destination")),
        (cancel.as_str(), nobody.clone()),
    ];
    slow(&bench, "wait");
    let is_cancelled = bench.race(raced, &["busy", "noMigration"]) == 1;
    slow(&bench, "");
    if is_cancelled {
        assert_eq!(bench.migration_when("rolledBack")["step"], Value::Null);
        bench.migrate(2, &json!({}));
        bench.move_to("destination", "Db.one");
    }
    bench.idle();
    assert_eq!(bench.moves(), ["Db.one a b"]);

    // One leads on, one leads back: no resource goes both ways.
    let there = bench.request("Db.two", "destination");
    let back = bench.request("Db.one", "source");
    slow(&bench, "wait");
    let led_back = bench.race([(&resources, there), (&resources, back)], &["busy"]) == 1;
    slow(&bench, "");
    bench.idle();
    let moves = if led_back {
        ["Db.one b a"]
    } else {
        ["Db.two a b"]
    };
    assert_eq!(bench.moves(), moves);
    if led_back {
        bench.move_to("destination", "Db.one Db.two");
    }

    bench.race_of_one(&pause, &nobody, &["migrationPaused"]);
    bench.race_of_one(&resume, &nobody, &["migrationNotPaused"]);

    // The nodes go on, or a resource goes back under them: never both (I3).
    let raced = [
        (nodes.as_str(), to.clone()),
        (resources.as_str(), bench.request("Db.two", "source")),
    ];
    let codes = ["busy", "resourceNotMigratable"];
    slow(&bench, "wait");
    let led_back = bench.race(raced, &codes) == 1;
    slow(&bench, "");
    bench.idle();
    if led_back {
        bench.move_to("destination", "Db.two");
        bench.nodes_to("destination");
    }
    assert_eq!(
        bench.points("Db.one Db.two Site.main"),
        "Db.one=b Db.two=b Site.main=a"
    );
    let raced = [
        (nodes.as_str(), from.clone()),
        (
            resources.as_str(),
            bench.request("Site.main", "destination"),
        ),
    ];
    slow(&bench, "wait");
    let turned_back = bench.race(raced, &codes) == 0;
    slow(&bench, "");
    if turned_back {
        bench.race_of_one(&nodes, &to, &["nothingChanges"]);
        bench.move_to("destination", "Site.main");
    }
    bench.idle();
    bench.allowed_when("finish");

    // Finish: one ends it, one takes the last resource back.
    let raced = [
        (finish.as_str(), nobody.clone()),
        (resources.as_str(), bench.request("Site.main", "source")),
    ];
    slow(&bench, "wait");
    let taken_back = bench.race(raced, &["busy", "noMigration"]) == 1;
    slow(&bench, "");
    if taken_back {
        bench.idle();
        bench.move_to("destination", "Site.main");
        bench.race_of_one(&finish, &nobody, &["noMigration"]);
    }
    bench.migration_when("completed");
}

#[test]
fn of_two_operators_at_once_one_ends_a_migration_of_nothing_but_nodes() {
    let bench = Bench::start(&[FROM, NODES_ONLY], POINTS);
    let (cancel, finish) = ("/migrations/current/cancel", "/migrations/current/finish");
    let (nodes, nobody) = ("/migrations/current/nodes", json!({}));
    bench.migrate(2, &json!({}));
    // One gives up, one leads on.
    let to = json!({ "target": "destination" });
    let raced = [(cancel, nobody.clone()), (nodes, to)];
    if bench.race(raced, &["noMigration", "wrongStep"]) == 0 {
        bench.migrate(2, &json!({}));
        bench.nodes_to("destination");
    }
    let winner = bench.race(
        [(finish, nobody.clone()), (cancel, nobody)],
        &["noMigration", "wrongStep"],
    );
    assert_eq!(winner, 0, "nobody gives up what has arrived");
    bench.migration_when("completed");
}

#[test]
fn whoever_sends_an_automatic_migration_back_wins_over_whoever_resumes_it() {
    let rollback = "/migrations/current/rollback";
    let bench = Bench::start(&[FROM, TO], POINTS);
    bench.fault("Site", "refuse");
    bench.migrate(2, &json!({ "mode": "automatic" }));
    bench.migration_when("paused");
    // Nobody is ahead of the rollback: after it nothing leads on, before it something did for a moment.
    let barrier = Barrier::new(2);
    let send = |call: &str| {
        barrier.wait();
        bench.call(
            "POST",
            &format!("/migrations/current/{call}"),
            Some(json!({})),
        )
    };
    let (back, on) = std::thread::scope(|scope| {
        let threads = (
            scope.spawn(|| send("rollback")),
            scope.spawn(|| send("resume")),
        );
        (threads.0.join().unwrap(), threads.1.join().unwrap())
    });
    assert_eq!(back.status, 202, "{back:?}");
    let heard = (on.status, on.body["code"].as_str());
    assert!(
        matches!(
            heard,
            (200, None) | (409, Some("migrationNotPaused" | "noMigration"))
        ),
        "{on:?}"
    );
    bench.migration_when("rolledBack");
    assert_eq!(
        bench.moves(),
        ["Db.one a b", "Db.two a b", "Db.two b a", "Db.one b a"]
    );

    bench.migrate(2, &json!({ "mode": "automatic", "retryFaulted": true }));
    bench.migration_when("paused");
    bench.race_of_one(rollback, &json!({}), &["nothingChanges", "noMigration"]);
    bench.migration_when("rolledBack");
}

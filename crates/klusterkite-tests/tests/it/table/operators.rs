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

/// Who comes first when two operators act.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Order {
    /// Nobody knows.
    Together,
    /// The first is answered before the second asks.
    First,
    /// The second is answered before the first asks.
    Second,
}

impl Order {
    /// Returns the index of the one who is ahead.
    fn ahead(self) -> Option<usize> {
        match self {
            Self::Together => None,
            Self::First => Some(0),
            Self::Second => Some(1),
        }
    }

    /// Lets two do something in this order.
    fn of_both<T: Send>(self, act: impl Fn(usize) -> T + Sync) -> [T; 2] {
        match self {
            Self::First => {
                let first = act(0);
                [first, act(1)]
            }
            Self::Second => {
                let second = act(1);
                [act(0), second]
            }
            Self::Together => {
                let barrier = Barrier::new(2);
                let act = |index| {
                    barrier.wait();
                    act(index)
                };
                std::thread::scope(|scope| {
                    let threads = [0, 1].map(|index| scope.spawn(move || act(index)));
                    threads.map(|thread| thread.join().unwrap())
                })
            }
        }
    }
}

/// Two operators at one cluster, who act in the same order again and again.
struct Operators<'a> {
    bench: &'a Bench,
    order: Order,
}

impl Operators<'_> {
    /// Sends both requests; returns the index of the winner, who is the one ahead if there is one.
    ///
    /// The other one has to get 409 with one of the codes.
    #[track_caller]
    fn race(&self, requests: [(&str, Value); 2], codes: &[&str]) -> usize {
        let winner = self.decide(&requests, codes);
        if let Some(ahead) = self.order.ahead() {
            assert_eq!(winner, ahead, "{requests:?}");
        }
        winner
    }

    /// Sends the same request twice.
    #[track_caller]
    fn race_of_one(&self, path: &str, body: &Value, codes: &[&str]) {
        self.race([(path, body.clone()), (path, body.clone())], codes);
    }

    /// Sends both requests; returns the index of the one that is accepted.
    #[track_caller]
    fn decide(&self, requests: &[(&str, Value); 2], codes: &[&str]) -> usize {
        let answers = self.order.of_both(|index| {
            let (path, body) = &requests[index];
            self.bench.call("POST", path, Some(body.clone()))
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
}

#[test]
fn of_two_operators_at_once_exactly_one_wins_each_step_and_the_other_hears_why() {
    each_step_has_one_winner(Order::Together);
}

#[test]
fn of_two_operators_the_first_wins_each_step_when_ahead() {
    each_step_has_one_winner(Order::First);
}

#[test]
fn of_two_operators_the_second_wins_each_step_when_ahead() {
    each_step_has_one_winner(Order::Second);
}

fn each_step_has_one_winner(order: Order) {
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
    let operators = Operators {
        bench: &bench,
        order,
    };

    bench.allowed_when("createMigration");
    operators.race(
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
    let is_cancelled = operators.race(raced, &["busy", "noMigration"]) == 1;
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
    let led_back = operators.race([(&resources, there), (&resources, back)], &["busy"]) == 1;
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

    operators.race_of_one(&pause, &nobody, &["migrationPaused"]);
    operators.race_of_one(&resume, &nobody, &["migrationNotPaused"]);

    // The nodes go on, or a resource goes back under them: never both (I3).
    let raced = [
        (nodes.as_str(), to.clone()),
        (resources.as_str(), bench.request("Db.two", "source")),
    ];
    let codes = ["busy", "resourceNotMigratable"];
    slow(&bench, "wait");
    let led_back = operators.race(raced, &codes) == 1;
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
    let turned_back = operators.race(raced, &codes) == 0;
    slow(&bench, "");
    if turned_back {
        operators.race_of_one(&nodes, &to, &["nothingChanges"]);
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
    let taken_back = operators.race(raced, &["busy", "noMigration"]) == 1;
    slow(&bench, "");
    if taken_back {
        bench.idle();
        bench.move_to("destination", "Site.main");
        operators.race_of_one(&finish, &nobody, &["noMigration"]);
    }
    bench.migration_when("completed");
}

#[test]
fn of_two_operators_at_once_one_ends_a_migration_of_nothing_but_nodes() {
    for order in [Order::Together, Order::First, Order::Second] {
        one_ends_a_migration_of_nothing_but_nodes(order);
    }
}

fn one_ends_a_migration_of_nothing_but_nodes(order: Order) {
    let bench = Bench::start(&[FROM, NODES_ONLY], POINTS);
    let operators = Operators {
        bench: &bench,
        order,
    };
    let (cancel, finish) = ("/migrations/current/cancel", "/migrations/current/finish");
    let (nodes, nobody) = ("/migrations/current/nodes", json!({}));
    bench.migrate(2, &json!({}));
    // One gives up, one leads on.
    let to = json!({ "target": "destination" });
    let raced = [(cancel, nobody.clone()), (nodes, to)];
    if operators.race(raced, &["noMigration", "wrongStep"]) == 0 {
        bench.migrate(2, &json!({}));
        bench.nodes_to("destination");
    }
    let raced = [(finish, nobody.clone()), (cancel, nobody)];
    let winner = operators.decide(&raced, &["noMigration", "wrongStep"]);
    assert_eq!(winner, 0, "nobody gives up what has arrived");
    bench.migration_when("completed");
}

#[test]
fn whoever_sends_an_automatic_migration_back_wins_over_whoever_resumes_it() {
    for order in [Order::Together, Order::First, Order::Second] {
        to_go_back_wins_over_to_resume(order);
    }
}

fn to_go_back_wins_over_to_resume(order: Order) {
    let rollback = "/migrations/current/rollback";
    let bench = Bench::start(&[FROM, TO], POINTS);
    let operators = Operators {
        bench: &bench,
        order,
    };
    bench.fault("Site", "refuse");
    bench.migrate(2, &json!({ "mode": "automatic" }));
    bench.migration_when("paused");
    // Nobody is ahead of the rollback: after it nothing leads on, before it something did for a moment.
    let [back, on] = order.of_both(|index| {
        let path = [rollback, "/migrations/current/resume"][index];
        bench.call("POST", path, Some(json!({})))
    });
    assert_eq!(back.status, 202, "{back:?}");
    let resumed = match (on.status, on.body["code"].as_str()) {
        (200, None) => true,
        (409, Some("migrationNotPaused" | "noMigration")) => false,
        _ => panic!("{on:?}"),
    };
    if let Some(ahead) = order.ahead() {
        assert_eq!(resumed, ahead == 1, "{on:?}");
    }
    bench.migration_when("rolledBack");
    assert_eq!(
        bench.moves(),
        ["Db.one a b", "Db.two a b", "Db.two b a", "Db.one b a"]
    );

    bench.migrate(2, &json!({ "mode": "automatic", "retryFaulted": true }));
    bench.migration_when("paused");
    operators.race_of_one(rollback, &json!({}), &["nothingChanges", "noMigration"]);
    bench.migration_when("rolledBack");
}

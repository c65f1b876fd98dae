//! What migrations between other kinds of migrators do, and migrators that misbehave.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::bench::{Bench, Text};
use crate::support::operation;

/// Where everything comes from.
const SOURCE: Text = "
    db Db    before 1 one,two a,b
    db Index before 5 main    a,b
    db Site  after  1 main    a,b
    db Files after  5 main    a,b";
const POINTS: &str = "Db.one=b Db.two=b Index.main=b Site.main=b Files.main=b";

/// A destination, and what its plan and the state of its migration say.
struct Case {
    name: &'static str,
    destination: Text,
    shown: &'static str,
}

const CASES: [Case; 10] = [
    Case {
        name: "nothing but nodes",
        destination: SOURCE,
        shown: "
            steps: start nodesUpdating finish
            movable: -
            db/Db is present, stay: one sourceAndDestination, two sourceAndDestination
            db/Index is present, stay: main sourceAndDestination
            db/Site is present, stay: main sourceAndDestination
            db/Files is present, stay: main sourceAndDestination",
    },
    Case {
        name: "everything up: by priority, highest first, on each side of the nodes",
        destination: "
            db Db    before 1 one,two a,b,c
            db Index before 5 main    a,b,c
            db Site  after  1 main    a,b,c
            db Files after  5 main    a,b,c",
        shown: "
            steps: start preNodesResourcesUpdating preNodeResourcesUpdated nodesUpdating nodesUpdated postNodesResourcesUpdating finish
            before nodes: Index.main upgrade b-c by destination
            before nodes: Db.one upgrade b-c by destination
            before nodes: Db.two upgrade b-c by destination
            after nodes: Files.main upgrade b-c by destination
            after nodes: Site.main upgrade b-c by destination
            movable: Index.main Db.one Db.two
            db/Db is present, upgrade: one source, two source
            db/Index is present, upgrade: main source
            db/Site is present, upgrade: main source
            db/Files is present, upgrade: main source",
    },
    Case {
        name: "everything down: sides and priorities are swapped, the source's migrators do it",
        destination: "
            db Db    before 1 one,two a
            db Index before 5 main    a
            db Site  after  1 main    a
            db Files after  5 main    a",
        shown: "
            steps: start preNodesResourcesUpdating preNodeResourcesUpdated nodesUpdating nodesUpdated postNodesResourcesUpdating finish
            before nodes: Site.main downgrade b-a by source
            before nodes: Files.main downgrade b-a by source
            after nodes: Db.one downgrade b-a by source
            after nodes: Db.two downgrade b-a by source
            after nodes: Index.main downgrade b-a by source
            movable: Site.main Files.main
            db/Db is present, downgrade: one source, two source
            db/Index is present, downgrade: main source
            db/Site is present, downgrade: main source
            db/Files is present, downgrade: main source",
    },
    Case {
        // B15.
        name: "some up, some down: what goes down is first",
        destination: "
            db Db    before 1 one,two a
            db Index before 5 main    a,b,c
            db Site  after  1 main    a
            db Files after  5 main    a,b,c",
        shown: "
            steps: start preNodesResourcesUpdating preNodeResourcesUpdated nodesUpdating nodesUpdated postNodesResourcesUpdating finish
            before nodes: Site.main downgrade b-a by source
            before nodes: Index.main upgrade b-c by destination
            after nodes: Db.one downgrade b-a by source
            after nodes: Db.two downgrade b-a by source
            after nodes: Files.main upgrade b-c by destination
            movable: Site.main Index.main
            db/Db is present, downgrade: one source, two source
            db/Index is present, upgrade: main source
            db/Site is present, downgrade: main source
            db/Files is present, upgrade: main source",
    },
    Case {
        name: "a new template, a new migrator and a new resource are created, each on its side",
        destination: "
            db Db    before 1 one,three,two a,b
            db Extra before 9 main          x,y
            db Index before 5 main          a,b
            db Site  after  1 main          a,b
            db Files after  5 main          a,b
            queue Queue after  9 main          q",
        shown: "
            steps: start preNodesResourcesUpdating preNodeResourcesUpdated nodesUpdating nodesUpdated postNodesResourcesUpdating finish
            before nodes: Extra.main create --y by destination, for good
            before nodes: Db.three create --b by destination, for good
            after nodes: Queue.main create --q by destination, for good
            movable: Extra.main Db.three
            db/Db is present, stay: one sourceAndDestination, three notCreated, two sourceAndDestination
            db/Extra is new, stay: main notCreated
            db/Index is present, stay: main sourceAndDestination
            db/Site is present, stay: main sourceAndDestination
            db/Files is present, stay: main sourceAndDestination
            queue/Queue is new, stay: main notCreated",
    },
    Case {
        name: "an obsolete migrator or resource is left alone",
        destination: "
            db Db    before 1 one  a,b,c
            db Site  after  1 main a,b",
        shown: "
            steps: start preNodesResourcesUpdating preNodeResourcesUpdated nodesUpdating finish
            before nodes: Db.one upgrade b-c by destination
            movable: Db.one
            db/Db is present, upgrade: one source, two obsolete
            db/Site is present, stay: main sourceAndDestination
            db/Index is obsolete, stay: main obsolete
            db/Files is obsolete, stay: main obsolete",
    },
    Case {
        name: "a new template finds its resources where they are, an obsolete one is left alone",
        destination: "
            main Db    before 1 one,two a,b
            main Index before 5 main    a,b,c",
        shown: "
            steps: start preNodesResourcesUpdating preNodeResourcesUpdated nodesUpdating finish
            before nodes: Index.main upgrade b-c by destination, for good
            movable: Index.main
            main/Db is new, stay: one destination, two destination
            main/Index is new, stay: main inScope
            db/Db is obsolete, stay: one obsolete, two obsolete
            db/Index is obsolete, stay: main obsolete
            db/Site is obsolete, stay: main obsolete
            db/Files is obsolete, stay: main obsolete",
    },
    Case {
        name: "a forked history is broken, whatever else could move",
        destination: "
            db Db    before 1 one,two a,x
            db Index before 5 main    a,b,c
            db Site  after  1 main    a,b
            db Files after  5 main    a,b",
        shown: "
            steps: broken
            before nodes: Index.main upgrade b-c by destination
            blocked: directionUndefined the points of migrator `Db` in the two configurations do not continue each other
            movable: -
            db/Db is present, undefined: one source, two source
            db/Index is present, upgrade: main source
            db/Site is present, stay: main sourceAndDestination
            db/Files is present, stay: main sourceAndDestination",
    },
    Case {
        // B18.
        name: "points that differ only in case fork",
        destination: "
            db Db    before 1 one,two A,b,c
            db Index before 5 main    a,b
            db Site  after  1 main    a,b
            db Files after  5 main    a,b",
        shown: "
            steps: broken
            blocked: directionUndefined the points of migrator `Db` in the two configurations do not continue each other
            movable: -
            db/Db is present, undefined: one source, two source
            db/Index is present, stay: main sourceAndDestination
            db/Site is present, stay: main sourceAndDestination
            db/Files is present, stay: main sourceAndDestination",
    },
    Case {
        name: "what cannot be taken back is marked",
        destination: "
            db Db    before 1 one,two a,b,c!,d
            db Index before 5 main    a,b
            db Site  after  1 main    a,b,c
            db Files after  5 main    a,b",
        shown: "
            steps: start preNodesResourcesUpdating preNodeResourcesUpdated nodesUpdating nodesUpdated postNodesResourcesUpdating finish
            before nodes: Db.one upgrade b-d by destination, for good
            before nodes: Db.two upgrade b-d by destination, for good
            after nodes: Site.main upgrade b-c by destination
            movable: Db.one Db.two
            db/Db is present, upgrade, irreversible c: one source, two source
            db/Index is present, stay: main sourceAndDestination
            db/Site is present, upgrade: main source
            db/Files is present, stay: main sourceAndDestination",
    },
];

#[test]
fn plan_and_state_tell_steps_lists_and_their_order_for_every_kind_of_destination() {
    let mut configurations = vec![SOURCE];
    configurations.extend(CASES.iter().map(|case| case.destination));
    let bench = Bench::start(&configurations, POINTS);
    for (to, case) in (2..).zip(&CASES) {
        bench.idle();
        let plan = bench.post("/migrations/plan", json!({ "toConfigurationId": to }));
        bench.migrate(to, &Value::Null);
        let state = bench.state();
        let expected: Vec<_> = case.shown.trim().lines().map(str::trim).collect();
        let shown = shown(&plan, &state);
        assert_eq!(
            shown.lines().collect::<Vec<_>>(),
            expected,
            "{}\n{shown}",
            case.name
        );
        assert_eq!(plan["steps"], state["steps"], "{}", case.name);
        let blocked = plan["blockers"] != json!([]);
        let word = if blocked { "preparing" } else { "ready" };
        assert_eq!(state["migration"]["state"], word, "{}", case.name);
        bench.step("cancel", json!({}));
    }
    assert_eq!(bench.moves(), [""; 0]);
    assert_eq!(
        bench.points("Db.one Db.two Index.main Site.main Files.main"),
        POINTS
    );
}

/// Writes down what a plan and a state tell.
fn shown(plan: &Value, state: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let list = |value: &Value| value.as_array().unwrap().clone();
    let name = |key: &Value| {
        format!(
            "{}.{}",
            text(&key["migratorTypeName"]),
            text(&key["resourceCode"])
        )
    };
    let joined = |words: Vec<String>, by: &str| {
        if words.is_empty() {
            "-".to_owned()
        } else {
            words.join(by)
        }
    };
    let mut out = format!(
        "steps: {}\n",
        joined(list(&state["steps"]).iter().map(text).collect(), " ")
    );
    for (when, field) in [("before", "beforeNodes"), ("after", "afterNodes")] {
        for planned in list(&plan[field]) {
            let lasts = if planned["cannotBeUndone"] == true {
                ", for good"
            } else {
                ""
            };
            let (from, to) = (text(&planned["from"]), text(&planned["to"]));
            let (kind, executor) = (text(&planned["kind"]), text(&planned["executor"]));
            let name = name(&planned);
            writeln!(
                out,
                "{when} nodes: {name} {kind} {from}-{to} by {executor}{lasts}"
            )
            .unwrap();
        }
    }
    for blocker in list(&plan["blockers"]) {
        writeln!(
            out,
            "blocked: {} {}",
            text(&blocker["code"]),
            text(&blocker["message"])
        )
        .unwrap();
    }
    let movable = list(&state["migratableResources"]);
    writeln!(
        out,
        "movable: {}",
        joined(movable.iter().map(name).collect(), " ")
    )
    .unwrap();
    for template in list(&state["templates"]) {
        for migrator in list(&template["migrators"]) {
            let irreversible = migrator["irreversible"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let irreversible = if irreversible.is_empty() {
                String::new()
            } else {
                let points = irreversible.iter().map(text).collect();
                format!(", irreversible {}", joined(points, " "))
            };
            let resources = list(&migrator["resources"]);
            let resources = resources.iter();
            let resources = resources.map(|resource| {
                format!(
                    "{} {}",
                    text(&resource["code"]),
                    text(&resource["position"])
                )
            });
            writeln!(
                out,
                "{}/{} is {}, {}{irreversible}: {}",
                text(&template["code"]),
                text(&migrator["typeName"]),
                text(&migrator["position"]),
                text(&migrator["direction"]),
                joined(resources.collect(), ", ")
            )
            .unwrap();
        }
    }
    out
}

#[test]
fn a_new_resource_is_created_finished_when_half_made_and_stays_on_the_way_back() {
    let bench = Bench::start(
        &[
            "db Db before 1 one a",
            "db Db before 1 one a\ndb New before 9 main x,y,z",
        ],
        "Db.one=a",
    );
    bench.migrate(2, &Value::Null);
    // B17.
    bench.points_are("New.main=y");
    bench.recheck();
    let state = bench.state();
    assert_eq!(state["currentStep"], "start");
    assert_eq!(state["migratableResources"][0]["migratorTypeName"], "New");
    assert_eq!(operation(&state, "cancel")["allowed"], true);
    bench.refused(
        "/migrations/current/nodes",
        json!({ "target": "destination" }),
        "wrongStep",
    );
    bench.step("resources", named("db", "New", "main", "destination"));
    assert_eq!(bench.moves(), ["New.main y z"]);
    bench.nodes_to("destination");
    bench.nodes_to("source");
    bench.step("cancel", json!({}));
    assert_eq!(bench.migration_when("rolledBack")["id"], 1);
    assert_eq!(bench.points("New.main"), "New.main=z");
}

fn named(template: &str, migrator: &str, resource: &str, target: &str) -> Value {
    json!({ "resources": [{
        "templateCode": template, "migratorTypeName": migrator, "resourceCode": resource, "target": target,
    }] })
}

#[test]
fn a_name_that_nobody_knows_is_refused_with_the_part_that_is_wrong_and_the_names_that_are_right() {
    let bench = Bench::start(
        &[
            SOURCE,
            "db Db before 1 one,two a,b,c\ndb Site after 1 main a,b,c\ndb Index before 5 main a,b",
        ],
        POINTS,
    );
    let cases = |when: &str| {
        [
            (
                named("dbs", "Db", "one", when),
                "resourceUnknown",
                "there is no migrator template `dbs`; there is `db`",
            ),
            (
                named("db", "Dbs", "one", when),
                "resourceUnknown",
                "migrator template `db` has no migrator `Dbs`; it has `Db`, ",
            ),
            (
                named("db", "Db", "ones", when),
                "resourceUnknown",
                "migrator `Db` of template `db` has no resource `ones`; it has `one`, `two`",
            ),
        ]
    };
    bench.points_are("Db.two=a");
    bench.recheck();
    let path = "/cluster/resources";
    for (body, code, sentence) in cases("source") {
        let said = bench.refused(path, body, code);
        assert!(said.starts_with(sentence), "{said}");
    }
    let said = bench.refused(
        path,
        named("db", "Db", "one", "source"),
        "resourceNotMigratable",
    );
    assert_eq!(
        said,
        "resource `db:Db:one` cannot be moved now: it is at the last point of its migrator"
    );
    bench.points_are("Db.two=b");
    bench.recheck();

    bench.migrate(2, &Value::Null);
    let path = "/migrations/current/resources";
    for (body, code, sentence) in cases("destination") {
        let said = bench.refused(path, body, code);
        assert!(said.starts_with(sentence), "{said}");
    }
    for (body, sentence) in [
        (
            named("db", "Site", "main", "destination"),
            "resource `db:Site:main` cannot be moved now: it moves after the nodes, and the step is `start`",
        ),
        (
            named("db", "Index", "main", "destination"),
            "resource `db:Index:main` cannot be moved now: it has no place in this migration, and the step is `start`",
        ),
    ] {
        let said = bench.refused(path, body, "resourceNotMigratable");
        assert_eq!(said, sentence);
    }
    // One wrong name, and nothing of the request is done.
    let mut body = bench.request("Db.one", "destination");
    let wrong = named("db", "Db", "ones", "destination")["resources"][0].clone();
    body["resources"].as_array_mut().unwrap().push(wrong);
    bench.refused(path, body, "resourceUnknown");
    assert_eq!(bench.moves(), [""; 0]);
}

/// Faults while resources are read, with what the state says of it.
const READING: [(&str, &str); 7] = [
    ("no-start", "cannot find my own code"),
    ("crash-resources", "Traceback: out of luck"),
    ("killed", "signal"),
    ("garbage", "Starting up..."),
    ("no-description", "initialize"),
    ("wrong-description", "`a`"),
    ("hang-resources", "8 s"),
];

/// Faults while resources are moved, with what the log says of it, where the resource is then, and the step.
const MOVING: [(&str, &str, &str, &str); 7] = [
    ("refuse", "not on a Sunday", "a", "start"),
    ("crash-migrate", "Traceback: the disk is full", "a", "start"),
    ("hang-migrate", "4 s", "a", "start"),
    ("garbage-migrate", "Done!", "a", "start"),
    ("other-point", "`a`", "a", "start"),
    ("lies", "`a`", "a", "start"),
    ("elsewhere", "`b`", "b", "preNodesResourcesUpdating"),
];

const FROM: Text = "
    db   Db   before 1 one,two a
    site Site after  1 main    a";
const TO: Text = "
    db   Db   before 1 one,two a,b,c
    site Site after  1 main    a,b,c";
const SLOW_FROM: Text = "
    limit 8s 4s
    db   Db   before 1 one,two a
    site Site after  1 main    a";
const SLOW_TO: Text = "
    limit 8s 4s
    db   Db   before 1 one,two a,b,c
    site Site after  1 main    a,b,c";

#[test]
fn a_migrator_that_cannot_be_read_is_named_and_everything_waits_until_it_can() {
    let bench = Bench::start(&[SLOW_FROM, SLOW_TO], "Db.one=a Db.two=a Site.main=a");
    bench.migrate(2, &Value::Null);
    for (fault, words) in READING {
        bench.fault("Db", fault);
        bench.recheck();
        let state = bench.state_when(fault, |state| {
            operation(state, "migrateResources")["reason"]["code"] == "analysisFailed"
        });
        let errors = state["resourceErrors"].as_array().unwrap();
        // Both ends say so, and of the other migrator nothing is wrong.
        assert_eq!(errors.len(), 2, "{fault}: {errors:#?}");
        for error in errors {
            assert_eq!(
                (&error["template"], &error["migrator"]),
                (&json!("db"), &json!("Db")),
                "{fault}"
            );
            let message = error["message"].as_str().unwrap();
            assert!(message.contains(words), "{fault}: {message}");
        }
        assert_eq!(
            state["templates"].as_array().unwrap().len(),
            2,
            "{fault}: the others are read all the same"
        );
        assert_eq!(operation(&state, "recheck")["allowed"], true);
        bench.fault("Db", "");
        bench.recheck();
        bench.allowed_when("migrateResources");
    }
    assert_eq!(bench.moves(), [""; 0]);
}

#[test]
fn a_move_that_fails_is_told_the_rest_of_the_request_is_not_begun_and_it_can_be_asked_for_again() {
    let bench = Bench::start(&[SLOW_FROM, SLOW_TO], "Db.one=a Db.two=a Site.main=a");
    bench.migrate(2, &Value::Null);
    for (fault, words, point, step) in MOVING {
        bench.fault("Db", fault);
        bench.move_to("destination", "Db.one Db.two");
        bench.fault("Db", "");
        let log = bench.operator.get("/migrations/1/log?limit=1000").unwrap();
        let failed = log["items"].as_array().unwrap().iter().rev();
        let mut failed = failed.filter(|line| line["kind"] == "resourceFailed");
        let failed = failed.next().unwrap_or_else(|| panic!("{fault}: {log:#}"));
        let message = failed["message"].as_str().unwrap();
        assert!(
            message.starts_with("resource `one` of migrator `Db` did not move to `c`"),
            "{message}"
        );
        assert!(message.contains(words), "{fault}: {message}");
        let state = bench.state();
        assert_eq!(state["migration"]["state"], "ready", "{fault}");
        assert_eq!(state["currentStep"], step, "{fault}: {state:#}");
        let resources = &state["templates"][0]["migrators"][0]["resources"];
        let told = [0, 1].map(|index| resources[index]["currentPoint"].as_str().unwrap());
        assert_eq!(told, [point, "a"], "{fault}");
        let truth = format!("Db.one={point} Db.two=a");
        assert_eq!(bench.points("Db.one Db.two"), truth, "{fault}");
        assert_eq!(
            operation(&state, "cancel")["allowed"],
            step == "start",
            "{fault}"
        );
    }
    assert_eq!(bench.moves(), [""; 0]);
    bench.move_to("destination", "Db.one Db.two");
    assert_eq!(bench.moves(), ["Db.one b c", "Db.two a c"]);
}

#[test]
fn an_automatic_migration_whose_migrator_moves_elsewhere_is_held_or_goes_back_as_it_was_asked() {
    let bench = Bench::start(&[FROM, TO], "Db.one=a Db.two=a Site.main=a");
    bench.fault("Site", "elsewhere");
    let pause = json!({ "mode": "automatic" });
    bench.migrate(2, &pause);
    bench.migration_when("paused");
    let paused = bench.idle()["migration"].clone();
    assert_eq!(paused["step"], "postNodesResourcesUpdating", "{paused:#}");
    let reason = paused["reason"]["message"].as_str().unwrap();
    assert!(reason.contains("`main` of migrator `Site`"), "{reason}");
    bench.fault("Site", "");
    bench.step("rollback", json!({}));
    bench.migration_when("rolledBack");
    let (there, back) = (["Db.one a c", "Db.two a c"], ["Db.two c a", "Db.one c a"]);
    assert_eq!(
        bench.moves(),
        [&there[..], &["Site.main b a"], &back].concat()
    );

    bench.fault("Site", "lies");
    let goes_back = json!({ "mode": "automatic", "onFailure": "rollback", "retryFaulted": true });
    bench.migrate(2, &goes_back);
    bench.migration_when("rolledBack");
    assert_eq!(bench.moves(), [there, back].concat());
    assert_eq!(
        bench.points("Db.one Db.two Site.main"),
        "Db.one=a Db.two=a Site.main=a"
    );
}

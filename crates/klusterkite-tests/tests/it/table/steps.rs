//! The table of steps and operations: what is allowed, what is refused and why, and that the calls keep to it.

use klusterkite_tests::process::wait_until;
use serde_json::{Value, json};

use super::bench::{Bench, DEADLINE, Text};
use crate::support::operation;

/// Each situation with what every operation answers in it: `yes`, or the code of the refusal. The columns are the
/// operations of [`COLUMNS`]. Sections 2.2, 2.3 and 2.8 of the catalogue of behaviours, with the changes of B13 (nodes
/// come before what follows them) and I3 (nodes move only when what they need is there).
const TABLE: &str = "
situation                      create        move                to-destination     to-source          cancel         finish         recheck pause           resume             rollback

idle                           yes           nothingToMigrate    noMigration        noMigration        noMigration    noMigration    yes     noMigration     noMigration        noMigration
idle,lagging                   resourcesLag  yes                 noMigration        noMigration        noMigration    noMigration    yes     noMigration     noMigration        noMigration
idle,lost                      resourcesLag  nothingToMigrate    noMigration        noMigration        noMigration    noMigration    yes     noMigration     noMigration        noMigration
idle,unreadable                analysisFailed nothingToMigrate   noMigration        noMigration        noMigration    noMigration    yes     noMigration     noMigration        noMigration
idle,busy                      busy          busy                noMigration        noMigration        noMigration    noMigration    yes     noMigration     noMigration        noMigration
idle,node-obsolete             nodesObsolete nothingToMigrate    noMigration        noMigration        noMigration    noMigration    yes     noMigration     noMigration        noMigration

preparing,unreadable           migrationRuns analysisFailed      analysisFailed     analysisFailed     yes            analysisFailed yes     analysisFailed  analysisFailed     migrationManual
preparing,forked               migrationRuns directionUndefined  directionUndefined directionUndefined yes            directionUndefined yes directionUndefined directionUndefined migrationManual
preparing,automatic            migrationRuns analysisFailed      analysisFailed     analysisFailed     yes            analysisFailed yes     analysisFailed  analysisFailed     migrationPreparing

start                          migrationRuns yes                 wrongStep          nothingChanges     yes            wrongStep      yes     yes             migrationNotPaused migrationManual
start,nodes-only               migrationRuns nothingToMigrate    yes                nothingChanges     yes            wrongStep      yes     yes             migrationNotPaused migrationManual
start,unreadable               migrationRuns analysisFailed      analysisFailed     analysisFailed     analysisFailed analysisFailed yes     yes             migrationNotPaused migrationManual
preNodesResourcesUpdating      migrationRuns yes                 wrongStep          nothingChanges     wrongStep      wrongStep      yes     yes             migrationNotPaused migrationManual
preNodeResourcesUpdated        migrationRuns yes                 yes                nothingChanges     wrongStep      wrongStep      yes     yes             migrationNotPaused migrationManual
nodesUpdating                  migrationRuns nodesObsolete       nothingChanges     yes                wrongStep      nodesObsolete  yes     yes             migrationNotPaused migrationManual
nodesUpdating,going-back       migrationRuns nodesObsolete       yes                nothingChanges     wrongStep      wrongStep      yes     yes             migrationNotPaused migrationManual
nodesUpdating,nodes-only-back  migrationRuns nodesObsolete       yes                nothingChanges     yes            wrongStep      yes     yes             migrationNotPaused migrationManual
nodesUpdating,node-missing     migrationRuns belowMinimum        nothingChanges     yes                wrongStep      belowMinimum   yes     yes             migrationNotPaused migrationManual
nodesUpdated                   migrationRuns yes                 nothingChanges     yes                wrongStep      wrongStep      yes     yes             migrationNotPaused migrationManual
postNodesResourcesUpdating     migrationRuns yes                 nothingChanges     wrongStep          wrongStep      wrongStep      yes     yes             migrationNotPaused migrationManual
finish                         migrationRuns yes                 nothingChanges     wrongStep          wrongStep      yes            yes     yes             migrationNotPaused migrationManual
finish,nodes-only              migrationRuns nothingToMigrate    nothingChanges     yes                wrongStep      yes            yes     yes             migrationNotPaused migrationManual

recovery,post-too-early        migrationRuns yes                 wrongStep          nothingChanges     wrongStep      wrongStep      yes     yes             migrationNotPaused migrationManual
recovery,all-too-early         migrationRuns yes                 yes                nothingChanges     wrongStep      wrongStep      yes     yes             migrationNotPaused migrationManual
recovery,pre-too-late          migrationRuns yes                 nothingChanges     yes                wrongStep      wrongStep      yes     yes             migrationNotPaused migrationManual
recovery,upside-down           migrationRuns yes                 nothingChanges     wrongStep          wrongStep      wrongStep      yes     yes             migrationNotPaused migrationManual
broken                         migrationRuns nothingToMigrate    wrongStep          nothingChanges     wrongStep      wrongStep      yes     yes             migrationNotPaused migrationManual
broken,after-nodes             migrationRuns nothingToMigrate    nothingChanges     wrongStep          wrongStep      wrongStep      yes     yes             migrationNotPaused migrationManual
start,busy                     migrationRuns busy                busy               busy               busy           busy           yes     yes             migrationNotPaused migrationManual

start,paused                   migrationRuns yes                 wrongStep          nothingChanges     yes            wrongStep      yes     migrationPaused yes                migrationManual
preNodeResourcesUpdated,paused migrationRuns yes                 migrationPaused    nothingChanges     wrongStep      wrongStep      yes     migrationPaused yes                migrationManual
nodesUpdating,paused           migrationRuns nodesObsolete       nothingChanges     yes                wrongStep      nodesObsolete  yes     migrationPaused yes                migrationManual

nodesUpdating,automatic        migrationRuns migrationAutomatic  migrationAutomatic migrationAutomatic wrongStep      nodesObsolete  yes     yes             migrationNotPaused yes
nodesUpdating,automatic-paused migrationRuns nodesObsolete       migrationAutomatic migrationAutomatic wrongStep      nodesObsolete  yes     migrationPaused yes                yes
nodesUpdating,automatic-back   migrationRuns migrationAutomatic  migrationAutomatic migrationAutomatic wrongStep      wrongStep      yes     yes             migrationNotPaused nothingChanges
start,automatic-failed         migrationRuns yes                 migrationAutomatic migrationAutomatic yes            wrongStep      yes     migrationPaused yes                yes
";

/// The operations, each with its call.
const COLUMNS: [(&str, &str); 10] = [
    ("createMigration", "/migrations"),
    ("migrateResources", "/migrations/current/resources"),
    ("updateNodesToDestination", "/migrations/current/nodes"),
    ("updateNodesToSource", "/migrations/current/nodes"),
    ("cancel", "/migrations/current/cancel"),
    ("finish", "/migrations/current/finish"),
    ("recheck", "/cluster/recheck"),
    ("pause", "/migrations/current/pause"),
    ("resume", "/migrations/current/resume"),
    ("rollback", "/migrations/current/rollback"),
];

const AT_A: Text = "
    all Db     before 1 one,two    a
    all Site after  1 main,other a";
const AT_B: Text = "
    all Db     before 1 one,two    a,b
    all Site after  1 main,other a,b";
const AT_B_WITH_A_NODE: Text = "
    nodes 1
    all Db     before 1 one,two    a,b
    all Site after  1 main,other a,b";
const FORKED: Text = "
    all Db     before 1 one,two    x
    all Site after  1 main,other a";

const ALL_AT_A: &str = "Db.one=a Db.two=a Site.main=a Site.other=a";
const NOBODY: Value = Value::Null;

/// Returns what the table says about a situation.
fn row(situation: &str) -> Vec<&'static str> {
    let mut lines = TABLE.lines().map(|line| line.split_whitespace().collect());
    let found = lines.find(|line: &Vec<_>| line.first() == Some(&situation));
    let row = found.unwrap_or_else(|| panic!("{situation} is not in the table"));
    row[1..].to_vec()
}

/// Returns what a state says about each operation.
fn said(operations: &Value) -> Vec<String> {
    let of = |(id, _): &(&str, &str)| {
        let listed = operation(&json!({ "operations": operations }), id);
        let reason = listed["reason"]["code"].as_str();
        assert_eq!(listed["allowed"] == true, reason.is_none(), "{listed}");
        assert!(
            listed["allowed"] == true || listed["recommended"] != true,
            "{listed}"
        );
        reason.unwrap_or("yes").to_owned()
    };
    COLUMNS.iter().map(of).collect()
}

fn body(bench: &Bench, id: &str, migrates: bool) -> Value {
    match id {
        "createMigration" => json!({ "toConfigurationId": 2 }),
        "migrateResources" if migrates => bench.request("Db.one", "destination"),
        "migrateResources" => bench.request("Db.one", "source"),
        "updateNodesToDestination" => json!({ "target": "destination" }),
        "updateNodesToSource" => json!({ "target": "source" }),
        _ => json!({}),
    }
}

impl Bench {
    /// Asserts that the cluster is in a situation: the flags are those of the table, everything that they refuse is
    /// refused with the same reason and changes nothing, and what only asks (recheck, pause and resume) works.
    #[track_caller]
    fn is_in(&self, situation: &str) {
        let expected = row(situation);
        let is_busy = situation.ends_with("busy");
        let state = self.state_when_flags(situation, &expected, is_busy);
        let step = situation.split(',').next().unwrap();
        let migrates = state.get("migration").is_some_and(Value::is_object);
        if migrates && !step.starts_with("preparing") {
            assert_eq!(state["currentStep"], step, "{situation}\n{state:#}");
            assert_eq!(state["migration"]["step"], step, "{situation}");
        }
        if migrates {
            let of_migration = said(&state["migration"]["operations"]);
            assert_eq!(of_migration, expected, "{situation}");
        }
        self.refusals_hold(situation, &state, migrates);
        if is_busy {
            return;
        }
        self.recheck();
        self.state_when_flags(situation, &expected, false);
        if expected[7] == "yes" {
            self.step("pause", json!({}));
            assert_eq!(self.state()["migration"]["state"], "paused", "{situation}");
            self.step("resume", json!({}));
            self.state_when_flags(situation, &expected, false);
        }
    }

    #[track_caller]
    fn state_when_flags(&self, situation: &str, expected: &[&str], is_busy: bool) -> Value {
        let (mut seen, mut state) = (Vec::new(), Value::Null);
        wait_until(DEADLINE, || {
            state = self.state();
            seen = said(&state["operations"]);
            seen == expected && state["busy"] == is_busy
        });
        assert_eq!(seen, expected, "{situation}\n{state:#}\n{}", self.log());
        state
    }

    /// Calls everything that is refused.
    #[track_caller]
    fn refusals_hold(&self, situation: &str, state: &Value, migrates: bool) {
        for (id, path) in COLUMNS {
            let listed = operation(state, id);
            if listed["allowed"] == true {
                continue;
            }
            let path = match id {
                "migrateResources" if !migrates => "/cluster/resources",
                _ => path,
            };
            let answer = self.call("POST", path, Some(body(self, id, migrates)));
            let heard = (answer.status, &answer.body["code"], &answer.body["detail"]);
            let reason = &listed["reason"];
            let expected = (409, &reason["code"], &reason["message"]);
            assert_eq!(heard, expected, "{situation}: {id}");
        }
        let after = self.state();
        for field in [
            "currentStep",
            "steps",
            "migration",
            "templates",
            "activeConfigurationId",
        ] {
            assert_eq!(
                after[field], state[field],
                "{situation}: {field} was changed by a refusal"
            );
        }
        assert_eq!(self.moves(), [""; 0], "{situation}");
    }

    #[track_caller]
    fn moved(&self, expected: &[&str]) {
        assert_eq!(self.moves(), expected);
    }
}

#[test]
fn each_step_of_a_manual_migration_allows_its_operations_and_refuses_the_others_with_their_reasons()
{
    let mut bench = Bench::start(&[AT_A, AT_B], ALL_AT_A);
    bench.container_starts();
    bench.is_in("idle");
    bench.migrate(2, &NOBODY);
    bench.is_in("start");
    bench.step("cancel", json!({}));
    assert_eq!(bench.migration_when("rolledBack")["id"], 1);
    bench.migrate(2, &NOBODY);

    bench.move_to("destination", "Db.two");
    bench.moved(&["Db.two a b"]);
    bench.is_in("preNodesResourcesUpdating");
    bench.move_to("source", "Db.two");
    bench.moved(&["Db.two b a"]);
    assert_eq!(bench.state()["currentStep"], "start");
    // B12: in the order of the migration, not of the request.
    bench.move_to("destination", "Db.two Db.one");
    bench.moved(&["Db.one a b", "Db.two a b"]);
    bench.is_in("preNodeResourcesUpdated");
    bench.move_to("source", "Db.one Db.two");
    bench.moved(&["Db.two b a", "Db.one b a"]);
    assert_eq!(bench.state()["currentStep"], "start");
    bench.move_to("destination", "Db.one Db.two");

    bench.nodes_to("destination");
    assert_eq!(bench.state()["activeConfigurationId"], 2);
    bench.moved(&["Db.one a b", "Db.two a b"]);
    bench.is_in("nodesUpdating");
    bench.nodes_to("source");
    assert_eq!(bench.state()["activeConfigurationId"], 1);
    bench.container_leaves();
    bench.is_in("preNodeResourcesUpdated");
    bench.nodes_to("destination");
    bench.is_in("nodesUpdated");
    bench.container_starts();
    bench.nodes_to("source");
    bench.is_in("nodesUpdating,going-back");
    bench.nodes_to("destination");
    // B14: the node leaves, and what waited for it is possible.
    bench.container_leaves();
    bench.is_in("nodesUpdated");

    bench.move_to("destination", "Site.main");
    bench.moved(&["Site.main a b"]);
    bench.is_in("postNodesResourcesUpdating");
    bench.move_to("source", "Site.main");
    bench.moved(&["Site.main b a"]);
    assert_eq!(bench.state()["currentStep"], "nodesUpdated");
    bench.move_to("destination", "Site.other Site.main");
    bench.moved(&["Site.main a b", "Site.other a b"]);
    bench.is_in("finish");
    bench.move_to("source", "Site.other Site.main");
    bench.moved(&["Site.other b a", "Site.main b a"]);
    assert_eq!(bench.state()["currentStep"], "nodesUpdated");
    bench.move_to("destination", "Site.main Site.other");
    bench.moved(&["Site.main a b", "Site.other a b"]);
    bench.step("finish", json!({}));
    bench.migration_when("completed");
    bench.is_in("idle");
}

#[test]
fn what_stands_where_it_should_not_leaves_the_operations_that_put_it_right() {
    let bench = Bench::start(&[AT_A, AT_B, FORKED], ALL_AT_A);
    bench.migrate(2, &NOBODY);
    for (points, situation) in [
        ("Site.main=b Site.other=b", "recovery,post-too-early"),
        ("Db.one=b Db.two=b", "recovery,all-too-early"),
        ("Db.one=alien", "broken"),
        (
            "Db.one=b Site.main=a Site.other=a",
            "preNodeResourcesUpdated",
        ),
    ] {
        bench.points_are(points);
        bench.recheck();
        bench.is_in(situation);
    }
    bench.nodes_to("destination");
    for (points, situation) in [
        ("Db.one=a Db.two=a", "recovery,pre-too-late"),
        ("Site.main=b Site.other=b", "recovery,upside-down"),
        ("Site.main=alien", "broken,after-nodes"),
    ] {
        bench.points_are(points);
        bench.recheck();
        bench.is_in(situation);
    }
    bench.points_are("Site.main=b");
    bench.recheck();
    // Out of this the operator leads in both directions.
    bench.move_to("source", "Site.other Site.main");
    bench.nodes_to("source");
    assert_eq!(bench.state()["currentStep"], "start");
    bench.moved(&["Site.other b a", "Site.main b a"]);

    bench.fault("Db", "crash-resources");
    bench.recheck();
    bench.is_in("start,unreadable");
    bench.fault("Db", "");
    bench.recheck();
    bench.fault("Db", "wait");
    let path = "/migrations/current/resources";
    bench.post(path, bench.request("Db.one", "destination"));
    bench.is_in("start,busy");
    bench.fault("Db", "");
    bench.idle();
    bench.moved(&["Db.one a b"]);
    bench.move_to("source", "Db.one");
    bench.moved(&["Db.one b a"]);
    bench.step("cancel", json!({}));

    bench.migrate(3, &NOBODY);
    bench.is_in("preparing,forked");
    let state = bench.state();
    assert_eq!(state["currentStep"], "broken");
    assert_eq!(state["steps"], json!(["broken"]));
    bench.step("cancel", json!({}));
    assert_eq!(bench.migration_when("failed")["toConfigurationId"], 3);

    bench.idle();
    bench.fault("Db", "crash-resources");
    bench.post(
        "/migrations",
        json!({ "toConfigurationId": 2, "retryFaulted": true }),
    );
    bench.idle();
    bench.is_in("preparing,unreadable");
    bench.fault("Db", "");
    bench.recheck();
    assert_eq!(bench.migration_when("ready")["step"], "start");
}

#[test]
fn without_a_migration_what_lags_is_repaired_and_keeps_one_from_starting() {
    let bench = Bench::start(&[AT_B, AT_A], "Db.one=b Db.two=b Site.main=b Site.other=b");
    bench.is_in("idle");
    bench.points_are("Db.one=a Site.main=a");
    bench.recheck();
    bench.is_in("idle,lagging");
    bench.post(
        "/cluster/resources",
        bench.request("Site.main Db.one", "source"),
    );
    bench.idle();
    bench.moved(&["Db.one a b", "Site.main a b"]);
    bench.points_are("Db.one=alien");
    bench.recheck();
    bench.is_in("idle,lost");
    bench.points_are("Db.one=b");
    bench.fault("Db", "garbage");
    bench.recheck();
    bench.is_in("idle,unreadable");
    bench.fault("Db", "");
    bench.points_are("Db.one=a");
    bench.recheck();
    bench.fault("Db", "wait");
    bench.post("/cluster/resources", bench.request("Db.one", "source"));
    bench.is_in("idle,busy");
    bench.fault("Db", "");
    bench.idle();
    bench.moved(&["Db.one a b"]);
}

#[test]
fn a_paused_migration_moves_no_node_on_and_one_without_resources_only_nodes() {
    let mut bench = Bench::start(&[AT_A, AT_B, AT_A, AT_B_WITH_A_NODE], ALL_AT_A);
    bench.container_starts();
    bench.migrate(3, &NOBODY);
    bench.is_in("start,nodes-only");
    bench.nodes_to("destination");
    bench.container_leaves();
    bench.is_in("finish,nodes-only");
    bench.container_starts();
    bench.nodes_to("source");
    bench.is_in("nodesUpdating,nodes-only-back");
    bench.step("cancel", json!({}));
    bench.migration_when("rolledBack");
    bench.is_in("idle,node-obsolete");
    bench.container_leaves();
    bench.is_in("idle");

    bench.migrate(2, &NOBODY);
    bench.step("pause", json!({}));
    bench.is_in("start,paused");
    // What was paused is cancelled, too: nothing has moved.
    bench.step("cancel", json!({}));
    bench.migrate(2, &NOBODY);
    bench.move_to("destination", "Db.one");
    bench.step("pause", json!({}));
    // Resources move when somebody asks for it by hand.
    bench.move_to("destination", "Db.two");
    bench.moved(&["Db.one a b", "Db.two a b"]);
    bench.is_in("preNodeResourcesUpdated,paused");
    bench.step("resume", json!({}));
    bench.container_starts();
    bench.nodes_to("destination");
    bench.step("pause", json!({}));
    bench.is_in("nodesUpdating,paused");
    // Who sends them back does not want them held.
    bench.nodes_to("source");
    assert_eq!(bench.state()["migration"]["state"], "ready");
    bench.container_leaves();
    bench.is_in("preNodeResourcesUpdated");
    bench.move_to("source", "Db.one Db.two");
    bench.step("cancel", json!({}));
    bench.moves();

    bench.migrate(4, &NOBODY);
    bench.move_to("destination", "Db.one Db.two");
    bench.nodes_to("destination");
    bench.moves();
    bench.is_in("nodesUpdating,node-missing");
}

#[test]
fn an_automatic_migration_is_led_by_pause_resume_and_rollback_alone() {
    let automatic = json!({ "mode": "automatic" });
    let mut bench = Bench::start(&[AT_A, AT_B, FORKED], ALL_AT_A);
    bench.container_starts();
    bench.fault("Db", "refuse");
    bench.migrate(2, &automatic);
    bench.migration_when("paused");
    bench.is_in("start,automatic-failed");
    bench.step("rollback", json!({}));
    assert_eq!(bench.migration_when("rolledBack")["id"], 1);
    bench.migrate(2, &automatic);
    bench.migration_when("paused");
    bench.fault("Db", "");
    bench.step("resume", json!({}));
    bench.state_when("nodes", |state| state["currentStep"] == "nodesUpdating");
    bench.moved(&["Db.one a b", "Db.two a b"]);
    bench.is_in("nodesUpdating,automatic");
    bench.step("pause", json!({}));
    bench.is_in("nodesUpdating,automatic-paused");
    bench.container_leaves();
    bench.container_starts();
    bench.step("rollback", json!({}));
    bench.state_when("the source is Active", |state| {
        state["activeConfigurationId"] == 1
    });
    bench.is_in("nodesUpdating,automatic-back");
    bench.container_leaves();
    bench.migration_when("rolledBack");
    bench.moved(&["Db.two b a", "Db.one b a"]);

    bench.idle();
    bench.fault("Site", "no-description");
    let body = json!({ "toConfigurationId": 2, "mode": "automatic", "retryFaulted": true });
    bench.allowed_when("createMigration");
    bench.post("/migrations", body);
    bench.idle();
    bench.is_in("preparing,automatic");
    bench.step("cancel", json!({}));
    bench.migration_when("failed");
    assert_eq!(bench.points("Db.one Db.two Site.main Site.other"), ALL_AT_A);
}

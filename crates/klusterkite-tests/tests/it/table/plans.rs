//! Plans: made of what they depend on, refused when that has changed; what cannot be undone is told before.

use serde_json::{Value, json};

use super::bench::{Bench, Text};

const FROM: Text = "db Db before 1 one,two a";
const TO: Text = "db Db before 1 one,two a,b";
const LASTING: Text = "db Db before 1 one,two a,b,c!,d";

fn plan(bench: &Bench, to: usize) -> Value {
    bench.idle();
    bench.post("/migrations/plan", json!({ "toConfigurationId": to }))
}

#[test]
fn a_plan_has_the_same_id_as_long_as_nothing_it_is_made_of_changes_and_a_stale_one_is_refused() {
    let mut bench = Bench::start(&[FROM, TO, TO], "Db.one=a Db.two=a");
    let first = plan(&bench, 2)["planId"].clone();
    assert_eq!(plan(&bench, 2)["planId"], first);
    let mut ids = vec![first.clone(), plan(&bench, 3)["planId"].clone()];
    bench.points_are("Db.two=-");
    ids.push(plan(&bench, 2)["planId"].clone());
    bench.points_are("Db.two=a");
    assert_eq!(plan(&bench, 2)["planId"], first);
    bench.container_starts();
    let with_a_node = plan(&bench, 2);
    ids.push(with_a_node["planId"].clone());
    let restarts = &with_a_node["nodes"]["templates"][0]["restart"];
    assert_eq!(
        restarts[0]["nodeId"],
        "11111111-2222-4333-8444-555555555555"
    );
    for (index, id) in ids.iter().enumerate() {
        assert!(!ids[..index].contains(id), "{ids:?}");
    }

    // Every plan but the newest is stale: for another target, of another point, without the node.
    for stale in &ids[..3] {
        bench.allowed_when("createMigration");
        let start = json!({ "toConfigurationId": 2, "planId": stale });
        let said = bench.refused("/migrations", start, "planChanged");
        assert!(said.contains("plan again"), "{said}");
        assert_eq!(bench.state()["migration"], Value::Null);
    }
    bench.idle();
    let start = json!({ "toConfigurationId": 2, "planId": ids[3] });
    bench.post("/migrations", start);
    bench.idle();
    let plan = json!({ "toConfigurationId": 3 });
    bench.refused("/migrations/plan", plan, "migrationRuns");
}

#[test]
fn a_point_that_cannot_be_left_is_told_in_the_plan_and_refuses_the_way_back() {
    let bench = Bench::start(&[FROM, LASTING], "Db.one=a Db.two=a");
    let before = plan(&bench, 2)["beforeNodes"].clone();
    for planned in before.as_array().unwrap() {
        assert_eq!(planned["cannotBeUndone"], true, "{planned}");
        assert_eq!(planned["irreversible"], json!(["c"]), "{planned}");
    }
    bench.migrate(2, &Value::Null);
    bench.move_to("destination", "Db.one");
    assert_eq!(bench.moves(), ["Db.one a d"]);
    let path = "/migrations/current/resources";
    let said = bench.refused(path, bench.request("Db.one", "source"), "irreversible");
    assert_eq!(
        said,
        "resource `db:Db:one` cannot leave point `c` downward; its migrator calls it irreversible"
    );
    // Not even together with one that could go back.
    bench.points_are("Db.two=b");
    bench.recheck();
    bench.refused(
        path,
        bench.request("Db.one Db.two", "source"),
        "irreversible",
    );
    assert_eq!(bench.moves(), [""; 0]);
    bench.move_to("source", "Db.two");
    assert_eq!(bench.moves(), ["Db.two b a"]);
    bench.move_to("destination", "Db.two");
    bench.nodes_to("destination");
    bench.step("finish", json!({}));
    bench.migration_when("completed");

    // Another migration does not lead back either, and says so before it starts.
    let back = plan(&bench, 1);
    assert_eq!(back["blockers"][0]["code"], "irreversible", "{back:#}");
    bench.migrate(1, &json!({ "mode": "automatic" }));
    let state = bench.state();
    assert_eq!(state["migration"]["state"], "preparing");
    assert_eq!(state["migration"]["reason"]["code"], "irreversible");
    bench.step("cancel", json!({}));
    bench.migration_when("failed");
    assert_eq!(bench.moves(), ["Db.two a d"]);
}

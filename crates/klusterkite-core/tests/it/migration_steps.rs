//! Steps, and what may be done in each (sections 2.6 to 2.8 of the catalogue of behaviours).

use klusterkite_core::plan::migration::{
    MigrationContext, MigrationState, Step, operations_without_state,
};
use klusterkite_core::plan::resources::{IdleState, Side};
use klusterkite_core::reason::ReasonCode;

use crate::readings::{
    Migrator, allowed, context, key, names, reading, release, schema, site, state, text,
};

/// A migration with one resource before the nodes and one after them, which stand at these points: `a` is
/// the source's, `c` the destination's, `b` lies between; an empty text leaves the resource out.
fn standing(pre: &str, post: &str) -> MigrationState {
    let migrators = |points| {
        let mut migrators = Vec::new();
        if !pre.is_empty() {
            migrators.push(schema("s", points, &[("pre", pre)]));
        }
        if !post.is_empty() {
            migrators.push(site("w", points, &[("post", post)]));
        }
        migrators
    };
    state(&migrators("a"), &migrators("a b c"))
}

#[test]
fn the_step_is_computed_from_where_everything_stands() {
    use Side::{Destination, Source};
    for (pre, post, active, upgrading, expected) in [
        ("a", "a", Source, false, Step::Start),
        ("", "a", Source, false, Step::Start),
        ("a", "a", Source, true, Step::PreNodesResourcesUpdating),
        ("b", "a", Source, false, Step::PreNodesResourcesUpdating),
        ("c", "a", Source, false, Step::PreNodeResourcesUpdated),
        ("c", "a", Source, true, Step::NodesUpdating),
        ("c", "a", Destination, true, Step::NodesUpdating),
        ("c", "a", Destination, false, Step::NodesUpdated),
        (
            "c",
            "b",
            Destination,
            false,
            Step::PostNodesResourcesUpdating,
        ),
        ("c", "c", Destination, false, Step::Finish),
        ("c", "", Destination, false, Step::Finish),
        ("", "", Destination, false, Step::Finish),
        ("a", "b", Source, false, Step::Recovery),
        ("c", "c", Source, false, Step::Recovery),
        ("a", "a", Destination, false, Step::Recovery),
        ("b", "c", Destination, false, Step::Recovery),
        ("x", "a", Source, false, Step::Broken),
    ] {
        let step = standing(pre, post).step(context(active, upgrading));
        assert_eq!(
            step, expected,
            "pre {pre}, post {post}, active {active}, obsolete nodes {upgrading}"
        );
    }
}

#[test]
fn b13_nothing_that_follows_the_nodes_begins_before_every_node_is_done() {
    for post in ["a", "b", "c"] {
        let state = standing("c", post);
        assert_eq!(
            state.step(context(Side::Destination, true)),
            Step::NodesUpdating,
            "post {post}"
        );
        let ids = allowed(&state, context(Side::Destination, true));
        assert!(
            !ids.contains(&"finish".to_owned()) && !ids.contains(&"migrateResources".to_owned()),
            "{ids:?}"
        );
    }
}

#[test]
fn the_step_list_names_only_the_phases_that_have_resources() {
    let steps = |state: &MigrationState| state.steps().into_iter().map(text).collect::<Vec<_>>();
    assert_eq!(
        steps(&standing("a", "a")),
        [
            "start",
            "preNodesResourcesUpdating",
            "preNodeResourcesUpdated",
            "nodesUpdating",
            "nodesUpdated",
            "postNodesResourcesUpdating",
            "finish"
        ]
    );
    assert_eq!(
        steps(&standing("a", "")),
        [
            "start",
            "preNodesResourcesUpdating",
            "preNodeResourcesUpdated",
            "nodesUpdating",
            "finish"
        ]
    );
    assert_eq!(
        steps(&standing("", "")),
        ["start", "nodesUpdating", "finish"]
    );
    let parted = state(
        &[schema("m", "a b", &[("r", "b")])],
        &[schema("m", "a c", &[("r", "b")])],
    );
    assert_eq!(steps(&parted), ["broken"]);
}

#[test]
fn each_step_allows_its_operations_and_no_others() {
    use Side::{Destination, Source};
    let (forward, back, resources) = (
        "updateNodesToDestination",
        "updateNodesToSource",
        "migrateResources",
    );
    for (pre, post, active, upgrading, operations, migratable) in [
        (
            "a",
            "a",
            Source,
            false,
            vec!["cancel", resources],
            vec!["pre"],
        ),
        ("", "a", Source, false, vec!["cancel", forward], vec![]),
        ("b", "a", Source, false, vec![resources], vec!["pre"]),
        (
            "c",
            "a",
            Source,
            false,
            vec![resources, forward],
            vec!["pre"],
        ),
        ("c", "a", Source, true, vec![forward], vec![]),
        ("c", "a", Destination, true, vec![back], vec![]),
        (
            "c",
            "a",
            Destination,
            false,
            vec![resources, back],
            vec!["post"],
        ),
        ("c", "b", Destination, false, vec![resources], vec!["post"]),
        (
            "c",
            "c",
            Destination,
            false,
            vec!["finish", resources],
            vec!["post"],
        ),
        ("c", "", Destination, false, vec!["finish", back], vec![]),
        // In recovery everything can be put right; nodes move only when what they need is there (I3).
        (
            "a",
            "c",
            Source,
            false,
            vec![resources],
            vec!["pre", "post"],
        ),
        (
            "c",
            "c",
            Source,
            false,
            vec![resources, forward],
            vec!["pre", "post"],
        ),
        (
            "a",
            "a",
            Destination,
            false,
            vec![resources, back],
            vec!["pre", "post"],
        ),
        ("x", "a", Source, false, vec![], vec![]),
    ] {
        let state = standing(pre, post);
        let context = context(active, upgrading);
        let case = format!("pre {pre}, post {post}, active {active}, obsolete nodes {upgrading}");
        assert_eq!(allowed(&state, context), operations, "{case}");
        assert_eq!(names(&state.migratable(context)), migratable, "{case}");
    }
}

#[test]
fn nothing_is_allowed_while_an_operation_runs_but_recheck_always_is() {
    let busy = MigrationContext {
        busy: true,
        ..context(Side::Source, false)
    };
    let state = standing("a", "a");
    assert!(allowed(&state, busy).is_empty());
    assert!(state.migratable(busy).is_empty());
    for operations in [
        state.operations(busy),
        operations_without_state(true, true, true),
        operations_without_state(false, true, false),
        operations_without_state(false, false, false),
        IdleState::default().operations(true, false),
    ] {
        let recheck = operations
            .iter()
            .find(|operation| operation.id == "recheck")
            .unwrap();
        assert!(
            recheck.allowed,
            "b24, b26: a failed operation or analysis never leaves the cluster stuck"
        );
        assert!(
            operations
                .iter()
                .all(|operation| operation.allowed == operation.reason.is_none())
        );
    }
}

#[test]
fn a_migration_that_was_never_analysed_can_be_cancelled_and_one_that_was_can_not_be_judged() {
    let cancel = |preparing| {
        let operations = operations_without_state(false, true, preparing);
        operations
            .into_iter()
            .find(|operation| operation.id == "cancel")
            .unwrap()
            .allowed
    };
    assert_eq!((cancel(true), cancel(false)), (true, false));
    let mut broken = standing("a", "a");
    broken.errors = MigrationState::new(
        &release(1, &[]),
        &release(2, &[]),
        &reading(&[schema("m", "", &[])]),
        &[],
    )
    .errors;
    let ready = context(Side::Source, false);
    assert!(allowed(&broken, ready).is_empty());
    assert_eq!(
        allowed(
            &broken,
            MigrationContext {
                preparing: true,
                ..ready
            }
        ),
        ["cancel"]
    );
}

#[test]
fn a_broken_migration_can_be_cancelled_only_while_everything_is_at_the_source() {
    let parted = |current: &'static str| {
        state(
            &[schema("m", "a b", &[("r", current)])],
            &[schema("m", "a c", &[("r", current)])],
        )
    };
    assert_eq!(
        allowed(&parted("b"), context(Side::Source, false)),
        ["cancel"]
    );
    assert!(allowed(&parted("b"), context(Side::Destination, false)).is_empty());
    assert!(allowed(&parted("a"), context(Side::Source, false)).is_empty());
}

#[test]
fn a_resource_that_the_migration_created_does_not_keep_it_from_being_cancelled() {
    for current in ["-", "a", "b"] {
        let created = state(&[], &[schema("m", "a b", &[("r", current)])]);
        assert_eq!(
            created.step(context(Side::Source, false)),
            Step::Start,
            "at {current}"
        );
        assert!(
            allowed(&created, context(Side::Source, false)).contains(&"cancel".to_owned()),
            "at {current}"
        );
    }
}

#[test]
fn pause_and_resume_take_turns() {
    let ids = |paused| {
        let operations = standing("a", "a").operations(MigrationContext {
            paused,
            ..context(Side::Source, false)
        });
        let ids = operations
            .into_iter()
            .filter(|operation| operation.allowed)
            .map(|operation| operation.id);
        ids.filter(|id| id == "pause" || id == "resume")
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (ids(false), ids(true)),
        (vec!["pause".to_owned()], vec!["resume".to_owned()])
    );
}

fn several() -> MigrationState {
    let migrators = |points| {
        vec![
            schema("low", points, &[("low", "a")]).priority(1.0),
            schema("high", points, &[("high", "a")]).priority(9.0),
            schema("moved", points, &[("moved", "b")]).priority(5.0),
        ]
    };
    state(&migrators("a"), &migrators("a b"))
}

#[test]
fn b12_a_request_is_sorted_into_the_order_of_the_migration() {
    let requests = |target| ["low", "moved", "high"].map(|name| (key(name, name), target));
    let moves = |target| {
        let moves = several()
            .moves(&requests(target), context(Side::Source, false))
            .unwrap();
        moves
            .iter()
            .map(|item| {
                format!(
                    "{} → {} by {}",
                    item.key.resource, item.point, item.executor
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(
        moves(Side::Destination),
        ["high → b by destination", "low → b by destination"]
    );
    assert_eq!(moves(Side::Source), ["moved → a by destination"]);
}

#[test]
fn one_impossible_item_refuses_the_whole_request() {
    let state = several();
    let ask = |requests: &[_], context| state.moves(requests, context).unwrap_err().code;
    let good = (key("low", "low"), Side::Destination);
    let source = context(Side::Source, false);
    assert_eq!(
        ask(
            &[good.clone(), (key("low", "other"), Side::Destination)],
            source
        ),
        ReasonCode::ResourceUnknown
    );
    assert_eq!(
        ask(&[(key("low", "low"), Side::Source)], source),
        ReasonCode::NothingChanges
    );
    assert_eq!(
        ask(std::slice::from_ref(&good), context(Side::Source, true)),
        ReasonCode::NodesObsolete
    );
    assert_eq!(
        ask(
            &[good],
            MigrationContext {
                busy: true,
                ..source
            }
        ),
        ReasonCode::Busy
    );
}

#[test]
fn a_point_that_its_migrator_calls_irreversible_is_never_left_downward() {
    let migrators = |points| vec![schema("m", points, &[("r", "b")]).irreversible("b")];
    let state = state(&migrators("a"), &migrators("a b"));
    let refusal = state
        .moves(
            &[(key("m", "r"), Side::Source)],
            context(Side::Source, false),
        )
        .unwrap_err();
    assert_eq!(refusal.code, ReasonCode::Irreversible);
    assert_eq!(refusal.params["point"], "b");
}

fn idle(migrators: &[Migrator]) -> IdleState {
    IdleState::new(&release(1, &[("db", 1.0)]), &reading(migrators))
}

#[test]
fn b8_a_lagging_or_missing_resource_can_be_repaired_without_a_migration() {
    let state = idle(&[
        schema(
            "low",
            "a b",
            &[("lags", "a"), ("fine", "b"), ("alien", "x")],
        )
        .priority(1.0),
        schema("high", "a", &[("missing", "-")]).priority(9.0),
    ]);
    let repairs: Vec<_> = state
        .migratable
        .iter()
        .map(|item| format!("{} → {}", item.key, item.point))
        .collect();
    assert_eq!(repairs, ["db:high:missing → a", "db:low:lags → b"]);
    let keys = [key("low", "lags"), key("high", "missing")];
    assert_eq!(
        state.moves(&keys).unwrap(),
        state.migratable,
        "in the order of the migrators' priority"
    );
    assert_eq!(
        state.moves(&[key("low", "alien")]).unwrap_err().code,
        ReasonCode::ResourceNotMigratable
    );
    assert_eq!(
        state.may_create(false).unwrap_err().code,
        ReasonCode::ResourcesLag
    );
}

#[test]
fn a_migration_can_be_created_when_everything_is_in_place() {
    let fine = idle(&[schema("m", "a b", &[("r", "b")])]);
    assert!(fine.all_at_last_point && fine.may_create(false).is_ok());
    assert_eq!(
        fine.may_create(true).unwrap_err().code,
        ReasonCode::NodesObsolete
    );
    let ids = |operations: Vec<klusterkite_core::reason::Operation>| {
        operations
            .into_iter()
            .filter(|operation| operation.allowed)
            .map(|operation| operation.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        ids(fine.operations(false, false)),
        ["createMigration", "recheck"]
    );
    assert_eq!(ids(fine.operations(false, true)), ["recheck"]);
    let unread = idle(&[schema("m", "", &[])]);
    assert_eq!(
        unread.may_create(false).unwrap_err().code,
        ReasonCode::AnalysisFailed
    );
    let none = IdleState::new(&release(1, &[]), &[]);
    assert!(
        none.may_create(false).is_ok(),
        "a cluster without migrator templates is a valid cluster"
    );
}

//! A migration that runs by itself, forward and back.

use klusterkite_core::plan::migration::{MigrationState, MoveKind, Next, next, plan};
use klusterkite_core::plan::resources::{ResourceKey, Side};
use klusterkite_core::plan::rollout::PlanSummary;
use klusterkite_core::reason::ReasonCode;
use proptest::prelude::*;

use crate::readings::{Migrator, context, schema, site, state};

/// Two configurations whose migrators share their resources, and where the nodes are.
#[derive(Clone)]
struct Cluster {
    source: Vec<Migrator>,
    destination: Vec<Migrator>,
    active: Side,
    obsolete_nodes: bool,
    log: Vec<String>,
    moved: Vec<(ResourceKey, Side)>,
}

impl Cluster {
    fn new(source: Vec<Migrator>, destination: Vec<Migrator>) -> Self {
        Self {
            source,
            destination,
            active: Side::Source,
            obsolete_nodes: false,
            log: Vec::new(),
            moved: Vec::new(),
        }
    }

    fn state(&self) -> MigrationState {
        state(&self.source, &self.destination)
    }

    /// Does what comes next; tells whether there is more to do.
    fn step(&mut self, goal: Side) -> bool {
        match next(
            &self.state(),
            context(self.active, self.obsolete_nodes),
            goal,
        ) {
            Next::Move(item) => {
                self.log
                    .push(format!("{} → {}", item.key.resource, item.point));
                for migrator in self.source.iter_mut().chain(&mut self.destination) {
                    for (code, current) in &mut migrator.resources {
                        if *code == item.key.resource.as_str()
                            && migrator.name == item.key.migrator.as_str()
                        {
                            *current = Some(item.point.to_string());
                        }
                    }
                }
                self.moved.push((item.key, item.target));
            }
            Next::UpdateNodes(side) => {
                self.log.push(format!("nodes → {side}"));
                (self.active, self.obsolete_nodes) = (side, true);
            }
            Next::WaitForNodes => self.obsolete_nodes = false,
            Next::Finish => return false,
            Next::Stuck(reason) => panic!("{reason:?} after {:?}", self.log),
        }
        true
    }

    fn run(&mut self, goal: Side) -> Vec<String> {
        for _ in 0..100 {
            if !self.step(goal) {
                return std::mem::take(&mut self.log);
            }
        }
        panic!("it does not end: {:?}", self.log);
    }
}

/// An upgrade of a schema and a site, a downgrade of another site, and a new schema.
fn story() -> Cluster {
    let both = |up, down| {
        vec![
            schema("schema", up, &[("tables", "v1")]).priority(5.0),
            site("site", up, &[("pages", "v1")]),
            site("old", down, &[("archive", "v2")]),
        ]
    };
    let mut destination = both("v1 v2", "v1");
    destination.push(schema("fresh", "f1 f2", &[("index", "-")]).priority(9.0));
    Cluster::new(both("v1", "v1 v2"), destination)
}

#[test]
fn forward_and_back_the_seeds_order_is_kept_and_created_resources_stay() {
    let mut cluster = story();
    assert_eq!(
        cluster.run(Side::Destination),
        [
            "archive → v1",
            "index → f2",
            "tables → v2",
            "nodes → destination",
            "pages → v2"
        ]
    );
    assert_eq!(
        cluster.run(Side::Source),
        [
            "pages → v1",
            "nodes → source",
            "tables → v1",
            "archive → v2"
        ]
    );
}

#[test]
fn a_migration_that_stopped_half_way_goes_back_from_there() {
    let mut cluster = story();
    for _ in 0..3 {
        cluster.step(Side::Destination);
    }
    cluster.log.clear();
    assert_eq!(cluster.run(Side::Source), ["tables → v1", "archive → v2"]);
}

#[test]
fn nodes_that_fail_to_update_turn_around_without_being_waited_for() {
    let mut cluster = story();
    while !cluster.obsolete_nodes {
        cluster.step(Side::Destination);
    }
    let turn = next(
        &cluster.state(),
        context(cluster.active, true),
        Side::Source,
    );
    assert_eq!(turn, Next::UpdateNodes(Side::Source));
}

#[test]
fn nodes_of_another_configuration_go_before_anything_moves() {
    let cluster = story();
    assert_eq!(
        next(
            &cluster.state(),
            context(Side::Source, true),
            Side::Destination
        ),
        Next::WaitForNodes
    );
}

#[test]
fn equal_priorities_are_undone_in_reverse_too() {
    let both = |points| {
        vec![schema(
            "m",
            points,
            &[("one", "a"), ("two", "a"), ("three", "a")],
        )]
    };
    let mut cluster = Cluster::new(both("a"), both("a b"));
    assert_eq!(
        cluster.run(Side::Destination),
        ["one → b", "two → b", "three → b", "nodes → destination"]
    );
    assert_eq!(
        cluster.run(Side::Source),
        ["nodes → source", "three → a", "two → a", "one → a"]
    );
}

#[test]
fn what_nobody_can_move_is_said_instead_of_tried() {
    let stuck = |source: Migrator, destination: Migrator, goal| {
        let state = state(&[source], &[destination]);
        match next(&state, context(Side::Source, false), goal) {
            Next::Stuck(reason) => reason.code,
            other => panic!("{other:?}"),
        }
    };
    let parted = |points| schema("m", points, &[("r", "b")]);
    assert_eq!(
        stuck(parted("a b"), parted("a c"), Side::Destination),
        ReasonCode::DirectionUndefined
    );
    let lost = |points| schema("m", points, &[("r", "x")]);
    assert_eq!(
        stuck(lost("a"), lost("a b"), Side::Destination),
        ReasonCode::ResourceOutOfScope
    );
    let fixed = |points| schema("m", points, &[("r", "b")]).irreversible("b");
    assert_eq!(
        stuck(fixed("a"), fixed("a b"), Side::Source),
        ReasonCode::Irreversible
    );
    let unread = |points| schema("m", points, &[]);
    assert_eq!(
        stuck(unread(""), unread("a"), Side::Destination),
        ReasonCode::AnalysisFailed
    );
}

#[test]
fn the_plan_names_moves_and_what_cannot_be_undone() {
    let Cluster {
        mut source,
        mut destination,
        ..
    } = story();
    source[0].irreversible = "v2";
    destination[0].irreversible = "v2";
    let plan = plan(&state(&source, &destination), PlanSummary::default());
    let moves = |moves: &[klusterkite_core::plan::migration::PlannedMove]| {
        moves
            .iter()
            .map(|item| {
                (
                    item.key.resource.to_string(),
                    item.kind,
                    item.cannot_be_undone,
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(
        moves(&plan.before_nodes),
        [
            ("archive".to_owned(), MoveKind::Downgrade, false),
            ("index".to_owned(), MoveKind::Create, true),
            ("tables".to_owned(), MoveKind::Upgrade, true),
        ]
    );
    assert_eq!(
        moves(&plan.after_nodes),
        [("pages".to_owned(), MoveKind::Upgrade, false)]
    );
    assert!(plan.blockers.is_empty());
    let down = |points| vec![schema("m", points, &[("r", "b")]).irreversible("b")];
    let blocked = klusterkite_core::plan::migration::plan(
        &state(&down("a b"), &down("a")),
        PlanSummary::default(),
    );
    assert_eq!(blocked.blockers[0].code, ReasonCode::Irreversible);
}

const LINES: [&str; 4] = ["p1", "p1 p2", "p1 p2 p3", "p1 p2 p3 p4"];
const MIGRATORS: [&str; 4] = ["m1", "m2", "m3", "m4"];

prop_compose! {
    /// One migrator in both configurations: its lines, and resources at the source's point, or not created.
    fn migrator(name: &'static str)(
        from in 0_usize..4, to in 0_usize..4, after in any::<bool>(), priority in 0_u32..3,
        created in prop::collection::vec(any::<bool>(), 1..3), presence in 0_u32..6
    ) -> (Option<Migrator>, Option<Migrator>) {
        let last = LINES[from].split(' ').next_back().map(str::to_owned);
        let codes = ["first", "second", "third"];
        let resources = |exist: bool| codes.iter().zip(&created)
            .map(|(code, created)| (*code, if exist && *created { last.clone() } else { None })).collect();
        let kind = |points, exist| {
            let base = if after { site(name, points, &[]) } else { schema(name, points, &[]) };
            Migrator { resources: resources(exist), ..base.priority(f64::from(priority)) }
        };
        ((presence != 0).then(|| kind(LINES[from], true)), (presence != 1).then(|| kind(LINES[to], presence != 0)))
    }
}

fn cluster() -> impl Strategy<Value = Cluster> {
    (
        migrator(MIGRATORS[0]),
        migrator(MIGRATORS[1]),
        migrator(MIGRATORS[2]),
        migrator(MIGRATORS[3]),
    )
        .prop_map(|(a, b, c, d)| {
            let (source, destination): (Vec<_>, Vec<_>) = [a, b, c, d].into_iter().unzip();
            Cluster::new(
                source.into_iter().flatten().collect(),
                destination.into_iter().flatten().collect(),
            )
        })
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#?} {:?}", self.state(), self.log)
    }
}

proptest! {
    #[test]
    fn every_migration_ends_and_is_undone_in_reverse(cluster in cluster(), turn in 0_usize..12) {
        let mut there = cluster.clone();
        there.run(Side::Destination);
        prop_assert!(there.state().may_finish(context(there.active, false)).is_ok());

        let mut cluster = cluster;
        let existed = |cluster: &Cluster, key: &ResourceKey| {
            let state = cluster.state();
            let (_, resource) = state.resource(key).unwrap();
            resource.source_point.is_some() && resource.current_point.is_some()
        };
        let before = cluster.clone();
        for _ in 0..turn {
            if !cluster.step(Side::Destination) { break }
        }
        let mut done: Vec<ResourceKey> = cluster.moved.drain(..).map(|(key, _)| key).collect();
        cluster.run(Side::Source);
        done.retain(|key| existed(&before, key));
        done.reverse();
        // A resource that both know and that the migration created goes to the source's point, in its turn.
        let undone: Vec<ResourceKey> =
            cluster.moved.iter().map(|(key, _)| key.clone()).filter(|key| existed(&before, key)).collect();
        prop_assert_eq!(undone, done, "I4");
        prop_assert!(cluster.state().may_cancel(context(cluster.active, false)).is_ok());
        prop_assert_eq!(cluster.active, Side::Source);
    }
}

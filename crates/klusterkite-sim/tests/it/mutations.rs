//! For each invariant one mistake that the checks catch, so that they are known to work.

use klusterkite_sim::cluster::{Invariant, Mutation};
use klusterkite_sim::history::{Kind, play, shrink};
use klusterkite_sim::script::judge;

/// Seeds within which a history has to notice a mistake.
const SEEDS: u64 = 1000;

/// A scenario that is left after shrinking is read by people.
const LINES_MAX: usize = 24;

/// Finds a history that breaks the invariant, and makes it small.
fn caught(mutation: Mutation, invariant: Invariant) {
    caught_by(Kind::Migrations, mutation, invariant);
}

fn caught_by(kind: Kind, mutation: Mutation, invariant: Invariant) {
    let mut failures = (1..=SEEDS).filter_map(|seed| play(kind, seed, Some(mutation)).unwrap());
    let failure = failures.find(|failure| failure.invariant == invariant);
    let failure = failure.unwrap_or_else(|| panic!("{mutation:?} is not caught"));
    let small = shrink(&failure);
    let violation = judge(&small.text).unwrap().unwrap();
    assert_eq!(violation.invariant, invariant);
    let lines = small.text.lines().count();
    assert!(
        lines <= LINES_MAX,
        "{lines} lines are left:\n{}",
        small.text
    );
    let sound = small.text.replace(&format!("mutate {mutation:?}\n"), "");
    assert_eq!(
        judge(&sound).unwrap(),
        None,
        "without the mistake nothing is broken"
    );
}

#[test]
fn i1_one_stop_too_many_is_caught() {
    caught(Mutation::StopOneMore, Invariant::I1);
}

#[test]
fn i2_two_active_configurations_are_caught() {
    caught(Mutation::TwoActive, Invariant::I2);
}

#[test]
fn i3_nodes_before_their_resources_are_caught() {
    caught(Mutation::NodesFirst, Invariant::I3);
}

#[test]
fn i4_a_way_back_in_the_wrong_order_is_caught() {
    caught(Mutation::WayBackForward, Invariant::I4);
}

#[test]
fn i5_two_executors_on_one_resource_are_caught() {
    caught(Mutation::NoLock, Invariant::I5);
}

#[test]
fn i6_one_assignment_too_many_is_caught() {
    caught(Mutation::OneTooMany, Invariant::I6);
}

#[test]
fn i7_a_fenced_node_that_is_counted_is_caught() {
    caught(Mutation::CountFenced, Invariant::I7);
}

#[test]
fn l1_a_migration_that_never_ends_is_caught() {
    caught(Mutation::NeverEnd, Invariant::L1);
}

#[test]
fn l2_a_container_that_waits_though_it_is_needed_is_caught() {
    caught(Mutation::WaitWhenNeeded, Invariant::L2);
}

#[test]
fn histories_of_nodes_catch_the_mistakes_about_nodes() {
    for mutation in [
        Mutation::StopOneMore,
        Mutation::OneTooMany,
        Mutation::CountFenced,
        Mutation::WaitWhenNeeded,
    ] {
        let known = Mutation::ALL.iter().find(|(known, _)| *known == mutation);
        let (_, invariant) = known.unwrap();
        caught_by(Kind::Nodes, mutation, *invariant);
    }
}

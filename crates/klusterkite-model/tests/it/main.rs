//! The search, with few events; `cargo xtask explore` does it with more.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use klusterkite_model::clusters::{NAMES, setting};
use klusterkite_model::{Searched, search};
use klusterkite_sim::cluster::Mutation;

/// More transitions than any of these models has.
const TRANSITIONS_MAX: usize = 1_000_000;

/// Each mistake, the cluster in which it is noticed, and how many events that needs.
const MISTAKES: [(Mutation, &str, u8); 9] = [
    (Mutation::StopOneMore, "nodes", 0),
    (Mutation::TwoActive, "automatic", 0),
    (Mutation::NodesFirst, "automatic", 0),
    (Mutation::WayBackForward, "automatic", 1),
    (Mutation::NoLock, "automatic", 1),
    (Mutation::OneTooMany, "full", 0),
    (Mutation::CountFenced, "nodes", 1),
    (Mutation::NeverEnd, "automatic", 0),
    (Mutation::WaitWhenNeeded, "full", 1),
];

fn whatever_happens_once(name: &str) {
    let found: Searched = search(&setting(name, 1, TRANSITIONS_MAX), 1).unwrap();
    if let Some(wrong) = found.wrong {
        panic!("{name}: {wrong}");
    }
    assert!(
        found.exhausted && found.at_rest > 0 && found.ends,
        "{name}: {} states",
        found.states
    );
}

#[test]
fn whatever_happens_once_to_an_automatic_migration_breaks_no_invariant_and_comes_to_rest() {
    whatever_happens_once("automatic");
}

#[test]
fn whatever_happens_once_to_a_migration_that_goes_back_by_itself_comes_to_rest() {
    whatever_happens_once("rollback");
}

#[test]
fn whatever_happens_once_to_a_manual_migration_comes_to_rest() {
    whatever_happens_once("manual");
}

#[test]
fn whatever_happens_once_to_nodes_at_their_minimum_comes_to_rest() {
    whatever_happens_once("nodes");
}

#[test]
fn whatever_happens_once_to_nodes_that_nobody_can_help_comes_to_rest() {
    whatever_happens_once("full");
}

#[test]
fn every_cluster_is_searched() {
    assert_eq!(NAMES, ["automatic", "rollback", "manual", "nodes", "full"]);
}

#[test]
fn the_search_finds_a_mistake_against_each_invariant() {
    for (mutation, name, events) in MISTAKES {
        let mut setting = setting(name, events, TRANSITIONS_MAX);
        let mistake = format!("mutate {mutation:?}\n");
        setting.start.push_str(&mistake);
        let expected = Mutation::ALL.iter().find(|(known, _)| *known == mutation);
        let (_, invariant) = expected.unwrap();
        let wrong = search(&setting, 1).unwrap().wrong;
        let wrong = wrong.unwrap_or_else(|| panic!("{mutation:?} is not found"));
        assert!(
            wrong.message.contains(&format!("{invariant}: ")),
            "{mutation:?}: {wrong}"
        );
    }
}

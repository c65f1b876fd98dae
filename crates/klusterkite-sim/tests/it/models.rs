//! The exhaustive search, with few events; `cargo xtask explore` does it with more.

use klusterkite_sim::cluster::Mutation;
use klusterkite_sim::explore::{Explored, Model, explore};
use klusterkite_sim::models::{MODELS, model};

/// More states than any of these models has.
const STATES_MAX: usize = 100_000;

fn searched(model: &Model) -> Explored {
    explore(model).unwrap()
}

#[test]
fn whatever_happens_once_at_any_moment_breaks_no_invariant_and_comes_to_rest() {
    for name in MODELS {
        let found = searched(&model(name, 1, STATES_MAX));
        if let Some(wrong) = found.wrong {
            panic!("{name}: {wrong}");
        }
        assert!(
            found.exhausted && found.at_rest > 0,
            "{name}: {} states",
            found.states
        );
    }
}

#[test]
fn the_search_finds_mistakes_of_the_manager() {
    for mutation in [
        Mutation::TwoActive,
        Mutation::NodesFirst,
        Mutation::NoLock,
        Mutation::NeverEnd,
    ] {
        let mut model = model("automatic", 1, STATES_MAX);
        let mistake = format!("mutate {mutation:?}\n");
        model.start.push_str(&mistake);
        let found = searched(&model);
        let expected = Mutation::ALL.iter().find(|(known, _)| *known == mutation);
        let (_, invariant) = expected.unwrap();
        let wrong = found
            .wrong
            .unwrap_or_else(|| panic!("{mutation:?} is not found"));
        assert!(
            wrong.message.starts_with(&invariant.to_string()),
            "{mutation:?}: {wrong}"
        );
    }
}

//! Random histories: those of the committed seeds, and some more.

use klusterkite_sim::history::{Kind, history, play, shrink};

/// Seeds that once broke something, or that a mistake was found with; the word after each says what.
const SEEDS: &str = include_str!("../seeds.txt");

/// As many as take some seconds in a build with all checks; the large run is `cargo xtask histories`.
const COUNT: u64 = 250;

fn committed() -> impl Iterator<Item = (Kind, u64)> {
    let seeds = SEEDS.lines().filter(|line| !line.starts_with('#'));
    seeds.map(|line| {
        let mut words = line.split_whitespace();
        let (kind, seed) = (words.next().unwrap(), words.next().unwrap());
        let mut kinds = Kind::ALL.into_iter();
        let kind = kinds.find(|known| known.to_string() == kind).unwrap();
        (kind, seed.parse().unwrap())
    })
}

fn check(kind: Kind, seed: u64) {
    if let Some(failure) = play(kind, seed, None).unwrap() {
        let small = shrink(&failure);
        panic!(
            "{kind}, seed {seed}: {}: {}\n{}",
            small.invariant, small.message, small.text
        );
    }
}

#[test]
fn histories_of_committed_seeds_break_no_invariant() {
    assert!(committed().count() > 0);
    committed().for_each(|(kind, seed)| check(kind, seed));
}

#[test]
fn random_histories_of_migrations_break_no_invariant() {
    (1_000_000..1_000_000 + COUNT).for_each(|seed| check(Kind::Migrations, seed));
}

#[test]
fn random_histories_of_nodes_break_no_invariant_and_reach_what_is_promised() {
    (1_000_000..1_000_000 + COUNT).for_each(|seed| check(Kind::Nodes, seed));
}

#[test]
fn a_seed_makes_one_history() {
    for kind in Kind::ALL {
        assert_eq!(history(kind, 7), history(kind, 7));
        assert_ne!(history(kind, 7), history(kind, 8));
    }
}

//! Random histories: those of the committed seeds, and some more.

use klusterkite_sim::history::{history, play, shrink};

/// Seeds that once broke something, or that a mistake was found with; the word after each says what.
const SEEDS: &str = include_str!("../seeds.txt");

/// As many as take some seconds in a build with all checks; the large run is `cargo xtask histories`.
const COUNT: u64 = 250;

fn committed() -> impl Iterator<Item = u64> {
    let seeds = SEEDS.lines().filter(|line| !line.starts_with('#'));
    seeds.map(|line| line.split_whitespace().next().unwrap().parse().unwrap())
}

fn check(seed: u64) {
    if let Some(failure) = play(seed, None).unwrap() {
        let small = shrink(&failure);
        panic!(
            "seed {seed}: {}: {}\n{}",
            small.invariant, small.message, small.text
        );
    }
}

#[test]
fn histories_of_committed_seeds_break_no_invariant() {
    assert!(committed().count() > 0);
    committed().for_each(check);
}

#[test]
fn random_histories_break_no_invariant() {
    (1_000_000..1_000_000 + COUNT).for_each(check);
}

#[test]
fn a_seed_makes_one_history() {
    assert_eq!(history(7), history(7));
    assert_ne!(history(7), history(8));
}

//! Random histories: a seed makes a cluster, what operators do with it, and what breaks.
//!
//! A history is a scenario. When it breaks an invariant, [`shrink`] takes away whatever is not needed for that,
//! and what is left is a text that a person can read and play.

mod generate;

use std::fmt;

use crate::cluster::{Invariant, Mutation};
use crate::script::{self, Error};

/// What a history is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Migrations of templates and resources, by operators and by themselves, among failures of all kinds.
    Migrations,
    /// More containers, and what happens to containers, launchers, nodes, links and clocks.
    Nodes,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Migrations, Self::Nodes];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Migrations => "migrations",
            Self::Nodes => "nodes",
        })
    }
}

/// A history that breaks an invariant.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The seed that made it.
    pub seed: u64,
    /// What is broken.
    pub invariant: Invariant,
    /// How.
    pub message: String,
    /// The scenario.
    pub text: String,
}

/// Makes the history of a seed.
pub fn history(kind: Kind, seed: u64) -> String {
    match kind {
        Kind::Migrations => generate::migrations(seed),
        Kind::Nodes => generate::nodes(seed),
    }
}

/// Plays the history of a seed; returns what it breaks, not shrunk.
///
/// # Errors
///
/// Fails when the history is no scenario, which is a mistake of its generator.
pub fn play(kind: Kind, seed: u64, mutation: Option<Mutation>) -> Result<Option<Failure>, Error> {
    let mut text = history(kind, seed);
    if let Some(mutation) = mutation {
        text = mutated(&text, mutation);
    }
    let violation = script::judge(&text)?;
    Ok(violation.map(|violation| Failure {
        seed,
        invariant: violation.invariant,
        message: violation.message,
        text,
    }))
}

/// Breaks a decision from the start of a history on.
fn mutated(text: &str, mutation: Mutation) -> String {
    let line = format!("start 1\nmutate {mutation:?}\n");
    text.replacen("start 1\n", &line, 1)
}

/// Takes away every line that is not needed to break the same invariant.
pub fn shrink(failure: &Failure) -> Failure {
    let mut lines: Vec<String> = failure.text.lines().map(str::to_owned).collect();
    let breaks = |lines: &[String]| {
        let violation = script::judge(&lines.join("\n")).ok().flatten();
        violation.filter(|violation| violation.invariant == failure.invariant)
    };
    let mut message = failure.message.clone();
    let mut size = (lines.len() / 2).max(1);
    loop {
        let (mut at, mut smaller) = (0, false);
        while at < lines.len() {
            let end = (at + size).min(lines.len());
            let mut rest = lines.clone();
            rest.drain(at..end);
            if let Some(violation) = breaks(&rest) {
                (lines, smaller) = (rest, true);
                message = violation.message;
            } else {
                at = end;
            }
        }
        if size == 1 && !smaller {
            break;
        }
        size = if smaller { size } else { (size / 2).max(1) };
    }
    Failure {
        message,
        text: lines.join("\n") + "\n",
        ..failure.clone()
    }
}

//! Runs the checker on a model.

use std::collections::HashSet;
use std::fmt;

use klusterkite_sim::script::Error;
use stateright::{Checker, HasDiscoveries, Model, Path};

use crate::clusters::Setting;
use crate::protocol::{COMES_TO_AN_END, ENDS, Event, Protocol, State, What};

/// What was found.
#[derive(Debug)]
pub struct Searched {
    /// Number of different states.
    pub states: usize,
    /// Number of transitions between them.
    pub transitions: usize,
    /// False when there are more states than the search may see.
    pub exhausted: bool,
    /// States in which nobody goes on before time passes.
    pub at_rest: usize,
    /// The first thing that is wrong, with the shortest way to it.
    pub wrong: Option<Wrong>,
    /// Whether a migration ended in one of the states.
    pub ends: bool,
}

/// Something wrong and how it came to be.
#[derive(Debug)]
pub struct Wrong {
    /// What is wrong.
    pub message: String,
    /// The events that lead to it.
    pub way: Vec<What>,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.message)?;
        for what in &self.way {
            match what {
                What::Chosen(text) => writeln!(f, "  {text}")?,
                other => writeln!(f, "  {other:?}")?,
            }
        }
        Ok(())
    }
}

/// Searches all states of a cluster, breadth first.
///
/// # Errors
///
/// Fails when the setting is no scenario.
pub fn search(setting: &Setting, threads: usize) -> Result<Searched, Error> {
    let (mut searched, restless) = check(Protocol::new(setting)?, setting, threads);
    if !restless.is_empty() {
        let again = Protocol::new(setting)?.with_restless(restless);
        searched.wrong = check(again, setting, threads).0.wrong;
    }
    Ok(searched)
}

/// Runs the checker once; returns also the states that lead to no end, when all states were seen and are right.
fn check(model: Protocol, setting: &Setting, threads: usize) -> (Searched, HashSet<u64>) {
    let checker = model
        .checker()
        .threads(threads)
        .finish_when(HasDiscoveries::AnyFailures)
        .target_state_count(setting.transitions_max)
        .spawn_bfs()
        .join();
    let discoveries = checker.discoveries();
    let (expanded, at_rest, restless) = checker.model().graph(|graph| {
        let (expanded, at_rest) = (graph.expanded(), graph.at_rest());
        (expanded, at_rest, graph.restless())
    });
    let states = checker.unique_state_count();
    let failed = discoveries
        .iter()
        .find(|(name, _)| **name != ENDS)
        .map(|(name, path)| wrong(name, path.clone()));
    let exhausted = expanded == states && failed.is_none();
    let searched = Searched {
        states,
        transitions: checker.state_count(),
        exhausted,
        at_rest,
        ends: discoveries.contains_key(ENDS),
        wrong: failed,
    };
    (searched, if exhausted { restless } else { HashSet::new() })
}

fn wrong(name: &str, path: Path<State, Event>) -> Wrong {
    let message = if name == COMES_TO_AN_END {
        "L1: from here the migration neither ends nor is held".to_owned()
    } else {
        path.last_state().wrong()
    };
    let events = path.into_vec().into_iter();
    Wrong {
        message,
        way: events.filter_map(|(_, event)| Some(event?.what)).collect(),
    }
}

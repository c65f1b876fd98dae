//! Everything that can happen in a small cluster: a breadth-first search over all orders of events.
//!
//! The states are those of the simulation itself, so there is no second description of the protocol that
//! could differ from the first. Two states are the same when their fingerprints are. Checked are the
//! invariants in every state and, over the graph of all states, that from each of them the migration ends
//! without any further help, or is held, or the cluster comes to rest and says what it waits for (L1).

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use crate::cluster::{Cluster, Fault, Step, Violation};
use crate::script::{self, Command, Error};

/// The unit in which deadlines are told apart; more than any retry, so that one unit ends it.
pub const UNIT: Duration = Duration::from_secs(15);

/// What is searched.
#[derive(Debug, Clone)]
pub struct Model {
    /// A scenario; its end is where the search begins.
    pub start: String,
    /// What operators may ask and what may break, as lines of a scenario.
    pub events: Vec<&'static str>,
    /// How many of these happen at most, at any moments and in any order.
    pub events_max: u8,
    /// The search gives up when it has seen more.
    pub states_max: usize,
}

/// What was found.
#[derive(Debug)]
pub struct Explored {
    /// Number of different states.
    pub states: usize,
    /// Number of transitions between them.
    pub transitions: usize,
    /// False when there are more states than the search may see.
    pub exhausted: bool,
    /// States in which the cluster is at rest.
    pub at_rest: usize,
    /// The first thing that is wrong, with the shortest way to it.
    pub wrong: Option<Wrong>,
}

/// Something wrong and how it came to be.
#[derive(Debug)]
pub struct Wrong {
    /// What is wrong.
    pub message: String,
    /// The events that lead to it, one a line.
    pub way: Vec<String>,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Event {
    Step(Step),
    Pass,
    ManagerStart,
    Chosen(usize),
}

/// A state that has been seen.
struct Seen {
    cluster: Option<Cluster>,
    events: u8,
    from: Option<(u32, Event)>,
    /// What leads here by itself.
    before: Vec<u32>,
    comes_to_rest: bool,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.message)?;
        for line in &self.way {
            writeln!(f, "  {line}")?;
        }
        Ok(())
    }
}

/// Searches all states.
///
/// # Errors
///
/// Fails when the scenario or an event is none.
pub fn explore(model: &Model) -> Result<Explored, Error> {
    let (start, setup) = script::prepare(&model.start)?;
    let mut events = Vec::new();
    for line in &model.events {
        let command = script::command(line, &setup);
        events.push(command.map_err(|expected| Error::Command {
            line: 0,
            text: (*line).to_owned(),
            expected,
        })?);
    }
    let mut search = Search {
        model,
        events,
        seen: Vec::new(),
        index: HashMap::new(),
        transitions: 0,
        at_rest: Vec::new(),
        decided: Vec::new(),
        wrong: None,
    };
    search.add(start, model.events_max, None);
    let mut next = 0;
    while next < search.seen.len() && search.wrong.is_none() {
        if search.seen.len() > model.states_max {
            break;
        }
        search.expand(next);
        next += 1;
    }
    let exhausted = next == search.seen.len() && search.wrong.is_none();
    if exhausted {
        search.check_liveness();
    }
    Ok(Explored {
        states: search.seen.len(),
        transitions: search.transitions,
        exhausted,
        at_rest: search.at_rest.len(),
        wrong: search.wrong,
    })
}

struct Search<'a> {
    model: &'a Model,
    events: Vec<Command>,
    seen: Vec<Seen>,
    index: HashMap<(u64, u8), u32>,
    transitions: usize,
    at_rest: Vec<u32>,
    /// States in which the migration has ended, or is held and says why; what fails may go on failing.
    decided: Vec<u32>,
    wrong: Option<Wrong>,
}

impl Search<'_> {
    /// Adds a state, unless it is known; returns its number.
    fn add(&mut self, cluster: Cluster, events: u8, from: Option<(u32, Event)>) -> u32 {
        let key = (cluster.fingerprint_with_deadlines(UNIT), events);
        if let Some(known) = self.index.get(&key) {
            return *known;
        }
        let number = self.seen.len() as u32;
        let violation = cluster.violations().first().cloned();
        if cluster.is_held() || !cluster.is_migrating() {
            self.decided.push(number);
        }
        self.index.insert(key, number);
        self.seen.push(Seen {
            cluster: Some(cluster),
            events,
            from,
            before: Vec::new(),
            comes_to_rest: false,
        });
        if let Some(violation) = violation {
            self.is_wrong(number, &violation);
        }
        number
    }

    fn expand(&mut self, index: usize) {
        let number = index as u32;
        let events = self.seen[index].events;
        let Some(cluster) = self.seen[index].cluster.take() else {
            return;
        };
        let mut moved = false;
        for step in cluster.steps() {
            let mut after = cluster.clone();
            after.take(step);
            moved |= self.by_itself(number, after, Event::Step(step), events);
        }
        if !cluster.is_led() {
            let mut after = cluster.clone();
            after.break_or_repair(&Fault::ManagerStart);
            moved |= self.by_itself(number, after, Event::ManagerStart, events);
        }
        if !moved {
            // Time passes when nothing else can happen: everything is faster than a deadline.
            let mut after = cluster.clone();
            after.pass(UNIT);
            if !self.by_itself(number, after, Event::Pass, events) {
                self.rests(number, &cluster);
            }
        }
        if events == 0 {
            return;
        }
        for event in 0..self.events.len() {
            let mut after = cluster.clone();
            script::obey(&mut after, &self.events[event]);
            self.transitions += 1;
            self.add(after, events - 1, Some((number, Event::Chosen(event))));
        }
    }

    /// Goes on by itself; returns false when nothing changes.
    fn by_itself(&mut self, number: u32, after: Cluster, event: Event, events: u8) -> bool {
        let reached = self.add(after, events, Some((number, event)));
        if reached == number {
            return false;
        }
        self.transitions += 1;
        self.seen[reached as usize].before.push(number);
        true
    }

    fn rests(&mut self, number: u32, cluster: &Cluster) {
        self.at_rest.push(number);
        let mut cluster = cluster.clone();
        // What the manager waits for is no part of a state: it says it again.
        if cluster.is_possible(Step::Leader) {
            cluster.take(Step::Leader);
        }
        cluster.check_rest();
        let violation = cluster.violations().first().cloned();
        if let Some(violation) = violation {
            self.is_wrong(number, &violation);
        }
    }

    /// L1: every state leads to rest.
    fn check_liveness(&mut self) {
        let mut open = [self.at_rest.clone(), self.decided.clone()].concat();
        while let Some(number) = open.pop() {
            let seen = &mut self.seen[number as usize];
            if !std::mem::replace(&mut seen.comes_to_rest, true) {
                open.extend_from_slice(&seen.before);
            }
        }
        let restless = self.seen.iter().position(|seen| !seen.comes_to_rest);
        if let Some(restless) = restless {
            let message = "L1: from here the migration neither ends nor is held".to_owned();
            self.wrong = Some(self.way_to(restless as u32, message));
        }
    }

    fn is_wrong(&mut self, number: u32, violation: &Violation) {
        if self.wrong.is_none() {
            self.wrong = Some(self.way_to(number, violation.to_string()));
        }
    }

    fn way_to(&self, number: u32, message: String) -> Wrong {
        let mut way = Vec::new();
        let mut at = number;
        while let Some((from, event)) = &self.seen[at as usize].from {
            way.push(match event {
                Event::Chosen(index) => self.model.events[*index].to_owned(),
                other => format!("{other:?}"),
            });
            at = *from;
        }
        way.reverse();
        Wrong { message, way }
    }
}

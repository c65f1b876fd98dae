//! The model: states, what happens next, and what has to hold.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Mutex;
use std::time::Duration;

use klusterkite_sim::cluster::{Cluster, Fault, Invariant, Step};
use klusterkite_sim::script::{self, Command, Error};
use stateright::{Model, Property};

use crate::clusters::Setting;
use crate::liveness::Graph;

/// The unit in which deadlines are told apart; more than any retry, so that one unit ends it.
const UNIT: Duration = Duration::from_secs(15);

/// Ticks after which a cluster that has not come to rest never will: ten times all deadlines of these clusters.
const TICKS_MAX: usize = 1200;

/// A small cluster, and what may happen to it.
#[derive(Debug)]
pub struct Protocol {
    start: State,
    events: Vec<(&'static str, Command)>,
    /// States from which the graph leads to no end.
    restless: HashSet<u64>,
    graph: Mutex<Graph>,
}

/// A state of the cluster, and how many events may still happen.
#[derive(Debug, Clone)]
pub struct State {
    cluster: Cluster,
    events_left: u8,
    key: u64,
}

/// Something that happens, with what comes of it: to know whether it changes anything it has to be done.
#[derive(Debug, Clone)]
pub struct Event {
    /// What happens.
    pub what: What,
    after: State,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Somebody goes on.
    Step(Step),
    /// Nobody goes on, and time passes.
    TimePasses,
    /// A manager starts again.
    ManagerStarts,
    /// Nothing changes any more, and what has to hold then does not.
    Rest,
    /// An operator asks, or something breaks.
    Chosen(&'static str),
}

impl Protocol {
    /// Makes the model of a cluster.
    ///
    /// # Errors
    ///
    /// Fails when the setting's start or one of its events is no scenario.
    pub fn new(setting: &Setting) -> Result<Self, Error> {
        let (cluster, setup) = script::prepare(&setting.start)?;
        let command = |text: &&'static str| {
            let command = script::command(text, &setup);
            let command = command.map_err(|expected| Error::Command {
                line: 0,
                text: (*text).to_owned(),
                expected,
            })?;
            Ok((*text, command))
        };
        let events = setting.events.iter().map(command);
        Ok(Self {
            start: State::new(cluster, setting.events_max),
            events: events.collect::<Result<_, Error>>()?,
            restless: HashSet::new(),
            graph: Mutex::default(),
        })
    }

    /// Forbids states, to find the way to one of them.
    pub(crate) fn with_restless(self, restless: HashSet<u64>) -> Self {
        Self { restless, ..self }
    }

    /// Does something with what was seen of the graph.
    pub(crate) fn graph<T>(&self, look: impl FnOnce(&mut Graph) -> T) -> T {
        look(&mut self.graph.lock().expect("nobody panics while it looks"))
    }

    /// Adds what happens by itself, if it changes anything.
    fn by_itself(
        &self,
        state: &State,
        what: What,
        after: Cluster,
        events: &mut Vec<Event>,
    ) -> bool {
        let after = State::new(after, state.events_left);
        if after.key == state.key {
            return false;
        }
        self.graph(|graph| graph.goes_on(state.key, after.key));
        events.push(Event { what, after });
        true
    }

    /// Judges a state in which nobody goes on: left alone it comes to rest, and says why it stays so.
    fn rests(&self, state: &State, events: &mut Vec<Event>) {
        let mut cluster = state.cluster.clone();
        if !cluster.settle(TICKS_MAX) {
            // What fails for ever is started for ever: it is enough to come to rest once that is repaired.
            cluster = state.cluster.clone();
            cluster.repair_all();
            if !cluster.settle(TICKS_MAX) {
                cluster.restless();
            }
        }
        cluster.check_rest();
        if cluster.violations().is_empty() {
            self.graph(|graph| graph.rests(state.key));
            return;
        }
        let what = What::Rest;
        let after = State::new(cluster, state.events_left);
        events.push(Event { what, after });
    }
}

impl State {
    fn new(cluster: Cluster, events_left: u8) -> Self {
        let mut hasher = std::hash::DefaultHasher::new();
        (cluster.fingerprint_with_deadlines(UNIT), events_left).hash(&mut hasher);
        Self {
            cluster,
            events_left,
            key: hasher.finish(),
        }
    }

    /// Returns what is wrong here, a line each.
    pub(crate) fn wrong(&self) -> String {
        let violations = self.cluster.violations().iter();
        let lines: Vec<String> = violations.map(ToString::to_string).collect();
        lines.join("\n")
    }

    fn breaks(&self, invariant: Invariant) -> bool {
        let mut violations = self.cluster.violations().iter();
        violations.any(|violation| violation.invariant == invariant)
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.what == other.what && self.after == other.after
    }
}

/// What the model promises by `invariant` at every state.
macro_rules! always {
    ($($invariant:ident),*) => {
        vec![$(Property::always(stringify!($invariant), |_, state: &State| {
            !state.breaks(Invariant::$invariant)
        })),*]
    };
}

/// Name of the property that no state of [`Protocol::with_restless`] is reached.
pub(crate) const COMES_TO_AN_END: &str = "comes to an end";

/// Name of what each model has to show at least once: one in which nothing ends would prove little.
pub(crate) const ENDS: &str = "a migration ends";

impl Model for Protocol {
    type State = State;
    type Action = Event;

    fn init_states(&self) -> Vec<State> {
        vec![self.start.clone()]
    }

    fn actions(&self, state: &State, events: &mut Vec<Event>) {
        let cluster = &state.cluster;
        let ends = cluster.is_held() || !cluster.is_migrating();
        self.graph(|graph| graph.is_expanded(state.key, ends));
        let mut moved = false;
        for step in cluster.steps() {
            let mut after = cluster.clone();
            after.take(step);
            moved |= self.by_itself(state, What::Step(step), after, events);
        }
        if !cluster.is_led() {
            let mut after = cluster.clone();
            after.break_or_repair(&Fault::ManagerStart);
            moved |= self.by_itself(state, What::ManagerStarts, after, events);
        }
        if !moved {
            // Time passes when nothing else can happen: everything is faster than a deadline.
            let mut after = cluster.clone();
            after.pass(UNIT);
            self.by_itself(state, What::TimePasses, after, events);
            self.rests(state, events);
        }
        if state.events_left > 0 {
            events.extend(self.events.iter().map(|(text, command)| {
                let mut after = cluster.clone();
                script::obey(&mut after, command);
                Event {
                    what: What::Chosen(text),
                    after: State::new(after, state.events_left - 1),
                }
            }));
        }
    }

    fn next_state(&self, _: &State, event: Event) -> Option<State> {
        Some(event.after)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = always![I1, I2, I3, I4, I5, I6, I7, L1, L2, Lint];
        properties.push(Property::always(COMES_TO_AN_END, |model: &Self, state| {
            !model.restless.contains(&state.key)
        }));
        properties.push(Property::sometimes(ENDS, |_, state: &State| {
            !state.cluster.is_migrating()
        }));
        properties
    }
}

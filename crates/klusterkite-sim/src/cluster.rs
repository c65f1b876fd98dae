//! A simulated cluster: containers, resources and a manager, in virtual time and without chance.
//!
//! The manager is the real one as far as it decides: every decision is made by `klusterkite-core`. What is
//! simulated are its shell (store, memory of the leader, links) and everything around it: launchers, nodes,
//! executors, resources. All of it moves in single [`Step`]s, so that a fair schedule ([`Cluster::tick`]), a
//! random one and an exhaustive search run the same code.

mod containers;
mod executors;
mod fingerprint;
mod leader;
mod migration;
mod monitor;
mod mutation;
mod nodes;
mod operator;
mod setup;
mod store;
mod truth;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use klusterkite_core::plan::leases::Patience;
use klusterkite_core::plan::resources::ResourceKey;
use klusterkite_core::plan::rollout::Target;
use klusterkite_core::release::Release;
use klusterkite_core::time::Timestamp;
use klusterkite_wire::{ConfigurationId, NodeId, Point, TemplateCode};

use containers::{Container, Life};
use executors::Executor;
use leader::Leader;
use monitor::Monitor;
use store::Store;

pub use monitor::{Invariant, Violation};
pub use mutation::Mutation;
pub use operator::{Asked, Fault, NodeAct};
pub use setup::{ConfigurationSetup, MigratorSetup, Setup, SetupError, TemplateSetup};

/// Time that one tick of the fair schedule takes.
pub const TICK: Duration = Duration::from_secs(1);

/// How fast things happen outside of the manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Fetching packages.
    pub fetch: Duration,
    /// From the start of a process until it is ready or fails.
    pub start: Duration,
    /// Draining, and then stopping.
    pub stop: Duration,
    /// Before a launcher asks again, or starts again after a crash.
    pub retry: Duration,
    /// Moving a resource by one point, and reading all of them.
    pub point: Duration,
    /// How long an executor without its manager goes on.
    pub orphan: Duration,
}

/// How patient the manager is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Temper {
    /// How long silence is borne.
    pub patience: Patience,
    /// Life of a lease.
    pub lease: Duration,
    /// The part of the nodes whose loss at once holds everything.
    pub mass_failure_part: f64,
    /// When something that failed is tried again.
    pub retry: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            fetch: seconds(1),
            start: seconds(2),
            stop: seconds(1),
            retry: seconds(2),
            point: seconds(1),
            orphan: seconds(3),
        }
    }
}

impl Default for Temper {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            patience: Patience {
                join_timeout: seconds(30),
                failover_lease: seconds(15),
                evict_after: Duration::from_mins(1),
            },
            lease: seconds(10),
            mass_failure_part: 0.5,
            retry: seconds(10),
        }
    }
}

/// What does not change while a cluster runs; shared by all its copies.
#[derive(Debug)]
struct Fixed {
    releases: BTreeMap<ConfigurationId, Release>,
    migrators: BTreeMap<ConfigurationId, BTreeMap<TemplateCode, Vec<MigratorSetup>>>,
    names: Vec<String>,
    pace: Pace,
    temper: Temper,
    /// The manager is a node of the cluster itself.
    self_hosted: bool,
}

/// What is broken outside of the manager.
#[derive(Debug, Clone, Default, Hash)]
struct Faults {
    /// Nodes of these targets do not become ready.
    failing: BTreeSet<Target>,
    /// Packages of these targets cannot be fetched.
    unfetchable: BTreeSet<Target>,
    /// Moves to these points fail.
    points: BTreeSet<(ResourceKey, Point)>,
    /// Moves of these resources end one point short and say nothing of it.
    lying: BTreeSet<ResourceKey>,
    /// Moves of these resources do not end before their limit.
    hanging: BTreeSet<ResourceKey>,
    /// Migrators that cannot be read.
    unreadable: BTreeSet<String>,
}

/// A simulated cluster.
#[derive(Debug, Clone)]
pub struct Cluster {
    fixed: Arc<Fixed>,
    now: Timestamp,
    store: Store,
    leader: Option<Leader>,
    containers: Vec<Container>,
    resources: BTreeMap<ResourceKey, Option<Point>>,
    executors: Vec<Executor>,
    faults: Faults,
    monitor: Monitor,
    mutation: Option<Mutation>,
    trace: Option<Vec<String>>,
}

/// Something that can happen next by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// A container hears the next message of the manager.
    Hear(usize),
    /// The launcher or the node of a container goes on.
    Container(usize),
    /// An executor moves its resource by one point, or ends.
    Executor(usize),
    /// An executor without a manager ends.
    OrphanEnds(usize),
    /// Resources have been read.
    Read,
    /// The manager's loop runs once.
    Leader,
}

/// Writes a line of the trace when somebody listens.
macro_rules! say {
    ($cluster:expr, $($text:tt)*) => {
        if $cluster.trace.is_some() {
            let line = format!($($text)*);
            $cluster.say(&line);
        }
    };
}
pub(crate) use say;

impl Cluster {
    /// Starts to write down what happens.
    pub fn listen(&mut self) {
        self.trace = Some(Vec::new());
    }

    /// Takes the lines that were written down since the last time.
    pub fn heard(&mut self) -> Vec<String> {
        self.trace.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Breaks a decision on purpose, to show that it is noticed.
    pub fn mutate(&mut self, mutation: Mutation) {
        self.mutation = Some(mutation);
    }

    /// Returns what was found wrong so far.
    pub fn violations(&self) -> &[Violation] {
        self.monitor.violations()
    }

    /// Returns the time since the start.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Lets a second pass: everything that is due happens, each thing once, and the manager plans.
    pub fn tick(&mut self) {
        self.now = self.now + TICK;
        self.heartbeats();
        self.strays_speak();
        for index in 0..self.containers.len() {
            while self.is_possible(Step::Hear(index)) {
                self.take(Step::Hear(index));
            }
            if self.is_possible(Step::Container(index)) {
                self.take(Step::Container(index));
            }
        }
        // An executor that ends takes its place in the list with it.
        for index in (0..self.executors.len()).rev() {
            if self.executor_overdue(index) {
                self.take(Step::OrphanEnds(index));
            } else if self.is_possible(Step::Executor(index)) {
                self.take(Step::Executor(index));
            }
        }
        for step in [Step::Read, Step::Leader] {
            if self.is_possible(step) {
                self.take(step);
            }
        }
    }

    /// Lets time pass without anything but heartbeats, so that deadlines come.
    pub fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.heartbeats();
        self.strays_speak();
    }

    /// Lists what can happen next by itself, in no particular order of importance.
    pub fn steps(&self) -> Vec<Step> {
        let containers = 0..self.containers.len();
        let executors = 0..self.executors.len();
        let all = containers
            .flat_map(|index| [Step::Hear(index), Step::Container(index)])
            .chain(executors.flat_map(|index| [Step::Executor(index), Step::OrphanEnds(index)]))
            .chain([Step::Read, Step::Leader]);
        all.filter(|step| self.is_possible(*step)).collect()
    }

    /// Tells whether something can happen now.
    pub fn is_possible(&self, step: Step) -> bool {
        match step {
            Step::Hear(index) => self.container_hears(index),
            Step::Container(index) => self.container_is_due(index),
            Step::Executor(index) => self.executor_is_due(index),
            Step::OrphanEnds(index) => self.executors[index].is_orphan(),
            Step::Read => self.reading_is_due(),
            Step::Leader => self.leader.is_some(),
        }
    }

    /// Does one step.
    pub fn take(&mut self, step: Step) {
        match step {
            Step::Hear(index) => self.container_hear(index),
            Step::Container(index) => self.container_step(index),
            Step::Executor(index) => self.executor_step(index),
            Step::OrphanEnds(index) => self.executor_end(index),
            Step::Read => self.resources_read(),
            Step::Leader => self.leader_tick(),
        }
        self.watch();
    }

    /// Ticks until nothing has changed for longer than every deadline, or for `ticks_max`.
    ///
    /// Returns true when the cluster came to rest.
    pub fn settle(&mut self, ticks_max: usize) -> bool {
        let (mut quiet, mut before) = (Duration::ZERO, self.fingerprint());
        let mut skipped = false;
        for _ in 0..ticks_max {
            self.tick();
            let after = self.fingerprint();
            quiet += TICK;
            if after != before {
                (quiet, skipped) = (Duration::ZERO, false);
            }
            before = after;
            if quiet < self.longest_wait() {
                continue;
            }
            // Who waits for work asks again in a while: nothing happens until then.
            let wait = self.next_question();
            if skipped || wait.is_zero() {
                return true;
            }
            self.pass(wait.saturating_sub(TICK));
            (quiet, skipped) = (Duration::ZERO, true);
        }
        false
    }

    /// Returns the time until the last of the containers that wait asks again.
    fn next_question(&self) -> Duration {
        let waits = self
            .containers
            .iter()
            .map(|container| match container.life {
                Life::Asking { at } => at.since(self.now),
                _ => Duration::ZERO,
            });
        waits.max().unwrap_or_default()
    }

    /// Returns the longest time after which something may still begin by itself while nothing is to be seen.
    fn longest_wait(&self) -> Duration {
        let Temper {
            patience,
            lease,
            retry,
            ..
        } = self.fixed.temper;
        let patience = patience
            .join_timeout
            .max(patience.failover_lease)
            .max(patience.evict_after);
        let retry = retry.max(self.fixed.pace.retry);
        lease.max(retry).max(patience) + TICK
    }

    /// Notes that the cluster does not come to rest.
    pub fn restless(&mut self) {
        let message = "the cluster does not come to rest".to_owned();
        say!(self, "VIOLATION L1: {message}");
        self.monitor.found(Invariant::L1, message);
    }

    /// Changes a resource as somebody else would.
    pub fn resource_set(&mut self, key: &ResourceKey, point: Option<Point>) {
        self.resources.insert(key.clone(), point);
    }

    /// Returns a text with the names of containers instead of node ids.
    pub fn told(&self, text: &str) -> String {
        self.named(text)
    }

    fn say(&mut self, text: &str) {
        let seconds = self.now.0 / 1000;
        let text = self.named(text);
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{seconds:>4} s  {text}"));
        }
    }

    /// Replaces node ids by the names of their containers.
    fn named(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (index, name) in self.fixed.names.iter().enumerate() {
            let id = node_id(index);
            if text.contains(id.as_str()) {
                text = text.replace(id.as_str(), name);
            }
        }
        text
    }

    fn release(&self, id: ConfigurationId) -> Option<&Release> {
        self.fixed.releases.get(&id)
    }
}

/// Returns the node id of the container with this index.
fn node_id(index: usize) -> NodeId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&(index as u32).to_be_bytes());
    NodeId::from_random_bytes(bytes)
}

/// Returns the index of the container with this node id.
fn index_of(id: &NodeId) -> usize {
    usize::from_str_radix(&id.as_str()[..8], 16).expect("ids of containers begin with their index")
}

/// Shows what a node is or becomes.
struct ShownTarget<'a>(&'a Target);

impl fmt::Display for ShownTarget<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.0.template, self.0.configuration_id)
    }
}

//! State of the cluster in memory: what the store holds, and what only the leader knows.

mod roster;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use klusterkite_core::plan::assignment::{Occupancy, Occupant};
use klusterkite_core::plan::resources::{ResourceMove, TemplateReading};
use klusterkite_core::reason::Waiting;
use klusterkite_core::release::Release;
use klusterkite_core::time::Timestamp;
use klusterkite_store::rows::{
    ConfigurationRow, EventRow, GateRow, MigrationRow, NodeRow, RequestRow,
};
use klusterkite_store::{Change, Snapshot};
use klusterkite_wire::link::ManagerMessage;
use klusterkite_wire::{
    ConfigurationId, ContainerType, Incarnation, NodeId, OrderId, Runtime, TemplateCode,
};
use tokio::sync::mpsc;

use crate::auth::SharedAccounts;
use crate::lease::Lease;
use crate::orders::Orders;
use crate::statistics::Statistics;
pub use roster::Roster;

/// State of the cluster.
#[derive(Default)]
pub struct State {
    /// Grows with every change of what a plan looks at.
    pub revision: u64,
    /// Configurations.
    pub configurations: BTreeMap<ConfigurationId, ConfigurationRow>,
    /// Typed form of the configurations that passed the check.
    pub releases: BTreeMap<ConfigurationId, Release>,
    /// Node ids, those without a run included.
    pub nodes: BTreeMap<NodeId, NodeRow>,
    /// The same ids as they are listed.
    pub roster: Roster,
    /// Their slots.
    pub occupancy: Occupancy,
    /// Open orders, and finished ones about the incarnation that still runs.
    pub orders: Orders,
    /// What operators asked of nodes.
    pub requests: BTreeMap<NodeId, RequestRow>,
    /// Failure gates.
    pub gates: BTreeMap<TemplateCode, GateRow>,
    /// The active migration.
    pub migration: Option<MigrationRow>,
    /// Who is known, and whose each token is.
    pub accounts: SharedAccounts,
    /// Counters of ids.
    pub last_ids: LastIds,
    /// What only the leader knows; gone with it.
    pub volatile: Volatile,
}

/// Highest ids given so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct LastIds {
    /// Order.
    pub order: i64,
    /// Event.
    pub event: i64,
    /// Migration.
    pub migration: i64,
    /// Migration log.
    pub migration_log: i64,
    /// Configuration.
    pub configuration: i64,
}

/// What only the leader knows; re-learned from the nodes after a restart.
#[derive(Default)]
pub struct Volatile {
    /// Open links.
    pub sessions: BTreeMap<NodeId, Session>,
    /// Leases; a node without one here has none. That of an assigned node says when it reported progress last.
    pub leases: BTreeMap<NodeId, Lease>,
    /// When leases are looked at again.
    pub leases_at: Timestamp,
    /// Revision of a state in which everything is as it should be: until the next one there is nothing to plan.
    pub settled: Option<u64>,
    /// Nodes that have not spoken since this manager started, and until when that holds everything.
    pub unconfirmed: BTreeSet<NodeId>,
    /// End of the unconfirmed phase.
    pub unconfirmed_until: Timestamp,
    /// Containers that asked and got nothing.
    pub waiting: BTreeMap<NodeId, WaitingContainer>,
    /// Nodes that were lost and are not back, and when, for the mass-failure brake.
    pub losses: BTreeMap<NodeId, Timestamp>,
    /// Incarnations that said goodbye: a late word of them is not heard.
    pub left: BTreeMap<NodeId, Incarnation>,
    /// Containers in which nothing runs, and since when this manager knows that.
    pub away: BTreeMap<NodeId, Timestamp>,
    /// When what nobody needs any more is looked for again.
    pub sweep_at: Timestamp,
    /// What happened to nodes since this manager leads.
    pub statistics: Statistics,
    /// Templates whose pause without a migration was told.
    pub told_paused: BTreeSet<TemplateCode>,
    /// Last reading of resources, by configuration.
    pub readings: BTreeMap<ConfigurationId, Vec<TemplateReading>>,
    /// What runs now: reading or moving resources.
    pub busy: Option<Busy>,
    /// Resources have to be read again, now.
    pub recheck: bool,
    /// Resources have to be read again then, because some could not be read.
    pub recheck_at: Option<Timestamp>,
    /// A resource could not be created: it is not tried again before this time.
    pub create_after: Timestamp,
    /// Before this time an automatic migration moves nothing: a move could not be journalled, or broke down.
    pub moves_after: Timestamp,
    /// Time that the update of each template has left to make progress.
    pub progress: BTreeMap<TemplateCode, Duration>,
    /// When that was counted last.
    pub progress_at: Timestamp,
    /// Moves that an operator asked for, in the computed order.
    pub moves: VecDeque<ResourceMove>,
    /// How often in a row an executor died in the middle of a move.
    pub executor_deaths: u32,
    /// Grows with each plan whose words were kept for those who ask.
    pub published: u64,
    /// What the last plan waits for.
    pub waiting_on: Vec<Waiting>,
    /// Spare slots that the last plan allows.
    pub surge: BTreeMap<TemplateCode, u32>,
    /// Why nodes are obsolete, from the last plan.
    pub obsolete: BTreeMap<NodeId, String>,
    /// Failed prefetches: when, and why.
    pub prefetch_failures: BTreeMap<NodeId, (Timestamp, String)>,
}

/// An open link.
#[derive(Debug, Clone)]
pub struct Session {
    /// Incarnation of the node.
    pub incarnation: Incarnation,
    /// Queue to its socket; full or closed means that the link is broken. Boxed, because it has room for 32 from the
    /// start.
    pub sender: mpsc::Sender<Box<ManagerMessage>>,
}

/// A container that asked and got nothing.
#[derive(Debug, Clone)]
pub struct WaitingContainer {
    /// Kind of the container.
    pub container_type: ContainerType,
    /// Runtime.
    pub runtime: Runtime,
    /// Why it got nothing.
    pub why: String,
    /// When it is given up as waiting.
    pub until: Timestamp,
}

/// An operation that runs.
#[derive(Debug, Clone)]
pub struct Busy {
    /// One phrase: what it does.
    pub what: String,
    /// It moves a resource: the manager's own node gets no stop.
    pub moves: bool,
}

impl State {
    /// Takes over what the store holds.
    pub fn from_snapshot(snapshot: Snapshot) -> Result<Self, klusterkite_core::Error> {
        let mut state = Self {
            migration: snapshot.migration,
            last_ids: LastIds {
                order: snapshot.last_order_id,
                event: snapshot.last_event_id,
                migration: snapshot.last_migration_id,
                migration_log: snapshot.last_migration_log_id,
                configuration: snapshot.last_configuration_id,
            },
            ..Self::default()
        };
        for row in snapshot.configurations {
            state.configuration_put(row)?;
        }
        state.orders = Orders::from_rows(snapshot.orders);
        for row in snapshot.nodes {
            state.node_put(row);
        }
        state.requests = keyed(snapshot.requests, |row| row.node_id.clone());
        state.gates = keyed(snapshot.gates, |row| row.template.clone());
        {
            let mut accounts = state.accounts.write();
            accounts.users = keyed(snapshot.users, |row| row.login.clone());
            accounts.roles = keyed(snapshot.roles, |row| row.name.clone());
            let clients = snapshot.clients.into_iter().map(Arc::new);
            accounts.clients = keyed(clients, |row| row.id.clone());
            accounts.tokens = keyed(snapshot.tokens, |row| row.hash.clone());
        }
        Ok(state)
    }

    /// Returns the Active configuration.
    pub fn active(&self) -> Option<&Release> {
        self.releases.get(&self.active_id()?)
    }

    /// Returns the id of the Active configuration.
    pub fn active_id(&self) -> Option<ConfigurationId> {
        use klusterkite_core::configuration::ConfigurationState::Active;
        let mut active = self
            .configurations
            .values()
            .filter(|row| row.state == Active);
        active.next().map(|row| row.id)
    }

    /// Takes the place of what was read from the store before; what only the leader knows stays.
    pub(crate) fn read_again(&mut self, mut stored: Self) {
        stored.volatile = std::mem::take(&mut self.volatile);
        // Others hold the accounts too.
        *self.accounts.write() = std::mem::take(&mut *stored.accounts.write());
        stored.accounts = self.accounts.clone();
        *self = stored;
    }

    /// Returns the newest time in the store.
    pub fn newest_time(&self) -> u64 {
        let runs = self
            .nodes
            .values()
            .filter_map(|node| node.run.as_ref())
            .map(|run| run.status_since);
        let orders = self.orders.iter().map(|order| order.ordered);
        runs.chain(orders).max().unwrap_or(0)
    }

    /// Notes that a plan may come out differently.
    pub fn changed(&mut self) {
        self.revision += 1;
    }

    /// Applies a change that was committed.
    pub fn apply(&mut self, change: Change) -> Result<(), klusterkite_core::Error> {
        if is_planned_with(&change) {
            self.changed();
        }
        match change {
            Change::ConfigurationPut(row) => self.configuration_put(row)?,
            Change::ConfigurationDelete(id) => {
                self.configurations.remove(&id);
                self.releases.remove(&id);
            }
            Change::NodePut(row) => {
                let before = self.nodes.get(&row.id).and_then(|node| node.run.as_ref());
                let statistics = &mut self.volatile.statistics;
                statistics.observe(&row.id, before, row.run.as_ref());
                self.node_put(row);
            }
            Change::OrderPut(row) => {
                self.last_ids.order = self.last_ids.order.max(row.id.0);
                let node = self.nodes.get(&row.node_id);
                let running = node.and_then(|node| node.run.as_ref());
                let running = running.map(|run| run.incarnation);
                let id = row.node_id.clone();
                self.orders.put(row, running);
                self.occupancy_update(&id);
            }
            Change::RequestPut(row) => {
                self.requests.insert(row.node_id.clone(), row);
            }
            Change::RequestDelete(node) => {
                self.requests.remove(&node);
            }
            Change::GatePut(row) => {
                self.gates.insert(row.template.clone(), row);
            }
            Change::GateDelete(template) => {
                self.gates.remove(&template);
            }
            Change::MigrationPut(row) => {
                self.last_ids.migration = self.last_ids.migration.max(row.id);
                let before = self.migration.take().map(|migration| migration.id);
                self.migration = row.active.then_some(row);
                let after = self.migration.as_ref().map(|migration| migration.id);
                if before != after {
                    self.volatile.migration_changed(after.is_some());
                }
            }
            Change::MigrationLogAppend(row) => {
                self.last_ids.migration_log = self.last_ids.migration_log.max(row.id);
            }
            Change::NodeDelete(id) => {
                let node = self.nodes.remove(&id);
                self.roster.change(node.as_ref(), None);
                let token = node.and_then(|node| node.token_hash);
                let mut accounts = self.accounts.write();
                accounts.node_token_put(&id, token.as_deref(), None);
                drop(accounts);
                self.requests.remove(&id);
                self.orders.forget(&id);
                self.occupancy.forget(&id);
                self.volatile.forget(&id);
                self.volatile.statistics.forget(&id);
            }
            Change::EventsForget(_) => {}
            Change::EventAppend(row) => self.last_ids.event = self.last_ids.event.max(row.id),
            Change::TokenPut(row) => {
                let mut accounts = self.accounts.write();
                accounts.tokens.insert(row.hash.clone(), row);
            }
            Change::TokenDelete(hash) => {
                self.accounts.write().tokens.remove(&hash);
            }
            Change::TokensExpire(before) => {
                let mut accounts = self.accounts.write();
                accounts.tokens.retain(|_, row| row.expires >= before);
            }
        }
        Ok(())
    }

    fn configuration_put(&mut self, row: ConfigurationRow) -> Result<(), klusterkite_core::Error> {
        self.last_ids.configuration = self.last_ids.configuration.max(row.id.0);
        if let (Some(frozen), false) = (&row.frozen, self.releases.contains_key(&row.id)) {
            let release = Release::new(row.id, &row.settings, frozen)?;
            self.releases.insert(row.id, release);
        }
        self.configurations.insert(row.id, row);
        // Which templates keep the slots of their nodes is for the Active configuration to say.
        self.occupancy = Occupancy::new(self.nodes.values().map(|node| self.occupant(node)));
        Ok(())
    }

    fn node_put(&mut self, row: NodeRow) {
        let id = row.id.clone();
        let token = row.token_hash.clone();
        self.roster.change(self.nodes.get(&id), Some(&row));
        let before = self.nodes.insert(id.clone(), row);
        let before = before.and_then(|node| node.token_hash);
        let mut accounts = self.accounts.write();
        accounts.node_token_put(&id, before.as_deref(), token.as_deref());
        drop(accounts);
        self.occupancy_update(&id);
    }

    fn occupancy_update(&mut self, id: &NodeId) {
        let Some(node) = self.nodes.get(id) else {
            return;
        };
        let mut occupancy = std::mem::take(&mut self.occupancy);
        occupancy.set(self.occupant(node));
        self.occupancy = occupancy;
    }

    /// Returns what a node id has to do with templates.
    fn occupant<'a>(&'a self, node: &'a NodeRow) -> Occupant<'a> {
        let run = node.run.as_ref();
        let incarnation = run.map_or(node.incarnation, |run| run.incarnation);
        let stop = self.orders.stop_of(&node.id);
        let stop = stop.filter(|stop| stop.order.incarnation == incarnation);
        let persists = |template: &&TemplateCode| {
            let templates = self.active().map(|active| &active.node_templates);
            let template = templates.and_then(|templates| templates.get(*template));
            template.is_some_and(|template| template.persistent)
        };
        Occupant {
            id: &node.id,
            runs: run.map(|run| &run.template),
            becomes: stop.and_then(|stop| Some(&stop.target?.template)),
            keeps: node
                .last_template
                .as_ref()
                // A cordon gives the place up.
                .filter(|template| !node.cordoned && persists(template)),
        }
    }

    /// Returns what the manager is busy with: what runs now, or moves or a reading that are about to.
    pub fn busy_with(&self) -> Option<&str> {
        match &self.volatile.busy {
            Some(busy) => Some(&busy.what),
            None if !self.volatile.moves.is_empty() => Some("moving resources"),
            // Nothing is decided on what was read before.
            None if self.volatile.recheck => Some("reading resources"),
            None => None,
        }
    }
}

impl Volatile {
    /// Forgets what was about the migration before, or about none.
    fn migration_changed(&mut self, starts: bool) {
        self.moves.clear();
        self.executor_deaths = 0;
        self.recheck = true;
        if starts {
            // Its operations wait for a reading of both ends.
            self.readings.clear();
        }
    }

    /// Ends the link of an incarnation that is not the newest one any more, and its lease.
    pub fn fence(&mut self, id: &NodeId, newest: Incarnation) {
        // The node has spoken, through its launcher.
        self.unconfirmed.remove(id);
        self.losses.remove(id);
        self.leases.remove(id);
        self.left
            .retain(|other, left| other != id || *left >= newest);
        let is_old = |session: &Session| session.incarnation < newest;
        if self.sessions.get(id).is_some_and(is_old)
            && let Some(session) = self.sessions.remove(id)
        {
            // A full or closed queue: the socket is as good as gone, and its next words find no session.
            let _ = session.sender.try_send(Box::new(ManagerMessage::Fenced));
        }
    }

    /// Forgets a node that has left or is given up; a link that still stands ends.
    pub fn forget(&mut self, id: &NodeId) {
        self.sessions.remove(id);
        self.leases.remove(id);
        self.unconfirmed.remove(id);
        self.losses.remove(id);
        self.prefetch_failures.remove(id);
        self.obsolete.remove(id);
    }
}

/// Collects changes and gives ids while a decision is being made.
pub struct Draft<'a> {
    /// The state that the decision is made on.
    pub state: &'a State,
    /// Now.
    pub now: Timestamp,
    /// What is going to be committed.
    changes: Vec<Change>,
    /// What the leader remembers once that is committed.
    memories: Vec<Memory>,
    /// Gates as they are going to be: one decision may count several failures.
    gates: BTreeMap<TemplateCode, GateRow>,
    ids: LastIds,
}

/// Changes what only the leader knows.
type Memory = Box<dyn FnOnce(&mut Volatile) + Send>;

/// What was decided: changes to commit, and what follows from them.
#[derive(Default)]
pub struct Decision {
    /// What is going to be committed.
    pub changes: Vec<Change>,
    memories: Vec<Memory>,
}

impl Decision {
    /// Adds what was decided after this.
    pub(crate) fn add(&mut self, later: Self) {
        self.changes.extend(later.changes);
        self.memories.extend(later.memories);
    }

    /// Returns the events among the changes.
    pub(crate) fn events(&self) -> Vec<EventRow> {
        let events = self.changes.iter().filter_map(|change| match change {
            Change::EventAppend(event) => Some(event.clone()),
            _ => None,
        });
        events.collect()
    }

    /// Makes the changes in memory, as the store does or did.
    pub(crate) fn foresee(&self, state: &mut State) {
        for change in &self.changes {
            state
                .apply(change.clone())
                .expect("a decision puts only releases that it has typed itself");
        }
    }

    /// Lets the leader remember what follows from what was committed.
    pub(crate) fn remember(self, state: &mut State) {
        if !self.memories.is_empty() {
            state.changed();
        }
        for memory in self.memories {
            memory(&mut state.volatile);
        }
    }
}

impl<'a> Draft<'a> {
    /// Starts a decision.
    pub fn new(state: &'a State, now: Timestamp) -> Self {
        Self {
            state,
            now,
            changes: Vec::new(),
            memories: Vec::new(),
            gates: BTreeMap::new(),
            ids: state.last_ids,
        }
    }

    /// Ends the decision.
    pub fn decided(self) -> Decision {
        Decision {
            changes: self.changes,
            memories: self.memories,
        }
    }

    /// Changes what only the leader knows, together with the commit: nobody sees one without the other.
    pub fn remember(&mut self, memory: impl FnOnce(&mut Volatile) + Send + 'static) {
        self.memories.push(Box::new(memory));
    }

    /// Returns the failure gate of a template as it is going to be.
    pub fn gate(&self, template: &TemplateCode) -> GateRow {
        let known = self
            .gates
            .get(template)
            .or_else(|| self.state.gates.get(template));
        known.cloned().unwrap_or_else(|| GateRow {
            template: template.clone(),
            failed: 0,
            reason: None,
            progress_left_ms: None,
        })
    }

    /// Puts a failure gate.
    pub fn gate_put(&mut self, gate: GateRow) {
        self.gates.insert(gate.template.clone(), gate.clone());
        self.put(Change::GatePut(gate));
    }

    /// Counts a replacement of a template that did not become stable.
    pub fn gate_failed(&mut self, template: &TemplateCode, reason: &str) {
        let gate = self.gate(template);
        self.gate_put(GateRow {
            failed: gate.failed.saturating_add(1),
            reason: Some(reason.to_owned()),
            ..gate
        });
    }

    /// Forgets all failures, and gives every update its whole time again.
    pub fn gates_forget(&mut self) {
        self.gates.clear();
        for template in self.state.gates.keys() {
            self.changes.push(Change::GateDelete(template.clone()));
        }
        self.remember(|volatile| {
            volatile.progress.clear();
            volatile.told_paused.clear();
            // It was allowed for floors that do not hold any more; the next plan says it anew.
            volatile.surge.clear();
        });
    }

    /// Adds a change.
    pub fn put(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Adds an event.
    pub fn event(
        &mut self,
        kind: &str,
        actor: &str,
        object: impl ToString,
        message: impl Into<String>,
    ) {
        self.event_with(kind, actor, object, message, BTreeMap::new());
    }

    /// Adds an event with values for programs.
    pub fn event_with(
        &mut self,
        kind: &str,
        actor: &str,
        object: impl ToString,
        message: impl Into<String>,
        params: BTreeMap<String, String>,
    ) {
        self.ids.event += 1;
        self.changes.push(Change::EventAppend(EventRow {
            id: self.ids.event,
            at: self.now.0,
            kind: kind.to_owned(),
            actor: actor.to_owned(),
            object: object.to_string(),
            message: message.into(),
            params,
        }));
    }

    /// Gives the next order id.
    pub fn next_order_id(&mut self) -> OrderId {
        self.ids.order += 1;
        OrderId(self.ids.order)
    }

    /// Gives the next migration id.
    pub fn next_migration_id(&mut self) -> i64 {
        self.ids.migration += 1;
        self.ids.migration
    }

    /// Gives the next id of the migration log.
    pub fn next_migration_log_id(&mut self) -> i64 {
        self.ids.migration_log += 1;
        self.ids.migration_log
    }

    /// Gives the next configuration id.
    pub fn next_configuration_id(&mut self) -> ConfigurationId {
        self.ids.configuration += 1;
        ConfigurationId(self.ids.configuration)
    }
}

/// Tells whether plans look at what changes.
fn is_planned_with(change: &Change) -> bool {
    !matches!(
        change,
        Change::EventAppend(_)
            | Change::EventsForget(_)
            | Change::MigrationLogAppend(_)
            | Change::TokenPut(_)
            | Change::TokenDelete(_)
            | Change::TokensExpire(_)
    )
}

fn keyed<K: Ord, V>(rows: impl IntoIterator<Item = V>, key: impl Fn(&V) -> K) -> BTreeMap<K, V> {
    rows.into_iter().map(|row| (key(&row), row)).collect()
}

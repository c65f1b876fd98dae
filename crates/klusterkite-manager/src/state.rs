//! State of the cluster in memory: what the store holds, and what only the leader knows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use klusterkite_core::plan::resources::{ResourceMove, TemplateReading};
use klusterkite_core::reason::Waiting;
use klusterkite_core::release::Release;
use klusterkite_core::time::Timestamp;
use klusterkite_store::rows::{
    ClientRow, ConfigurationRow, EventRow, GateRow, MigrationRow, NodeRow, OrderRow, OrderState,
    RequestRow, RoleRow, TokenRow, UserRow,
};
use klusterkite_store::{Change, Snapshot};
use klusterkite_wire::link::ManagerMessage;
use klusterkite_wire::{
    ConfigurationId, ContainerType, Incarnation, NodeId, OrderId, Runtime, TemplateCode,
};
use tokio::sync::mpsc;

/// State of the cluster.
#[derive(Default)]
pub struct State {
    /// Configurations.
    pub configurations: BTreeMap<ConfigurationId, ConfigurationRow>,
    /// Typed form of the configurations that passed the check.
    pub releases: BTreeMap<ConfigurationId, Release>,
    /// Node ids, those without a run included.
    pub nodes: BTreeMap<NodeId, NodeRow>,
    /// Open orders, and finished ones about the incarnation that still runs.
    pub orders: BTreeMap<OrderId, OrderRow>,
    /// What operators asked of nodes.
    pub requests: BTreeMap<NodeId, RequestRow>,
    /// Failure gates.
    pub gates: BTreeMap<TemplateCode, GateRow>,
    /// The active migration.
    pub migration: Option<MigrationRow>,
    /// Users.
    pub users: BTreeMap<String, UserRow>,
    /// Roles.
    pub roles: BTreeMap<String, RoleRow>,
    /// Launcher clients.
    pub clients: BTreeMap<String, ClientRow>,
    /// Tokens by hash.
    pub tokens: BTreeMap<String, TokenRow>,
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
    /// Ends of leases; a node without one here has none.
    pub leases: BTreeMap<NodeId, Timestamp>,
    /// Nodes that have not spoken since this manager started, and until when that holds everything.
    pub unconfirmed: BTreeSet<NodeId>,
    /// End of the unconfirmed phase.
    pub unconfirmed_until: Timestamp,
    /// Containers that asked and got nothing.
    pub waiting: BTreeMap<NodeId, WaitingContainer>,
    /// Times at which nodes were lost, for the mass-failure brake.
    pub losses: Vec<Timestamp>,
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
    /// Time that the update of each template has left to make progress.
    pub progress: BTreeMap<TemplateCode, Duration>,
    /// When that was counted last.
    pub progress_at: Timestamp,
    /// Moves that an operator asked for, in the computed order.
    pub moves: VecDeque<ResourceMove>,
    /// How often in a row an executor died in the middle of a move.
    pub executor_deaths: u32,
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
    /// Queue to its socket; full or closed means that the link is broken.
    pub sender: mpsc::Sender<ManagerMessage>,
}

/// A container that asked and got nothing.
#[derive(Debug, Clone)]
pub struct WaitingContainer {
    /// Kind of the container.
    pub container_type: ContainerType,
    /// Runtime.
    pub runtime: Runtime,
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
        state.nodes = keyed(snapshot.nodes, |row| row.id.clone());
        state.orders = keyed(snapshot.orders, |row| row.id);
        state.requests = keyed(snapshot.requests, |row| row.node_id.clone());
        state.gates = keyed(snapshot.gates, |row| row.template.clone());
        state.users = keyed(snapshot.users, |row| row.login.clone());
        state.roles = keyed(snapshot.roles, |row| row.name.clone());
        state.clients = keyed(snapshot.clients, |row| row.id.clone());
        state.tokens = keyed(snapshot.tokens, |row| row.hash.clone());
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

    /// Returns the newest time in the store.
    pub fn newest_time(&self) -> u64 {
        let runs = self
            .nodes
            .values()
            .filter_map(|node| node.run.as_ref())
            .map(|run| run.status_since);
        let orders = self.orders.values().map(|order| order.ordered);
        runs.chain(orders).max().unwrap_or(0)
    }

    /// Applies a change that was committed.
    pub fn apply(&mut self, change: Change) -> Result<(), klusterkite_core::Error> {
        match change {
            Change::ConfigurationPut(row) => self.configuration_put(row)?,
            Change::ConfigurationDelete(id) => {
                self.configurations.remove(&id);
                self.releases.remove(&id);
            }
            Change::NodePut(row) => {
                self.nodes.insert(row.id.clone(), row);
            }
            Change::OrderPut(row) => self.order_put(row),
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
                self.migration = row.active.then_some(row);
            }
            Change::MigrationLogAppend(row) => {
                self.last_ids.migration_log = self.last_ids.migration_log.max(row.id);
            }
            Change::NodeDelete(id) => {
                self.nodes.remove(&id);
                self.requests.remove(&id);
                self.orders.retain(|_, order| order.node_id != id);
            }
            Change::EventsForget(_) => {}
            Change::EventAppend(row) => self.last_ids.event = self.last_ids.event.max(row.id),
            Change::TokenPut(row) => {
                self.tokens.insert(row.hash.clone(), row);
            }
            Change::TokenDelete(hash) => {
                self.tokens.remove(&hash);
            }
            Change::TokensExpire(before) => self.tokens.retain(|_, row| row.expires >= before),
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
        Ok(())
    }

    /// Keeps open orders, and done prefetches as long as the incarnation runs that they are about.
    fn order_put(&mut self, row: OrderRow) {
        self.last_ids.order = self.last_ids.order.max(row.id.0);
        self.orders.insert(row.id, row);
        let nodes = &self.nodes;
        self.orders.retain(|_, order| {
            let node = nodes.get(&order.node_id).and_then(|node| node.run.as_ref());
            let runs = node.is_some_and(|run| run.incarnation == order.incarnation);
            order.state.is_open() || (runs && order.state == OrderState::Done)
        });
    }
}

/// Collects changes and gives ids while a decision is being made.
pub struct Draft<'a> {
    /// The state that the decision is made on.
    pub state: &'a State,
    /// Now.
    pub now: Timestamp,
    /// What is going to be committed.
    pub changes: Vec<Change>,
    ids: LastIds,
}

impl<'a> Draft<'a> {
    /// Starts a decision.
    pub fn new(state: &'a State, now: Timestamp) -> Self {
        Self {
            state,
            now,
            changes: Vec::new(),
            ids: state.last_ids,
        }
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
        self.ids.event += 1;
        self.changes.push(Change::EventAppend(EventRow {
            id: self.ids.event,
            at: self.now.0,
            kind: kind.to_owned(),
            actor: actor.to_owned(),
            object: object.to_string(),
            message: message.into(),
            params: BTreeMap::new(),
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

fn keyed<K: Ord, V>(rows: Vec<V>, key: impl Fn(&V) -> K) -> BTreeMap<K, V> {
    rows.into_iter().map(|row| (key(&row), row)).collect()
}

//! What is loaded and what is written.

use klusterkite_wire::{ConfigurationId, NodeId, TemplateCode};

use crate::rows::{
    ClientRow, ConfigurationRow, EventRow, GateRow, MigrationLogRow, MigrationRow, NodeRow,
    OrderRow, RequestRow, RoleRow, TokenRow, UserRow,
};

/// One write. A commit applies a list of them in one transaction, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Inserts or replaces a configuration.
    ConfigurationPut(ConfigurationRow),
    /// Deletes a configuration.
    ConfigurationDelete(ConfigurationId),
    /// Inserts or replaces a node.
    NodePut(NodeRow),
    /// Deletes a node with its orders and its request; its id is free for another secret then.
    NodeDelete(NodeId),
    /// Inserts or replaces an order. Closed orders of the same kind that the node had before it are
    /// deleted, so that there are at most two closed ones per node.
    OrderPut(OrderRow),
    /// Inserts or replaces an operator's request for a node.
    RequestPut(RequestRow),
    /// Deletes an operator's request for a node.
    RequestDelete(NodeId),
    /// Inserts or replaces the failure gate of a template.
    GatePut(GateRow),
    /// Deletes the failure gate of a template.
    GateDelete(TemplateCode),
    /// Inserts or replaces a migration.
    MigrationPut(MigrationRow),
    /// Appends to the migration log; ids are given by the caller and grow.
    MigrationLogAppend(MigrationLogRow),
    /// Appends an event; ids are given by the caller and grow.
    EventAppend(EventRow),
    /// Deletes the events up to this id, the newest event excepted.
    EventsForget(i64),
    /// Inserts or replaces a token.
    TokenPut(TokenRow),
    /// Deletes a token by its hash.
    TokenDelete(String),
    /// Deletes tokens that expired before this time (Unix milliseconds).
    TokensExpire(u64),
}

/// What a database starts with.
#[derive(Debug, Clone, PartialEq)]
pub struct Seed {
    /// The first configuration; it is Active.
    pub configuration: ConfigurationRow,
    /// Users.
    pub users: Vec<UserRow>,
    /// Roles.
    pub roles: Vec<RoleRow>,
    /// Launcher clients.
    pub clients: Vec<ClientRow>,
}

/// Everything that the manager holds in memory.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// All configurations by id.
    pub configurations: Vec<ConfigurationRow>,
    /// All nodes by id, those without a run too.
    pub nodes: Vec<NodeRow>,
    /// Orders by id: all open ones, and the last closed ones of each node.
    pub orders: Vec<OrderRow>,
    /// Requests of operators.
    pub requests: Vec<RequestRow>,
    /// Failure gates.
    pub gates: Vec<GateRow>,
    /// The active migration.
    pub migration: Option<MigrationRow>,
    /// Users.
    pub users: Vec<UserRow>,
    /// Roles.
    pub roles: Vec<RoleRow>,
    /// Launcher clients.
    pub clients: Vec<ClientRow>,
    /// Tokens.
    pub tokens: Vec<TokenRow>,
    /// Highest order id ever given.
    pub last_order_id: i64,
    /// Highest event id.
    pub last_event_id: i64,
    /// Highest migration id.
    pub last_migration_id: i64,
    /// Highest migration log id.
    pub last_migration_log_id: i64,
    /// Highest configuration id ever given, deleted ones included.
    pub last_configuration_id: i64,
}

//! Statements. Portable: `$n` binds, `ON CONFLICT`, no engine's own functions; only statements of many rows bind with `?`.
//!
//! Puts name their columns, so that columns which a newer release added keep their values.

/// Puts rows, as many as there are at once: what ten thousand nodes say in a moment is a few statements.
pub(crate) struct Put {
    /// Up to and with `VALUES`.
    into: &'static str,
    columns: usize,
    /// What follows the rows.
    then: &'static str,
}

impl Put {
    /// Returns the statement for so many rows, which binds the values of one after another.
    ///
    /// They have no numbers: SQLite keeps numbered ones in a list that it walks for each value.
    pub(crate) fn rows(&self, rows: usize) -> String {
        let row = format!("({})", vec!["?"; self.columns].join(", "));
        format!("{} {}{}", self.into, vec![row; rows].join(", "), self.then)
    }
}

pub(crate) const EPOCH_TAKE: &str = "UPDATE leader_epoch \
    SET epoch = CASE WHEN epoch + 1 > $1 THEN epoch + 1 ELSE $1 END, holder = $2 WHERE k = 1 RETURNING epoch";
pub(crate) const EPOCH_GET: &str = "SELECT epoch FROM leader_epoch WHERE k = 1";

/// Deletes the closed orders of so many nodes and kinds that are older than a number.
pub(crate) fn orders_forget(count: usize) -> String {
    let older = vec!["(node_id = ? AND kind = ? AND id < ?)"; count].join(" OR ");
    format!("DELETE FROM orders WHERE is_open = FALSE AND ({older})")
}

pub(crate) const SCHEMA_GET: &str = "SELECT version, compatible FROM store_schema WHERE k = 1";
pub(crate) const SCHEMA_SET: &str =
    "UPDATE store_schema SET version = $1, compatible = $2 WHERE k = 1";

pub(crate) const COUNTER_RAISE: &str = "INSERT INTO counters (name, value) VALUES ($1, $2) \
    ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE counters.value < excluded.value";
pub(crate) const COUNTERS: &str = "SELECT name, value FROM counters";

pub(crate) const CONFIGURATION_PUT: &str = "INSERT INTO configurations \
    (id, name, major_version, minor_version, notes, state, is_stable, created, started, finished, revision, settings, frozen) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) \
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, major_version = excluded.major_version, \
    minor_version = excluded.minor_version, notes = excluded.notes, state = excluded.state, \
    is_stable = excluded.is_stable, created = excluded.created, started = excluded.started, \
    finished = excluded.finished, revision = excluded.revision, settings = excluded.settings, frozen = excluded.frozen";
pub(crate) const CONFIGURATION_DELETE: &str = "DELETE FROM configurations WHERE id = $1";
pub(crate) const CONFIGURATIONS: &str = "SELECT id, name, major_version, minor_version, notes, state, is_stable, \
    created, started, finished, revision, settings, frozen FROM configurations ORDER BY id";
pub(crate) const CONFIGURATIONS_ACTIVE_COUNT: &str =
    "SELECT COUNT(*) FROM configurations WHERE state = 'active'";

pub(crate) const NODE_PUT: Put = Put {
    into: "INSERT INTO nodes \
    (id, secret_hash, token_hash, incarnation, container_type, runtime, run, cordoned, last_template, last_crash) VALUES",
    columns: 10,
    then: " ON CONFLICT (id) DO UPDATE SET secret_hash = excluded.secret_hash, token_hash = excluded.token_hash, \
    incarnation = excluded.incarnation, container_type = excluded.container_type, runtime = excluded.runtime, \
    run = excluded.run, cordoned = excluded.cordoned, last_template = excluded.last_template, \
    last_crash = excluded.last_crash",
};
pub(crate) const NODE_DELETE: &str = "DELETE FROM nodes WHERE id = $1";
pub(crate) const NODES: &str = "SELECT id, secret_hash, token_hash, incarnation, container_type, runtime, run, cordoned, \
    last_template, last_crash FROM nodes ORDER BY id";

pub(crate) const ORDER_PUT: Put = Put {
    into: "INSERT INTO orders (id, node_id, incarnation, kind, details, ordered, is_open, state) VALUES",
    columns: 8,
    then: " ON CONFLICT (id) DO UPDATE SET node_id = excluded.node_id, incarnation = excluded.incarnation, \
    kind = excluded.kind, details = excluded.details, ordered = excluded.ordered, is_open = excluded.is_open, \
    state = excluded.state",
};
pub(crate) const ORDERS: &str =
    "SELECT id, node_id, incarnation, details, ordered, state FROM orders ORDER BY id";

pub(crate) const REQUEST_PUT: &str = "INSERT INTO requests (node_id, is_drain, is_forced, incarnation) \
    VALUES ($1, $2, $3, $4) ON CONFLICT (node_id) DO UPDATE SET is_drain = excluded.is_drain, \
    is_forced = excluded.is_forced, incarnation = excluded.incarnation";
pub(crate) const REQUEST_DELETE: &str = "DELETE FROM requests WHERE node_id = $1";
pub(crate) const REQUESTS: &str =
    "SELECT node_id, is_drain, is_forced, incarnation FROM requests ORDER BY node_id";

pub(crate) const GATE_PUT: &str = "INSERT INTO gates (template, failed, reason, progress_left_ms) \
    VALUES ($1, $2, $3, $4) ON CONFLICT (template) DO UPDATE SET failed = excluded.failed, \
    reason = excluded.reason, progress_left_ms = excluded.progress_left_ms";
pub(crate) const GATE_DELETE: &str = "DELETE FROM gates WHERE template = $1";
pub(crate) const GATES: &str =
    "SELECT template, failed, reason, progress_left_ms FROM gates ORDER BY template";

pub(crate) const MIGRATION_PUT: &str = "INSERT INTO migrations \
    (id, state, is_active, source_id, destination_id, automatic, rollback_on_failure, goal, started, finished, reason) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
    ON CONFLICT (id) DO UPDATE SET state = excluded.state, is_active = excluded.is_active, \
    source_id = excluded.source_id, destination_id = excluded.destination_id, automatic = excluded.automatic, \
    rollback_on_failure = excluded.rollback_on_failure, goal = excluded.goal, started = excluded.started, \
    finished = excluded.finished, reason = excluded.reason";
pub(crate) const MIGRATION_ACTIVE: &str = "SELECT id, state, is_active, source_id, destination_id, automatic, \
    rollback_on_failure, goal, started, finished, reason FROM migrations WHERE is_active = TRUE";
pub(crate) const MIGRATION_GET: &str = "SELECT id, state, is_active, source_id, destination_id, automatic, \
    rollback_on_failure, goal, started, finished, reason FROM migrations WHERE id = $1";
pub(crate) const MIGRATIONS_BEFORE: &str = "SELECT id, state, is_active, source_id, destination_id, automatic, \
    rollback_on_failure, goal, started, finished, reason FROM migrations WHERE id < $1 ORDER BY id DESC LIMIT $2";
pub(crate) const MIGRATIONS_ACTIVE_COUNT: &str =
    "SELECT COUNT(*) FROM migrations WHERE is_active = TRUE";
pub(crate) const MIGRATIONS_COUNT: &str = "SELECT COUNT(*) FROM migrations";
pub(crate) const MIGRATIONS_LAST: &str = "SELECT COALESCE(MAX(id), 0) FROM migrations";

pub(crate) const LOG_APPEND: &str = "INSERT INTO migration_log \
    (id, migration_id, at, kind, template, migrator, resource, from_point, to_point, message) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
pub(crate) const LOG_OF_MIGRATION: &str = "SELECT id, migration_id, at, kind, template, migrator, resource, from_point, \
    to_point, message FROM migration_log WHERE migration_id = $1 AND id > $2 ORDER BY id LIMIT $3";
pub(crate) const LOG_COUNT: &str = "SELECT COUNT(*) FROM migration_log WHERE migration_id = $1";
pub(crate) const LOG_LAST: &str = "SELECT COALESCE(MAX(id), 0) FROM migration_log";

pub(crate) const LINE_APPEND: &str = "INSERT INTO migrator_lines \
    (id, migration_id, at, template, migrator, resource, stream, line) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
pub(crate) const LINES: &str = "SELECT id, migration_id, at, template, migrator, resource, stream, line FROM migrator_lines \
    WHERE migration_id = $1 AND ($2 = '' OR template = $2) AND ($3 = '' OR migrator = $3) \
    AND ($4 = '' OR resource = $4) AND id > $5 ORDER BY id LIMIT $6";
pub(crate) const LINES_LAST: &str = "SELECT COALESCE(MAX(id), 0) FROM migrator_lines";
pub(crate) const LINES_OF_RESOURCE_FORGET: &str = "DELETE FROM migrator_lines \
    WHERE migration_id = $1 AND template = $2 AND migrator = $3 AND resource = $4 AND id <= \
    (SELECT id FROM migrator_lines WHERE migration_id = $1 AND template = $2 AND migrator = $3 AND resource = $4 \
    ORDER BY id DESC LIMIT 1 OFFSET $5)";
pub(crate) const LINES_FORGET: &str = "DELETE FROM migrator_lines \
    WHERE id <= (SELECT id FROM migrator_lines ORDER BY id DESC LIMIT 1 OFFSET $1)";

pub(crate) const EVENT_APPEND: Put = Put {
    into: "INSERT INTO events (id, at, kind, actor, object, message, params) VALUES",
    columns: 7,
    then: "",
};
pub(crate) const EVENTS_FORGET: &str =
    "DELETE FROM events WHERE id <= $1 AND id < (SELECT MAX(id) FROM events)";
pub(crate) const EVENTS_AFTER: &str = "SELECT id, at, kind, actor, object, message, params FROM events \
    WHERE id > $1 ORDER BY id LIMIT $2";
pub(crate) const EVENTS_BEFORE: &str = "SELECT id, at, kind, actor, object, message, params FROM events \
    WHERE id < $1 ORDER BY id DESC LIMIT $2";
// Ids have no gaps: counting two hundred thousand rows for each page would cost more than the page.
pub(crate) const EVENTS_COUNT: &str =
    "SELECT COALESCE((SELECT MAX(id) FROM events) - (SELECT MIN(id) FROM events) + 1, 0)";
pub(crate) const EVENTS_LAST: &str = "SELECT COALESCE(MAX(id), 0) FROM events";

pub(crate) const USER_ADD: &str =
    "INSERT INTO users (login, password_hash, is_blocked, roles) VALUES ($1, $2, $3, $4)";
pub(crate) const USERS: &str =
    "SELECT login, password_hash, is_blocked, roles FROM users ORDER BY login";
pub(crate) const ROLE_ADD: &str = "INSERT INTO roles (name, allowed, denied) VALUES ($1, $2, $3)";
pub(crate) const ROLES: &str = "SELECT name, allowed, denied FROM roles ORDER BY name";
pub(crate) const CLIENT_ADD: &str =
    "INSERT INTO clients (id, secret_hash, container_types) VALUES ($1, $2, $3)";
pub(crate) const CLIENTS: &str = "SELECT id, secret_hash, container_types FROM clients ORDER BY id";

pub(crate) const TOKEN_PUT: Put = Put {
    into: "INSERT INTO tokens (hash, kind, subject, family, expires) VALUES",
    columns: 5,
    then: " ON CONFLICT (hash) DO UPDATE SET kind = excluded.kind, \
    subject = excluded.subject, family = excluded.family, expires = excluded.expires",
};
pub(crate) const TOKEN_DELETE: &str = "DELETE FROM tokens WHERE hash = $1";
pub(crate) const TOKENS_EXPIRE: &str = "DELETE FROM tokens WHERE expires < $1";
pub(crate) const TOKENS: &str =
    "SELECT hash, kind, subject, family, expires FROM tokens ORDER BY hash";

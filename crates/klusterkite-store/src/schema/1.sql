-- Portable: SQLite and PostgreSQL read the same text. Times are Unix milliseconds, nested values are JSON text.

CREATE TABLE store_schema (
    k BIGINT PRIMARY KEY CHECK (k = 1),
    version BIGINT NOT NULL,
    compatible BIGINT NOT NULL
);

CREATE TABLE leader_epoch (
    k BIGINT PRIMARY KEY CHECK (k = 1),
    epoch BIGINT NOT NULL,
    holder TEXT NOT NULL
);

-- Highest ids ever given in tables whose rows are deleted.
CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);

CREATE TABLE configurations (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    major_version BIGINT NOT NULL,
    minor_version BIGINT NOT NULL,
    notes TEXT NOT NULL,
    state TEXT NOT NULL,
    is_stable BOOLEAN NOT NULL,
    created BIGINT NOT NULL,
    started BIGINT,
    finished BIGINT,
    revision BIGINT NOT NULL,
    settings TEXT NOT NULL,
    frozen TEXT
);

CREATE TABLE nodes (
    id TEXT PRIMARY KEY,
    secret_hash TEXT NOT NULL,
    token_hash TEXT,
    incarnation BIGINT NOT NULL,
    container_type TEXT NOT NULL,
    runtime TEXT NOT NULL,
    run TEXT,
    cordoned BOOLEAN NOT NULL,
    last_template TEXT,
    last_crash TEXT
);

CREATE TABLE orders (
    id BIGINT PRIMARY KEY,
    node_id TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    incarnation BIGINT NOT NULL,
    kind TEXT NOT NULL,
    details TEXT NOT NULL,
    ordered BIGINT NOT NULL,
    is_open BOOLEAN NOT NULL,
    state TEXT NOT NULL
);

CREATE INDEX orders_of_node ON orders (node_id, kind);

CREATE TABLE requests (
    node_id TEXT PRIMARY KEY REFERENCES nodes (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    is_drain BOOLEAN NOT NULL,
    is_forced BOOLEAN NOT NULL,
    incarnation BIGINT NOT NULL
);

CREATE TABLE gates (
    template TEXT PRIMARY KEY,
    failed BIGINT NOT NULL,
    reason TEXT,
    progress_left_ms BIGINT
);

CREATE TABLE migrations (
    id BIGINT PRIMARY KEY,
    state TEXT NOT NULL,
    is_active BOOLEAN NOT NULL,
    source_id BIGINT NOT NULL REFERENCES configurations (id) DEFERRABLE INITIALLY DEFERRED,
    destination_id BIGINT NOT NULL REFERENCES configurations (id) DEFERRABLE INITIALLY DEFERRED,
    automatic BOOLEAN NOT NULL,
    rollback_on_failure BOOLEAN NOT NULL,
    goal TEXT NOT NULL,
    started BIGINT NOT NULL,
    finished BIGINT,
    reason TEXT
);

CREATE TABLE migration_log (
    id BIGINT PRIMARY KEY,
    migration_id BIGINT REFERENCES migrations (id) DEFERRABLE INITIALLY DEFERRED,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    template TEXT,
    migrator TEXT,
    resource TEXT,
    from_point TEXT,
    to_point TEXT,
    message TEXT NOT NULL
);

CREATE INDEX migration_log_of_migration ON migration_log (migration_id, id);

CREATE TABLE events (
    id BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    actor TEXT NOT NULL,
    object TEXT NOT NULL,
    message TEXT NOT NULL,
    params TEXT NOT NULL
);

CREATE TABLE users (
    login TEXT PRIMARY KEY,
    password_hash TEXT NOT NULL,
    is_blocked BOOLEAN NOT NULL,
    roles TEXT NOT NULL
);

CREATE TABLE roles (
    name TEXT PRIMARY KEY,
    allowed TEXT NOT NULL,
    denied TEXT NOT NULL
);

CREATE TABLE clients (
    id TEXT PRIMARY KEY,
    secret_hash TEXT NOT NULL,
    container_types TEXT NOT NULL
);

CREATE TABLE tokens (
    hash TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    family TEXT NOT NULL,
    expires BIGINT NOT NULL
);

CREATE INDEX tokens_by_expiry ON tokens (expires);

INSERT INTO store_schema (k, version, compatible) VALUES (1, 1, 1);
INSERT INTO leader_epoch (k, epoch, holder) VALUES (1, 0, '');

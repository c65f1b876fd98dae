-- What migrators say while they move resources. `migration_id` is 0 for moves without a migration.
CREATE TABLE migrator_lines (
    id BIGINT PRIMARY KEY,
    migration_id BIGINT NOT NULL,
    at BIGINT NOT NULL,
    template TEXT NOT NULL,
    migrator TEXT NOT NULL,
    resource TEXT NOT NULL,
    stream TEXT NOT NULL,
    line TEXT NOT NULL
);

CREATE INDEX migrator_lines_of_resource ON migrator_lines (migration_id, template, migrator, resource, id);

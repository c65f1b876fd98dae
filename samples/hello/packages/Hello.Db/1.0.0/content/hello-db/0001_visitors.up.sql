CREATE TABLE visitors (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    seen_at INTEGER NOT NULL
);

/**
 * Tables of the store. Step n leads from version n to n + 1; a step that was released never changes.
 *
 * Numbers of events, outbox rows and timers are never used twice, and given back when a transaction is rolled back: with one writer at a
 * time they have no gaps and are in commit order (L-12), so that a reader may pass whatever it sees.
 */
export const storeSteps: readonly string[] = [
  `
  CREATE TABLE trunkline_stream (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    last INTEGER NOT NULL DEFAULT -1,
    limited INTEGER NOT NULL DEFAULT 0,
    truncate_before INTEGER,
    count_max INTEGER,
    age_max_ms INTEGER,
    metadata TEXT
  ) STRICT;
  CREATE TABLE trunkline_event (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    stream INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    category TEXT NOT NULL,
    stored_ms INTEGER NOT NULL,
    attributes TEXT NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (stream, revision)
  ) STRICT;
  CREATE INDEX trunkline_event_category ON trunkline_event (category);
  CREATE TABLE trunkline_checkpoint (
    name TEXT PRIMARY KEY,
    position INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE trunkline_snapshot (
    stream TEXT NOT NULL,
    shape TEXT NOT NULL,
    revision INTEGER NOT NULL,
    state BLOB NOT NULL,
    PRIMARY KEY (stream, shape)
  ) STRICT;
  CREATE TABLE trunkline_lease (
    name TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    address TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    ttl_ms INTEGER NOT NULL,
    ends_ms INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE trunkline_inbox (
    grp TEXT NOT NULL,
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    digest BLOB NOT NULL,
    answer BLOB,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (grp, source, id)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX trunkline_inbox_age ON trunkline_inbox (at_ms);
  CREATE TABLE trunkline_outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    shard INTEGER NOT NULL,
    kind TEXT NOT NULL,
    key TEXT,
    at_ms INTEGER NOT NULL,
    attributes TEXT NOT NULL,
    body BLOB NOT NULL
  ) STRICT;
  CREATE INDEX trunkline_outbox_shard ON trunkline_outbox (shard);
  CREATE TABLE trunkline_outbox_dead (
    id INTEGER PRIMARY KEY,
    shard INTEGER NOT NULL,
    kind TEXT NOT NULL,
    key TEXT,
    attributes TEXT NOT NULL,
    body BLOB NOT NULL,
    record TEXT NOT NULL
  ) STRICT;
  CREATE TABLE trunkline_timer (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    due_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    attributes TEXT NOT NULL,
    body BLOB NOT NULL,
    cron TEXT,
    time_zone TEXT
  ) STRICT;
  CREATE INDEX trunkline_timer_due ON trunkline_timer (due_ms, id);
  CREATE TABLE trunkline_body (
    id TEXT PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    body BLOB NOT NULL
  ) STRICT;
  CREATE INDEX trunkline_body_age ON trunkline_body (at_ms);
  `,
]

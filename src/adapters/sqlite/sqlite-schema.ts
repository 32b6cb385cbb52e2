import { TrunklineError } from '../../core/errors.ts'
import { integer } from './sqlite-connection.ts'
import type { SqliteConnection } from './sqlite-connection.ts'

/** Where a delivery is: `READY` to be claimed from its due time on, `CLAIMED`, `BEHIND` another of its key, or `DEAD`. */
export const READY = 0
/** With an instance, unsettled. */
export const CLAIMED = 1
/** Waits until an older delivery of the same key is settled. */
export const BEHIND = 2
/** A dead letter; in an ordered group it holds its key. */
export const DEAD = 3

/**
 * Tables of the transport. Step n leads from version n to n + 1; a step that was released never changes. Row ids are never used
 * twice (L-12), so that ids are in commit order for ever and a stale id can never mean another row.
 */
export const transportSteps: readonly string[] = [
  `
  CREATE TABLE trunkline_message (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    attributes TEXT NOT NULL,
    body BLOB NOT NULL
  ) STRICT;
  CREATE TABLE trunkline_group (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    ordered INTEGER NOT NULL,
    UNIQUE (kind, name)
  ) STRICT;
  CREATE TABLE trunkline_route (
    type TEXT NOT NULL,
    group_id INTEGER NOT NULL REFERENCES trunkline_group (id),
    PRIMARY KEY (type, group_id)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE trunkline_delivery (
    seq INTEGER NOT NULL,
    group_id INTEGER NOT NULL,
    state INTEGER NOT NULL,
    due_ms INTEGER NOT NULL DEFAULT 0,
    begun INTEGER NOT NULL DEFAULT 0,
    suspect INTEGER NOT NULL DEFAULT 0,
    redriven INTEGER NOT NULL DEFAULT 0,
    owner INTEGER,
    key TEXT,
    PRIMARY KEY (seq, group_id)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX trunkline_delivery_ready ON trunkline_delivery (group_id, due_ms, seq) WHERE state = 0;
  CREATE INDEX trunkline_delivery_owner ON trunkline_delivery (owner) WHERE state = 1;
  CREATE INDEX trunkline_delivery_key ON trunkline_delivery (group_id, key, seq) WHERE key IS NOT NULL;
  CREATE TABLE trunkline_dead_letter (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    seq INTEGER NOT NULL,
    group_id INTEGER NOT NULL,
    type TEXT NOT NULL,
    reason TEXT NOT NULL,
    record TEXT NOT NULL
  ) STRICT;
  CREATE INDEX trunkline_dead_letter_group ON trunkline_dead_letter (group_id, id);
  CREATE TABLE trunkline_instance (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    address TEXT NOT NULL UNIQUE,
    place TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started TEXT NOT NULL,
    beat INTEGER NOT NULL DEFAULT 0
  ) STRICT;
  CREATE TABLE trunkline_member (
    group_id INTEGER NOT NULL,
    address TEXT NOT NULL,
    PRIMARY KEY (group_id, address)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE trunkline_listener (
    type TEXT NOT NULL,
    kind TEXT NOT NULL,
    address TEXT NOT NULL,
    PRIMARY KEY (type, kind, address)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE trunkline_light (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    address TEXT NOT NULL,
    kind TEXT NOT NULL,
    reply_to TEXT,
    attributes TEXT,
    body BLOB
  ) STRICT;
  CREATE INDEX trunkline_light_address ON trunkline_light (address, id);
  `,
]

/**
 * Brings one part of the file to the version that this code knows, in one transaction: when two processes start at
 * once, the second finds the work done, and a process killed half way leaves the file as it was. Each part numbers its
 * steps by itself.
 *
 * @throws `bus.unsupported` where a newer release has already changed the file.
 */
export function migrate(connection: SqliteConnection, part: 'transport' | 'store', steps: readonly string[]): void {
  connection.transaction(() => {
    connection.exec('CREATE TABLE IF NOT EXISTS trunkline_schema (part TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT, WITHOUT ROWID')
    const row = connection.row('SELECT version FROM trunkline_schema WHERE part = ?', part)
    const version = row === undefined ? 0 : integer(row, 'version')
    if (version > steps.length) {
      throw new TrunklineError('bus.unsupported', {
        adapter: 'sqlite',
        capability: `version ${version} of the tables`,
        needed: `a release of trunkline that knows more than version ${steps.length}`,
      })
    }
    if (version === steps.length) return
    for (const step of steps.slice(version)) connection.exec(step)
    connection.run('INSERT INTO trunkline_schema VALUES (?, ?) ON CONFLICT (part) DO UPDATE SET version = excluded.version', part, steps.length)
  })
}

import { LOG_LOCK } from './postgres-locks.ts'

// Tables that are written and emptied all the time: vacuumed by count and at full speed, not by share of the table (P-17).
const BUSY = 'autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0'

/**
 * Step n of the store's tables leads from version n to n + 1; a step that was released never changes. `schema` is quoted.
 *
 * A position of the log is taken while its transaction holds a shared lock that says so: the default of the column takes the lock
 * first and the number then, also for rows that someone inserts by hand. It is an expression and not a trigger, so that
 * no procedural language is on the way (P-25). Readers look at who holds the lock to know which gaps are still open.
 * The lock is named by the oid of the sequence, which is looked up in the database that the tables are in: a dump that is restored
 * elsewhere, or a schema that is renamed, stays right.
 */
export const STORE_STEPS: readonly ((schema: string) => string)[] = [
  (schema) => `
CREATE SEQUENCE ${schema}.event_position AS bigint CACHE 1;
CREATE TABLE ${schema}.stream (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  revision bigint NOT NULL,
  name text COLLATE "C" NOT NULL UNIQUE,
  category text COLLATE "C" NOT NULL,
  truncate_before bigint,
  count_max bigint,
  age_max_ms bigint,
  custom text
) WITH (fillfactor = 70);
CREATE TABLE ${schema}.event (
  position bigint PRIMARY KEY DEFAULT (
    CASE WHEN pg_catalog.pg_advisory_xact_lock_shared(${LOG_LOCK}, '${schema}.event_position'::regclass::oid::integer) IS NULL THEN NULL
    ELSE pg_catalog.nextval('${schema}.event_position'::regclass) END
  ),
  stream_id bigint NOT NULL,
  revision bigint NOT NULL,
  stored_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  category text COLLATE "C" NOT NULL,
  attributes text NOT NULL,
  body bytea NOT NULL,
  UNIQUE (stream_id, revision)
);
ALTER SEQUENCE ${schema}.event_position OWNED BY ${schema}.event.position;
CREATE INDEX event_category ON ${schema}.event (category, position);
CREATE TABLE ${schema}.checkpoint (
  name text COLLATE "C" PRIMARY KEY,
  cursor bigint NOT NULL,
  saved_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);
CREATE TABLE ${schema}.snapshot (
  stream text COLLATE "C" NOT NULL,
  shape text COLLATE "C" NOT NULL,
  revision bigint NOT NULL,
  state bytea NOT NULL,
  PRIMARY KEY (stream, shape)
);
CREATE TABLE ${schema}.lease (
  name text COLLATE "C" PRIMARY KEY,
  owner text,
  epoch bigint NOT NULL,
  expires_at timestamptz NOT NULL,
  UNIQUE (name, epoch)
) WITH (fillfactor = 50);
CREATE SEQUENCE ${schema}.outbox_id AS bigint CACHE 1;
CREATE TABLE ${schema}.outbox (
  id bigint NOT NULL DEFAULT pg_catalog.nextval('${schema}.outbox_id'::regclass),
  written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  shard smallint NOT NULL,
  kind text NOT NULL,
  key text,
  attributes text NOT NULL,
  body bytea NOT NULL,
  PRIMARY KEY (shard, id)
) WITH (${BUSY});
CREATE TABLE ${schema}.outbox_dead (
  id bigint PRIMARY KEY,
  died_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  shard smallint NOT NULL,
  kind text NOT NULL,
  key text,
  attributes text NOT NULL,
  body bytea NOT NULL,
  record text NOT NULL
);
CREATE TABLE ${schema}.inbox (
  group_name text COLLATE "C" NOT NULL,
  source text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  entered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  digest bytea NOT NULL,
  answer bytea,
  PRIMARY KEY (group_name, source, id)
) WITH (${BUSY});
CREATE INDEX inbox_age ON ${schema}.inbox (entered_at);
CREATE TABLE ${schema}.timer (
  id text COLLATE "C" PRIMARY KEY,
  due_at timestamptz NOT NULL,
  kind text NOT NULL,
  attributes text NOT NULL,
  body bytea NOT NULL,
  cron text,
  time_zone text
) WITH (${BUSY});
CREATE INDEX timer_due ON ${schema}.timer (due_at, id);
CREATE TABLE ${schema}.body (
  id text COLLATE "C" PRIMARY KEY,
  stored_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  body bytea NOT NULL
);
CREATE INDEX body_age ON ${schema}.body (stored_at);
CREATE VIEW ${schema}.readable_event AS
  SELECT e.position, s.name AS stream, e.revision, e.stored_at, e.attributes::json ->> 0 AS id, e.attributes::json ->> 2 AS type,
    (e.attributes::json ->> 3)::integer AS version, e.attributes::json ->> 6 AS key, encode(e.body, 'escape') AS body
  FROM ${schema}.event e JOIN ${schema}.stream s ON s.id = e.stream_id;
`,
]

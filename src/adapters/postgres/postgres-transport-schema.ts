/** Where a delivery is: `READY` to be claimed from its due time on, `BEHIND` another of its key, or `DEAD`. */
export const READY = 0
/** Waits until an older delivery of the same key is settled. */
export const BEHIND = 2
/** A dead letter; in an ordered group it holds its key. */
export const DEAD = 3

/**
 * The tables of the transport, step by step; a step that was released never changes. `@` stands for the quoted schema.
 *
 * A delivery is one row per message and group, with the message in it: it is inserted once and deleted once, and a claim
 * does not touch it (P-17). What an instance has claimed stands in the window of its membership instead, one array per group, so
 * that claiming a batch writes one small row. `seq` is never used twice.
 */
export const TRANSPORT_STEPS: readonly string[] = [
  `
  CREATE TABLE @.bus_group (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    name text NOT NULL,
    is_ordered boolean NOT NULL,
    UNIQUE (kind, name)
  );
  CREATE TABLE @.bus_route (
    kind text NOT NULL,
    type text NOT NULL,
    group_id integer NOT NULL REFERENCES @.bus_group (id),
    PRIMARY KEY (kind, type, group_id)
  );
  CREATE TABLE @.bus_delivery (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    due timestamptz NOT NULL DEFAULT '-infinity',
    lane bigint,
    group_id integer NOT NULL,
    begun integer NOT NULL DEFAULT 0,
    state smallint NOT NULL DEFAULT 0,
    is_ordered boolean NOT NULL,
    is_suspect boolean NOT NULL DEFAULT false,
    is_redriven boolean NOT NULL DEFAULT false,
    message bytea NOT NULL
  ) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
  CREATE INDEX bus_delivery_ready ON @.bus_delivery (group_id, due, seq) WHERE state = 0;
  CREATE INDEX bus_delivery_lane ON @.bus_delivery (group_id, lane, seq) WHERE is_ordered AND lane IS NOT NULL;
  CREATE TABLE @.bus_dead_letter (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    seq bigint NOT NULL UNIQUE,
    group_id integer NOT NULL,
    type text NOT NULL,
    reason text NOT NULL,
    record text NOT NULL
  );
  CREATE TABLE @.bus_instance (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    address text NOT NULL UNIQUE,
    inbox text NOT NULL,
    is_listening boolean NOT NULL,
    until timestamptz NOT NULL
  ) WITH (fillfactor = 50);
  CREATE TABLE @.bus_member (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    group_id integer NOT NULL REFERENCES @.bus_group (id),
    instance_id bigint NOT NULL REFERENCES @.bus_instance (id) ON DELETE CASCADE,
    seqs bigint[] NOT NULL DEFAULT '{}'
  ) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
  ALTER TABLE @.bus_member ALTER COLUMN seqs SET STORAGE EXTERNAL;
  CREATE INDEX bus_member_group ON @.bus_member (group_id);
  CREATE INDEX bus_member_instance ON @.bus_member (instance_id);
  CREATE TABLE @.bus_listener (
    kind text NOT NULL,
    type text NOT NULL,
    instance_id bigint NOT NULL REFERENCES @.bus_instance (id) ON DELETE CASCADE,
    PRIMARY KEY (kind, type, instance_id)
  );
  CREATE INDEX bus_listener_instance ON @.bus_listener (instance_id);
  CREATE UNLOGGED TABLE @.bus_light (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    address text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    note text NOT NULL,
    message bytea
  ) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
  CREATE INDEX bus_light_address ON @.bus_light (address, id);
  CREATE INDEX bus_light_at ON @.bus_light (at);
  `,
]

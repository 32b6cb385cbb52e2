// Written and emptied all the time: vacuumed by count and at full speed (P-17).
const BUSY = 'autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0'

/**
 * Step n of the transport's tables leads from version n to n + 1; a step that was released never changes. `schema` is quoted.
 *
 * A delivery is one row per message and group, with the message in it. It is inserted once and deleted once, and a claim does not
 * touch it (P-17): what an instance has claimed stands in the window of its membership instead, one array per group, so that
 * claiming a batch writes one small row. Numbers of deliveries are never used twice. Light messages are lost with the
 * server, as they may be.
 */
export const TRANSPORT_STEPS: readonly ((schema: string) => string)[] = [
  (schema) => `
CREATE TABLE ${schema}.bus_group (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind text NOT NULL,
  name text NOT NULL,
  is_ordered boolean NOT NULL,
  UNIQUE (kind, name)
);
CREATE TABLE ${schema}.bus_route (
  kind text NOT NULL,
  type text NOT NULL,
  group_id integer NOT NULL REFERENCES ${schema}.bus_group (id),
  PRIMARY KEY (kind, type, group_id)
);
CREATE INDEX bus_route_group ON ${schema}.bus_route (group_id);
CREATE TABLE ${schema}.bus_delivery (
  seq bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,
  due timestamptz NOT NULL DEFAULT '-infinity',
  lane bigint,
  group_id integer NOT NULL,
  begun integer NOT NULL DEFAULT 0,
  state smallint NOT NULL DEFAULT 0,
  is_ordered boolean NOT NULL,
  is_suspect boolean NOT NULL DEFAULT false,
  is_redriven boolean NOT NULL DEFAULT false,
  message bytea NOT NULL
) WITH (${BUSY});
CREATE INDEX bus_delivery_ready ON ${schema}.bus_delivery (group_id, due, seq) WHERE state = 0;
CREATE INDEX bus_delivery_lane ON ${schema}.bus_delivery (group_id, lane, seq) WHERE is_ordered AND lane IS NOT NULL;
CREATE TABLE ${schema}.bus_dead_letter (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  seq bigint NOT NULL UNIQUE,
  group_id integer NOT NULL,
  type text NOT NULL,
  reason text NOT NULL,
  record text NOT NULL
);
CREATE TABLE ${schema}.bus_instance (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  address text NOT NULL UNIQUE,
  inbox text NOT NULL,
  is_listening boolean NOT NULL,
  until timestamptz NOT NULL
) WITH (fillfactor = 50, ${BUSY});
CREATE TABLE ${schema}.bus_member (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  group_id integer NOT NULL REFERENCES ${schema}.bus_group (id),
  instance_id bigint NOT NULL REFERENCES ${schema}.bus_instance (id) ON DELETE CASCADE,
  seqs bigint[] NOT NULL DEFAULT '{}'
) WITH (fillfactor = 50, ${BUSY});
ALTER TABLE ${schema}.bus_member ALTER COLUMN seqs SET STORAGE EXTERNAL;
CREATE INDEX bus_member_group ON ${schema}.bus_member (group_id);
CREATE INDEX bus_member_instance ON ${schema}.bus_member (instance_id);
CREATE TABLE ${schema}.bus_listener (
  kind text NOT NULL,
  type text NOT NULL,
  instance_id bigint NOT NULL REFERENCES ${schema}.bus_instance (id) ON DELETE CASCADE,
  PRIMARY KEY (kind, type, instance_id)
);
CREATE INDEX bus_listener_instance ON ${schema}.bus_listener (instance_id);
CREATE UNLOGGED TABLE ${schema}.bus_light (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  address text NOT NULL,
  note text NOT NULL,
  message bytea
) WITH (${BUSY});
CREATE INDEX bus_light_address ON ${schema}.bus_light (address, id);
CREATE INDEX bus_light_at ON ${schema}.bus_light (at);
`,
]

import type { PgRow } from './postgres-client.ts'
import type { PgStep } from './postgres-link.ts'
import { arrayOf } from './postgres-deliveries.ts'
import { numberAt, optionalNumberAt, PgStatement, textAt } from './postgres-rows.ts'

/** What one look at the tables tells an instance. */
export interface PgLook {
  /** False where the instance was put out. */
  readonly isAlive: boolean
  /** Groups of this instance that have something due. */
  readonly groups: readonly number[]
  /** Time until the lease of another instance ends, negative where one has; undefined without others. */
  readonly leaseEndsInMs: number | undefined
  /** Messages wait in this instance's inbox. */
  readonly hasLight: boolean
}

/** The rows of instances: who lives, for how long that is believed without a sign, and what they listen to. */
export class PgInstances {
  readonly #enter: PgStatement
  readonly #look: PgStatement
  readonly #listen: PgStatement
  readonly #unlisten: PgStatement

  /** @param schema quoted. */
  constructor(schema: string) {
    this.#enter = new PgStatement(
      `INSERT INTO ${schema}.bus_instance (address, inbox, is_listening, until) VALUES ($1, $2, $3, clock_timestamp() + $4::float8 * interval '1 ms')
        ON CONFLICT (address) DO UPDATE SET until = excluded.until RETURNING id`,
    )
    this.#look = new PgStatement(lookText(schema))
    this.#listen = new PgStatement(
      `INSERT INTO ${schema}.bus_listener (kind, type, instance_id) SELECT k, t, $3 FROM unnest($1::text[], $2::text[]) AS l (k, t) ON CONFLICT DO NOTHING`,
    )
    this.#unlisten = new PgStatement(`DELETE FROM ${schema}.bus_listener WHERE kind = $1 AND type = ANY($2::text[]) AND instance_id = $3`)
  }

  /** Enters an instance under a new id. */
  enter(address: string, inbox: string, isListening: boolean, leaseMs: number): PgStep {
    return { statement: this.#enter, values: [address, inbox, isListening, leaseMs] }
  }

  /** Shows a sign of life and looks for what this instance may not have been told. */
  look(instanceId: string, leaseMs: number, groupIds: readonly number[], address: string): PgStep {
    return { statement: this.#look, values: [instanceId, leaseMs, arrayOf(groupIds.map(String)), address] }
  }

  /** Enters what the instance listens to without durability. */
  listen(instanceId: string, listens: readonly { readonly kind: string; readonly type: string }[]): PgStep {
    return { statement: this.#listen, values: [listens.map(({ kind }) => kind), listens.map(({ type }) => type), instanceId] }
  }

  unlisten(instanceId: string, kind: string, types: readonly string[]): PgStep {
    return { statement: this.#unlisten, values: [kind, types, instanceId] }
  }
}

/** Reads the answer of `enter`. */
export function instanceIdFrom(rows: readonly PgRow[]): string {
  return textAt(rows[0] ?? {}, 'id')
}

/** Reads the answer of `look`. */
export function lookFrom(rows: readonly PgRow[]): PgLook {
  const row = rows[0] ?? {}
  const groups = textAt(row, 'groups')
  return {
    isAlive: numberAt(row, 'alive') > 0,
    groups: groups === '' ? [] : groups.split(',').map(Number),
    leaseEndsInMs: optionalNumberAt(row, 'lease_ms'),
    hasLight: row['has_light'] === true,
  }
}

function lookText(schema: string): string {
  // A light message that nobody took in a minute has nobody who waits for it.
  return `
    WITH quick AS (SELECT set_config('synchronous_commit', 'off', true)),
    beat AS (
      UPDATE ${schema}.bus_instance SET until = clock_timestamp() + $2::float8 * interval '1 ms' FROM quick WHERE id = $1 RETURNING id
    ),
    swept AS (DELETE FROM ${schema}.bus_light WHERE at < statement_timestamp() - interval '60 s')
    SELECT (SELECT count(*) FROM beat)::integer AS alive,
      (SELECT extract(epoch FROM min(until) - statement_timestamp()) * 1000 FROM ${schema}.bus_instance WHERE id <> $1)::float8 AS lease_ms,
      EXISTS (SELECT FROM ${schema}.bus_light WHERE address = $4) AS has_light,
      coalesce((SELECT string_agg(g::text, ',') FROM unnest($3::integer[]) AS g WHERE EXISTS (
        SELECT FROM ${schema}.bus_delivery d WHERE d.group_id = g AND d.state = 0 AND d.due <= statement_timestamp()
      )), '') AS groups`
}

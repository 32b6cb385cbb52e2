import type { Pool } from 'pg'
import { postgres } from '../src/adapters/postgres/index.ts'
import type { Sample } from './measure.ts'
import { KeyedOrder, Order, order } from './payload.ts'

/** Messages in the backlog that a relay drains. */
export const BACKLOG = 15_000
/** Keys of the messages that have one. */
const KEYS = 2_000
const CHUNK = 500
const POLL_MS = 10

/** Puts a backlog aside, once with and once without keys, to fill the outbox from in one statement. */
export async function stageBacklog(url: string, pool: Pool): Promise<void> {
  const store = postgres({ connectionString: url, relay: false })
  await store.open({ service: 'loader' })
  for (const kind of ['plain', 'keyed']) {
    for (let from = 0; from < BACKLOG; from += CHUNK) {
      await store.transaction((unit) => {
        for (let index = from; index < from + CHUNK; index++) {
          if (kind === 'plain') unit.publish(Order, order)
          else unit.publish(KeyedOrder, { ...order, orderId: `o-${index % KEYS}` })
        }
      })
    }
    await pool.query(`CREATE TABLE staged_${kind} AS SELECT id, shard, kind, key, attributes, body FROM trunkline.outbox`)
    await pool.query('TRUNCATE trunkline.outbox')
  }
  await store.close()
  await pool.query(`CREATE TABLE hand_outbox (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, message_id uuid NOT NULL DEFAULT gen_random_uuid(), attributes text NOT NULL, body bytea NOT NULL)`)
}

/** Fills the outbox and tells relays so; the time runs until nothing is left. Ids are fresh, so that no broker takes them for repeats. */
export async function drained(pool: Pool, kind: 'plain' | 'keyed'): Promise<Sample> {
  await pool.query(`WITH filled AS (
    INSERT INTO trunkline.outbox (shard, kind, key, attributes, body)
    SELECT shard, kind, key, '["' || gen_random_uuid() || substr(attributes, 39), body FROM staged_${kind} ORDER BY id RETURNING 1
  ) SELECT pg_notify('trunkline trunkline', '["bench","outbox"]') FROM (SELECT count(*) FROM filled) counted`)
  const startedMs = performance.now()
  for (;;) {
    const { rowCount } = await pool.query('SELECT FROM trunkline.outbox LIMIT 1')
    if (rowCount === 0) return { perSecond: (BACKLOG / (performance.now() - startedMs)) * 1_000 }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
}

/** What a relay by hand reads of a row. */
export interface HandRow {
  readonly id: string
  readonly message_id: string
  readonly attributes: string
  readonly body: Buffer
}

/** The backlog drained by hand: claim 500, publish them side by side, delete, commit. */
export async function drainedByHand(pool: Pool, publish: (rows: readonly HandRow[]) => Promise<unknown>): Promise<Sample> {
  await pool.query('INSERT INTO hand_outbox (attributes, body) SELECT attributes, body FROM staged_plain ORDER BY id')
  const client = await pool.connect()
  const startedMs = performance.now()
  for (;;) {
    await client.query('BEGIN')
    const { rows } = await client.query<HandRow>({ name: 'claim', text: `SELECT id, message_id, attributes, body FROM hand_outbox ORDER BY id LIMIT ${CHUNK} FOR UPDATE SKIP LOCKED` })
    if (rows.length > 0) {
      await publish(rows)
      await client.query({ name: 'remove', text: 'DELETE FROM hand_outbox WHERE id = ANY($1::bigint[])', values: [rows.map(({ id }) => id)] })
    }
    await client.query('COMMIT')
    if (rows.length === 0) break
  }
  client.release()
  return { perSecond: (BACKLOG / (performance.now() - startedMs)) * 1_000 }
}

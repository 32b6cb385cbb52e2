import type { DeadLetterRecord } from '../../bus/port.ts'
import { TrunklineError } from '../../core/errors.ts'
import type { DeadOutboxRow, NewOutboxRow, OutboxOutcome, OutboxReadOptions, OutboxRow, OutboxStats, OutboxTable } from '../../outbox/port.ts'
import { shardLease } from '../../outbox/protocol/lease-names.ts'
import type { PgRow } from './postgres-client.ts'
import type { PgDatabase } from './postgres-database.ts'
import { STORE } from './postgres-errors.ts'
import { KEY_LOCK, keyLocks } from './postgres-locks.ts'
import { attributesText, messageFrom } from './postgres-message.ts'
import { bigintAt, bytesAt, kindAt, numberAt, optionalTextAt, PgStatement, textAt } from './postgres-rows.ts'
import type { PgUnitExecutor } from './postgres-session.ts'

/** Fields of a record, read back from JSON text. */
type RecordReader = (text: string) => DeadLetterRecord

interface OutboxStatements {
  readonly writeOne: PgStatement
  readonly writeKeyed: PgStatement
  readonly writeMany: PgStatement
  readonly read: PgStatement
  readonly remove: PgStatement
  readonly settle: PgStatement
  readonly waiting: PgStatement
  readonly stats: PgStatement
  readonly dead: PgStatement
  readonly deadKey: PgStatement
  readonly redrive: PgStatement
  readonly removeDead: PgStatement
}

/**
 * Messages that wait for the relay. They are inserted once and deleted once (P-17), and nobody keeps a cursor over them, so that
 * none can be skipped however late it commits (P-01).
 */
export class PgOutbox implements OutboxTable {
  readonly shards: number
  readonly #database: PgDatabase
  readonly #statements: OutboxStatements

  constructor(database: PgDatabase) {
    this.#database = database
    this.shards = database.settings.shards
    this.#statements = outboxStatements(database.schema)
  }

  /**
   * Writes rows in order. The locks of their keys are taken by the same statement, in one order for all, before the first id: so
   * the ids of a key stand in commit order, and nobody waits while the caller's own statements run (P-14).
   */
  async write(executor: PgUnitExecutor, rows: readonly NewOutboxRow[]): Promise<void> {
    const [first] = rows
    if (first === undefined) return
    if (rows.length === 1) {
      await this.#writeOne(executor, first)
      return
    }
    const locks = keyLocks(this.#database.settings.schema, rows.flatMap(({ message }) => message.key ?? []))
    await executor.runLast(this.#statements.writeMany, [
      locks, rows.map(({ shard }) => shard), rows.map(({ kind }) => kind), rows.map(({ message }) => message.key ?? null),
      rows.map(({ message }) => attributesText(message)), rows.map(({ message }) => message.body),
    ])
  }

  async #writeOne(executor: PgUnitExecutor, { shard, kind, message }: NewOutboxRow): Promise<void> {
    const { writeOne, writeKeyed } = this.#statements
    const values = [shard, kind, attributesText(message), message.body]
    if (message.key === undefined) await executor.runLast(writeOne, values)
    else await executor.runLast(writeKeyed, [...values, message.key, ...keyLocks(this.#database.settings.schema, [message.key])])
  }

  async read(shard: number, { limit, after, withoutKeys }: OutboxReadOptions): Promise<readonly OutboxRow[]> {
    const rows = await this.#database.run(this.#statements.read, [shard, String(after ?? -1n), limit, withoutKeys])
    return rows.map((row) => ({ id: bigintAt(row, 'id'), shard, kind: kindAt(row), message: messageAt(row) }))
  }

  async settle(shard: number, epoch: bigint, { published, dead }: OutboxOutcome): Promise<void> {
    const fence = [shardLease(shard), String(epoch), shard, published.map(String)]
    const { remove, settle } = this.#statements
    const [row] = dead.length === 0
      ? await this.#database.run(remove, fence)
      : await this.#database.run(settle, [...fence, dead.map(({ id }) => String(id)), dead.map(({ record }) => JSON.stringify(record))])
    if (row === undefined || numberAt(row, 'held') === 0) throw new TrunklineError('store.lease_lost', { store: STORE, lease: shardLease(shard) })
  }

  async waiting(shards: readonly number[]): Promise<readonly number[]> {
    const rows = await this.#database.run(this.#statements.waiting, [shards])
    return rows.map((row) => numberAt(row, 'shard'))
  }

  async stats(): Promise<OutboxStats> {
    const [row = {}] = await this.#database.run(this.#statements.stats, [])
    return { waiting: numberAt(row, 'waiting'), oldestAgeMs: Math.max(0, numberAt(row, 'age_ms')), dead: numberAt(row, 'dead') }
  }

  async dead(limit: number, after: bigint | undefined): Promise<readonly DeadOutboxRow[]> {
    const rows = await this.#database.run(this.#statements.dead, [String(after ?? -1n), limit])
    return rows.map((row) => ({ id: bigintAt(row, 'id'), kind: kindAt(row), message: messageAt(row), record: recordIn(textAt(row, 'record')) }))
  }

  async redrive(id: bigint): Promise<boolean> {
    const { deadKey, redrive } = this.#statements
    const [row] = await this.#database.run(deadKey, [String(id)])
    if (row === undefined) return false
    const key = optionalTextAt(row, 'key')
    const locks = keyLocks(this.#database.settings.schema, key === undefined ? [] : [key])
    const [done] = await this.#database.run(redrive, [locks, String(id)])
    if (done === undefined) return false
    this.#database.signals.announce('outbox')
    return true
  }

  async removeDead(id: bigint): Promise<boolean> {
    return (await this.#database.run(this.#statements.removeDead, [String(id)])).length > 0
  }
}

/** A message of a row with `id`, `attributes` and `body`. */
export function messageAt(row: PgRow): DeadOutboxRow['message'] {
  return messageFrom(textAt(row, 'attributes'), bytesAt(row, 'body'), `row-${textAt(row, 'id')}`)
}

// A record is written by this class alone and only shown to people: its shape is not proven field by field.
const recordIn: RecordReader = JSON.parse

/** The locks of $1 as one row, there when all of them are held. */
const LOCKS = `locks AS MATERIALIZED (SELECT coalesce(sum(CASE WHEN pg_catalog.pg_advisory_xact_lock(${KEY_LOCK}, slot) IS NULL THEN 0 ELSE 1 END), 0) AS held
  FROM unnest($1::integer[]) AS slot)`

/** $1 lease, $2 epoch. A share of the row's key: whoever takes the lease over waits, whoever renews it does not (P-15). */
const FENCE = (schema: string): string => `fence AS MATERIALIZED (SELECT 1 FROM ${schema}.lease WHERE name = $1::text AND epoch = $2::bigint FOR KEY SHARE)`

function outboxStatements(schema: string): OutboxStatements {
  const columns = 'shard, kind, key, attributes, body'
  const remove = `gone AS (DELETE FROM ${schema}.outbox WHERE shard = $3::smallint AND id = ANY($4::bigint[]) AND EXISTS (SELECT FROM fence))`
  return {
    writeOne: new PgStatement(`INSERT INTO ${schema}.outbox (shard, kind, attributes, body) VALUES ($1::smallint, $2::text, $3::text, $4::bytea)`),
    writeKeyed: new PgStatement(`WITH lock AS MATERIALIZED (SELECT pg_catalog.pg_advisory_xact_lock(${KEY_LOCK}, $6::integer))
INSERT INTO ${schema}.outbox (shard, kind, attributes, body, key) SELECT $1::smallint, $2::text, $3::text, $4::bytea, $5::text FROM lock`),
    writeMany: new PgStatement(`WITH ${LOCKS}
INSERT INTO ${schema}.outbox (${columns}) SELECT given.shard, given.kind, given.key, given.attributes, given.body
FROM locks, unnest($2::smallint[], $3::text[], $4::text[], $5::text[], $6::bytea[]) WITH ORDINALITY AS given (shard, kind, key, attributes, body, n) ORDER BY given.n`),
    read: new PgStatement(`SELECT id, kind, attributes, body FROM ${schema}.outbox
WHERE shard = $1::smallint AND id > $2::bigint AND (key IS NULL OR key <> ALL ($4::text[])) ORDER BY id LIMIT $3::bigint`),
    remove: new PgStatement(`WITH ${FENCE(schema)}, ${remove} SELECT count(*) AS held FROM fence`),
    settle: new PgStatement(`WITH ${FENCE(schema)}, ${remove}, died AS (
  DELETE FROM ${schema}.outbox WHERE shard = $3::smallint AND id = ANY($5::bigint[]) AND EXISTS (SELECT FROM fence) RETURNING id, ${columns}
), kept AS (
  INSERT INTO ${schema}.outbox_dead (id, ${columns}, record)
  SELECT died.id, died.shard, died.kind, died.key, died.attributes, died.body, given.record
  FROM died JOIN unnest($5::bigint[], $6::text[]) AS given (id, record) ON given.id = died.id ON CONFLICT (id) DO NOTHING
) SELECT count(*) AS held FROM fence`),
    waiting: new PgStatement(`SELECT given.shard FROM unnest($1::smallint[]) AS given (shard) WHERE EXISTS (SELECT FROM ${schema}.outbox o WHERE o.shard = given.shard)`),
    stats: new PgStatement(`SELECT count(*) AS waiting, coalesce(date_part('epoch', clock_timestamp() - min(written_at)) * 1000, 0) AS age_ms,
  (SELECT count(*) FROM ${schema}.outbox_dead) AS dead FROM ${schema}.outbox`),
    dead: new PgStatement(`SELECT id, kind, attributes, body, record FROM ${schema}.outbox_dead WHERE id > $1::bigint ORDER BY id LIMIT $2::bigint`),
    deadKey: new PgStatement(`SELECT key FROM ${schema}.outbox_dead WHERE id = $1::bigint`),
    redrive: new PgStatement(`WITH ${LOCKS}, gone AS (DELETE FROM ${schema}.outbox_dead WHERE id = $2::bigint AND (SELECT held FROM locks) >= 0 RETURNING ${columns})
INSERT INTO ${schema}.outbox (${columns}) SELECT ${columns} FROM gone RETURNING id`),
    removeDead: new PgStatement(`DELETE FROM ${schema}.outbox_dead WHERE id = $1::bigint RETURNING id`),
  }
}

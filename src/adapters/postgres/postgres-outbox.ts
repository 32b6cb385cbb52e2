import type { DeadLetterRecord } from '../../bus/port.ts'
import { TrunklineError } from '../../core/errors.ts'
import type { DeadOutboxRow, NewOutboxRow, OutboxOutcome, OutboxReadOptions, OutboxRow, OutboxStats, OutboxTable, SqlStatement } from '../../outbox/port.ts'
import { shardLease } from '../../outbox/protocol/lease-names.ts'
import type { PgRow } from './postgres-client.ts'
import type { PgDatabase } from './postgres-database.ts'
import { STORE } from './postgres-errors.ts'
import { PgFlight } from './postgres-flight.ts'
import { keyLocks } from './postgres-locks.ts'
import { attributesText, messageFrom } from './postgres-message.ts'
import { bigintAt, bytesAt, kindAt, numberAt, optionalTextAt, PgStatement, textAt } from './postgres-rows.ts'
import { besideStatement, locksText, ROW_COLUMNS, writeText } from './postgres-outbox-write.ts'
import type { PgUnitExecutor } from './postgres-session.ts'

/** Fields of a record, read back from JSON text. */
type RecordReader = (text: string) => DeadLetterRecord

/** A look at one shard. */
interface ShardRead {
  readonly shard: number
  readonly after: bigint | undefined
  readonly limit: number
}

/** Rows of one shard that were published. */
interface ShardRemoval {
  readonly shard: number
  readonly epoch: bigint
  readonly published: readonly bigint[]
}

interface OutboxStatements {
  readonly writeOne: PgStatement
  readonly writeKeyed: PgStatement
  readonly writeMany: PgStatement
  readonly read: PgStatement
  readonly readMany: PgStatement
  readonly remove: PgStatement
  readonly removeMany: PgStatement
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
  // Shards are woken together by a commit, and ask the database together.
  readonly #reads: PgFlight<ShardRead, readonly OutboxRow[]>
  readonly #removals: PgFlight<ShardRemoval, true>

  constructor(database: PgDatabase) {
    this.#database = database
    this.shards = database.settings.shards
    this.#statements = outboxStatements(database.schema)
    this.#reads = new PgFlight((reads) => this.#readMany(reads))
    this.#removals = new PgFlight((removals) => this.#removeMany(removals))
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
    await executor.runLast(this.#statements.writeMany, this.#manyRows(rows))
  }

  async #writeOne(executor: PgUnitExecutor, row: NewOutboxRow): Promise<void> {
    const { writeOne, writeKeyed } = this.#statements
    await executor.runLast(row.message.key === undefined ? writeOne : writeKeyed, this.#oneRow(row))
  }

  #oneRow({ shard, kind, message }: NewOutboxRow): readonly unknown[] {
    const values = [shard, kind, attributesText(message), message.body]
    return message.key === undefined ? values : [...values, message.key, ...keyLocks(this.#database.settings.schema, [message.key])]
  }

  #manyRows(rows: readonly NewOutboxRow[]): readonly unknown[] {
    const locks = keyLocks(this.#database.settings.schema, rows.flatMap(({ message }) => message.key ?? []))
    return [
      locks, rows.map(({ shard }) => shard), rows.map(({ kind }) => kind), rows.map(({ message }) => message.key ?? null),
      rows.map(({ message }) => attributesText(message)), rows.map(({ message }) => message.body),
    ]
  }

  /** A statement of the caller's with rows beside it, as one. */
  beside(statement: SqlStatement, rows: readonly NewOutboxRow[]): SqlStatement {
    if (rows.length === 0) return statement
    const [first] = rows
    const keys = rows.flatMap(({ message }) => message.key ?? [])
    const values = first !== undefined && rows.length === 1 ? this.#oneRow(first) : this.#manyRows(rows)
    const shape = rows.length > 1 ? 'many' : keys.length > 0 ? 'keyed' : 'one'
    return besideStatement({ schema: this.#database.schema, shape }, statement, values)
  }

  async read(shard: number, { limit, after, withoutKeys }: OutboxReadOptions): Promise<readonly OutboxRow[]> {
    if (withoutKeys.length === 0) return await this.#together(this.#reads, { shard, after, limit })
    return await this.#readOne({ shard, after, limit }, withoutKeys)
  }

  async #readOne({ shard, after, limit }: ShardRead, withoutKeys: readonly string[]): Promise<readonly OutboxRow[]> {
    const rows = await this.#database.run(this.#statements.read, [shard, String(after ?? -1n), limit, withoutKeys])
    return rows.map((row) => outboxRow(row, shard))
  }

  async #readMany(reads: readonly ShardRead[]): Promise<readonly (readonly OutboxRow[])[]> {
    const [first] = reads
    if (reads.length === 1 && first !== undefined) return [await this.#readOne(first, [])]
    const rows = await this.#database.run(this.#statements.readMany, [reads.map(({ shard }) => shard), reads.map(({ after }) => String(after ?? -1n)), reads.map(({ limit }) => limit)])
    const byPlace = Map.groupBy(rows, (row) => numberAt(row, 'place'))
    return reads.map(({ shard }, at) => (byPlace.get(at + 1) ?? []).map((row) => outboxRow(row, shard)))
  }

  #together<In, Out>(flight: PgFlight<In, Out>, item: In): Promise<Out> {
    if (flight.isEmpty) this.#database.host.clock.defer(() => void flight.leave())
    return flight.add(item)
  }

  async settle(shard: number, epoch: bigint, { published, dead }: OutboxOutcome): Promise<void> {
    if (dead.length === 0) {
      await this.#together(this.#removals, { shard, epoch, published })
      return
    }
    const [row] = await this.#database.run(this.#statements.settle, [...fenced({ shard, epoch, published }), dead.map(({ id }) => String(id)), dead.map(({ record }) => JSON.stringify(record))])
    if (row === undefined || numberAt(row, 'held') === 0) throw leaseLost(shard)
  }

  async #removeMany(removals: readonly ShardRemoval[]): Promise<readonly (true | Error)[]> {
    const [first] = removals
    const { remove, removeMany } = this.#statements
    if (removals.length === 1 && first !== undefined) {
      const [row] = await this.#database.run(remove, fenced(first))
      return [row !== undefined && numberAt(row, 'held') > 0 ? true : leaseLost(first.shard)]
    }
    const rows = await this.#database.run(removeMany, [
      removals.map(({ shard }) => shardLease(shard)), removals.map(({ epoch }) => String(epoch)), removals.map(({ shard }) => shard),
      removals.flatMap(({ shard, published }) => published.map(() => shard)), removals.flatMap(({ published }) => published.map(String)),
    ])
    const held = new Set(rows.map((row) => numberAt(row, 'shard')))
    return removals.map(({ shard }) => held.has(shard) || leaseLost(shard))
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

function outboxRow(row: PgRow, shard: number): OutboxRow {
  return { id: bigintAt(row, 'id'), shard, kind: kindAt(row), message: messageAt(row) }
}

function fenced({ shard, epoch, published }: ShardRemoval): readonly unknown[] {
  return [shardLease(shard), String(epoch), shard, published.map(String)]
}

function leaseLost(shard: number): TrunklineError {
  return new TrunklineError('store.lease_lost', { store: STORE, lease: shardLease(shard) })
}

/** A message of a row with `id`, `attributes` and `body`. */
export function messageAt(row: PgRow): DeadOutboxRow['message'] {
  return messageFrom(textAt(row, 'attributes'), bytesAt(row, 'body'), `row-${textAt(row, 'id')}`)
}

// A record is written by this class alone and only shown to people: its shape is not proven field by field.
const recordIn: RecordReader = JSON.parse

/** $1 lease, $2 epoch. A share of the row's key: whoever takes the lease over waits, whoever renews it does not (P-15). */
const FENCE = (schema: string): string => `fence AS MATERIALIZED (SELECT 1 FROM ${schema}.lease WHERE name = $1::text AND epoch = $2::bigint FOR KEY SHARE)`

function outboxStatements(schema: string): OutboxStatements {
  const columns = ROW_COLUMNS
  const remove = `gone AS (DELETE FROM ${schema}.outbox WHERE shard = $3::smallint AND id = ANY($4::bigint[]) AND EXISTS (SELECT FROM fence))`
  return {
    writeOne: new PgStatement(writeText({ schema, shape: 'one' })),
    writeKeyed: new PgStatement(writeText({ schema, shape: 'keyed' })),
    writeMany: new PgStatement(writeText({ schema, shape: 'many' })),
    read: new PgStatement(`SELECT id, kind, attributes, body FROM ${schema}.outbox
WHERE shard = $1::smallint AND id > $2::bigint AND (key IS NULL OR key <> ALL ($4::text[])) ORDER BY id LIMIT $3::bigint`),
    readMany: new PgStatement(`SELECT given.place, o.id, o.kind, o.attributes, o.body
FROM unnest($1::smallint[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS given (shard, cursor, most, place) CROSS JOIN LATERAL (
  SELECT id, kind, attributes, body FROM ${schema}.outbox WHERE shard = given.shard AND id > given.cursor ORDER BY id LIMIT given.most
) o ORDER BY given.place, o.id`),
    // Each shard has its own fence: one that was lost keeps its rows, and the others lose theirs.
    removeMany: new PgStatement(`WITH fence AS MATERIALIZED (
  SELECT given.shard FROM unnest($1::text[], $2::bigint[], $3::smallint[]) AS given (name, epoch, shard)
  JOIN ${schema}.lease l ON l.name = given.name AND l.epoch = given.epoch FOR KEY SHARE OF l
), gone AS (
  DELETE FROM ${schema}.outbox o USING unnest($4::smallint[], $5::bigint[]) AS given (shard, id)
  WHERE o.shard = given.shard AND o.id = given.id AND given.shard IN (SELECT shard FROM fence)
) SELECT shard FROM fence`),
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
    redrive: new PgStatement(`WITH ${locksText('locks', 1)}, gone AS (DELETE FROM ${schema}.outbox_dead WHERE id = $2::bigint AND (SELECT held FROM locks) >= 0 RETURNING ${columns})
INSERT INTO ${schema}.outbox (${columns}) SELECT ${columns} FROM gone RETURNING id`),
    removeDead: new PgStatement(`DELETE FROM ${schema}.outbox_dead WHERE id = $1::bigint RETURNING id`),
  }
}

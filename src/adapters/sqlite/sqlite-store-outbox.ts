import type { DeadLetterRecord } from '../../bus/port.ts'
import type { DeadOutboxRow, NewOutboxRow, OutboxOutcome, OutboxReadOptions, OutboxRow, OutboxStats, OutboxTable } from '../../outbox/port.ts'
import { shardLease } from '../../outbox/protocol/lease-names.ts'
import { bytes, integer, text } from './sqlite-connection.ts'
import type { SqliteConnection } from './sqlite-connection.ts'
import { recordFrom } from './sqlite-dead-letters.ts'
import type { SqliteRow } from './sqlite-driver.ts'
import { attributesText, messageFrom } from './sqlite-message.ts'
import { storeOutbound } from './sqlite-publish.ts'
import type { SqliteStoreAccess } from './sqlite-store-access.ts'
import { checkEpoch } from './sqlite-store-leases.ts'
import type { SqliteTurn } from './sqlite-turn.ts'

/** More shards than relays that share the work are of no use, and each is a lease. */
const SHARDS = 8
/** Rows are counted up to this many. */
const COUNT_MAX = 1_000_000

/** Writes messages to the outbox, in a transaction. Its numbers are in commit order. */
export function writeOutbox(turn: SqliteTurn, nowMs: number, rows: readonly NewOutboxRow[]): void {
  for (const { kind, message, shard } of rows) {
    turn.connection.run(
      'INSERT INTO trunkline_outbox (shard, kind, key, at_ms, attributes, body) VALUES (?, ?, ?, ?, ?, ?)',
      shard, kind, message.key ?? null, Math.floor(nowMs), attributesText(message), message.body,
    )
  }
  turn.number(rows.length)
}

/** Writes messages straight into the tables of the transport on the same file. */
export function writeMessages(turn: SqliteTurn, rows: readonly NewOutboxRow[]): void {
  for (const row of rows) storeOutbound(turn, row, attributesText(row.message))
}

/** The outbox as the relay sees it. */
export class SqliteOutbox implements OutboxTable {
  readonly shards: number = SHARDS
  readonly #access: SqliteStoreAccess

  constructor(access: SqliteStoreAccess) {
    this.#access = access
  }

  read(shard: number, { limit, after, withoutKeys }: OutboxReadOptions): Promise<readonly OutboxRow[]> {
    const isWaiting = withoutKeys.length === 0 ? '' : 'AND (key IS NULL OR key NOT IN (SELECT value FROM json_each(?)))'
    const keys = withoutKeys.length === 0 ? [] : [JSON.stringify(withoutKeys)]
    return this.#access.read((connection) =>
      connection
        .rows(`SELECT id, kind, attributes, body FROM trunkline_outbox WHERE shard = ? AND id > ? ${isWaiting} ORDER BY id LIMIT ?`, shard, after ?? 0, ...keys, limit)
        .map((row) => ({ ...messageOf(row), shard, id: BigInt(integer(row, 'id')) })),
    )
  }

  // Not flushed: what a power cut undoes is published again, under the same ids.
  settle(shard: number, epoch: bigint, { published, dead }: OutboxOutcome): Promise<void> {
    return this.#access.writeSoon(({ connection }) => {
      checkEpoch(connection, shardLease(shard), epoch)
      for (const id of published) connection.run('DELETE FROM trunkline_outbox WHERE id = ? AND shard = ?', id, shard)
      for (const { id, record } of dead) bury(connection, shard, id, record)
    })
  }

  waiting(shards: readonly number[]): Promise<readonly number[]> {
    return this.#access.read((connection) => shards.filter((shard) => connection.has('SELECT 1 FROM trunkline_outbox WHERE shard = ? LIMIT 1', shard)))
  }

  stats(): Promise<OutboxStats> {
    return this.#access.read((connection) => {
      const oldest = connection.row('SELECT at_ms FROM trunkline_outbox ORDER BY id LIMIT 1')
      return {
        waiting: counted(connection, 'trunkline_outbox'),
        oldestAgeMs: oldest === undefined ? 0 : Math.max(0, this.#access.nowMs - integer(oldest, 'at_ms')),
        dead: counted(connection, 'trunkline_outbox_dead'),
      }
    })
  }

  dead(limit: number, after: bigint | undefined): Promise<readonly DeadOutboxRow[]> {
    return this.#access.read((connection) =>
      connection
        .rows('SELECT id, kind, attributes, body, record FROM trunkline_outbox_dead WHERE id > ? ORDER BY id LIMIT ?', after ?? 0, limit)
        .map((row) => ({ ...messageOf(row), id: BigInt(integer(row, 'id')), record: recordFrom(text(row, 'record'), '') })),
    )
  }

  redrive(id: bigint): Promise<boolean> {
    const nowMs = Math.floor(this.#access.nowMs)
    return this.#access.write((turn) => {
      const { connection } = turn
      const wasThere = connection.run(
        `INSERT INTO trunkline_outbox (shard, kind, key, at_ms, attributes, body)
          SELECT shard, kind, key, ?, attributes, body FROM trunkline_outbox_dead WHERE id = ?`,
        nowMs, id,
      )
      turn.number(wasThere)
      return connection.run('DELETE FROM trunkline_outbox_dead WHERE id = ?', id) === 1
    })
  }

  removeDead(id: bigint): Promise<boolean> {
    return this.#access.write(({ connection }) => connection.run('DELETE FROM trunkline_outbox_dead WHERE id = ?', id) === 1)
  }
}

function bury(connection: SqliteConnection, shard: number, id: bigint, record: DeadLetterRecord): void {
  connection.run(
    `INSERT INTO trunkline_outbox_dead (id, shard, kind, key, attributes, body, record)
      SELECT id, shard, kind, key, attributes, body, ? FROM trunkline_outbox WHERE id = ? AND shard = ?`,
    JSON.stringify(record), id, shard,
  )
  connection.run('DELETE FROM trunkline_outbox WHERE id = ? AND shard = ?', id, shard)
}

function counted(connection: SqliteConnection, table: string): number {
  const row = connection.row(`SELECT count(*) AS count FROM (SELECT 1 FROM ${table} LIMIT ${COUNT_MAX})`)
  return row === undefined ? 0 : integer(row, 'count')
}

function messageOf(row: SqliteRow): Pick<OutboxRow, 'kind' | 'message'> {
  return {
    kind: text(row, 'kind') === 'command' ? 'command' : 'event',
    message: messageFrom(text(row, 'attributes'), bytes(row, 'body'), `sqlite-outbox-${integer(row, 'id')}`),
  }
}

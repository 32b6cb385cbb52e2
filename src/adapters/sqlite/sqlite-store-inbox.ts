import type { InboxEntry, InboxTable, InboxVerdict } from '../../outbox/port.ts'
import { bytes, bytesOrNull, integer } from './sqlite-connection.ts'
import type { SqliteConnection } from './sqlite-connection.ts'
import type { SqliteStoreAccess } from './sqlite-store-access.ts'

/** Marks are counted up to this many. */
const COUNT_MAX = 1_000_000

/** Marks a message as handled, in a transaction. */
export function enterInbox(connection: SqliteConnection, nowMs: number, { group, source, id, digest }: InboxEntry): InboxVerdict {
  const isNew = connection.run(
    'INSERT INTO trunkline_inbox (grp, source, id, digest, at_ms) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING',
    group, source, id, digest, Math.floor(nowMs),
  )
  if (isNew === 1) return { kind: 'new' }
  const row = connection.row('SELECT digest, answer FROM trunkline_inbox WHERE grp = ? AND source = ? AND id = ?', group, source, id)
  const isSame = row !== undefined && Buffer.compare(bytes(row, 'digest'), digest) === 0
  return isSame ? { kind: 'seen', answer: bytesOrNull(row, 'answer') } : { kind: 'collision' }
}

/** Keeps an answer beside its mark, in a transaction. */
export function keepAnswer(connection: SqliteConnection, { group, source, id }: InboxEntry, answer: Uint8Array): void {
  connection.run('UPDATE trunkline_inbox SET answer = ? WHERE grp = ? AND source = ? AND id = ?', answer, group, source, id)
}

/** Upkeep of the marks. */
export class SqliteInbox implements InboxTable {
  readonly #access: SqliteStoreAccess

  constructor(access: SqliteStoreAccess) {
    this.#access = access
  }

  prune(olderThanMs: number, limit: number): Promise<number> {
    const beforeMs = Math.floor(this.#access.nowMs - olderThanMs)
    return this.#access.writeSoon(({ connection }) =>
      connection.run(
        `DELETE FROM trunkline_inbox WHERE (grp, source, id) IN (
          SELECT grp, source, id FROM trunkline_inbox INDEXED BY trunkline_inbox_age WHERE at_ms < ? ORDER BY at_ms LIMIT ?)`,
        beforeMs, limit,
      ),
    )
  }

  count(): Promise<number> {
    return this.#access.read((connection) => {
      const row = connection.row(`SELECT count(*) AS count FROM (SELECT 1 FROM trunkline_inbox LIMIT ${COUNT_MAX})`)
      return row === undefined ? 0 : integer(row, 'count')
    })
  }
}

import type { DeadLetter, DeadLetterFilter, DeadLetterPage, DeadLetterPlane, DeadLetterRecord } from '../../bus/port.ts'
import { TrunklineError } from '../../core/errors.ts'
import { DEAD_LETTER_PAGE_MAX } from '../../core/limits.ts'
import type { SqliteCommitQueue } from './sqlite-commit-queue.ts'
import type { SqliteTurn } from './sqlite-turn.ts'
import { bytes, integer, text, textOrNull } from './sqlite-connection.ts'
import type { SqliteConnection } from './sqlite-connection.ts'
import { removeDead, reviveDead } from './sqlite-deliveries.ts'
import type { SqlitePlace } from './sqlite-deliveries.ts'
import type { SqliteRow } from './sqlite-driver.ts'
import { messageFrom } from './sqlite-message.ts'

const SELECT = `SELECT l.id, l.seq, l.record, l.reason, g.name, g.kind, d.key, m.attributes, m.body
  FROM trunkline_dead_letter AS l
  JOIN trunkline_group AS g ON g.id = l.group_id
  JOIN trunkline_delivery AS d ON d.seq = l.seq AND d.group_id = l.group_id
  JOIN trunkline_message AS m ON m.seq = l.seq`

/** What the plane works with between `open` and `close`. */
export interface DeadLetterBacking {
  readonly queue: SqliteCommitQueue
  readonly read: <T>(work: (connection: SqliteConnection) => T) => Promise<T>
}

/** The dead letters of every group in the file. */
export class SqliteDeadLetters implements DeadLetterPlane {
  #backing: DeadLetterBacking | undefined

  /** Connects the plane to an opened file, or disconnects it. */
  attach(backing: DeadLetterBacking | undefined): void {
    this.#backing = backing
  }

  async list(filter: DeadLetterFilter, options: { readonly limit: number; readonly after?: string | undefined }): Promise<DeadLetterPage> {
    const limit = Math.max(1, Math.min(DEAD_LETTER_PAGE_MAX, Math.floor(options.limit)))
    const after = options.after === undefined ? 0 : rowId(options.after)
    if (after === undefined) {
      throw new TrunklineError('core.option_invalid', { option: 'after', expected: 'what a page gave as next', actual: `${options.after}` })
    }
    const group = filter.group ?? null
    const type = filter.type ?? null
    const reason = filter.reason ?? null
    const rows = await this.#opened('list dead letters').read((connection) =>
      connection.rows(
        // Plain question marks only: better-sqlite3 takes numbered ones for names.
        `${SELECT} WHERE l.id > ? AND (? IS NULL OR g.name = ?) AND (? IS NULL OR l.type = ?) AND (? IS NULL OR l.reason = ?)
          ORDER BY l.id LIMIT ?`,
        after, group, group, type, type, reason, reason, limit + 1,
      ),
    )
    const items = rows.slice(0, limit).map(deadLetterFrom)
    return { items, next: rows.length > limit ? items.at(-1)?.id : undefined }
  }

  async read(id: string): Promise<DeadLetter | undefined> {
    const number = rowId(id)
    const backing = this.#opened('read a dead letter')
    if (number === undefined) return undefined
    const row = await backing.read((connection) => connection.row(`${SELECT} WHERE l.id = ?`, number))
    return row === undefined ? undefined : deadLetterFrom(row)
  }

  redrive(id: string): Promise<boolean> {
    return this.#takeOut('redrive a dead letter', id, reviveDead)
  }

  remove(id: string): Promise<boolean> {
    return this.#takeOut('remove a dead letter', id, removeDead)
  }

  async #takeOut(operation: string, id: string, work: (turn: SqliteTurn, place: SqlitePlace) => void): Promise<boolean> {
    const number = rowId(id)
    const { queue } = this.#opened(operation)
    if (number === undefined) return false
    return await queue.call((turn) => {
      const row = turn.connection.row('DELETE FROM trunkline_dead_letter WHERE id = ? RETURNING seq, group_id', number)
      if (row === undefined) return false
      work(turn, { seq: integer(row, 'seq'), groupId: integer(row, 'group_id') })
      return true
    })
  }

  #opened(operation: string): DeadLetterBacking {
    if (this.#backing === undefined) throw new TrunklineError('bus.not_running', { operation, state: 'closed' })
    return this.#backing
  }
}

function rowId(id: string): number | undefined {
  const number = Number(id)
  return /^[0-9]{1,16}$/.test(id) && Number.isSafeInteger(number) ? number : undefined
}

function deadLetterFrom(row: SqliteRow): DeadLetter {
  return {
    id: `${integer(row, 'id')}`,
    group: text(row, 'name'),
    kind: text(row, 'kind') === 'command' ? 'command' : 'event',
    message: messageFrom(text(row, 'attributes'), bytes(row, 'body'), `sqlite-${integer(row, 'seq')}`),
    record: recordFrom(text(row, 'record'), text(row, 'reason')),
    holdsKey: textOrNull(row, 'key') !== undefined,
  }
}

/** Reads a record as it was written. It never throws. */
export function recordFrom(json: string, reason: string): DeadLetterRecord {
  const blank: DeadLetterRecord = { reason, errors: [], attempts: 0, handler: '', service: '', instance: '', at: '' }
  try {
    const record: unknown = JSON.parse(json)
    // This adapter alone writes the column, and always a whole record.
    return typeof record === 'object' && record !== null ? { ...blank, ...record } : blank
  } catch {
    return blank
  }
}

import type { DeadLetter, DeadLetterFilter, DeadLetterPage, DeadLetterPlane, DeadLetterRecord } from '../../bus/port.ts'
import { TrunklineError } from '../../core/errors.ts'
import { DEAD_LETTER_PAGE_MAX } from '../../core/limits.ts'
import type { PgRow } from './postgres-client.ts'
import { promotedText } from './postgres-deliveries.ts'
import type { PgLink, PgStep } from './postgres-link.ts'
import { asLost } from './postgres-problem.ts'
import { messageOf } from './postgres-record.ts'
import { booleanAt, bytesAt, kindAt, numberAt, PgStatement, textAt } from './postgres-rows.ts'
import type { PgTransportLocks } from './postgres-transport-locks.ts'

/** What the plane works with between `open` and `close`. */
export interface DeadLetterBacking {
  readonly link: PgLink
  readonly locks: PgTransportLocks
  /** Groups that have something to claim now. */
  readonly onFreed: (groupIds: readonly number[]) => void
}

/** The dead letters of every group in one schema. */
export class PgDeadLetters implements DeadLetterPlane {
  readonly #list: PgStatement
  readonly #read: PgStatement
  readonly #redrive: PgStatement
  readonly #remove: PgStatement
  #backing: DeadLetterBacking | undefined

  /** @param schema quoted. */
  constructor(schema: string) {
    const select = `SELECT l.id, l.seq, l.record, l.reason, g.name, g.kind, d.is_ordered AND d.lane IS NOT NULL AS holds_key, d.message
      FROM ${schema}.bus_dead_letter l JOIN ${schema}.bus_group g ON g.id = l.group_id JOIN ${schema}.bus_delivery d ON d.seq = l.seq`
    this.#list = new PgStatement(
      `${select} WHERE l.id > $1 AND ($2::text IS NULL OR g.name = $2) AND ($3::text IS NULL OR l.type = $3) AND ($4::text IS NULL OR l.reason = $4)
        ORDER BY l.id LIMIT $5`,
    )
    this.#read = new PgStatement(`${select} WHERE l.id = $1`)
    // In an ordered group it is still the first of its key.
    this.#redrive = new PgStatement(
      `WITH letter AS (DELETE FROM ${schema}.bus_dead_letter WHERE id = $1 RETURNING seq)
        UPDATE ${schema}.bus_delivery d SET state = 0, due = '-infinity', begun = 0, is_suspect = false, is_redriven = true
        FROM letter WHERE d.seq = letter.seq AND d.state = 3 RETURNING d.group_id`,
    )
    this.#remove = new PgStatement(
      `WITH letter AS (DELETE FROM ${schema}.bus_dead_letter WHERE id = $1 RETURNING seq),
        gone AS (
          DELETE FROM ${schema}.bus_delivery d USING letter WHERE d.seq = letter.seq AND d.state = 3
          RETURNING d.seq, d.group_id, CASE WHEN d.is_ordered THEN d.lane END AS lane
        ),
        ${promotedText(schema)}
        SELECT gone.group_id, (SELECT count(*) FROM promoted)::integer AS promoted FROM gone`,
    )
  }

  /** Connects the plane to an opened database, or disconnects it. */
  attach(backing: DeadLetterBacking | undefined): void {
    this.#backing = backing
  }

  async list(filter: DeadLetterFilter, options: { readonly limit: number; readonly after?: string | undefined }): Promise<DeadLetterPage> {
    const limit = Math.max(1, Math.min(DEAD_LETTER_PAGE_MAX, Math.floor(options.limit)))
    const after = options.after ?? '0'
    if (!isRowId(after)) {
      throw new TrunklineError('core.option_invalid', { option: 'after', expected: 'what a page gave as next', actual: after.slice(0, 100) })
    }
    const named = [filter.group, filter.type, filter.reason].map((text) => text ?? null)
    // A text column holds no such character, so nothing matches.
    if (named.some((text) => text?.includes('\0') === true)) return { items: [], next: undefined }
    const rows = await this.#run('list dead letters', { statement: this.#list, values: [after, ...named, limit + 1] })
    const items = rows.slice(0, limit).map(deadLetterFrom)
    return { items, next: rows.length > limit ? items.at(-1)?.id : undefined }
  }

  async read(id: string): Promise<DeadLetter | undefined> {
    if (!isRowId(id)) return undefined
    const [row] = await this.#run('read a dead letter', { statement: this.#read, values: [id] })
    return row === undefined ? undefined : deadLetterFrom(row)
  }

  async redrive(id: string): Promise<boolean> {
    if (!isRowId(id)) return false
    const freed = await this.#run('redrive a dead letter', { statement: this.#redrive, values: [id] })
    this.#backing?.onFreed(freed.map((row) => numberAt(row, 'group_id')))
    return freed.length > 0
  }

  async remove(id: string): Promise<boolean> {
    const letter = await this.read(id)
    if (letter === undefined) return false
    const { link, locks, onFreed } = this.#opened('remove a dead letter')
    const { key } = letter.message
    try {
      // Whoever stores a message of its key must see it either there or gone.
      const answers = await link.transact([locks.store(key === undefined ? [] : [key]), { statement: this.#remove, values: [id] }])
      const gone = answers[1] ?? []
      onFreed(gone.flatMap((row) => (numberAt(row, 'promoted') > 0 ? [numberAt(row, 'group_id')] : [])))
      return gone.length > 0
    } catch (thrown) {
      throw asLost(thrown)
    }
  }

  async #run(operation: string, step: PgStep): Promise<readonly PgRow[]> {
    const { link } = this.#opened(operation)
    try {
      return await link.run(step)
    } catch (thrown) {
      throw asLost(thrown)
    }
  }

  #opened(operation: string): DeadLetterBacking {
    if (this.#backing === undefined) throw new TrunklineError('bus.not_running', { operation, state: 'closed' })
    return this.#backing
  }
}

function isRowId(id: string): boolean {
  return /^[0-9]{1,18}$/.test(id)
}

function deadLetterFrom(row: PgRow): DeadLetter {
  return {
    id: textAt(row, 'id'),
    group: textAt(row, 'name'),
    kind: kindAt(row),
    message: messageOf(bytesAt(row, 'message'), `postgres-${textAt(row, 'seq')}`),
    record: recordFrom(textAt(row, 'record'), textAt(row, 'reason')),
    holdsKey: booleanAt(row, 'holds_key'),
  }
}

function recordFrom(json: string, reason: string): DeadLetterRecord {
  const blank: DeadLetterRecord = { reason, errors: [], attempts: 0, handler: '', service: '', instance: '', at: '' }
  try {
    const record: unknown = JSON.parse(json)
    // This adapter alone writes the column, and always a whole record.
    return typeof record === 'object' && record !== null ? { ...blank, ...record } : blank
  } catch {
    return blank
  }
}

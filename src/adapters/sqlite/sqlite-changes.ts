import { integer } from './sqlite-connection.ts'
import type { SqliteConnection } from './sqlite-connection.ts'
import type { SqliteTurn } from './sqlite-turn.ts'

const SEQUENCES = `SELECT coalesce(sum(seq), 0) AS total, coalesce(sum(CASE name WHEN 'trunkline_event' THEN seq END), 0) AS events
  FROM sqlite_sequence WHERE name IN ('trunkline_event', 'trunkline_outbox', 'trunkline_timer')`

/**
 * Knows what was added to the tables of the store, and by whom. Their sequences have no gaps: what they have beyond the rows of
 * this process came from others. One small read a look, and no write at all.
 */
export class SqliteChanges {
  readonly #waiting = new Set<() => void>()
  readonly #listeners = new Set<() => void>()
  #total = 0
  #events = 0
  #grown = 0

  /** Begins to count. */
  start(connection: SqliteConnection): void {
    const { total, events } = sequences(connection)
    this.#total = total
    this.#events = events
  }

  /** A turn of this process was committed. */
  own(turn: SqliteTurn): void {
    this.#total += turn.numbered
    this.#events += turn.appended
    if (turn.appended > 0) this.#grow()
  }

  /** Something may have been committed by others. */
  look(connection: SqliteConnection): void {
    const { total, events } = sequences(connection)
    const [isOthers, isGrown] = [total > this.#total, events > this.#events]
    this.#total = Math.max(total, this.#total)
    this.#events = Math.max(events, this.#events)
    if (isGrown) this.#grow()
    if (isOthers) for (const listener of this.#listeners) listener()
  }

  #grow(): void {
    this.#grown++
    for (const wake of this.#waiting) wake()
  }

  /** Number of times that the log was seen to have grown. */
  get grown(): number {
    return this.#grown
  }

  /** Resolves when the log has grown more often than that, or as soon as one of the signals aborts. */
  async growsBeyond(grown: number, signals: readonly AbortSignal[]): Promise<void> {
    if (this.#grown > grown || signals.some(({ aborted }) => aborted)) return
    const { promise, resolve } = Promise.withResolvers<void>()
    const wake = (): void => resolve()
    this.#waiting.add(wake)
    for (const signal of signals) signal.addEventListener('abort', wake)
    await promise
    this.#waiting.delete(wake)
    for (const signal of signals) signal.removeEventListener('abort', wake)
  }

  /** Tells of what others have committed to the log, the outbox or the timers. */
  listen(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
    }
  }
}

function sequences(connection: SqliteConnection): { readonly total: number; readonly events: number } {
  const row = connection.row(SEQUENCES)
  return row === undefined ? { total: 0, events: 0 } : { total: integer(row, 'total'), events: integer(row, 'events') }
}

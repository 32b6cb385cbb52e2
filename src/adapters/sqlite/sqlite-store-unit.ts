import type { Clock } from '../../core/clock.ts'
import { isTrunklineError } from '../../core/errors.ts'
import type { InboxEntry, InboxVerdict, NewOutboxRow, UnitTransaction } from '../../outbox/port.ts'
import type { Appended, ExpectedRevision, LogPage, NewEvent, NewTimer, ReadQuery, Snapshot, StoredTimer } from '../../store/port.ts'
import type { SqliteHandle } from './sqlite-handle.ts'
import { storeCheckpoint, storeSnapshot } from './sqlite-store-checkpoints.ts'
import { storeError } from './sqlite-store-errors.ts'
import { appendEvents, ofStream, readEvents } from './sqlite-store-events.ts'
import { enterInbox, keepAnswer } from './sqlite-store-inbox.ts'
import { writeMessages, writeOutbox } from './sqlite-store-outbox.ts'
import { removeTimer, storeTimer, takeDueTimers } from './sqlite-store-timers.ts'
import type { SqliteTurn } from './sqlite-turn.ts'

/** The caller's side of a transaction. */
export interface SqliteUnitSide {
  /** Called before each operation. @throws `outbox.unit_over`; what has ended the transaction. */
  checkOpen(operation: string): void
  /** The end, where this code has one to tell of. */
  end(): void
  /** Why nothing can be kept. */
  readonly broken: { readonly thrown: unknown } | undefined
}

/** What a unit of work does in its transaction. */
export class SqliteStoreUnit<Tx = SqliteHandle> implements UnitTransaction<Tx> {
  readonly handle: Tx
  readonly #turn: SqliteTurn
  readonly #side: SqliteUnitSide
  readonly #clock: Clock
  readonly #isOwnTransport: boolean
  #broken: { readonly thrown: unknown } | undefined

  constructor(turn: SqliteTurn, handle: Tx, side: SqliteUnitSide, parts: { readonly clock: Clock; readonly isOwnTransport: boolean }) {
    this.handle = handle
    this.#turn = turn
    this.#side = side
    this.#clock = parts.clock
    this.#isOwnTransport = parts.isOwnTransport
  }

  /** Set where it must not be kept, although its function may have swallowed the error. */
  get broken(): { readonly thrown: unknown } | undefined {
    return this.#broken ?? this.#side.broken
  }

  /** Its function has ended. */
  end(): void {
    this.#side.end()
  }

  async #do<T>(operation: string, work: (turn: SqliteTurn, nowMs: number) => T): Promise<T> {
    this.#side.checkOpen(operation)
    try {
      return await Promise.resolve(work(this.#turn, this.#clock.nowMs()))
    } catch (thrown) {
      const error = storeError(thrown)
      // A wrong revision is found before anything is written; after every other error a part may be missing.
      if (!isTrunklineError(error, 'store.wrong_revision')) this.#broken ??= { thrown: error }
      throw error
    }
  }

  append(stream: string, expected: ExpectedRevision, events: readonly NewEvent[]): Promise<Appended> {
    return this.#do('append', (turn, nowMs) => appendEvents(turn, nowMs, stream, expected, events))
  }

  readStream(stream: string, query: Omit<ReadQuery, 'selection'>): Promise<LogPage> {
    return this.#do('readStream', ({ connection }, nowMs) => readEvents(connection, nowMs, { ...query, selection: ofStream(stream) }))
  }

  saveCheckpoint(name: string, cursor: bigint, epoch: bigint | undefined): Promise<void> {
    return this.#do('saveCheckpoint', ({ connection }) => storeCheckpoint(connection, name, cursor, epoch))
  }

  saveSnapshot(snapshot: Snapshot): Promise<void> {
    return this.#do('saveSnapshot', ({ connection }) => storeSnapshot(connection, snapshot))
  }

  putTimer(timer: NewTimer): Promise<void> {
    return this.#do('putTimer', (turn, nowMs) => storeTimer(turn, nowMs, timer))
  }

  cancelTimer(id: string): Promise<boolean> {
    return this.#do('cancelTimer', (turn) => removeTimer(turn, id))
  }

  takeDue(limit: number): Promise<readonly StoredTimer[]> {
    return this.#do('takeDue', ({ connection }, nowMs) => takeDueTimers(connection, nowMs, limit))
  }

  enter(entry: InboxEntry): Promise<InboxVerdict> {
    return this.#do('enter', ({ connection }, nowMs) => enterInbox(connection, nowMs, entry))
  }

  enterMany(entries: readonly InboxEntry[]): Promise<readonly InboxVerdict[]> {
    return this.#do('enterMany', ({ connection }, nowMs) => entries.map((entry) => enterInbox(connection, nowMs, entry)))
  }

  keepAnswer(entry: InboxEntry, answer: Uint8Array): Promise<void> {
    return this.#do('keepAnswer', ({ connection }) => keepAnswer(connection, entry, answer))
  }

  write(rows: readonly NewOutboxRow[]): Promise<void> {
    return this.#do('write', (turn, nowMs) => (this.#isOwnTransport ? writeMessages(turn, rows) : writeOutbox(turn, nowMs, rows)))
  }
}

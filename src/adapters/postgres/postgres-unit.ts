import type { InboxEntry, InboxVerdict, NewOutboxRow, UnitTransaction } from '../../outbox/port.ts'
import type { Appended, ExpectedRevision, LogPage, NewEvent, NewTimer, ReadQuery, Snapshot, StoredTimer } from '../../store/port.ts'
import type { PgCheckpoints } from './postgres-checkpoints.ts'
import type { PgInbox } from './postgres-inbox.ts'
import type { PgEventLog } from './postgres-log.ts'
import type { PgUnitExecutor } from './postgres-session.ts'
import type { PgTimers } from './postgres-timers.ts'

/** The tables that a unit of work writes. */
export interface PgTables {
  readonly log: PgEventLog
  readonly checkpoints: PgCheckpoints
  readonly inbox: PgInbox
  readonly timers: PgTimers
  /** Writes messages to the outbox, or to the transport's own tables. */
  readonly write: (executor: PgUnitExecutor, rows: readonly NewOutboxRow[]) => Promise<void>
}

/** What a unit of work does in its transaction, and which parts of the store others have to hear of after the commit. */
export class PgUnit<Tx> implements UnitTransaction<Tx> {
  readonly handle: Tx
  readonly #executor: PgUnitExecutor
  readonly #tables: PgTables
  #hasAppended = false
  #hasWritten = false

  constructor(handle: Tx, executor: PgUnitExecutor, tables: PgTables) {
    this.handle = handle
    this.#executor = executor
    this.#tables = tables
  }

  /** True once events were appended. */
  get hasAppended(): boolean {
    return this.#hasAppended
  }

  /** True once messages or timers were written. */
  get hasWritten(): boolean {
    return this.#hasWritten
  }

  async append(stream: string, expected: ExpectedRevision, events: readonly NewEvent[]): Promise<Appended> {
    const appended = await this.#tables.log.appendOn(this.#executor, stream, expected, events)
    // Also after a repetition: who appended first may have died before it told anybody.
    this.#hasAppended = true
    return appended
  }

  readStream(stream: string, query: Omit<ReadQuery, 'selection'>): Promise<LogPage> {
    return this.#tables.log.readStreamOn(this.#executor, stream, query)
  }

  saveCheckpoint(name: string, cursor: bigint, epoch: bigint | undefined): Promise<void> {
    return this.#tables.checkpoints.save(this.#executor, name, cursor, epoch)
  }

  saveSnapshot(snapshot: Snapshot): Promise<void> {
    return this.#tables.checkpoints.saveSnapshot(this.#executor, snapshot)
  }

  putTimer(timer: NewTimer): Promise<void> {
    this.#hasWritten = true
    return this.#tables.timers.put(this.#executor, timer)
  }

  cancelTimer(id: string): Promise<boolean> {
    return this.#tables.timers.cancel(this.#executor, id)
  }

  async enter(entry: InboxEntry): Promise<InboxVerdict> {
    const [verdict] = await this.enterMany([entry])
    return verdict ?? { kind: 'new' }
  }

  enterMany(entries: readonly InboxEntry[]): Promise<readonly InboxVerdict[]> {
    return entries.length === 0 ? Promise.resolve([]) : this.#tables.inbox.enter(this.#executor, entries)
  }

  keepAnswer(entry: InboxEntry, answer: Uint8Array): Promise<void> {
    return this.#tables.inbox.keepAnswer(this.#executor, entry, answer)
  }

  async write(rows: readonly NewOutboxRow[]): Promise<void> {
    if (rows.length === 0) return
    this.#hasWritten = true
    await this.#tables.write(this.#executor, rows)
  }

  takeDue(limit: number): Promise<readonly StoredTimer[]> {
    return this.#tables.timers.takeDue(this.#executor, limit)
  }
}

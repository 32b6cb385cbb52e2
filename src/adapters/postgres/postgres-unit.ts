import type { Clock } from '../../core/clock.ts'
import type { InboxEntry, InboxVerdict, NewOutboxRow, UnitTransaction } from '../../outbox/port.ts'
import type { Appended, ExpectedRevision, LogPage, NewEvent, NewTimer, ReadQuery, Snapshot, StoredTimer } from '../../store/port.ts'
import type { PgCheckpoints } from './postgres-checkpoints.ts'
import { PgGatherer } from './postgres-gatherer.ts'
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
  readonly #clock: Pick<Clock, 'defer'> | undefined
  /** Set where several units share the transaction. */
  #gatherer: PgGatherer | undefined
  #hasAppended = false
  #hasWritten = false

  /** @param clock lets units that share the transaction ask the database together; who gives it awaits `flushed` before the transaction ends. */
  constructor(handle: Tx, executor: PgUnitExecutor, tables: PgTables, clock?: Pick<Clock, 'defer'>) {
    this.handle = handle
    this.#executor = executor
    this.#tables = tables
    this.#clock = clock
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
    const appended = await (this.#gatherer === undefined || expected === 'any'
      ? this.#alone(() => this.#tables.log.appendOn(this.#executor, stream, expected, events))
      : this.#gatherer.append({ stream, expected, events }))
    // Also after a repetition: who appended first may have died before it told anybody.
    this.#hasAppended = true
    return appended
  }

  readStream(stream: string, query: Omit<ReadQuery, 'selection'>): Promise<LogPage> {
    const { direction, after, limit } = query
    if (this.#gatherer !== undefined && direction === 'forwards') return this.#gatherer.readStream({ stream, after, limit })
    return this.#alone(() => this.#tables.log.readStreamOn(this.#executor, stream, query))
  }

  saveCheckpoint(name: string, cursor: bigint, epoch: bigint | undefined): Promise<void> {
    return this.#tables.checkpoints.save(this.#executor, name, cursor, epoch)
  }

  saveSnapshot(snapshot: Snapshot): Promise<void> {
    return this.#tables.checkpoints.saveSnapshot(this.#executor, snapshot)
  }

  putTimer(timer: NewTimer): Promise<void> {
    this.#hasWritten = true
    return this.#gatherer === undefined ? this.#tables.timers.put(this.#executor, timer) : this.#gatherer.putTimer(timer)
  }

  cancelTimer(id: string): Promise<boolean> {
    return this.#gatherer === undefined ? this.#tables.timers.cancel(this.#executor, id) : this.#gatherer.cancelTimer(id)
  }

  async enter(entry: InboxEntry): Promise<InboxVerdict> {
    const [verdict] = await this.enterMany([entry])
    return verdict ?? { kind: 'new' }
  }

  enterMany(entries: readonly InboxEntry[]): Promise<readonly InboxVerdict[]> {
    if (entries.length === 0) return Promise.resolve([])
    if (entries.length > 1 && this.#clock !== undefined) this.#gatherer ??= new PgGatherer(this.#executor, this.#tables, this.#clock)
    return this.#tables.inbox.enter(this.#executor, entries)
  }

  keepAnswer(entry: InboxEntry, answer: Uint8Array): Promise<void> {
    return this.#tables.inbox.keepAnswer(this.#executor, entry, answer)
  }

  async write(rows: readonly NewOutboxRow[]): Promise<void> {
    if (rows.length === 0) return
    this.#hasWritten = true
    await this.#tables.write(this.#executor, rows)
  }

  /** Resolves when nothing waits any more for others to ask the database with. */
  async flushed(): Promise<void> {
    await this.#gatherer?.flush()
  }

  /** What cannot be gathered comes behind what was. */
  #alone<T>(work: () => Promise<T>): Promise<T> {
    if (this.#gatherer !== undefined) this.#gatherer.leave()
    return work()
  }

  takeDue(limit: number): Promise<readonly StoredTimer[]> {
    return this.#tables.timers.takeDue(this.#executor, limit)
  }
}

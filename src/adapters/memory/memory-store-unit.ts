import type { InboxEntry, InboxVerdict, NewOutboxRow, UnitTransaction } from '../../outbox/port.ts'
import type { Appended, ExpectedRevision, LogPage, NewEvent, NewTimer, ReadQuery, Snapshot, StoredTimer } from '../../store/port.ts'
import { rowKey } from './memory-store-data.ts'
import type { MemoryStaging } from './memory-store-staging.ts'
import { byDue } from './memory-store-tables.ts'
import type { MemoryTransaction } from './memory-store-transaction.ts'

const DONE: Promise<void> = Promise.resolve()

/** What a unit of work does in its transaction. */
export class MemoryUnit implements UnitTransaction<MemoryTransaction> {
  readonly handle: MemoryTransaction
  readonly #open: MemoryStaging
  readonly #isOwnTransport: boolean

  constructor(staging: MemoryStaging, handle: MemoryTransaction, isOwnTransport: boolean) {
    this.#open = staging
    this.handle = handle
    this.#isOwnTransport = isOwnTransport
  }

  #staging(operation: string): MemoryStaging {
    this.#open.checkOpen(operation)
    return this.#open
  }

  async append(stream: string, expected: ExpectedRevision, events: readonly NewEvent[]): Promise<Appended> {
    const staging = this.#staging('append')
    return await Promise.resolve(staging.events.append(stream, expected, events, staging.data.nowMs))
  }

  async readStream(stream: string, query: Omit<ReadQuery, 'selection'>): Promise<LogPage> {
    const staging = this.#staging('readStream')
    return await Promise.resolve(staging.events.readStream(stream, query, staging.data.nowMs))
  }

  async saveCheckpoint(name: string, cursor: bigint, epoch: bigint | undefined): Promise<void> {
    const staging = this.#staging('saveCheckpoint')
    if (epoch !== undefined) {
      staging.data.leases.check(name, epoch)
      // Looked at again by the commit: the lease may be taken over before that.
      staging.epochs.set(name, epoch)
    }
    staging.checkpoints.set(name, cursor)
    await DONE
  }

  async saveSnapshot(snapshot: Snapshot): Promise<void> {
    const { snapshots } = this.#staging('saveSnapshot')
    const key = rowKey(snapshot.stream, snapshot.shape)
    const before = snapshots.get(key)
    if (before === undefined || before.revision < snapshot.revision) snapshots.set(key, snapshot)
    await DONE
  }

  async putTimer({ id, due, kind, message, recurrence }: NewTimer): Promise<void> {
    const { timers, data } = this.#staging('putTimer')
    const dueAtMs = 'atMs' in due ? due.atMs : data.nowMs + due.afterMs
    timers.set(id, { id, dueAtMs, kind, message, recurrence })
    await DONE
  }

  async cancelTimer(id: string): Promise<boolean> {
    return await Promise.resolve(this.#staging('cancelTimer').timers.delete(id))
  }

  async takeDue(limit: number): Promise<readonly StoredTimer[]> {
    const { timers, data } = this.#staging('takeDue')
    const { nowMs } = data
    const due = timers.entries().flatMap(([, timer]) => (timer.dueAtMs <= nowMs ? [timer] : []))
    const taken = due.toSorted(byDue).slice(0, limit)
    for (const { id } of taken) timers.delete(id)
    return await Promise.resolve(taken)
  }

  async enter(entry: InboxEntry): Promise<InboxVerdict> {
    return await Promise.resolve(this.#enter(entry))
  }

  async enterMany(entries: readonly InboxEntry[]): Promise<readonly InboxVerdict[]> {
    return await Promise.resolve(entries.map((entry) => this.#enter(entry)))
  }

  #enter(entry: InboxEntry): InboxVerdict {
    const { marks, data } = this.#staging('enter')
    const key = rowKey(entry.group, entry.source, entry.id)
    const mark = marks.get(key)
    if (mark === undefined) {
      marks.set(key, { digest: entry.digest, answer: undefined, markedAtMs: data.nowMs })
      return { kind: 'new' }
    }
    return Buffer.compare(mark.digest, entry.digest) === 0 ? { kind: 'seen', answer: mark.answer } : { kind: 'collision' }
  }

  async keepAnswer(entry: InboxEntry, answer: Uint8Array): Promise<void> {
    const { marks } = this.#staging('keepAnswer')
    const key = rowKey(entry.group, entry.source, entry.id)
    const mark = marks.get(key)
    if (mark !== undefined) marks.set(key, { ...mark, answer })
    await DONE
  }

  async write(rows: readonly NewOutboxRow[]): Promise<void> {
    const staging = this.#staging('write')
    if (this.#isOwnTransport) staging.outbounds.push(...rows)
    else staging.rows.push(...rows)
    await DONE
  }
}

import type { Outbound } from '../../bus/port.ts'
import { TrunklineError } from '../../core/errors.ts'
import type { NewOutboxRow } from '../../outbox/port.ts'
import type { Snapshot, StoredTimer } from '../../store/port.ts'
import type { MemoryData, MemoryMark } from './memory-store-data.ts'
import { StagedEvents } from './memory-store-events.ts'
import { StagedTable } from './memory-store-staged.ts'

/** What one transaction has written so far. Nobody else sees it before `commit`. */
export class MemoryStaging {
  readonly data: MemoryData
  readonly events: StagedEvents
  readonly checkpoints: StagedTable<string, bigint>
  readonly snapshots: StagedTable<string, Snapshot>
  readonly timers: StagedTable<string, StoredTimer>
  readonly marks: StagedTable<string, MemoryMark>
  /** Messages for the outbox. */
  readonly rows: NewOutboxRow[] = []
  /** Messages for the broker of this database. */
  readonly outbounds: Outbound[] = []
  /** Leases under which this was done. */
  readonly epochs: Map<string, bigint> = new Map()
  /** The store that does it, where it is one. */
  readonly #origin: object | undefined
  readonly #tables = new Map<string, StagedTable<string, unknown>>()
  #isOpen = true

  constructor(data: MemoryData, origin?: object) {
    this.data = data
    this.#origin = origin
    this.events = new StagedEvents(data.events)
    this.checkpoints = new StagedTable(data.checkpoints)
    this.snapshots = new StagedTable(data.snapshots)
    this.timers = new StagedTable(data.timers)
    this.marks = new StagedTable(data.marks)
  }

  get isOpen(): boolean {
    return this.#isOpen
  }

  /** Stops what is done after the end. @throws `outbox.unit_over`. */
  checkOpen(operation: string): void {
    if (!this.#isOpen) throw new TrunklineError('outbox.unit_over', { operation })
  }

  /** A table of the user's. */
  table(name: string): StagedTable<string, unknown> {
    let table = this.#tables.get(name)
    if (table === undefined) {
      table = new StagedTable(this.data.rows(name))
      this.#tables.set(name, table)
    }
    return table
  }

  /**
   * Writes everything down in one go and lets the next transaction in.
   *
   * @throws `store.lease_lost`, `bus.publish_refused` where the broker is full: then nothing was written.
   */
  commit(): void {
    this.checkOpen('commit')
    try {
      const { data } = this
      // What can fail comes first.
      for (const [name, epoch] of this.epochs) data.leases.check(name, epoch)
      data.broker.publishAll(this.outbounds)
      const { nowMs } = data
      const tables = [this.checkpoints, this.snapshots, this.timers, this.marks, ...this.#tables.values()]
      for (const table of tables) table.commit()
      data.outbox.add(this.rows, nowMs)
      this.events.commit(nowMs)
      if (this.rows.length > 0 || this.timers.isChanged || !this.events.isEmpty) data.wake(this.#origin)
    } finally {
      this.end()
    }
  }

  /** Throws away what was not committed and lets the next transaction in. Doing it again does nothing. */
  end(): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    this.data.gate.leave()
  }
}

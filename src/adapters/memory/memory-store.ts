import type { Transport } from '../../bus/port.ts'
import { TrunklineError } from '../../core/errors.ts'
import type { BodyTable, InboxTable, OutboxTable, StoreBackend, StoreHost, TimerTable, TransactOptions, UnitTransaction } from '../../outbox/port.ts'
import type { CheckpointTable, EventLog, LeaseTable } from '../../store/port.ts'
import type { MemoryData } from './memory-store-data.ts'
import { MemoryDatabase } from './memory-store-database.ts'
import { MemoryLog } from './memory-store-log.ts'
import { runStaged } from './memory-store-run.ts'
import { MemoryTransaction, stagingOf } from './memory-store-transaction.ts'
import { MemoryUnit } from './memory-store-unit.ts'
import { MemoryBodyTable, MemoryCheckpointTable, MemoryInboxTable, MemoryLeaseTable, MemoryOutboxTable, MemoryTimerTable } from './memory-store-upkeep.ts'
import { memory } from './memory-transport.ts'

/** What a program has while it has the store open. */
interface MemorySession {
  readonly host: StoreHost
  readonly closing: AbortController
  readonly stopListening: Set<() => void>
}

/**
 * A database inside the process behind a store: for tests, for development, and for services that are deployed as one
 * process. Transactions, order, leases and alarms behave as on the real databases. It dies with the process.
 */
export class MemoryBackend implements StoreBackend<MemoryTransaction> {
  readonly name = 'memory'
  readonly transport: Transport
  readonly hearsOthers = true
  readonly log: EventLog
  readonly checkpoints: CheckpointTable
  readonly leases: LeaseTable
  readonly outbox: OutboxTable
  readonly inbox: InboxTable
  readonly timers: TimerTable
  readonly bodies: BodyTable
  readonly #data: MemoryData
  #session: MemorySession | undefined

  /** @param database shared by the stores that are to see the same. Default: one of its own. */
  constructor(database: MemoryDatabase = new MemoryDatabase()) {
    this.#data = database.data
    const open = (): MemoryData => {
      this.#opened()
      return this.#data
    }
    this.transport = memory({ broker: database.broker })
    this.log = new MemoryLog(open, () => this.#opened().closing.signal, this)
    this.checkpoints = new MemoryCheckpointTable(open)
    this.leases = new MemoryLeaseTable(open)
    this.outbox = new MemoryOutboxTable(open, this.#data.outbox.shards)
    this.inbox = new MemoryInboxTable(open)
    this.timers = new MemoryTimerTable(open)
    this.bodies = new MemoryBodyTable(open)
  }

  async open(host: StoreHost): Promise<void> {
    if (this.#session !== undefined) throw new TrunklineError('core.invariant_broken', { expected: 'a store value is opened once at a time' })
    this.#data.adopt(host.clock)
    this.#session = { host, closing: new AbortController(), stopListening: new Set() }
    await Promise.resolve()
    host.report('up', '')
  }

  async close(): Promise<void> {
    const session = this.#session
    this.#session = undefined
    session?.closing.abort()
    for (const stop of session?.stopListening ?? []) stop()
    await Promise.resolve()
  }

  async transact<T>(work: (tx: UnitTransaction<MemoryTransaction>) => Promise<T>, options: TransactOptions = {}): Promise<T> {
    const { isOwnTransport } = this.#opened().host
    return await runStaged(this.#data, this, options, (staging) => work(new MemoryUnit(staging, new MemoryTransaction(staging), isOwnTransport)))
  }

  async adopt(handle: unknown): Promise<UnitTransaction<unknown>> {
    const { isOwnTransport } = this.#opened().host
    const staging = stagingOf(handle)
    if (staging?.data !== this.#data || !(handle instanceof MemoryTransaction)) {
      throw new TrunklineError('core.option_invalid', { option: 'transaction', expected: 'a MemoryTransaction of the same database', actual: typeof handle })
    }
    if (!staging.isOpen) throw new TrunklineError('outbox.transaction_missing', { library: 'memory', problem: 'the transaction has ended' })
    return await Promise.resolve(new MemoryUnit(staging, handle, isOwnTransport))
  }

  onCommitted(listener: () => void): () => void {
    const { stopListening } = this.#opened()
    const stop = this.#data.listen(listener, this)
    stopListening.add(stop)
    return () => {
      stop()
      stopListening.delete(stop)
    }
  }

  #opened(): MemorySession {
    if (this.#session === undefined) throw new TrunklineError('store.down', { store: 'memory', problem: 'the store is not open' })
    return this.#session
  }
}

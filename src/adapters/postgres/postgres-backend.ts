import { assert, TrunklineError } from '../../core/errors.ts'
import type {
  BodyTable, InboxTable, NewOutboxRow, OutboxTable, SqlStatement, StoreBackend, StoreHost, TimerTable, TransactOptions, UnitTransaction,
} from '../../outbox/port.ts'
import type { CheckpointTable, EventLog, LeaseTable } from '../../store/port.ts'
import { adoptedExecutor, committingExecutor, refuseSnapshots } from './postgres-adopt.ts'
import { PgBodies } from './postgres-bodies.ts'
import { PgCheckpoints } from './postgres-checkpoints.ts'
import { PgDatabase } from './postgres-database.ts'
import { STORE } from './postgres-errors.ts'
import type { PgHandle } from './postgres-handle.ts'
import { PgInbox } from './postgres-inbox.ts'
import { PgLeases } from './postgres-leases.ts'
import { PgEventLog } from './postgres-log.ts'
import type { PgStored } from './postgres-messages.ts'
import { type PostgresOptions, settingsFrom } from './postgres-options.ts'
import { PgOutbox } from './postgres-outbox.ts'
import type { PgUnitExecutor } from './postgres-session.ts'
import { PgTimers } from './postgres-timers.ts'
import { PostgresTransport } from './postgres-transport.ts'
import { inTransaction } from './postgres-transaction.ts'
import { type PgTables, PgUnit } from './postgres-unit.ts'

/** PostgreSQL as a store. */
export class PostgresBackend implements StoreBackend<PgHandle> {
  readonly name: string = STORE
  readonly transport: PostgresTransport | undefined
  readonly log: EventLog
  readonly checkpoints: CheckpointTable
  readonly leases: LeaseTable
  readonly outbox: OutboxTable
  readonly inbox: InboxTable
  readonly timers: TimerTable
  readonly bodies: BodyTable
  readonly #database: PgDatabase
  readonly #log: PgEventLog
  readonly #outbox: PgOutbox
  readonly #tables: PgTables
  readonly #listeners = new Set<() => void>()
  #unlisten: (() => void)[] = []
  #host: StoreHost | undefined

  /** @param transport over the same database, where there is one. */
  constructor(database: PgDatabase, transport?: PostgresTransport) {
    this.#database = database
    this.transport = transport
    this.#log = new PgEventLog(database)
    this.#outbox = new PgOutbox(database)
    const [checkpoints, inbox, timers] = [new PgCheckpoints(database), new PgInbox(database), new PgTimers(database)]
    this.log = this.#log
    this.checkpoints = checkpoints
    this.leases = new PgLeases(database)
    this.outbox = this.#outbox
    this.inbox = inbox
    this.timers = timers
    this.bodies = new PgBodies(database)
    this.#tables = { log: this.#log, checkpoints, inbox, timers, write: (executor, rows) => this.#write(executor, rows, []) }
  }

  get hearsOthers(): boolean {
    return this.#host !== undefined && this.#database.signals.isListening
  }

  async open(host: StoreHost): Promise<void> {
    assert(this.#host === undefined, 'a store is opened once at a time')
    await this.#database.open(host, 'store')
    try {
      await this.#log.open()
    } catch (error) {
      await this.#database.close(host)
      throw error
    }
    this.#host = host
    const { signals } = this.#database
    this.#unlisten = ['log', 'outbox'].map((topic) => signals.on(topic, () => this.#tell()))
  }

  async close(): Promise<void> {
    const host = this.#host
    this.#host = undefined
    for (const unlisten of this.#unlisten.splice(0)) unlisten()
    if (host === undefined) return
    await this.#log.close()
    await this.#database.close(host)
  }

  async transact<T>(work: (tx: UnitTransaction<PgHandle>) => Promise<T>, options: TransactOptions = {}): Promise<T> {
    let stored: PgStored[] = []
    const { value, unit } = await inTransaction(this.#database, options, async (handle, executor) => {
      stored = []
      const made = new PgUnit(handle, executor, { ...this.#tables, write: (on, rows) => this.#write(on, rows, stored) }, this.#database.host.clock)
      const done = await work(made)
      await made.flushed()
      return { value: done, unit: made }
    })
    if (unit.hasAppended) this.#log.committed()
    if (unit.hasWritten) this.#database.signals.announce('outbox')
    for (const one of stored) this.transport?.stored(one)
    return value
  }

  async adopt(handle: unknown): Promise<UnitTransaction<unknown>> {
    const executor = await adoptedExecutor(handle, this.#database.settings.isPreparing)
    if (this.#isOwn) await refuseSnapshots(executor)
    return new PgUnit(handle, executor, { ...this.#tables, write: async (on, rows) => await this.#writeAdopted(on, rows) })
  }

  readonly commitWith = async (handle: unknown, rows: readonly NewOutboxRow[]): Promise<void> => {
    const executor = await committingExecutor(handle, this.#database.settings.isPreparing)
    if (this.#isOwn) await refuseSnapshots(executor)
    const stored: PgStored[] = []
    await this.#write(executor, rows, stored)
    await executor.commit()
    this.#database.signals.announce('outbox')
    for (const one of stored) this.transport?.stored(one)
  }

  readonly statementWith = (statement: SqlStatement, rows: readonly NewOutboxRow[]): SqlStatement => {
    if (this.#isOwn) throw new TrunklineError('bus.unsupported', { adapter: this.name, capability: 'statement', needed: 'outbox.statement, over a transport of its own' })
    return this.#outbox.beside(statement, rows)
  }

  onCommitted(listener: () => void): () => void {
    // An object of its own, so that one function can listen twice.
    const entry = (): void => listener()
    this.#listeners.add(entry)
    return () => void this.#listeners.delete(entry)
  }

  get #isOwn(): boolean {
    return this.#host?.isOwnTransport === true
  }

  #tell(): void {
    for (const listener of this.#listeners) listener()
  }

  /** @param stored gets what is to be told to the transport after the commit. */
  async #write(executor: PgUnitExecutor, rows: readonly NewOutboxRow[], stored: PgStored[]): Promise<void> {
    // Straight into the transport's own tables: nobody has to carry them there.
    if (this.#isOwn && this.transport !== undefined) stored.push(await this.transport.insertMessages(executor, rows))
    else await this.#outbox.write(executor, rows)
  }

  async #writeAdopted(executor: PgUnitExecutor, rows: readonly NewOutboxRow[]): Promise<void> {
    const stored: PgStored[] = []
    await this.#write(executor, rows, stored)
    for (const one of stored) this.transport?.adopted(one)
  }
}

/**
 * Makes a store over a PostgreSQL database. Nothing is opened before `open`.
 *
 * @throws `core.option_invalid`, `core.option_unknown`.
 */
export function postgresBackend(options: PostgresOptions): PostgresBackend {
  const database = new PgDatabase(settingsFrom(options))
  return new PostgresBackend(database, new PostgresTransport(database))
}

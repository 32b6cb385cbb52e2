import type { Transport } from '../../bus/port.ts'
import { TrunklineError } from '../../core/errors.ts'
import type { BodyTable, InboxTable, OutboxTable, StoreBackend, StoreHost, TimerTable, TransactOptions, UnitTransaction } from '../../outbox/port.ts'
import type { CheckpointTable, EventLog, LeaseTable } from '../../store/port.ts'
import { adopted } from './sqlite-adopt.ts'
import type { SqliteConnection } from './sqlite-connection.ts'
import { SqliteDeadLetters } from './sqlite-dead-letters.ts'
import { SqliteUnitHandle } from './sqlite-handle.ts'
import type { SqliteHandle } from './sqlite-handle.ts'
import { databaseUnder } from './sqlite-handles.ts'
import { SqliteLight } from './sqlite-light.ts'
import { settingsFrom } from './sqlite-options.ts'
import type { SqliteOptions, SqliteSettings } from './sqlite-options.ts'
import type { SqliteSession } from './sqlite-session.ts'
import { SqliteShared } from './sqlite-shared.ts'
import type { SqliteUser } from './sqlite-shared.ts'
import type { SqliteStoreAccess } from './sqlite-store-access.ts'
import { SqliteBodies, SqliteCheckpoints } from './sqlite-store-checkpoints.ts'
import { asStore } from './sqlite-store-errors.ts'
import { SqliteInbox } from './sqlite-store-inbox.ts'
import { SqliteLeases } from './sqlite-store-leases.ts'
import { SqliteLogTable } from './sqlite-store-log.ts'
import { SqliteOutbox } from './sqlite-store-outbox.ts'
import { SqliteTimers } from './sqlite-store-timers.ts'
import { SqliteStoreUnit } from './sqlite-store-unit.ts'
import { SqliteTransport } from './sqlite-transport.ts'
import type { SqliteTurn } from './sqlite-turn.ts'
import { SqliteUnitJob } from './sqlite-unit-job.ts'

/** The store while a program has it open. */
interface OpenStore {
  readonly host: StoreHost
  readonly session: SqliteSession
  readonly user: SqliteUser
  readonly closing: AbortController
  readonly stopListening: Set<() => void>
}

/** Units of work that may wait for their turn. */
const WAITING_MAX = 10_000

/** A SQLite file behind a store, and the transport on the same file. */
export class SqliteBackend implements StoreBackend<SqliteHandle> {
  readonly name = 'sqlite'
  readonly transport: Transport
  readonly log: EventLog
  readonly checkpoints: CheckpointTable
  readonly leases: LeaseTable
  readonly outbox: OutboxTable
  readonly inbox: InboxTable
  readonly timers: TimerTable
  readonly bodies: BodyTable
  readonly #settings: SqliteSettings
  readonly #shared: SqliteShared
  #open: OpenStore | undefined
  #isOpening = false

  constructor(settings: SqliteSettings) {
    this.#settings = settings
    const planes = { light: new SqliteLight(), deadLetters: new SqliteDeadLetters() }
    this.#shared = new SqliteShared(settings, planes)
    this.transport = new SqliteTransport(this.#shared, planes)
    const access = new Access(() => this.#opened())
    this.log = new SqliteLogTable(access, () => {
      const { session, closing } = this.#opened()
      return { changes: session.changes, closing: closing.signal }
    })
    this.checkpoints = new SqliteCheckpoints(access)
    this.leases = new SqliteLeases(access)
    this.outbox = new SqliteOutbox(access)
    this.inbox = new SqliteInbox(access)
    this.timers = new SqliteTimers(access)
    this.bodies = new SqliteBodies(access)
  }

  /** Size of the write-ahead log in bytes at the last look; 0 while closed. */
  get logBytes(): number {
    return this.#shared.session?.logBytes ?? 0
  }

  get hearsOthers(): boolean {
    return this.#open?.session.hearsOthers ?? false
  }

  async open(host: StoreHost): Promise<void> {
    if (this.#open !== undefined || this.#isOpening) throw new TrunklineError('core.invariant_broken', { expected: 'a store value is opened once at a time' })
    this.#isOpening = true
    try {
      const user = { report: host.report }
      const session = await asStore(() => this.#shared.enter(user, host))
      this.#open = { host, session, user, closing: new AbortController(), stopListening: new Set() }
    } finally {
      this.#isOpening = false
    }
  }

  async close(): Promise<void> {
    const open = this.#open
    this.#open = undefined
    if (open === undefined) return
    open.closing.abort()
    for (const stop of open.stopListening) stop()
    await this.#shared.leave(open.user)
  }

  async transact<T>(work: (tx: UnitTransaction<SqliteHandle>) => Promise<T>, options: TransactOptions = {}): Promise<T> {
    const { host, session } = this.#opened()
    options.signal?.throwIfAborted()
    if (session.durable.waitingUnits >= WAITING_MAX) throw new TrunklineError('bus.overloaded', { what: 'units of work that wait', limit: WAITING_MAX })
    const unitOf = (turn: SqliteTurn): SqliteStoreUnit => {
      const handle = new SqliteUnitHandle(session.unitConnection)
      return new SqliteStoreUnit(turn, handle, handle, { clock: host.clock, isOwnTransport: host.isOwnTransport })
    }
    return await new Promise<T>((resolve, reject) => {
      session.durable.add(new SqliteUnitJob({ ...options, clock: host.clock, lockWaitMs: this.#settings.lockWaitMs, work, unitOf }, resolve, reject))
    })
  }

  async adopt(handle: unknown): Promise<UnitTransaction<unknown>> {
    const database = await databaseUnder(handle)
    const { host, session, closing } = this.#opened()
    return adopted(database, { host, session, source: this.#settings.source, closing: closing.signal })
  }

  onCommitted(listener: () => void): () => void {
    const { session, stopListening } = this.#opened()
    const stop = session.changes.listen(listener)
    stopListening.add(stop)
    return () => {
      stop()
      stopListening.delete(stop)
    }
  }

  #opened(): OpenStore {
    if (this.#open === undefined) throw new TrunklineError('store.down', { store: 'sqlite', problem: 'the store is not open' })
    return this.#open
  }
}

/** The file as the tables use it. */
class Access implements SqliteStoreAccess {
  readonly #opened: () => OpenStore

  constructor(opened: () => OpenStore) {
    this.#opened = opened
  }

  get nowMs(): number {
    return this.#opened().host.clock.nowMs()
  }

  get address(): string {
    return this.#opened().session.address
  }

  read<T>(work: (connection: SqliteConnection) => T): Promise<T> {
    return asStore(() => this.#opened().session.read(work))
  }

  write<T>(work: (turn: SqliteTurn) => T): Promise<T> {
    return asStore(() => this.#opened().session.durable.call(work))
  }

  writeSoon<T>(work: (turn: SqliteTurn) => T): Promise<T> {
    return asStore(() => this.#opened().session.consuming.call(work))
  }
}

/** A backend of its own, for tests and for those who put stores together. @throws `core.option_invalid`, `core.option_unknown`. */
export function sqliteBackend(options: SqliteOptions): SqliteBackend {
  return new SqliteBackend(settingsFrom(options))
}

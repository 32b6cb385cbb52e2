import type { Transport } from '../../bus/port.ts'
import { assert, TrunklineError } from '../../core/errors.ts'
import type { BodyTable, InboxTable, OutboxTable, StoreBackend, StoreHost, TimerTable, TransactOptions, UnitTransaction } from '../../outbox/port.ts'
import type { CheckpointTable, EventLog, LeaseTable } from '../../store/port.ts'
import { connectEsdb, type EsdbPlan } from './eventstoredb-connect.ts'
import { EsdbCourier } from './eventstoredb-courier.ts'
import { downOf, EsdbDesk } from './eventstoredb-desk.ts'
import { EsdbLink } from './eventstoredb-link.ts'
import { EsdbLog } from './eventstoredb-log.ts'
import { EsdbNames } from './eventstoredb-names.ts'
import { EsdbBodyTable, EsdbCheckpointTable, EsdbInboxTable, EsdbLeaseTable, EsdbOutboxTable, EsdbTimerTable } from './eventstoredb-tables.ts'
import { EsdbOwnRelay } from './eventstoredb-own-relay.ts'
import { EsdbTransport } from './eventstoredb-transport.ts'
import { EsdbUnit } from './eventstoredb-unit.ts'

/** What a program has while it has the store open. */
interface Session {
  readonly link: EsdbLink
  readonly desk: EsdbDesk
  readonly courier: EsdbCourier
  readonly relay: EsdbOwnRelay | undefined
}

/**
 * EventStoreDB behind a store. A transaction is one append to one stream: units of work append events to at most one stream, and there are no
 * business rows.
 */
export class EsdbBackend implements StoreBackend<undefined> {
  readonly name = 'eventstoredb'
  readonly transport: Transport
  readonly log: EventLog
  readonly checkpoints: CheckpointTable
  readonly leases: LeaseTable
  readonly outbox: OutboxTable
  readonly inbox: InboxTable
  readonly timers: TimerTable
  readonly bodies: BodyTable
  readonly #plan: EsdbPlan
  readonly #names: EsdbNames
  readonly #log: EsdbLog
  #session: Session | undefined

  constructor(plan: EsdbPlan) {
    this.#plan = plan
    this.#names = new EsdbNames(plan.settings.namespace)
    this.transport = new EsdbTransport(plan)
    const link = (): EsdbLink => this.#opened().link
    const desk = (): EsdbDesk => this.#opened().desk
    this.#log = new EsdbLog(link, plan.settings.silenceMaxMs)
    this.log = this.#log
    this.checkpoints = new EsdbCheckpointTable(desk)
    this.leases = new EsdbLeaseTable(desk)
    this.outbox = new EsdbOutboxTable(desk)
    this.inbox = new EsdbInboxTable(desk)
    this.timers = new EsdbTimerTable(desk)
    this.bodies = new EsdbBodyTable(desk, link, (id) => this.#names.body(id))
  }

  get hearsOthers(): boolean {
    return this.#session?.desk.hearsOthers ?? false
  }

  async open(host: StoreHost): Promise<void> {
    assert(this.#session === undefined, 'a store value is opened once at a time')
    const link = await connectEsdb(this.#plan, host)
    if (!(link instanceof EsdbLink)) throw downOf(link)
    const desk = new EsdbDesk(link, host, this.#names.desk)
    try {
      await desk.open()
    } catch (error) {
      await link.close()
      throw error
    }
    const { leaseMs } = this.#plan.settings
    const courier = new EsdbCourier(link, host, desk, leaseMs)
    const relay = host.isOwnTransport ? new EsdbOwnRelay(link, host, desk, this.#names, leaseMs) : undefined
    this.#session = { link, desk, courier, relay }
    courier.start()
    relay?.start()
  }

  async close(): Promise<void> {
    const session = this.#session
    if (session === undefined) return
    this.#session = undefined
    await session.relay?.stop()
    await session.courier.stop()
    session.desk.close()
    await session.link.close()
  }

  async transact<T>(work: (tx: UnitTransaction<undefined>) => Promise<T>, options: TransactOptions = {}): Promise<T> {
    const { link, desk } = this.#opened()
    const { signal, timeoutMs } = options
    if (signal?.aborted === true) throw givenUp()
    const unit = new EsdbUnit({ link, desk, log: this.#log })
    const limit = Promise.withResolvers<never>()
    const timer = timeoutMs === undefined ? undefined : link.host.clock.setTimer(timeoutMs, () => limit.reject(new TrunklineError('outbox.unit_too_long', { store: this.name, limitMs: timeoutMs })))
    const abort = (): void => limit.reject(givenUp())
    signal?.addEventListener('abort', abort, { once: true })
    limit.promise.catch(() => undefined)
    try {
      const value = await Promise.race([begun(() => work(unit)), limit.promise])
      timer?.cancel()
      await unit.commit()
      return value
    } finally {
      timer?.cancel()
      signal?.removeEventListener('abort', abort)
      unit.end()
    }
  }

  adopt(): Promise<UnitTransaction<unknown>> {
    const expected = 'nothing: EventStoreDB has no transactions that others open'
    return Promise.reject(new TrunklineError('core.option_invalid', { option: 'transaction', expected, actual: 'a handle' }))
  }

  onCommitted(listener: () => void): () => void {
    return this.#opened().desk.onCommitted(listener)
  }

  #opened(): Session {
    if (this.#session === undefined) throw new TrunklineError('store.down', { store: 'eventstoredb', problem: 'the store is not open' })
    return this.#session
  }
}

async function begun<T>(work: () => Promise<T>): Promise<T> {
  return await work()
}

function givenUp(): TrunklineError {
  return new TrunklineError('store.rolled_back', { store: 'eventstoredb', problem: 'the unit was given up by its caller' })
}

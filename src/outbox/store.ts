import { Envelopes } from '../bus/envelopes.ts'
import type { BodyStore } from '../bus/claim-check.ts'
import { EnvelopeMaker } from '../bus/message-maker.ts'
import type { BusExtension, MessageMaker, Transport, TransportState, UnitHost, UnitOfWork, UnitOutcome, UnitRequest } from '../bus/port.ts'
import { refuseInUnit } from '../bus/unit-scope.ts'
import { checkedName } from '../contract/names.ts'
import { type Clock, systemClock } from '../core/clock.ts'
import { TrunklineError } from '../core/errors.ts'
import { BODY_BYTES_MAX } from '../core/limits.ts'
import { type Logger, silentLogger } from '../core/logger.ts'
import { type Random, systemRandom } from '../core/random.ts'
import { EventStore } from '../store/event-store.ts'
import type { LogCapabilities } from '../store/port.ts'
import { Outbox } from './outbox.ts'
import type { StoreBackend } from './port.ts'
import { Scheduler } from './scheduler.ts'
import { type StoreOptions, type StoreSettings, storeSettings } from './store-options.ts'
import { StoreSession } from './store-session.ts'
import type { Unit } from './unit.ts'

/** What `store.open` takes, for programs that use a store without a bus. */
export interface StoreOpenOptions {
  /** Name of the service: the source of what it publishes. */
  readonly service: string
  readonly logger?: Logger
  readonly clock?: Clock
  readonly random?: Random
}

/** Makes a store over a database. */
export function storeOf<Tx>(backend: StoreBackend<Tx>, options: StoreOptions = {}): Store<Tx> {
  return new Store(backend, storeSettings(options))
}

/**
 * One database as everything it can be: event store, outbox, scheduler, the place where handlers run as units of work, and a
 * transport. Give it to one bus, which opens and closes it: `createBus({ outbox: store.outbox })`, or `within: store` of a handler.
 */
export class Store<Tx> implements UnitOfWork<Unit<Tx>> {
  readonly name: string
  readonly inboxRetentionMs: number
  declare readonly '~unit'?: Unit<Tx>
  /** Streams of events. */
  readonly events: EventStore<Unit<Tx>>
  /** Messages that wait for the relay, and the way to write them in a transaction of your own. */
  readonly outbox: Outbox
  /** Messages that leave later. */
  readonly scheduler: Scheduler
  readonly #backend: StoreBackend<Tx>
  readonly #settings: StoreSettings
  #session: StoreSession<Tx> | undefined
  #attachedTo: string | undefined

  constructor(backend: StoreBackend<Tx>, settings: StoreSettings) {
    this.name = backend.name
    this.inboxRetentionMs = settings.inboxRetentionMs
    this.#backend = backend
    this.#settings = settings
    this.scheduler = new Scheduler((operation) => this.#running(operation).schedulerParts)
    this.outbox = new Outbox(this, this.scheduler, (operation) => this.#running(operation).outboxParts)
    this.events = new EventStore((operation) => this.#running(operation).eventParts)
  }

  /**
   * The same database as a transport.
   *
   * @throws `bus.unsupported` where it is none.
   */
  get transport(): Transport {
    const { transport, name } = this.#backend
    if (transport === undefined) throw new TrunklineError('bus.unsupported', { adapter: name, capability: 'a transport', needed: 'store.transport' })
    return transport
  }

  /** What its transactions can hold. */
  get capabilities(): LogCapabilities {
    return this.#backend.log.capabilities
  }

  /** Bodies kept beside messages that only refer to them: `claimCheck({ bodies: store.bodies })`. */
  get bodies(): BodyStore {
    const table = (operation: string): BodyStore => {
      this.#running(operation)
      return this.#backend.bodies
    }
    return { put: async (id, body) => await table('bodies.put').put(id, body), get: async (id) => await table('bodies.get').get(id) }
  }

  /**
   * Runs `work` in one transaction: business rows on `unit.tx`, events and messages commit together or not at all. It may run more than
   * once before it commits, where the database gives it up; only the last run's effects are there.
   *
   * @throws what `work` throws, `store.*`, `outbox.not_attached` before the store is open, `outbox.unit_nested` inside another unit.
   */
  async transaction<T>(work: (unit: Unit<Tx>) => T | PromiseLike<T>, options: { readonly signal?: AbortSignal } = {}): Promise<T> {
    refuseInUnit('transaction')
    return await this.#running('transaction').units.transact(work, options.signal)
  }

  /** Ties it to a bus; what it gives back opens and closes it with the bus. @throws `outbox.attached_twice`. */
  attach(host: UnitHost): BusExtension {
    if (this.#attachedTo !== undefined) throw new TrunklineError('outbox.attached_twice', { store: this.name, service: this.#attachedTo })
    this.#attachedTo = host.service
    const session = new StoreSession(this.#backend, this.#settings, host)
    return {
      name: this.name,
      start: async () => {
        this.#session = session
        await session.open()
      },
      ready: async () => {
        await session.start()
        this.events.start()
      },
      stop: async () => {
        await this.events.stop()
        await session.stop()
        this.#session = undefined
      },
      health: () => this.#health(session),
    }
  }

  /**
   * Opens it without a bus, for programs that only append, read or write to the outbox; a relay elsewhere publishes.
   * Close it with `close`.
   *
   * @throws `outbox.attached_twice`, `store.down`, `store.refused`, `core.option_invalid`.
   */
  async open(options: StoreOpenOptions): Promise<void> {
    const clock = options.clock ?? systemClock
    const random = options.random ?? systemRandom
    const service = checkedName('service', options.service)
    const messages: MessageMaker = new EnvelopeMaker(new Envelopes(clock, random, service), BODY_BYTES_MAX)
    const logger = (options.logger ?? silentLogger).child({ service, store: this.name })
    const extension = this.attach({ service, instance: random.id(clock.nowMs()), clock, random, logger, messages, transport: undefined, publish: nowhere, linkState: () => 'down' })
    this.#opened = extension
    try {
      await extension.start?.()
      await extension.ready?.()
    } catch (thrown) {
      await this.close()
      throw thrown
    }
  }

  #opened: BusExtension | undefined

  /** Closes what `open` opened. Idempotent. */
  async close(): Promise<void> {
    const extension = this.#opened
    this.#opened = undefined
    if (extension === undefined) return
    await extension.stop?.()
    this.#attachedTo = undefined
  }

  run(request: UnitRequest): Promise<UnitOutcome> {
    return this.#running('run').units.run(request)
  }

  runMany(requests: readonly UnitRequest[]): Promise<readonly UnitOutcome[]> {
    return this.#running('runMany').units.runMany(requests)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #health(session: StoreSession<Tx>): { readonly state: TransportState; readonly reasons: readonly string[] } {
    const { state, reasons } = session.health()
    const halted = this.events.subscriptions.filter((subscription) => subscription.state === 'halted')
    if (halted.length === 0) return { state, reasons }
    return { state: 'down', reasons: [...reasons, ...halted.map(({ name, reason }) => `the subscription ${name} is halted: ${reason}`)] }
  }

  #running(operation: string): StoreSession<Tx> {
    if (this.#session === undefined) throw new TrunklineError('outbox.not_attached', { store: this.name, operation })
    return this.#session
  }
}

function nowhere(): Promise<void> {
  return Promise.reject(new TrunklineError('bus.not_running', { operation: 'publish', state: 'opened without a bus' }))
}

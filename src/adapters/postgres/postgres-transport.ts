import type {
  DeadLetterPlane, DeliverySink, LightPlane, Outbound, PublishSignal, Subscription, Transport, TransportCapabilities, TransportHost,
  TransportSubscription,
} from '../../bus/port.ts'
import { TrunklineError } from '../../core/errors.ts'
import type { PgDatabase } from './postgres-database.ts'
import { PgDeadLetters } from './postgres-dead-letters.ts'
import { PgLight } from './postgres-light.ts'
import type { PgStored } from './postgres-messages.ts'
import type { PgExecutor } from './postgres-session.ts'
import { PgTransportSession } from './postgres-transport-session.ts'

/** What a PostgreSQL database can do as a broker. */
export const postgresCapabilities: TransportCapabilities = {
  canStore: true,
  canOrderByKey: true,
  canBroadcast: true,
  canRequest: true,
  canManageDeadLetters: true,
  // A delivery is deleted when its group has handled it.
  canReplay: false,
  canDelayRetry: true,
  survivesProcessDeath: true,
  survivesBrokerRestart: true,
  spansMachines: true,
  scansDeadLetters: false,
}

/** The transport over one schema of a database. */
export class PostgresTransport implements Transport {
  readonly name = 'postgres'
  readonly capabilities: TransportCapabilities = postgresCapabilities
  readonly #database: PgDatabase
  readonly #light = new PgLight()
  readonly #deadLetters: PgDeadLetters
  #session: PgTransportSession | undefined
  #isOpen = false

  constructor(database: PgDatabase) {
    this.#database = database
    this.#deadLetters = new PgDeadLetters(database.schema)
  }

  get light(): LightPlane {
    return this.#light
  }

  get deadLetters(): DeadLetterPlane {
    return this.#deadLetters
  }

  async open(host: TransportHost): Promise<void> {
    if (this.#isOpen) throw new TrunklineError('core.invariant_broken', { expected: 'a transport that no other bus has opened' })
    this.#isOpen = true
    try {
      this.#session = await PgTransportSession.open(this.#database, host, { light: this.#light, deadLetters: this.#deadLetters })
    } catch (thrown) {
      this.#isOpen = false
      throw thrown
    }
  }

  publish(outbound: Outbound, signal: PublishSignal | undefined): Promise<void> {
    return this.#session === undefined ? Promise.reject(closed('publish')) : this.#session.publish(outbound, signal)
  }

  /**
   * Stores messages within a transaction over the same database, as its last statements. After the commit, tell `stored`.
   *
   * @throws `store.*`, `bus.not_running`.
   */
  insertMessages(executor: PgExecutor, outbounds: readonly Outbound[]): Promise<PgStored> {
    return this.#session === undefined ? Promise.reject(closed('publish')) : this.#session.insert(executor, outbounds)
  }

  /** A transaction with these messages was committed: whoever waits for them is woken. */
  stored(stored: PgStored): void {
    this.#session?.stored(stored)
  }

  /** The same for a transaction that the caller commits, or not: it is looked at some times. */
  adopted(stored: PgStored): void {
    this.#session?.adopted(stored)
  }

  subscribe(subscription: Subscription, sink: DeliverySink): Promise<TransportSubscription> {
    return this.#session === undefined ? Promise.reject(closed('subscribe')) : this.#session.subscribe(subscription, sink)
  }

  async close(): Promise<void> {
    const session = this.#session
    this.#session = undefined
    await session?.close()
    this.#isOpen = false
  }
}

function closed(operation: string): TrunklineError {
  return new TrunklineError('bus.not_running', { operation, state: 'closed' })
}

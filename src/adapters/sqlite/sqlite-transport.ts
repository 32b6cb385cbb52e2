import type {
  DeadLetterPlane, DeliverySink, LightPlane, Outbound, PublishSignal, Subscription, Transport, TransportCapabilities,
  TransportHost, TransportSubscription,
} from '../../bus/port.ts'
import { TrunklineError } from '../../core/errors.ts'
import { SqliteDeadLetters } from './sqlite-dead-letters.ts'
import { SqliteLight } from './sqlite-light.ts'
import type { SqliteSettings } from './sqlite-options.ts'
import { SqliteSession } from './sqlite-session.ts'

/** What one SQLite file can do as a broker. */
export const sqliteCapabilities: TransportCapabilities = {
  canStore: true,
  canOrderByKey: true,
  canBroadcast: true,
  canRequest: true,
  canManageDeadLetters: true,
  // A message is deleted when its last group has handled it.
  canReplay: false,
  canDelayRetry: true,
  survivesProcessDeath: true,
  survivesBrokerRestart: true,
  spansMachines: false,
  scansDeadLetters: false,
}

/** The transport over one file. */
export class SqliteTransport implements Transport {
  readonly name = 'sqlite'
  readonly capabilities: TransportCapabilities = sqliteCapabilities
  readonly #settings: SqliteSettings
  readonly #light = new SqliteLight()
  readonly #deadLetters = new SqliteDeadLetters()
  #session: SqliteSession | undefined
  #isOpen = false

  constructor(settings: SqliteSettings) {
    this.#settings = settings
  }

  get light(): LightPlane {
    return this.#light
  }

  get deadLetters(): DeadLetterPlane {
    return this.#deadLetters
  }

  /** Size of the write-ahead log at the last pulse; 0 while closed. */
  get logBytes(): number {
    return this.#session?.logBytes ?? 0
  }

  async open(host: TransportHost): Promise<void> {
    if (this.#isOpen) throw new TrunklineError('core.invariant_broken', { expected: 'a transport that no other bus has opened' })
    this.#isOpen = true
    try {
      this.#session = await SqliteSession.open(this.#settings, host, { light: this.#light, deadLetters: this.#deadLetters })
    } catch (thrown) {
      this.#isOpen = false
      throw thrown
    }
  }

  publish(outbound: Outbound, signal: PublishSignal | undefined): Promise<void> {
    return this.#session === undefined ? Promise.reject(closed('publish')) : this.#session.publish(outbound, signal)
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

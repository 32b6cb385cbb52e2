import type {
  DeadLetterPlane, DeliverySink, LightPlane, Outbound, PublishSignal, Subscription, Transport, TransportCapabilities,
  TransportHost, TransportSubscription,
} from '../../bus/port.ts'
import { TrunklineError } from '../../core/errors.ts'
import type { SqlitePlanes, SqliteSession } from './sqlite-session.ts'
import type { SqliteShared, SqliteUser } from './sqlite-shared.ts'

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

/** The transport over one file, which a store may use as well. */
export class SqliteTransport implements Transport {
  readonly name = 'sqlite'
  readonly capabilities: TransportCapabilities = sqliteCapabilities
  readonly deadLetters: DeadLetterPlane
  readonly light: LightPlane
  readonly #shared: SqliteShared
  #user: SqliteUser | undefined
  #session: SqliteSession | undefined

  constructor(shared: SqliteShared, planes: SqlitePlanes) {
    this.#shared = shared
    this.light = planes.light
    this.deadLetters = planes.deadLetters
  }

  async open(host: TransportHost): Promise<void> {
    if (this.#user !== undefined) throw new TrunklineError('core.invariant_broken', { expected: 'a transport that no other bus has opened' })
    const user = { report: host.report }
    this.#user = user
    try {
      this.#session = await this.#shared.enter(user, host)
    } catch (thrown) {
      this.#user = undefined
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
    if (session !== undefined && this.#user !== undefined) {
      if (this.#shared.userCount > 1) await session.endDeliveries()
      await this.#shared.leave(this.#user)
    }
    this.#user = undefined
  }
}

function closed(operation: string): TrunklineError {
  return new TrunklineError('bus.not_running', { operation, state: 'closed' })
}

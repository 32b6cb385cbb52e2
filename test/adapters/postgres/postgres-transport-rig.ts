import { postgres, type PostgresAddressOptions, type PostgresPoolOptions } from '../../../src/adapters/postgres/index.ts'
import type { Delivery, LightDelivery, Outbound, Subscription, Transport, TransportHost, TransportState, TransportSubscription } from '../../../src/bus/port.ts'
import { type Clock, systemClock } from '../../../src/core/clock.ts'
import type { WireMessage } from '../../../src/core/envelope.ts'
import { type Logger, silentLogger } from '../../../src/core/logger.ts'
import { type Random, systemRandom } from '../../../src/core/random.ts'
import { wireMessage } from '../wire-messages.ts'

/** A host that writes down what the transport reports. */
export class TestHost implements TransportHost {
  readonly clock: Clock = systemClock
  readonly random: Random = systemRandom
  readonly logger: Logger = silentLogger
  readonly service = 'tests'
  readonly instance: string = systemRandom.id(systemClock.nowMs())
  readonly reports: { readonly state: TransportState; readonly reason: string }[] = []

  readonly report = (state: TransportState, reason: string): void => {
    this.reports.push({ state, reason })
  }

  get state(): TransportState | undefined {
    return this.reports.at(-1)?.state
  }
}

let made = 0

/** An event as it is published; each has an id of its own. */
export function event(parts: Partial<WireMessage> = {}): Outbound {
  return { kind: 'event', message: wireMessage({ id: `event-${++made}`, ...parts }) }
}

/** What a group of tests wants. */
export function group(parts: Partial<Subscription> = {}): Subscription {
  return {
    group: 'tests.group', kind: 'event', types: ['tests.thing-happened'], order: 'none', from: 'new', inFlightMax: 16, handlerTimeoutMs: 30_000, ...parts,
  }
}

/** An open transport and what it has handed over. */
export class OpenTransport implements AsyncDisposable {
  readonly transport: Transport
  readonly host = new TestHost()
  readonly deliveries: Delivery[] = []
  readonly heard: LightDelivery[] = []

  constructor(options: PostgresAddressOptions | PostgresPoolOptions) {
    this.transport = postgres(options).transport
  }

  static async open(options: PostgresAddressOptions | PostgresPoolOptions): Promise<OpenTransport> {
    const opened = new OpenTransport(options)
    await opened.transport.open(opened.host)
    return opened
  }

  /** Publishes events with these ids, one after the other. */
  async publish(ids: readonly string[], parts: Partial<WireMessage> = {}): Promise<void> {
    for (const id of ids) await this.transport.publish(event({ id, ...parts }), undefined)
  }

  /** Collects deliveries; `onDelivery` settles them. */
  subscribe(parts: Partial<Subscription> = {}, onDelivery: (delivery: Delivery) => void = () => undefined): Promise<TransportSubscription> {
    return this.transport.subscribe(group(parts), (delivery) => {
      this.deliveries.push(delivery)
      onDelivery(delivery)
    })
  }

  get ids(): readonly string[] {
    return this.deliveries.map(({ message }) => message.id)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.transport.close()
  }
}

/** Acknowledges at once. */
export function acknowledge(delivery: Delivery): void {
  void delivery.ack()
}

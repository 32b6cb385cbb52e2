import type { Delivery, Outbound, Subscription, Transport, TransportHost, TransportState } from '../../../src/bus/port.ts'
import type { Clock } from '../../../src/core/clock.ts'
import { systemClock } from '../../../src/core/clock.ts'
import type { Logger } from '../../../src/core/logger.ts'
import { silentLogger } from '../../../src/core/logger.ts'
import type { Random } from '../../../src/core/random.ts'
import { systemRandom } from '../../../src/core/random.ts'
import type { WireMessage } from '../../../src/core/envelope.ts'
import { wireMessage } from '../wire-messages.ts'

/** A host that writes down what the transport reports. */
export class TestHost implements TransportHost {
  readonly clock: Clock = systemClock
  readonly random: Random = systemRandom
  readonly logger: Logger = silentLogger
  readonly service = 'tests'
  readonly instance: string = `instance-${process.pid}`
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

/** A command as it is sent; each has an id of its own. */
export function command(parts: Partial<WireMessage> = {}): Outbound {
  return { kind: 'command', message: wireMessage({ id: `command-${++made}`, type: 'tests.do-thing', ...parts }) }
}

/** What a group of tests wants. */
export function group(parts: Partial<Subscription> = {}): Subscription {
  return {
    group: 'tests.group',
    kind: 'event',
    types: ['tests.thing-happened'],
    order: 'none',
    from: 'new',
    inFlightMax: 16,
    handlerTimeoutMs: 30_000,
    ...parts,
  }
}

/** Resolves when the condition holds; rejects when it does not in time. */
export async function until(condition: () => boolean | Promise<boolean>, what = 'the condition', waitMs = 20_000): Promise<void> {
  const giveUpAtMs = performance.now() + waitMs
  while (!(await condition())) {
    if (performance.now() > giveUpAtMs) throw new Error(`${what} did not hold within ${waitMs} ms`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** Deliveries as they come, for tests that take them one by one. */
export class Inbox {
  readonly all: Delivery[] = []
  #taken = 0

  readonly sink = (delivery: Delivery): void => {
    this.all.push(delivery)
  }

  /** Ids of everything that came, in order. */
  get ids(): readonly string[] {
    return this.all.map((delivery) => delivery.message.id)
  }

  async next(waitMs?: number): Promise<Delivery> {
    await until(() => this.all.length > this.#taken, 'the next delivery', waitMs)
    const delivery = this.all[this.#taken++]
    if (delivery === undefined) throw new Error('no delivery')
    return delivery
  }
}

/** Publishes without a signal. */
export async function publish(transport: Transport, ...messages: readonly Outbound[]): Promise<void> {
  await Promise.all(messages.map((message) => transport.publish(message, undefined)))
}

import { memory, memoryBroker } from '../../src/adapters/memory/index.ts'
import {
  type DeadLetter, type DeadLetterFilter, type DeadLetterPage, type DeadLetterPlane, type Delivery, type DeliverySink, type LightPlane, type Outbound, type Subscription, type Transport,
  type TransportCapabilities, type TransportHost, type TransportSubscription,
} from '../../src/index.ts'
import type { ConformanceSubject } from '../../src/testing/index.ts'
import { MemoryWorker, memorySubject } from './memory-subject.ts'

type Settled = Promise<void> | undefined

/** What is different from the memory transport; everything left out is as it should be. */
export interface Bend {
  readonly capabilities?: Partial<TransportCapabilities>
  /** False gives every place the same broker. */
  readonly ownBroker?: boolean
  readonly publish?: (inner: Transport, outbound: Outbound) => Settled
  readonly subscription?: (subscription: Subscription) => Subscription
  readonly sink?: (sink: DeliverySink) => DeliverySink
  readonly delivery?: (inner: Delivery) => Partial<Delivery>
  readonly running?: (inner: TransportSubscription, out: ReadonlySet<Delivery>) => Partial<TransportSubscription>
  readonly subscribe?: () => Promise<never>
  readonly deadLetters?: (inner: DeadLetterPlane) => Partial<DeadLetterPlane>
  readonly light?: (inner: LightPlane) => Partial<LightPlane>
  readonly without?: readonly ('deadLetters' | 'light')[]
}

/** The memory transport with one thing wrong, as a subject whose waits are short. */
export function bentSubject(bend: Bend): ConformanceSubject {
  const shared = memoryBroker()
  return {
    ...memorySubject,
    capabilities: { ...memorySubject.capabilities, ...bend.capabilities },
    waitMsMax: 400,
    place: () => {
      const broker = bend.ownBroker === false ? shared : memoryBroker()
      const open = (): Transport => new BentTransport(memory({ broker }), bend)
      return Promise.resolve({ open, spawn: (settings) => new MemoryWorker(broker, open(), settings), close: () => Promise.resolve() })
    },
  }
}

class BentTransport implements Transport {
  readonly name = 'memory'
  readonly capabilities: TransportCapabilities
  readonly deadLetters: DeadLetterPlane | undefined
  readonly #inner: Transport
  readonly #bend: Bend

  constructor(inner: Transport, bend: Bend) {
    this.capabilities = { ...inner.capabilities, ...bend.capabilities }
    this.#inner = inner
    this.#bend = bend
    const { deadLetters } = inner
    const has = deadLetters !== undefined && bend.without?.includes('deadLetters') !== true
    this.deadLetters = has ? laidOver(deadLetters, bend.deadLetters?.(deadLetters)) : undefined
  }

  get light(): LightPlane | undefined {
    const { light } = this.#inner
    if (light === undefined || this.#bend.without?.includes('light') === true) return undefined
    return laidOver(light, this.#bend.light?.(light))
  }

  open(host: TransportHost): Promise<void> {
    return this.#inner.open(host)
  }

  publish(outbound: Outbound): Settled {
    return this.#bend.publish === undefined ? this.#inner.publish(outbound, undefined) : this.#bend.publish(this.#inner, outbound)
  }

  async subscribe(subscription: Subscription, sink: DeliverySink): Promise<TransportSubscription> {
    const bend = this.#bend
    await bend.subscribe?.()
    const out = new Set<Delivery>()
    const given = bend.sink?.(sink) ?? sink
    const running = await this.#inner.subscribe(bend.subscription?.(subscription) ?? subscription, (delivery) => {
      const bent = laidOver(delivery, bend.delivery?.(delivery))
      out.add(bent)
      given(bent)
    })
    return laidOver(running, bend.running?.(running, out))
  }

  close(): Promise<void> {
    return this.#inner.close()
  }
}

/** `inner` with some of its members replaced; the others still run on `inner`. */
export function laidOver<T extends object>(inner: T, over: Partial<T> | undefined): T {
  if (over === undefined) return inner
  return new Proxy(inner, {
    get(target, name) {
      const source = name in over ? over : target
      const value: unknown = Reflect.get(source, name, source)
      return typeof value === 'function' ? value.bind(source) : value
    },
  })
}

/** A page with its letters changed. */
export function mapped(page: Promise<DeadLetterPage>, change: (letter: DeadLetter) => DeadLetter): Promise<DeadLetterPage> {
  return page.then(({ items, next }) => ({ items: items.map(change), next }))
}

/** Matches everything. */
export const ANY: DeadLetterFilter = {}

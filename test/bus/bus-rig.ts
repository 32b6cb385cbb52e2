import { z } from 'zod'
import { type MemoryBroker, memory, memoryBroker } from '../../src/adapters/memory/index.ts'
import { type Bus, type BusEvent, type BusOptions, command, createBus, event, query, seededRandom, silentLogger } from '../../src/index.ts'
import { type VirtualClock, virtualClock } from '../../src/testing/virtual-clock.ts'

export const Placed = event('sales.order-placed', { schema: z.object({ orderId: z.string(), total: z.int().default(0) }), key: (order) => order.orderId })
export const Moved = event('sales.order-moved', { schema: z.object({ orderId: z.string() }), key: (order) => order.orderId })
export const Reserve = command('stock.reserve', {
  schema: z.object({ sku: z.string() }),
  key: (data) => data.sku,
  response: z.object({ left: z.int() }),
  errors: { soldOut: z.object({ sku: z.string() }) },
})
export const Quote = query('pricing.quote', { request: z.object({ sku: z.string() }), response: z.object({ cents: z.int() }), errors: { unknownSku: z.object({ sku: z.string() }) } })

/** Buses that share one memory broker and one clock that stands still. */
export class BusRig implements AsyncDisposable {
  readonly clock: VirtualClock
  readonly broker: MemoryBroker
  readonly events: BusEvent[] = []
  readonly #buses: Bus[] = []

  constructor() {
    this.clock = virtualClock()
    this.broker = memoryBroker({ clock: this.clock })
  }

  /** A bus whose events are kept in `events`. */
  bus(options: Partial<BusOptions> = {}): Bus {
    const bus = createBus({
      service: { name: 'shop' },
      transport: memory({ broker: this.broker }),
      clock: this.clock,
      random: seededRandom(this.#buses.length + 1),
      logger: silentLogger,
      ...options,
    })
    bus.observe((one) => this.events.push(one))
    this.#buses.push(bus)
    return bus
  }

  /** Codes and figures of one kind of event. */
  kinds<K extends BusEvent['kind']>(kind: K): readonly Extract<BusEvent, { kind: K }>[] {
    return this.events.filter((one): one is Extract<BusEvent, { kind: K }> => one.kind === kind)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const stopping = Promise.all(this.#buses.map((bus) => bus.stop()))
    await this.clock.advance(60_000)
    await stopping
  }
}

/** What a promise rejected with; the promise that resolves is a failure. */
export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise
  } catch (thrown) {
    return thrown
  }
  throw new TypeError('the promise was to reject')
}

/** A promise with its two ends. */
export class Gate<T = void> {
  readonly opened: Promise<T>
  readonly open: (value: T) => void
  readonly fail: (error: unknown) => void

  constructor() {
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    this.opened = promise
    this.open = resolve
    this.fail = reject
  }
}

import { z } from 'zod'
import { memory, memoryBroker } from '../src/adapters/memory/index.ts'
import { type Bus, type SagaDefinition, type Store, command, createBus, event, runSagas, saga } from '../src/index.ts'
import { Counter, type Sample, windowed } from './measure.ts'

// One saga of three steps. Each step sends a command to another service and waits, with a time limit, for the event that answers it.

const schema = z.object({ orderId: z.string().max(60), cents: z.int() })
const key = ({ orderId }: { readonly orderId: string }): string => orderId

export const OrderTaken = event('bench.order-taken', { schema, key })
const Reserve = command('bench.reserve', { schema, key })
const Reserved = event('bench.reserved', { schema, key })
const Charge = command('bench.charge', { schema, key })
const Charged = event('bench.charged', { schema, key })
const Ship = command('bench.ship', { schema, key })
const Shipped = event('bench.shipped', { schema, key })

/** Steps of the saga. */
export const STEPS = 3

export const fulfilment: SagaDefinition = saga('fulfilment', { state: schema })
  .startedBy(OrderTaken, { correlate: key, state: (data) => data })
  .step('reserve', { timeoutMs: 600_000 }, (step) => step.send(Reserve, (state) => state).on(Reserved, { correlate: key }))
  .step('charge', { timeoutMs: 600_000 }, (step) => step.send(Charge, (state) => state).on(Charged, { correlate: key }))
  .step('ship', { timeoutMs: 600_000 }, (step) => step.send(Ship, (state) => state).on(Shipped, { correlate: key }))
  .end()

/** Runs sagas over a store and a broker in this process; the services that do what they ask for answer at once. */
export class SagaCrew {
  readonly #bus: Bus
  readonly #others: Bus
  readonly #ended = new Counter()
  #turn = 0

  private constructor(bus: Bus, others: Bus) {
    this.#bus = bus
    this.#others = others
  }

  static async start(store: Store<unknown>, inFlightMax: number): Promise<SagaCrew> {
    const broker = memoryBroker()
    const bus = createBus({ service: { name: 'bench' }, transport: memory({ broker }), outbox: store.outbox })
    const others = createBus({ service: { name: 'others' }, transport: memory({ broker }) })
    const crew = new SagaCrew(bus, others)
    runSagas({ bus, store, sagas: [fulfilment], inFlightMax }).observe(({ kind }) => {
      if (kind === 'ended') crew.#ended.tick()
    })
    others.handle(Reserve, ({ data }) => others.publish(Reserved, data))
    others.handle(Charge, ({ data }) => others.publish(Charged, data))
    others.handle(Ship, ({ data }) => others.publish(Shipped, data))
    await others.start()
    await bus.start()
    return crew
  }

  /** Lets `count` sagas run from their first message to their end; gives steps a second. */
  async run(count: number): Promise<Sample> {
    const turn = ++this.#turn
    const ended = this.#ended.expect(count)
    const startedMs = performance.now()
    await windowed(count, 256, (index) => this.#others.publish(OrderTaken, { orderId: `o-${turn}-${index}`, cents: index }))
    await ended
    return { perSecond: (count * STEPS * 1_000) / (performance.now() - startedMs) }
  }

  async close(): Promise<void> {
    await this.#bus.stop()
    await this.#others.stop()
  }
}

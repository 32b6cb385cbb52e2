import { z } from 'zod'
import type { MemoryTransaction } from '../../src/adapters/memory/index.ts'
import { type Bus, type BusOptions, type SagaDefinition, type SagaObservation, type Sagas, type Store, command, event, runSagas, saga } from '../../src/index.ts'
import { StoreRig } from '../outbox/store-rig.ts'

const id = z.object({ orderId: z.string() })
const key = (data: { readonly orderId: string }): string => data.orderId
const why = id.extend({ why: z.string() })

export const Placed = event('sales.order-placed', { schema: id.extend({ cents: z.int() }), key })
export const CalledOff = event('sales.order-called-off', { schema: why, key })
export const Reserve = command('stock.reserve', { schema: id, key })
export const Reserved = event('stock.reserved', { schema: id.extend({ shelf: z.string() }), key })
export const SoldOut = event('stock.sold-out', { schema: why, key })
export const Release = command('stock.release', { schema: id.extend({ shelf: z.string().nullable() }), key })
export const Released = event('stock.released', { schema: id, key })
export const ReleaseRefused = event('stock.release-refused', { schema: why, key })
export const Charge = command('money.charge', { schema: id.extend({ cents: z.int() }), key })
export const Charged = event('money.charged', { schema: id, key })
export const Declined = event('money.declined', { schema: why, key })
export const Refund = command('money.refund', { schema: id.extend({ cents: z.int() }), key })
export const Refunded = event('money.refunded', { schema: id, key })
export const Shipped = event('sales.order-shipped', { schema: id, key })

export const orderId = (data: { readonly orderId: string }): string => data.orderId
export const OrderState = z.object({ orderId: z.string(), cents: z.int(), shelf: z.string().nullable().default(null) })

/** Reserve, charge, tell: with compensations that are answered. */
export const order: SagaDefinition = saga('order', { state: OrderState })
  .startedBy(Placed, { correlate: orderId, state: ({ orderId: of, cents }) => ({ orderId: of, cents }) })
  .cancelledBy(CalledOff, { correlate: orderId, because: ({ why: because }) => because, afterEnd: 'compensate' })
  .step('reserve', { timeoutMs: 30_000, retry: { attemptsMax: 2, initialMs: 1_000 } }, (step) => step
    .send(Reserve, (state) => ({ orderId: state.orderId }))
    .on(Reserved, { correlate: orderId, apply: (state, { shelf }) => ({ ...state, shelf }) })
    .fails(SoldOut, { correlate: orderId, because: ({ why: because }) => because })
    .compensate({ timeoutMs: 10_000, retry: { attemptsMax: 3, initialMs: 1_000 } }, (undo) => undo
      .send(Release, (state, { outcome }) => ({ orderId: state.orderId, shelf: outcome?.shelf ?? null }))
      .on(Released, { correlate: orderId })
      .fails(ReleaseRefused, { correlate: orderId, because: ({ why: because }) => because })))
  .step('charge', { timeoutMs: 60_000 }, (step) => step
    .send(Charge, ({ orderId: of, cents }) => ({ orderId: of, cents }))
    .on(Charged, { correlate: orderId })
    .fails(Declined, { correlate: orderId, because: ({ why: because }) => because })
    .compensate({ timeoutMs: 10_000 }, (undo) => undo
      .send(Refund, (_state, { sent }) => sent)
      .on(Refunded, { correlate: orderId })))
  .publish('tell', Shipped, (state) => ({ orderId: state.orderId }))
  .end()

/** A rig whose bus runs sagas over a memory store. */
export class SagaRig extends StoreRig {
  readonly seen: SagaObservation[] = []

  /** A process that runs sagas; the bus is not started. */
  process(sagas: readonly SagaDefinition[], options: Partial<BusOptions> = {}): { readonly bus: Bus; readonly store: Store<MemoryTransaction>; readonly sagas: Sagas<MemoryTransaction> } {
    const store = this.store()
    const bus = this.bus(options)
    const running = runSagas({ bus, store, sagas })
    running.observe((one) => this.seen.push(one))
    return { bus, store, sagas: running }
  }

  /** What was observed, without the changes. */
  get told(): readonly string[] {
    return this.seen.filter(({ kind }) => kind !== 'changed').map((one) => `${one.instance} ${one.kind}${one.kind === 'ended' ? ` ${one.outcome}` : ''}`)
  }
}

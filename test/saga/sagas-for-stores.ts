import { z } from 'zod'
import { type SagaDefinition, processManager, saga } from '../../src/index.ts'
import { Charge, Charged, OrderState, Placed, Refund, Refunded, Release, Released, Reserve, Reserved, orderId } from './saga-rig.ts'

/** Waits for a second for its payment. */
export const hasty: SagaDefinition = saga('hasty', { state: OrderState })
  .startedBy(Placed, { correlate: orderId, state: (placed) => placed })
  .step('reserve', { timeoutMs: 60_000 }, (step) => step
    .send(Reserve, (state) => ({ orderId: state.orderId }))
    .on(Reserved, { correlate: orderId })
    .compensate({ timeoutMs: 60_000 }, (undo) => undo.send(Release, (state) => ({ orderId: state.orderId, shelf: null })).on(Released, { correlate: orderId })))
  .step('charge', { timeoutMs: 1_000 }, (step) => step
    .send(Charge, (state) => ({ orderId: state.orderId, cents: state.cents }))
    .on(Charged, { correlate: orderId })
    .compensate({ timeoutMs: 60_000 }, (undo) => undo.send(Refund, (_state, { sent }) => sent).on(Refunded, { correlate: orderId })))
  .end()

/** Counts to fifty, and sends something each time. */
export const impatient: SagaDefinition = processManager('impatient', {
  state: z.object({ count: z.int() }),
  inputs: [Placed, Reserved], startedBy: [Placed], outputs: [Reserve], waits: 'forever',
  correlate: { 'sales.order-placed': orderId, 'stock.reserved': orderId },
  initialState: () => ({ count: 0 }),
  decide: (input, { count }, to) => {
    if (input.type === 'sales.order-placed' || input.type === 'timer') return undefined
    const reserve = to.send(Reserve, { orderId: input.data.shelf })
    return count === 49 ? [reserve, to.end()] : reserve
  },
  evolve: ({ count }, input) => ({ count: count + (input.type === 'stock.reserved' ? 1 : 0) }),
})

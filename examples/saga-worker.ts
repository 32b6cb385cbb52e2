// A saga worker: a complete program that runs an order's saga.
//
// It reserves stock, takes a payment and tells the customer; a payment that is refused gives the stock back. Here the services that do the work are in
// the same process; with `trunkline/nats` and `trunkline/postgres` in the place of memory they are elsewhere, and the worker below stays as it is. More
// workers share the work: start the same program again.

import { command, createBus, event, runSagas, saga } from 'trunkline'
import { memory, memoryBroker, memoryStore } from 'trunkline/memory'
import { z } from 'zod'

const order = z.object({ orderId: z.string() })
const OrderPlaced = event('sales.order-placed', { schema: order.extend({ cents: z.int() }) })
const OrderFulfilled = event('sales.order-fulfilled', { schema: order })
const ReserveStock = command('stock.reserve-stock', { schema: order })
const StockReserved = event('stock.stock-reserved', { schema: order.extend({ shelf: z.string() }) })
const ReleaseStock = command('stock.release-stock', { schema: order.extend({ shelf: z.string().nullable() }) })
const StockReleased = event('stock.stock-released', { schema: order })
const TakePayment = command('money.take-payment', { schema: order.extend({ cents: z.int() }) })
const PaymentTaken = event('money.payment-taken', { schema: order })
const PaymentRefused = event('money.payment-refused', { schema: order.extend({ why: z.string() }) })
const GiveBack = command('money.give-back', { schema: order.extend({ cents: z.int() }) })
const correlate = (data: { readonly orderId: string }): string => data.orderId

const fulfilment = saga('fulfilment', { state: z.object({ orderId: z.string(), cents: z.int() }) })
  .startedBy(OrderPlaced, { correlate, state: (placed) => placed })
  .step('reserve', { timeoutMs: 30_000, retry: { attemptsMax: 3 } }, (step) => step
    .send(ReserveStock, ({ orderId }) => ({ orderId }))
    .on(StockReserved, { correlate })
    .compensate({ timeoutMs: 30_000 }, (undo) => undo
      .send(ReleaseStock, ({ orderId }, { outcome }) => ({ orderId, shelf: outcome?.shelf ?? null }))
      .on(StockReleased, { correlate })))
  .step('pay', { timeoutMs: 86_400_000 }, (step) => step
    .send(TakePayment, (state) => state)
    .on(PaymentTaken, { correlate })
    .fails(PaymentRefused, { correlate, because: ({ why }) => why })
    .compensate((undo) => undo.send(GiveBack, (_state, { sent }) => sent)))
  .publish('tell', OrderFulfilled, ({ orderId }) => ({ orderId }))
  .end()

const broker = memoryBroker()

// The worker.
const store = memoryStore()
const bus = createBus({ service: { name: 'fulfilment' }, transport: memory({ broker }), outbox: store.outbox })
const sagas = runSagas({ bus, store, sagas: [fulfilment] })
let ended = Promise.withResolvers<void>()
sagas.observe((happened) => {
  if (happened.kind !== 'ended') return
  console.log(`${happened.instance} ended as ${happened.outcome}${happened.reason === undefined ? '' : ` (${happened.reason})`}`)
  ended.resolve()
})

// The services that it coordinates.
const services = createBus({ service: { name: 'services' }, transport: memory({ broker }) })
services.handle(ReserveStock, async ({ data }) => await services.publish(StockReserved, { ...data, shelf: 'A1' }))
services.handle(ReleaseStock, async ({ data: { orderId, shelf } }) => {
  console.log(`${orderId} gives shelf ${shelf} back`)
  await services.publish(StockReleased, { orderId })
})
services.handle(TakePayment, async ({ data: { orderId, cents } }) => {
  if (cents > 1_000) await services.publish(PaymentRefused, { orderId, why: 'over the limit' })
  else await services.publish(PaymentTaken, { orderId })
})
const mailed = Promise.withResolvers<string>()
services.on(OrderFulfilled, { group: 'mails' }, ({ data }) => mailed.resolve(`mail: ${data.orderId} is fulfilled`))

const stop = async (): Promise<void> => {
  // What is under way ends first; what waits goes on where another worker runs, or when this one starts again.
  await bus.stop()
  await services.stop()
}
process.once('SIGTERM', () => void stop())
await services.start()
await bus.start()

await services.publish(OrderPlaced, { orderId: 'o-1', cents: 500 })
await ended.promise
console.log(await mailed.promise)

ended = Promise.withResolvers()
await services.publish(OrderPlaced, { orderId: 'o-2', cents: 5_000 })
await ended.promise
const { runs } = await sagas.instance('fulfilment', 'o-2').inspect()
console.log(runs.map(({ run, status, undo }) => `${run}: ${status}${undo === undefined ? '' : `, ${undo.status === 'done' ? 'undone' : undo.status}`}`).join('; '))
await stop()

// A unit of work: what a handler writes, and what it publishes, commit together.
//
// The handler's rows, its outgoing messages and the mark that it has handled the message are one transaction. A failed
// attempt leaves nothing behind, and a message that comes twice is handled once. `trunkline/sqlite` and
// `trunkline/postgres` take the place of the memory store; their `tx` takes SQL.

import { command, createBus, event } from 'trunkline'
import { memory, memoryStore } from 'trunkline/memory'
import { z } from 'zod'

const ShipOrder = command('shipping.ship-order', { schema: z.object({ orderId: z.string() }), key: (order) => order.orderId })
const OrderShipped = event('shipping.order-shipped', { schema: z.object({ orderId: z.string() }), key: (order) => order.orderId })
const CallCustomer = command('sales.call-customer', { schema: z.object({ orderId: z.string() }) })

const store = memoryStore()
const bus = createBus({ service: { name: 'shipping' }, transport: memory(), outbox: store.outbox })
const called = Promise.withResolvers<void>()
let handled = 0

bus.handle(ShipOrder, { within: store, retry: { initialMs: 10 } }, async ({ data }, { tx, publish, schedule, attempt }) => {
  const shipments = tx.table<string>('shipments')
  shipments.set(`${data.orderId}/${attempt}`, 'sent')
  publish(OrderShipped, data)
  await schedule(CallCustomer, data, { afterMs: 20, id: `call-${data.orderId}` })
  if (attempt === 1) throw new Error('the label printer is out of paper')
  console.log(`attempt ${attempt} commits: ${shipments.entries().map(([key]) => key).join(', ')}`)
})
bus.on(OrderShipped, { group: 'mails' }, ({ data }) => {
  console.log(`mail ${++handled}: ${data.orderId} is on its way`)
})
bus.handle(CallCustomer, ({ data }) => {
  console.log(`call about ${data.orderId}`)
  called.resolve()
})
await bus.start()

// The same id is the same message, however often it is sent.
await bus.send(ShipOrder, { orderId: 'o-1' }, { id: 'ship-o-1' })
await called.promise
await bus.send(ShipOrder, { orderId: 'o-1' }, { id: 'ship-o-1' })

// Outside handlers: a transaction that fails publishes nothing.
try {
  await store.transaction(({ tx, publish }) => {
    tx.table<string>('shipments').set('o-2/1', 'sent')
    publish(OrderShipped, { orderId: 'o-2' })
    throw new RangeError('the truck is full')
  })
} catch (error) {
  console.log(`rolled back: ${error instanceof Error ? error.message : 'unknown'}`)
}
const kept = await store.transaction(({ tx }) => tx.table<string>('shipments').entries().length)
await bus.stop()
console.log(`${kept} shipment, ${handled} mail`)

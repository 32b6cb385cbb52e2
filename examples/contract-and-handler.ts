// A contract and a handler: define an event once, subscribe to it, publish it.
//
// What does not fit the contract is refused before it is sent. A handler that throws gets the same message
// again, with the number of the attempt; what fails for ever becomes a dead letter that can be looked at.
// The transport here lives in memory; `trunkline/sqlite`, `trunkline/nats` and `trunkline/rabbitmq` take its place.

import { createBus, event, isTrunklineError, reject } from 'trunkline'
import { memory } from 'trunkline/memory'
import { z } from 'zod'

const OrderPlaced = event('sales.order-placed', {
  schema: z.object({ orderId: z.string(), totalCents: z.int().nonnegative() }),
  key: (order) => order.orderId,
})

const bus = createBus({ service: { name: 'billing' }, transport: memory() })
const settled = Promise.withResolvers<void>()

bus.on(OrderPlaced, { group: 'invoices', order: 'key', retry: { initialMs: 10 } }, ({ data, key }, context) => {
  if (data.totalCents > 1_000_000) throw reject('nobody may sell that much at once')
  if (data.orderId === 'o-2' && context.attempt === 1) throw new Error('the printer is out of paper')
  console.log(`invoice for ${key}: ${data.totalCents} cents, attempt ${context.attempt}`)
})
bus.observe((happened) => {
  if (happened.kind === 'delivery-retried') console.log(`attempt ${happened.attempt} failed and is repeated: ${happened.code}`)
  if (happened.kind === 'delivery-dead-lettered') settled.resolve()
})

await bus.start()
await bus.publish(OrderPlaced, { orderId: 'o-1', totalCents: 1_999 })
await bus.publish(OrderPlaced, { orderId: 'o-2', totalCents: 500 })

try {
  await bus.publish(OrderPlaced, { orderId: 'o-3', totalCents: -1 })
} catch (error) {
  if (isTrunklineError(error, 'contract.payload_invalid')) console.log(`refused: ${error.details.issues[0]?.path} does not fit`)
}

// Same key, so it waits until the second order's repeated attempt has succeeded.
await bus.publish(OrderPlaced, { orderId: 'o-2', totalCents: 2_000_000 })
await settled.promise
for await (const { message, record } of bus.deadLetters.all()) console.log(`dead letter of ${message.key}: ${record.reason}`)
await bus.stop()

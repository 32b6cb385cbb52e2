// Testing a saga without a bus, a store or a clock: given, when, then; and every order in which things can happen.
//
// What decides here is the function that decides in production, so that what a test sees is what a customer gets.

import { command, event, saga, stateDiagram } from 'trunkline'
import { explore, givenSaga, message, reply } from 'trunkline/testing'
import { z } from 'zod'

const id = z.object({ orderId: z.string() })
const orderId = (data: { readonly orderId: string }): string => data.orderId

const Placed = event('sales.order-placed', { schema: id.extend({ cents: z.int() }) })
const Reserve = command('stock.reserve', { schema: id })
const Reserved = event('stock.reserved', { schema: id })
const SoldOut = event('stock.sold-out', { schema: id })
const Release = command('stock.release', { schema: id })
const Charge = command('money.charge', { schema: id.extend({ cents: z.int() }) })
const Charged = event('money.charged', { schema: id })
const Shipped = event('sales.order-shipped', { schema: id })

const order = saga('order', { state: id.extend({ cents: z.int() }) })
  .startedBy(Placed, { correlate: orderId, state: (placed) => placed })
  .step('reserve', { timeoutMs: 30_000 }, (step) => step
    .send(Reserve, (state) => ({ orderId: state.orderId }))
    .on(Reserved, { correlate: orderId })
    .fails(SoldOut, { correlate: orderId })
    .compensate((undo) => undo.send(Release, (state) => ({ orderId: state.orderId }))))
  .step('charge', { timeoutMs: 3 * 86_400_000 }, (step) => step
    .send(Charge, (state) => state)
    .on(Charged, { correlate: orderId }))
  .publish('tell', Shipped, (state) => ({ orderId: state.orderId }))
  .end()

const reserved = givenSaga(order)
  .when(Placed, { orderId: 'o-1', cents: 500 })
  .thenSends(message(Reserve, { orderId: 'o-1' }))
  .thenAlarms({ 'step:reserve': '30s' })
  .when(Reserved, { orderId: 'o-1' })

// A scenario is a value: two tests go on from one.
reserved.when(Charged, { orderId: 'o-1' }).thenSends(message(Shipped, { orderId: 'o-1' })).thenEnds('completed')
reserved.advance('3d').thenSends(message(Release, { orderId: 'o-1' })).thenEnds('compensated')
console.log(`after three days: ${reserved.advance('3d').instance.reason}`)

const everything = {
  start: message(Placed, { orderId: 'o-1', cents: 500 }),
  answers: [
    reply(Reserve, ({ orderId: of }) => [message(Reserved, { orderId: of }), message(SoldOut, { orderId: of })]),
    reply(Charge, ({ orderId: of }) => [message(Charged, { orderId: of })]),
  ],
}
const { states, transitions, ends } = explore(order, everything).thenHolds().result
console.log(`${states} states, ${transitions} transitions: ends as completed and as compensated: ${ends.completed > 0 && ends.compensated > 0}`)

// Nobody answers, and it waits for ever: the shortest way to it is told.
const careless = saga('careless', { state: id })
  .startedBy(Placed, { correlate: orderId, state: (placed) => placed })
  .step('reserve', { waits: 'forever' }, (step) => step.send(Reserve, (state) => state).on(Reserved, { correlate: orderId }))
  .end()
const { counterexample } = explore(careless, { start: everything.start }).thenFinds('stuck').result
console.log(`${counterexample?.problem}\n${counterexample?.trace}`)

console.log(stateDiagram(careless))

import { describe, expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import { type SagaDefinition, command, event, processManager, query, saga, sagaGraph } from '../../src/index.ts'
import { type Duration, type Exploration, type SagaScenario, explore, givenSaga, message, reply } from '../../src/testing/index.ts'

const Placed = event('sales.order-placed', { schema: z.object({ orderId: z.string(), total: z.int().default(0) }) })
const Reserve = command('stock.reserve', { schema: z.object({ orderId: z.string() }) })
const Reserved = event('stock.reserved', { schema: z.object({ orderId: z.string() }) })
const Quote = query('pricing.quote', { request: z.object({ sku: z.string() }), response: z.string() })
const State = z.object({ orderId: z.string(), shelf: z.string().default('A') })
const orderId = (data: { readonly orderId: string }): string => data.orderId
const order = saga('order', { state: State }).startedBy(Placed, { correlate: orderId, state: (data) => ({ orderId: data.orderId }) }).publish('tell', Reserved, (state) => state).end()
const manager = processManager('manager', {
  state: z.object({ paid: z.boolean() }), inputs: [Placed], startedBy: [Placed], outputs: [], waits: 'forever', correlate: { 'sales.order-placed': orderId },
  initialState: () => ({ paid: false }), decide: () => undefined, evolve: (state) => state,
})

describe('a definition', () => {
  test('carries the type of its state, and is a definition nevertheless', () => {
    expectTypeOf(order).toEqualTypeOf<SagaDefinition<{ orderId: string; shelf: string }>>()
    expectTypeOf(manager).toEqualTypeOf<SagaDefinition<{ paid: boolean }>>()
    const all: readonly SagaDefinition[] = [order, manager]
    sagaGraph(all[0] ?? order)
  })
})

describe('a scenario', () => {
  test('knows the state and the data of every message', () => {
    const given = givenSaga(order)
    expectTypeOf(given).toEqualTypeOf<SagaScenario<{ orderId: string; shelf: string }>>()
    expectTypeOf(given.state).toEqualTypeOf<{ orderId: string; shelf: string }>()
    expectTypeOf(given.deploy(manager).state).toEqualTypeOf<{ paid: boolean }>()
    given.when(Placed, { orderId: 'o' }, { tenant: 'acme' }).thenState({ orderId: 'o', shelf: 'A' }).thenEnds('completed')
    // @ts-expect-error -- the shelf is missing
    given.thenState({ orderId: 'o' })
    // @ts-expect-error -- the order id is missing
    given.when(Placed, {})
    // @ts-expect-error -- the order id is text
    given.when(Placed, { orderId: 5 })
    // @ts-expect-error -- a saga takes no queries
    given.when(Quote, { sku: 'a' })
    // @ts-expect-error -- there is no such end
    given.thenEnds('done')
    // @ts-expect-error -- there is no such event
    given.thenRecords('step-begun')
  })

  test('takes times with a unit, or milliseconds', () => {
    const given = givenSaga(order)
    given.advance('30d').advance('1.5h').advance(250).thenAlarms({ patience: '2w' })
    // @ts-expect-error -- no unit
    given.advance('30')
    // @ts-expect-error -- no such unit
    given.advance('30y')
    // @ts-expect-error -- no number
    given.advance('soon')
    expectTypeOf<'5ms'>().toExtend<Duration>()
  })

  test('compares with messages of the right data', () => {
    givenSaga(order).thenSends(message(Reserve, { orderId: 'o' }), message(Placed, { orderId: 'o' }))
    // @ts-expect-error -- the order id is missing
    message(Reserve, {})
    // @ts-expect-error -- a query is no message of a saga
    message(Quote, { sku: 'a' })
  })
})

describe('an exploration', () => {
  test('takes answers from what was sent', () => {
    const answers = [reply(Placed, (data) => {
      expectTypeOf(data).toEqualTypeOf<{ orderId: string; total: number }>()
      return [message(Reserved, { orderId: data.orderId })]
    })]
    expectTypeOf(explore(order, { start: message(Placed, { orderId: 'o' }), answers, bound: { statesMax: 5 } })).toEqualTypeOf<Exploration>()
    // @ts-expect-error -- nothing starts it
    explore(order, { answers })
    // @ts-expect-error -- there is no such bound
    explore(order, { start: message(Placed, { orderId: 'o' }), bound: { runsMax: 5 } })
    // @ts-expect-error -- an answer has data
    reply(Reserve, () => [message(Reserved)])
  })
})

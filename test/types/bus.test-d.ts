import { describe, expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import { memory } from '../../src/adapters/memory/index.ts'
import { nats } from '../../src/adapters/nats/index.ts'
import { rabbitmq } from '../../src/adapters/rabbitmq/index.ts'
import { sqlite } from '../../src/adapters/sqlite/index.ts'
import { type HandlerContext, type Message, type MessageOf, command, createBus, event, query } from '../../src/index.ts'

const Placed = event('sales.order-placed', { schema: z.object({ orderId: z.string(), total: z.int().default(0) }) })
const Moved = event('sales.order-moved', { schema: z.object({ from: z.string() }) })
const Reserve = command('stock.reserve', { schema: z.object({ sku: z.string() }), response: z.object({ left: z.int(), shelf: z.string().default('A') }) })
const Note = command('stock.note', { schema: z.string() })
const Quote = query('pricing.quote', { request: z.object({ sku: z.string() }), response: z.object({ cents: z.int() }), errors: { unknownSku: z.string() } })
const bus = createBus({ service: { name: 'shop' }, transport: memory() })

describe('the transport', () => {
  test('is one, or a value that has one', () => {
    const service = { name: 'shop' }
    createBus({ service, transport: sqlite({ file: './app.db' }) })
    createBus({ service, transport: sqlite({ file: './app.db' }).transport, light: { transport: memory() } })
    createBus({ service, transport: nats({ servers: 'localhost' }) })
    createBus({ service, transport: rabbitmq() })
    // @ts-expect-error -- a factory that was not called
    createBus({ service, transport: memory })
    // @ts-expect-error -- it has no transport
    createBus({ service, transport: {} })
  })
})

describe('publishing', () => {
  test('takes what the schema takes', () => {
    expectTypeOf(bus.publish(Placed, { orderId: 'o' })).toEqualTypeOf<Promise<void>>()
    void bus.publish(Placed, { orderId: 'o', total: 5 }, { id: 'i', tenant: 'acme', headers: { a: 'b' }, timeoutMs: 5, deadlineAtMs: 5 })
    void bus.send(Note, 'text')
    void bus.broadcast(Placed, { orderId: 'o' })
    // @ts-expect-error -- the order id is missing
    void bus.publish(Placed, {})
    // @ts-expect-error -- the order id is text
    void bus.publish(Placed, { orderId: 5 })
    // @ts-expect-error -- there is no such field
    void bus.publish(Placed, { orderId: 'o', customer: 'c' })
    // @ts-expect-error -- headers are text
    void bus.publish(Placed, { orderId: 'o' }, { headers: { a: 1 } })
  })

  test('tells events, commands and queries apart', () => {
    // @ts-expect-error -- a command is sent
    void bus.publish(Note, 'text')
    // @ts-expect-error -- an event is published
    void bus.send(Placed, { orderId: 'o' })
    // @ts-expect-error -- a query is asked
    void bus.send(Quote, { sku: 'a' })
    // @ts-expect-error -- only events are broadcast
    void bus.broadcast(Note, 'text')
    // @ts-expect-error -- an event has no answer
    void bus.ask(Placed, { orderId: 'o' })
  })
})

describe('asking', () => {
  test('gives what the response schema gives', () => {
    expectTypeOf(bus.ask(Quote, { sku: 'a' })).resolves.toEqualTypeOf<{ cents: number }>()
    expectTypeOf(bus.ask(Reserve, { sku: 'a' }, { timeoutMs: 5, signal: AbortSignal.abort() })).resolves.toEqualTypeOf<{ left: number; shelf: string }>()
    expectTypeOf(bus.ask(Note, 'text')).resolves.toEqualTypeOf<undefined>()
    // @ts-expect-error -- the sku is text
    void bus.ask(Quote, { sku: 1 })
    // @ts-expect-error -- an ask has no deadline of its own: its timeout is one
    void bus.ask(Quote, { sku: 'a' }, { deadlineAtMs: 5 })
  })
})

describe('subscribing to events', () => {
  test('gives the message of the contract', () => {
    bus.on(Placed, { group: 'g' }, (message, context) => {
      expectTypeOf(message).toEqualTypeOf<Message<'sales.order-placed', { orderId: string; total: number }>>()
      expectTypeOf(context).toEqualTypeOf<HandlerContext>()
    })
    bus.on(Placed, { broadcast: true }, async ({ data }) => {
      expectTypeOf(data.total).toEqualTypeOf<number>()
      await Promise.resolve()
    })
  })

  test('gives a union for several contracts, told apart by type', () => {
    bus.on([Placed, Moved], { group: 'g' }, (message) => {
      expectTypeOf(message.type).toEqualTypeOf<'sales.order-placed' | 'sales.order-moved'>()
      if (message.type === 'sales.order-moved') expectTypeOf(message.data).toEqualTypeOf<{ from: string }>()
      else expectTypeOf(message.data).toEqualTypeOf<{ orderId: string; total: number }>()
      // @ts-expect-error -- only one of the two has it
      expectTypeOf(message.data.from)
    })
    expectTypeOf<MessageOf<typeof Placed | typeof Moved>['type']>().toEqualTypeOf<'sales.order-placed' | 'sales.order-moved'>()
  })

  test('gives lists to batch handlers and to nobody else', () => {
    bus.on([Placed, Moved], { group: 'g', batch: { sizeMax: 5 } }, (messages) => {
      expectTypeOf(messages).toEqualTypeOf<readonly (MessageOf<typeof Placed> | MessageOf<typeof Moved>)[]>()
    })
    // @ts-expect-error -- without batch it is one message
    bus.on(Placed, { group: 'g' }, (messages: readonly MessageOf<typeof Placed>[]) => messages.length)
  })

  test('needs a group or a broadcast, and events', () => {
    // @ts-expect-error -- no group
    bus.on(Placed, {}, () => {})
    // @ts-expect-error -- no options
    bus.on(Placed, () => {})
    // @ts-expect-error -- a broadcast is tried once
    bus.on(Placed, { broadcast: true, retry: {} }, () => {})
    // @ts-expect-error -- a broadcast is for every instance, so it has no group
    bus.on(Placed, { broadcast: true, group: 'g' }, () => {})
    // @ts-expect-error -- a command is handled
    bus.on(Note, { group: 'g' }, () => {})
    // @ts-expect-error -- a query is answered
    bus.on(Quote, { group: 'g' }, () => {})
    // @ts-expect-error -- a command among events
    bus.on([Placed, Note], { group: 'g' }, () => {})
    // @ts-expect-error -- the handler takes something else
    bus.on(Placed, { group: 'g' }, (message: Message<'sales.order-placed', { customer: string }>) => message.data.customer)
  })
})

describe('handling and answering', () => {
  test('gives the message and takes the answer, also later', () => {
    bus.handle(Reserve, ({ data }) => ({ left: data.sku.length }))
    bus.handle(Reserve, { order: 'none', inFlightMax: 2 }, async () => await Promise.resolve({ left: 1, shelf: 'B' }))
    bus.handle(Note, ({ data }) => {
      expectTypeOf(data).toEqualTypeOf<string>()
    })
    bus.answer(Quote, ({ data, type }) => {
      expectTypeOf(type).toEqualTypeOf<'pricing.quote'>()
      return { cents: data.sku.length }
    })
    bus.answer(Quote, { inFlightMax: 5 }, () => {
      throw Quote.error('unknownSku', 'a')
    })
  })

  test('refuses the wrong answer, none at all, and contracts of another kind', () => {
    // @ts-expect-error -- cents are a number
    bus.answer(Quote, () => ({ cents: '5' }))
    // @ts-expect-error -- also when they come later
    bus.answer(Quote, () => Promise.resolve({ cents: '5' }))
    // @ts-expect-error -- nothing is answered
    bus.answer(Quote, () => {})
    // @ts-expect-error -- nothing is answered
    bus.handle(Reserve, async () => {})
    // @ts-expect-error -- an event is not handled by one
    bus.handle(Placed, () => {})
    // @ts-expect-error -- a command is not answered on the light plane
    bus.answer(Reserve, () => ({ left: 1 }))
  })
})

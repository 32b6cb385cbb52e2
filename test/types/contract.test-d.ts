import { describe, expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import { type DataInput, type DataOutput, type ReplyInput, type ReplyOutput, type Schema, command, event, query } from '../../src/index.ts'

const schema = z.object({ orderId: z.string(), note: z.string().default('') })

describe('what a contract knows', () => {
  const Placed = event('sales.order-placed', { schema, key: (order) => order.note })
  const Timed = event('sales.timed', { schema: z.object({ at: z.codec(z.iso.datetime(), z.date(), { decode: (text) => new Date(text), encode: (date) => date.toISOString() }) }) })
  const Reserve = command('stock.reserve', { schema, response: z.object({ left: z.int() }), errors: { soldOut: z.object({ sku: z.string() }), gone: z.null() } })
  const Quote = query('pricing.quote', { request: z.string(), response: z.number() })

  test('its name and its data on both sides', () => {
    expectTypeOf(Placed.type).toEqualTypeOf<'sales.order-placed'>()
    expectTypeOf(Placed.kind).toEqualTypeOf<'event'>()
    expectTypeOf<DataInput<typeof Placed>>().toEqualTypeOf<{ orderId: string; note?: string | undefined }>()
    expectTypeOf<DataOutput<typeof Placed>>().toEqualTypeOf<{ orderId: string; note: string }>()
    expectTypeOf<DataInput<typeof Timed>>().toEqualTypeOf<{ at: string }>()
    expectTypeOf<DataOutput<typeof Timed>>().toEqualTypeOf<{ at: Date }>()
    expectTypeOf<ReplyInput<typeof Reserve>>().toEqualTypeOf<{ left: number }>()
    expectTypeOf<ReplyOutput<typeof Quote>>().toEqualTypeOf<number>()
  })

  test('its declared errors, told apart by name', () => {
    const found = Reserve.errorIn(undefined)
    expectTypeOf(found).toEqualTypeOf<
      | { readonly type: 'stock.reserve'; readonly name: 'soldOut'; readonly data: { sku: string } }
      | { readonly type: 'stock.reserve'; readonly name: 'gone'; readonly data: null }
      | undefined
    >()
    if (found?.name === 'soldOut') expectTypeOf(found.data).toEqualTypeOf<{ sku: string }>()
    Reserve.error('soldOut', { sku: 'a' })
    // @ts-expect-error -- the data of another error
    Reserve.error('soldOut', null)
    // @ts-expect-error -- not declared
    Reserve.error('lost', null)
    // @ts-expect-error -- this query declares none
    Quote.error('gone', null)
    // @ts-expect-error -- events have no errors
    expectTypeOf(Placed.error)
  })

  test('any Standard Schema will do', () => {
    const own: Schema<{ a: string }, { a: number }> = { '~standard': { version: 1, vendor: 'own', validate: () => ({ value: { a: 1 } }) } }
    const Own = event('a.b', { schema: own, key: ({ a }) => a.toFixed() })
    expectTypeOf<DataInput<typeof Own>>().toEqualTypeOf<{ a: string }>()
    expectTypeOf<DataOutput<typeof Own>>().toEqualTypeOf<{ a: number }>()
    // @ts-expect-error -- not a schema
    event('a.b', { schema: { parse: () => 1 } })
  })

  test('the key is text made from the data', () => {
    // @ts-expect-error -- a number is no key
    event('a.b', { schema, key: () => 5 })
    // @ts-expect-error -- there is no such field
    event('a.b', { schema, key: (order) => order.customer })
  })

  test('order by key needs a key', () => {
    event('a.b', { schema, key: (order) => order.orderId, order: 'key' })
    event('a.b', { schema, order: 'none' })
    command('a.b', { schema, key: (order) => order.orderId, order: 'key', response: schema })
    // @ts-expect-error -- there is no key
    event('a.b', { schema, order: 'key' })
    // @ts-expect-error -- there is no key
    command('a.b', { schema, order: 'key' })
  })
})

describe('the chain of upcasters', () => {
  interface V1 { readonly id: string }
  interface V2 { readonly id: string; readonly total: number }
  const v3 = z.object({ id: z.string(), total: z.number(), currency: z.string() })
  const one = (old: V1): V2 => ({ ...old, total: 0 })
  const two = (old: V2): z.input<typeof v3> => ({ ...old, currency: 'GBP' })

  test('has one link for each older version', () => {
    event('a.b', { version: 3, schema: v3, upcast: { 1: one, 2: two } })
    event('a.b', { version: 1, schema: v3 })
    event('a.b', { schema: v3 })
    command('a.b', { version: 3, schema: v3, upcast: { 1: one, 2: two } })
    query('a.b', { version: 3, request: v3, response: z.null(), upcast: { 1: one, 2: two } })
  })

  test('has no gap', () => {
    // @ts-expect-error -- no chain at all
    event('a.b', { version: 2, schema: v3 })
    // @ts-expect-error -- nothing lifts version 1
    event('a.b', { version: 3, schema: v3, upcast: { 2: two } })
    // @ts-expect-error -- nothing lifts version 2
    event('a.b', { version: 3, schema: v3, upcast: { 1: one } })
    // @ts-expect-error -- version 1 has nothing to lift
    event('a.b', { schema: v3, upcast: { 1: one } })
    // @ts-expect-error -- no chain for a command
    command('a.b', { version: 2, schema: v3 })
    // @ts-expect-error -- no chain for a query
    query('a.b', { version: 2, request: v3, response: z.null() })
  })

  test('has links that fit each other and the schema', () => {
    // @ts-expect-error -- gives version 1 where version 2 is taken
    event('a.b', { version: 3, schema: v3, upcast: { 1: (old: V1) => old, 2: two } })
    // @ts-expect-error -- gives version 2 where the schema wants version 3
    event('a.b', { version: 3, schema: v3, upcast: { 1: one, 2: (old: V2) => old } })
    // @ts-expect-error -- a link is a function
    event('a.b', { version: 2, schema: v3, upcast: { 1: 'one' } })
  })
})

import { expect, test } from 'vitest'
import { z } from 'zod'
import { command, createBus, event, isTrunklineError, query } from '../../src/index.ts'
import { memory } from '../../src/adapters/memory/index.ts'

const OrderPlaced = event('sales.order-placed', { schema: z.object({ orderId: z.string(), total: z.int() }), key: (order) => order.orderId })
const Reserve = command('stock.reserve', { schema: z.object({ sku: z.string() }), response: z.object({ left: z.int() }), errors: { soldOut: z.object({ sku: z.string() }) } })
const Quote = query('pricing.quote-price', { request: z.object({ sku: z.string() }), response: z.object({ cents: z.int() }), errors: { unknownSku: z.object({ sku: z.string() }) } })

test('carries events, commands, queries and declared errors', async () => {
  const seen: unknown[] = []
  await using bus = createBus({ service: { name: 'shop' }, transport: memory() })
  bus.on(OrderPlaced, { group: 'ledger' }, async ({ data, type }, context) => {
    seen.push([type, data.total, context.attempt])
    if (context.attempt < 2) throw new Error('again')
    await bus.send(Reserve, { sku: 'a' })
  })
  bus.handle(Reserve, ({ data }) => {
    if (data.sku === 'gone') throw Reserve.error('soldOut', { sku: data.sku })
    return { left: 3 }
  })
  bus.answer(Quote, ({ data }) => {
    if (data.sku === 'x') throw Quote.error('unknownSku', { sku: 'x' })
    return { cents: 12 }
  })
  await bus.start()
  await bus.publish(OrderPlaced, { orderId: 'o1', total: 5 })
  expect(await bus.ask(Quote, { sku: 'a' })).toEqual({ cents: 12 })
  const error = await bus.ask(Quote, { sku: 'x' }).catch((thrown: unknown) => thrown)
  expect(Quote.errorIn(error)).toEqual({ type: 'pricing.quote-price', name: 'unknownSku', data: { sku: 'x' } })
  expect(await bus.ask(Reserve, { sku: 'b' })).toEqual({ left: 3 })
  expect(isTrunklineError(await bus.ask(Reserve, { sku: 'gone' }).catch((thrown: unknown) => thrown), 'contract.declared_error')).toBe(true)
  await expect.poll(() => seen).toEqual([['sales.order-placed', 5, 1], ['sales.order-placed', 5, 2]])
})

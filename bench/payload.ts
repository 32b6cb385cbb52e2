import { z } from 'zod'
import { event, query } from '../src/index.ts'

const fields = {
  orderId: z.string().max(40),
  customer: z.string().max(40),
  sku: z.string().max(40),
  quantity: z.int(),
  price: z.number(),
  currency: z.string().length(3),
  country: z.string().max(60),
  express: z.boolean(),
  note: z.string().max(200),
  total: z.number(),
}

/** What every contract here carries. */
export const orderSchema = z.object(fields)

/** Ten fields; `order` is exactly 256 bytes as JSON. */
export const Order = event('bench.order-placed', { schema: orderSchema })
/** The same fields, in order by key. */
export const KeyedOrder = event('bench.keyed-order-placed', { schema: orderSchema, key: ({ orderId }) => orderId })
/** The same fields, in streams of events only. */
export const OrderFact = event('bench.order-recorded', { schema: orderSchema, visibility: 'private' })
/** The same fields, for the light plane only. */
export const Sighting = event('bench.order-sighted', { schema: z.object(fields) })
/** The same fields as a question. */
export const Quote = query('bench.quote-price', { request: z.object(fields), response: z.object({ cents: z.int(), sku: z.string() }) })

const bare = {
  orderId: 'o-0192c3a4b5c6',
  customer: 'c-987654321',
  sku: 'SKU-12345',
  quantity: 3,
  price: 12.5,
  currency: 'GBP',
  country: 'United Kingdom',
  express: true,
  note: '',
  total: 37.5,
}

/** The data that every case sends. */
export const order = { ...bare, note: 'n'.repeat(256 - JSON.stringify(bare).length) }

/** The answer of every question. */
export const quote = { cents: 1_250, sku: 'SKU-12345' }
/** What a slow instance says instead, so that its answers can be counted. */
export const SLOW_SKU = 'SKU-SLOW.'

/** The same rules for fastest-validator, which Moleculer uses. */
export const moleculerParams = {
  orderId: { type: 'string', max: 40 },
  customer: { type: 'string', max: 40 },
  sku: { type: 'string', max: 40 },
  quantity: { type: 'number', integer: true },
  price: 'number',
  currency: { type: 'string', length: 3 },
  country: { type: 'string', max: 60 },
  express: 'boolean',
  note: { type: 'string', max: 200 },
  total: 'number',
} as const

import { z } from 'zod'
import { event, query } from '../../src/index.ts'

export const Placed = event('sales.order-placed', { schema: z.object({ orderId: z.string(), total: z.int(), note: z.string().optional() }), key: ({ orderId }) => orderId })
export const PlacedTwice = event('sales.order-placed', {
  version: 2,
  schema: z.object({ orderId: z.string(), totalCents: z.int() }),
  key: ({ orderId }) => orderId,
  upcast: { 1: (old: { readonly orderId: string; readonly total: number }) => ({ orderId: old.orderId, totalCents: old.total }) },
})
export const Quote = query('pricing.quote', { request: z.object({ sku: z.string() }), response: z.object({ cents: z.int() }), errors: { unknownSku: z.object({ sku: z.string() }) } })

/** Text that every layer has a way to break. */
export const KEY = 'Köln 7/😀 "%41"'
export const TRACE = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'

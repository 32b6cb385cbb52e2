import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { command, event, query } from '../../src/contract/define.ts'
import { fingerprintOf, jsonSchemaOf, schemaShape } from '../../src/contract/fingerprint.ts'
import type { Schema } from '../../src/contract/schema.ts'

const opaque = (vendor: string): Schema => ({ '~standard': { version: 1, vendor, validate: (value) => ({ value }) } })
const saying = (jsonSchema: Record<string, unknown>): Schema => ({
  '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value }), jsonSchema: { input: () => jsonSchema, output: () => jsonSchema } },
})
const same = (left: unknown, right: unknown): boolean => fingerprintOf(left) === fingerprintOf(right)

describe('fingerprintOf', () => {
  test('is 32 hexadecimal digits that every machine computes alike', () => {
    // SHA-256 of the text {"a":[1,null,"x"],"b":true}, computed with another program.
    expect(fingerprintOf({ b: true, a: [1, null, 'x'] })).toBe('98d9d9eb9fde88e59263a83c4fac10e7')
  })

  test('does not depend on the order of keys, of required names, of enum values or of types', () => {
    expect(same({ a: 1, b: { c: 1, d: 2 } }, { b: { d: 2, c: 1 }, a: 1 })).toBe(true)
    expect(same({ required: ['a', 'b'] }, { required: ['b', 'a'] })).toBe(true)
    expect(same({ enum: ['x', 1, null] }, { enum: [null, 'x', 1] })).toBe(true)
    expect(same({ type: ['string', 'null'] }, { type: ['null', 'string'] })).toBe(true)
  })

  test('depends on the order of lists that have one', () => {
    expect(same({ prefixItems: [{ type: 'string' }, { type: 'number' }] }, { prefixItems: [{ type: 'number' }, { type: 'string' }] })).toBe(false)
    expect(same({ const: ['a', 'b'] }, { const: ['b', 'a'] })).toBe(false)
    expect(same({ default: { required: ['a', 'b'] } }, { default: { required: ['b', 'a'] } })).toBe(false)
  })

  test('does not depend on what only explains', () => {
    const bare = { type: 'object', properties: { a: { type: 'string' } } }
    const told = { $schema: 'x', $id: 'y', title: 't', type: 'object', properties: { a: { type: 'string', description: 'd', examples: ['e'], deprecated: true, $comment: 'c' } } }
    expect(same(bare, told)).toBe(true)
  })

  test('counts fields that are only called like explanations', () => {
    const field = (name: string, type: string): object => ({ type: 'object', properties: { [name]: { type } } })
    for (const name of ['title', 'description', 'examples', 'required', 'enum', 'properties', 'default']) {
      expect([name, same(field(name, 'string'), field(name, 'number'))]).toEqual([name, false])
      expect([name, same(field(name, 'string'), { type: 'object', properties: {} })]).toEqual([name, false])
    }
    expect(same({ properties: { required: { type: 'string', description: 'd' } } }, { properties: { required: { type: 'string' } } })).toBe(true)
  })

  test('counts every part of values that the schema holds, however deep', () => {
    expect(same({ default: { description: 'x' } }, { default: { description: 'y' } })).toBe(false)
    expect(same({ default: { a: { title: 'x' } } }, { default: { a: { title: 'y' } } })).toBe(false)
    expect(same({ const: [{ title: 'x' }] }, { const: [{ title: 'y' }] })).toBe(false)
    expect(same({ enum: [{ title: 'x' }] }, { enum: [{ title: 'y' }] })).toBe(false)
  })
})

describe('schemas', () => {
  test('without a JSON Schema go by the name of their library', () => {
    expect(jsonSchemaOf(opaque('tiny'))).toBeUndefined()
    expect(schemaShape(opaque('tiny'))).toEqual({ opaque: 'tiny' })
    expect(schemaShape(z.date())).toEqual({ opaque: 'zod' })
    expect(schemaShape(undefined)).toBeNull()
  })

  test('of two libraries that say the same are the same', () => {
    const said = { type: 'object', properties: { a: { type: 'string' } }, required: ['a'] }
    expect(schemaShape(saying(said))).toEqual(schemaShape(z.object({ a: z.string() })))
  })
})

describe('the fingerprint of a contract', () => {
  const order = z.object({ orderId: z.string(), total: z.int() })
  const placed = event('sales.order-placed', { schema: order, key: (data) => data.orderId })

  test('is the same on every machine', () => {
    // Computed with another program from the kinds, names and JSON Schemas.
    expect(placed.fingerprint).toBe('9816340611432ff0563dc7c0e8a5a2bd')
    expect(command('stock.reserve', { schema: z.object({ sku: z.string() }), response: z.object({ left: z.int() }), errors: { soldOut: z.object({ sku: z.string() }) } }).fingerprint).toBe('850ca9f52e35f84f69e2b7e0ca043214')
    expect(query('pricing.quote', { request: z.string(), response: z.number() }).fingerprint).toBe('23d5b8a05fd39ccddf3bd8cf64af778d')
  })

  test('does not change with words, order of fields, retries, visibility, order or what the key function does', () => {
    const told = event('sales.order-placed', {
      description: 'The customer confirmed the order.',
      visibility: 'public',
      order: 'key',
      retry: { attemptsMax: 9 },
      schema: z.object({ total: z.int().describe('in cents'), orderId: z.string().meta({ title: 'Order' }) }),
      key: (data) => `order-${data.orderId}`,
    })
    expect(told.fingerprint).toBe(placed.fingerprint)
  })

  test('changes with kind, name, version, fields, presence of a key, response and errors', () => {
    const prints = [
      placed,
      event('sales.order-placed', { schema: order }),
      event('sales.order-moved', { schema: order, key: (data) => data.orderId }),
      event('sales.order-placed', { schema: order.extend({ note: z.string().optional() }), key: (data) => data.orderId }),
      event('sales.order-placed', { schema: order.partial({ total: true }), key: (data) => data.orderId }),
      event('sales.order-placed', { version: 2, schema: order, key: (data) => data.orderId, upcast: { 1: (old: z.input<typeof order>) => old } }),
      command('sales.order-placed', { schema: order, key: (data) => data.orderId }),
      command('sales.order-placed', { schema: order, key: (data) => data.orderId, response: z.string() }),
      command('sales.order-placed', { schema: order, key: (data) => data.orderId, errors: { gone: z.string() } }),
      command('sales.order-placed', { schema: order, key: (data) => data.orderId, errors: { lost: z.string() } }),
    ].map(({ fingerprint }) => fingerprint)
    expect(new Set(prints).size).toBe(prints.length)
    for (const print of prints) expect(print).toMatch(/^[0-9a-f]{32}$/)
  })
})

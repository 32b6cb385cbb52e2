import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { defined } from '../../src/contract/contract.ts'
import { command, event, query } from '../../src/contract/define.ts'
import { TrunklineError } from '../../src/core/errors.ts'
import type { Schema } from '../../src/contract/schema.ts'

const order = z.object({ orderId: z.string(), note: z.string().default('none') })
const Placed = event('sales.order-placed', { schema: order, key: ({ orderId }) => orderId })
const failing = (code: string, details: Record<string, unknown> = {}): unknown => expect.objectContaining({ code, details: expect.objectContaining(details) })
const invalid = (problem: string): unknown => failing('contract.definition_invalid', { problem: expect.stringContaining(problem) })
const bodyOf = (contract: Parameters<typeof defined>[0], data: unknown): string => defined(contract).encode(data).body.toString()

describe('defining', () => {
  test('gives a value that tells what it is, with defaults', () => {
    expect(Placed).toMatchObject({
      kind: 'event', type: 'sales.order-placed', version: 1, description: undefined, hasKey: true, order: 'none', retry: {}, visibility: 'private', errorNames: [], hasReply: false,
    })
    const Reserve = command('stock.reserve', { schema: order, response: z.string(), errors: { soldOut: z.string(), gone: z.null() }, order: 'none', retry: { attemptsMax: 3 }, description: 'd' })
    expect(Reserve).toMatchObject({ kind: 'command', hasReply: true, hasKey: false, errorNames: ['soldOut', 'gone'], retry: { attemptsMax: 3 }, description: 'd' })
    expect(query('a.b', { request: z.string(), response: z.string() })).toMatchObject({ kind: 'query', hasReply: true })
    expect(command('stock.reserve', { schema: order }).hasReply).toBe(false)
  })

  test('shows its JSON Schema where there is one', () => {
    expect(Placed.jsonSchema).toMatchObject({ type: 'object', required: ['orderId'] })
    expect(event('a.b', { schema: z.date() }).jsonSchema).toBeUndefined()
  })

  test.each(['', 'a', 'a.b.c', 'A.b', '$JS.API', 'a.*', '__proto__', `a.${'b'.repeat(99)}`])('refuses the name %j (B27, B28)', (type) => {
    expect(() => event(type, { schema: order })).toThrow(invalid('context.kebab-name'))
  })

  test('refuses what a caller without types can get wrong', () => {
    const define = (type: unknown, options: unknown): unknown => Reflect.apply(event, undefined, [type, options])
    expect(() => define(undefined, { schema: order })).toThrow(invalid('context.kebab-name'))
    expect(() => define('a.b', {})).toThrow(invalid('Standard Schema'))
    expect(() => define('a.b', { schema: { parse: () => 1 } })).toThrow(invalid('Standard Schema'))
    expect(() => define('a.b', { schema: order, order: 'key' })).toThrow(invalid('needs a key'))
    for (const version of [0, -1, 1.5, Number.NaN, '2']) expect(() => define('a.b', { schema: order, version })).toThrow(invalid('version'))
    expect(() => define('a.b', { schema: order, version: 3, upcast: { 1: () => ({}) } })).toThrow(invalid('from version 2'))
    expect(() => Reflect.apply(command, undefined, ['a.b', { schema: order, errors: { bad: 5 } }])).toThrow(invalid('errors.bad'))
    expect(() => Reflect.apply(query, undefined, ['a.b', { request: order, response: null }])).toThrow(invalid('response'))
    expect(() => Reflect.apply(defined, undefined, [{ type: 'a.b', kind: 'event' }])).toThrow(failing('core.option_invalid'))
    expect(() => Reflect.apply(defined, undefined, [undefined])).toThrow(failing('core.option_invalid'))
  })
})

describe('encoding', () => {
  test('validates, drops unknown fields, fills in defaults and takes the key from the result', () => {
    const { body, key } = defined(Placed).encode({ orderId: 'o-1', secret: 'x' })
    expect(body.toString()).toBe('{"orderId":"o-1","note":"none"}')
    expect(key).toBe('o-1')
    expect(defined(event('a.b', { schema: order })).encode({ orderId: 'o' }).key).toBeUndefined()
  })

  test('names path and rule of data that does not fit, before anything is sent', () => {
    expect(() => defined(Placed).encode({ orderId: 5 })).toThrow(
      failing('contract.payload_invalid', { type: 'sales.order-placed', during: 'publish', issues: [expect.objectContaining({ path: 'orderId' })] }),
    )
  })

  test.each<readonly [string, Schema, unknown, string]>([
    ['a codec between text and date', z.object({ at: z.codec(z.iso.datetime(), z.date(), { decode: (text) => new Date(text), encode: (date) => date.toISOString() }) }), { at: '2024-01-01T00:00:00Z' }, '{"at":"2024-01-01T00:00:00Z"}'],
    ['a transform', z.object({ n: z.string().transform((text) => text.length) }), { n: 'four' }, '{"n":"four"}'],
    ['a coercion', z.object({ n: z.coerce.number() }), { n: '5' }, expect.stringMatching(/^\{"n":"?5"?\}$/) as string],
    ['text as a boolean', z.object({ b: z.stringbool() }), { b: 'yes' }, '{"b":"yes"}'],
    ['a schema without JSON Schema', { '~standard': { version: 1, vendor: 'tiny', validate: () => ({ value: { other: 1 } }) } }, { given: 1 }, '{"given":1}'],
    ['trimmed text', z.object({ t: z.string().trim() }), { t: ' x ' }, '{"t":"x"}'],
    ['a default deep inside', z.object({ a: z.array(z.object({ b: z.int().default(1) })) }), { a: [{}] }, '{"a":[{"b":1}]}'],
    ['loose objects', z.looseObject({ a: z.int() }), { a: 1, b: 2 }, '{"a":1,"b":2}'],
  ])('sends %s so that the consumer can run the same schema again', (_name, schema, data, text) => {
    const contract = event('a.b', { schema })
    const sent = bodyOf(contract, data)
    expect(sent).toEqual(text)
    expect(() => defined(contract).decode(1, Buffer.from(sent))).not.toThrow()
  })

  test('gives the handler what the transform makes', () => {
    const contract = defined(event('a.b', { schema: z.object({ at: z.string().transform((text) => new Date(text)) }) }))
    expect(contract.decode(1, contract.encode({ at: '2024-01-01T00:00:00Z' }).body)).toEqual({ at: new Date('2024-01-01T00:00:00Z') })
  })

  test.each<readonly [string, () => unknown, string]>([
    ['empty', () => '', 'empty'], ['not text', () => 5, 'number'], ['absent', () => undefined, 'undefined'], ['too long', () => 'x'.repeat(256), 'longer'],
    ['with a line break', () => 'a\nb', 'control'], ['with a line break behind an emoji', () => '😀\r\nb', 'control'],
    ['thrown', () => { throw new TypeError('no order') }, 'no order'],
  ])('refuses a key that is %s (B29)', (_name, key, problem) => {
    const contract: unknown = Reflect.apply(event, undefined, ['a.b', { schema: order, key }])
    expect(() => Reflect.apply(defined, undefined, [contract]).encode({ orderId: 'o' })).toThrow(
      failing('contract.attribute_invalid', { attribute: 'key', problem: expect.stringContaining(problem) }),
    )
  })

  test('holds the limit that the bus gives it', () => {
    expect(() => defined(Placed).encode({ orderId: 'o', note: 'x'.repeat(100) }, 50)).toThrow(failing('contract.payload_too_large', { bytesMax: 50 }))
    expect(() => defined(Placed).decode(1, Buffer.from('"x"'), 2)).toThrow(failing('contract.payload_too_large', { bytesMax: 2 }))
  })
})

describe('decoding', () => {
  const V2 = event('sales.order-placed', {
    version: 2,
    schema: z.object({ orderId: z.string(), currency: z.string().length(3) }),
    upcast: { 1: (old: { orderId: string }) => ({ ...old, currency: 'GBP' }) },
  })

  test('lifts older versions and validates the result', () => {
    expect(defined(V2).decode(1, Buffer.from('{"orderId":"o"}'))).toEqual({ orderId: 'o', currency: 'GBP' })
    expect(defined(V2).decode(2, Buffer.from('{"orderId":"o","currency":"EUR"}'))).toEqual({ orderId: 'o', currency: 'EUR' })
    expect(() => defined(V2).decode(2, Buffer.from('{"orderId":"o"}'))).toThrow(failing('contract.payload_invalid', { during: 'consume' }))
    expect(() => defined(V2).decode(1, Buffer.from('{"orderId":7}'))).toThrow(failing('contract.payload_invalid', { during: 'consume' }))
  })

  test('refuses newer versions (B38), broken bytes and steps that fail', () => {
    expect(() => defined(V2).decode(3, Buffer.from('{}'))).toThrow(failing('contract.version_unknown', { version: '3', versionMax: 2 }))
    expect(() => defined(V2).decode(2, Buffer.from('{'))).toThrow(failing('contract.body_malformed'))
    const broken = event('a.b', { version: 2, schema: order, upcast: { 1: (): z.input<typeof order> => { throw new TypeError('x') } } })
    expect(() => defined(broken).decode(1, Buffer.from('{}'))).toThrow(failing('contract.upcast_failed', { fromVersion: 1 }))
  })
})

describe('answers and declared errors', () => {
  const Reserve = command('stock.reserve', { schema: order, response: z.object({ left: z.int(), from: z.string().default('here') }), errors: { soldOut: z.object({ sku: z.string() }) } })
  const Note = command('stock.note', { schema: order })

  test('an answer is validated on both sides', () => {
    const contract = defined(Reserve)
    expect(contract.encodeReply({ left: 1 }).toString()).toBe('{"left":1,"from":"here"}')
    expect(contract.decodeReply(Buffer.from('{"left":1}'))).toEqual({ left: 1, from: 'here' })
    expect(() => contract.encodeReply({ left: 'x' })).toThrow(failing('contract.payload_invalid', { during: 'reply' }))
    expect(() => contract.decodeReply(Buffer.from('{}'))).toThrow(failing('contract.payload_invalid', { during: 'reply' }))
  })

  test('without a response schema the answer is null, whatever the handler returned', () => {
    expect(defined(Note).encodeReply({ anything: 1n }).toString()).toBe('null')
    expect(defined(Note).decodeReply(Buffer.from('{"a":1}'))).toBeUndefined()
  })

  test('a declared error is made with data that fits, and found again', () => {
    const error = Reserve.error('soldOut', { sku: 'a' })
    expect(error).toMatchObject({ code: 'contract.declared_error', disposition: 'reject', details: { type: 'stock.reserve', name: 'soldOut', data: { sku: 'a' } } })
    expect(Reserve.errorIn(error)).toEqual({ type: 'stock.reserve', name: 'soldOut', data: { sku: 'a' } })
    expect(() => Reflect.apply(Reserve.error.bind(Reserve), undefined, ['soldOut', {}])).toThrow(failing('contract.payload_invalid', { during: 'reply' }))
    expect(() => Reflect.apply(Reserve.error.bind(Reserve), undefined, ['gone', {}])).toThrow(invalid('not declared'))
    expect(() => Reflect.apply(Reserve.error.bind(Reserve), undefined, ['constructor', {}])).toThrow(invalid('not declared'))
  })

  test('an error of another contract, an undeclared one and anything else is not found', () => {
    const declared = (type: string, name: string): TrunklineError => new TrunklineError('contract.declared_error', { type, name, data: null })
    for (const thrown of [declared('stock.other', 'soldOut'), declared('stock.reserve', 'gone'), new Error('x'), undefined, 'soldOut', new TrunklineError('bus.rejected', { reason: '' })]) {
      expect(Reserve.errorIn(thrown)).toBeUndefined()
    }
  })
})

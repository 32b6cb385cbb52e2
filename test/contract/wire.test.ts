import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { checkHeaders, escapeHeader, isUserHeader, readMessage, unescapeHeader, writeAttributes } from '../../src/contract/wire.ts'
import type { WireMessage } from '../../src/core/envelope.ts'

const text = fc.string({ unit: 'grapheme-composite', minLength: 1, maxLength: 40 }).filter((value) => value.isWellFormed() && !/[\u0000-\u001f\u007f-\u009f]/.test(value)) // oxlint-disable-line no-control-regex -- control characters are refused elsewhere
const maybe = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(arbitrary, { nil: undefined })

const messages: fc.Arbitrary<WireMessage> = fc.record({
  id: text,
  source: text,
  type: text,
  version: fc.integer({ min: 1, max: 1_000_000 }),
  time: text,
  contentType: fc.constantFrom('application/json', 'application/json; charset=utf-8', 'application/vnd.acme+json'),
  key: maybe(text),
  correlationId: maybe(text),
  causationId: maybe(text),
  deadline: maybe(text),
  tenant: maybe(fc.constantFrom('acme', 'a-1', '0')),
  traceparent: maybe(text),
  tracestate: maybe(text),
  hops: fc.nat({ max: 1_000 }),
  replyTo: maybe(text),
  outcome: maybe(text),
  headers: maybe(fc.dictionary(fc.constantFrom('a', 'b-c', 'x1'), text)),
  body: fc.uint8Array({ maxLength: 20 }),
  defect: fc.constant(undefined),
})

function written(message: WireMessage, encode: (value: string) => string): Map<string, string> {
  const attributes = new Map<string, string>()
  writeAttributes(message, (name, value) => {
    expect(attributes.has(name)).toBe(false)
    expect(name).toMatch(/^[a-z0-9]{1,20}$/) // names of CloudEvents attributes
    attributes.set(name, encode(value))
  })
  return attributes
}

const read = (attributes: ReadonlyMap<string, string>, parts: { readonly contentType?: string; readonly defect?: string } = {}): WireMessage =>
  readMessage({ attribute: (name) => attributes.get(name), contentType: parts.contentType, headers: undefined, body: Buffer.from('null'), placeId: 'place-7', ...parts })

describe('a message', () => {
  test('is the same after it was written and read', () => {
    fc.assert(
      fc.property(messages, (message) => {
        const attributes = written(message, (value) => value)
        const { contentType, headers, body } = message
        expect(readMessage({ attribute: (name) => attributes.get(name), contentType, headers, body, placeId: 'p' })).toEqual(message)
      }),
    )
  })

  test('is the same through percent-encoded headers', () => {
    fc.assert(
      fc.property(messages, (message) => {
        const attributes = written(message, escapeHeader)
        const { contentType, headers, body } = message
        const attribute = (name: string): string | undefined => {
          const value = attributes.get(name)
          return value === undefined ? undefined : unescapeHeader(value)
        }
        expect(readMessage({ attribute, contentType, headers, body, placeId: 'p' })).toEqual(message)
      }),
    )
  })

  const least = new Map([['specversion', '1.0'], ['id', 'i'], ['source', '/s'], ['type', 'a.b']])
  const withAttribute = (name: string, value: string | undefined): Map<string, string> => {
    const attributes = new Map(least)
    if (value === undefined) attributes.delete(name)
    else attributes.set(name, value)
    return attributes
  }

  test('needs four attributes, and every other one has its default', () => {
    expect(read(least)).toEqual({
      id: 'i', source: '/s', type: 'a.b', version: 1, time: '', contentType: 'application/json', key: undefined, correlationId: undefined, causationId: undefined,
      deadline: undefined, tenant: undefined, traceparent: undefined, tracestate: undefined, hops: 0, replyTo: undefined, outcome: undefined, headers: undefined,
      body: Buffer.from('null'), defect: undefined,
    })
  })

  test.each<readonly [string, string | undefined, string]>([
    ['specversion', undefined, 'CloudEvents'], ['specversion', '0.3', 'CloudEvents'], ['specversion', '1', 'CloudEvents'],
    ['id', undefined, 'CloudEvents'], ['id', '', 'id is empty'], ['id', 'x'.repeat(256), 'longer'], ['id', 'a\nb', 'control'],
    ['source', undefined, 'CloudEvents'], ['source', '', 'CloudEvents'], ['type', undefined, 'CloudEvents'], ['type', '', 'CloudEvents'],
    ['partitionkey', '', 'key is empty'], ['partitionkey', 'x'.repeat(256), 'longer'], ['partitionkey', 'a\r\nb', 'control'], ['partitionkey', '😀\nb', 'control'],
    ['tenant', '../other', 'tenant'], ['tenant', '', 'tenant'],
    ['dataversion', '0', 'dataversion'], ['dataversion', '-1', 'dataversion'], ['dataversion', '1.5', 'dataversion'], ['dataversion', 'two', 'dataversion'], ['dataversion', '', 'dataversion'],
    ['dataversion', '1e400', 'dataversion'], ['dataversion', '1000001', 'dataversion'], ['dataversion', '0x2', 'dataversion'], ['dataversion', ' 2', 'dataversion'], ['dataversion', '1e1', 'dataversion'],
    // B36
    ['hops', '-1', 'hops'], ['hops', '1e99', 'hops'], ['hops', 'many', 'hops'], ['hops', '', 'hops'], ['hops', '1.5', 'hops'],
  ])('with %s %j is no message of ours, and is readable nevertheless', (name, value, defect) => {
    const message = read(withAttribute(name, value))
    expect(message).toMatchObject({ defect: expect.stringContaining(defect) })
    expect(message.id).toBe(name === 'id' ? 'place-7' : 'i')
    expect(message.key).toBeUndefined()
    expect([message.version >= 0, message.hops >= 0]).toEqual([true, true])
  })

  test.each(['text/plain', 'application/cloudevents+json', 'application/cloudevents-batch+json', 'application/octet-stream', '', 'json'])('of content type %j is no message of ours (B40)', (contentType) => {
    expect(read(least, { contentType }).defect).toContain('not JSON')
  })

  test.each(['application/json', 'application/json;charset=utf-8', 'Application/JSON ; charset=UTF-8', 'application/vnd.acme.v1+json', 'text/x+json'])('of content type %j is one', (contentType) => {
    expect(read(least, { contentType }).defect).toBeUndefined()
  })

  test('has the defect that the adapter found, before any other', () => {
    expect(read(withAttribute('id', undefined), { defect: 'no headers' }).defect).toBe('no headers')
  })
})

describe('checkHeaders', () => {
  test.each<Readonly<Record<string, string>>>([{}, { a: '' }, { 'x-request-id': '1', 'user-agent': 'ü 😀' }, { constructor: 'x' }, { ['a'.repeat(64)]: 'x' }])('takes %j', (headers) => {
    expect(() => checkHeaders(headers)).not.toThrow()
    for (const name of Object.keys(headers)) expect(isUserHeader(name)).toBe(true)
  })

  // B23 to B26: broken names and values, and every name that steers a broker or the library.
  test.each<readonly [string, unknown, string]>([
    ['', 'x', 'lower-case'], ['A', 'x', 'lower-case'], ['a b', 'x', 'lower-case'], ['a:b', 'x', 'lower-case'], ['a\r\nb', 'x', 'lower-case'], ['ü', 'x', 'lower-case'], ['a_b', 'x', 'lower-case'],
    ['a'.repeat(65), 'x', 'lower-case'], ['1a', 'x', 'lower-case'], ['Nats-Rollup', 'all', 'lower-case'], ['CC', 'x', 'lower-case'],
    ['a', 'x\r\nNats-Rollup: all', 'control'], ['a', 'x\u0000', 'control'], ['a', '\u0085', 'control'], ['a', '😀\n', 'control'], ['a', '\ud800', 'control'],
    ['a', 5, 'not a string'], ['a', undefined, 'not a string'], ['a', ['x'], 'not a string'],
    ['nats-rollup', 'all', 'reserved'], ['nats-msg-id', 'x', 'reserved'], ['nats-ttl', '1', 'reserved'], ['nats-expected-stream', 'x', 'reserved'], ['nats-schedule', 'x', 'reserved'],
    ['cc', 'x', 'reserved'], ['bcc', 'x', 'reserved'], ['x-death', 'x', 'reserved'], ['x-delay', '1', 'reserved'], ['expiration', '1', 'reserved'], ['x-delivery-count', '1', 'reserved'],
    ['x-stream-offset', '1', 'reserved'], ['x-match', 'any', 'reserved'], ['amq', 'x', 'reserved'], ['ce-id', 'x', 'reserved'], ['cloudevents', 'x', 'reserved'],
    ['trunkline-attempts', '1', 'reserved'], ['x-trunkline-a', '1', 'reserved'], ['content-type', 'x', 'reserved'], ['status', '503', 'reserved'], ['description', 'x', 'reserved'], ['reply-to', 'x', 'reserved'],
  ])('refuses %j: %j', (name, value, problem) => {
    expect(() => Reflect.apply(checkHeaders, undefined, [{ [name]: value }])).toThrow(
      expect.objectContaining({ code: 'contract.header_refused', details: { header: name.slice(0, 100), problem: expect.stringContaining(problem) } }),
    )
  })

  test('refuses more than 64 headers or 8 KiB in all', () => {
    const many = (count: number): Record<string, string> => Object.fromEntries(Array.from({ length: count }, (_, index) => [`h${index}`, '']))
    expect(() => checkHeaders(many(64))).not.toThrow()
    expect(() => checkHeaders(many(65))).toThrow(expect.objectContaining({ code: 'contract.header_refused' }))
    expect(() => checkHeaders({ a: 'x'.repeat(8_191) })).not.toThrow()
    expect(() => checkHeaders({ a: 'ü'.repeat(4_096) })).toThrow(expect.objectContaining({ details: { header: '', problem: expect.stringContaining('8193 bytes') } }))
  })
})

describe('header values', () => {
  test('are printable ASCII without blanks, quotes and bare percent signs, and are read back', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (value) => {
        const escaped = escapeHeader(value)
        expect(/^(?:[\u0021\u0023\u0024\u0026-\u007e]|%[0-9A-F]{2})*$/.test(escaped)).toBe(true)
        expect(unescapeHeader(escaped)).toBe(value)
      }),
    )
  })

  test.each([['Euro € 😀', 'Euro%20%E2%82%AC%20%F0%9F%98%80'], ['100%', '100%25'], ['say "hi"', 'say%20%22hi%22'], ['plain-text_1.2/3', 'plain-text_1.2/3'], ['', '']])('%j is written %j', (value, escaped) => {
    expect(escapeHeader(value)).toBe(escaped)
  })

  test.each<readonly [string, string | undefined]>([
    ['%e2%82%ac', '€'], ['plain text', 'plain text'], ['50% off', '50% off'], ['%zz', '%zz'], ['%', '%'], ['"quoted \\"text\\""', 'quoted "text"'], ['"', '"'], ['""', ''],
    ['%ff', undefined], ['%ED%A0%80', undefined], ['%00', '\u0000'],
  ])('%j of another writer is read as %j', (escaped, value) => {
    expect(unescapeHeader(escaped)).toBe(value)
  })
})

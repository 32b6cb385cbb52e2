import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeBody, encodeBody } from '../../src/contract/body.ts'

const encode = (data: unknown, bytesMax?: number): Buffer => encodeBody('a.b', data, bytesMax)
const decode = (body: string | Uint8Array, bytesMax?: number): unknown => decodeBody('a.b', typeof body === 'string' ? Buffer.from(body) : body, bytesMax)
const failing = (code: string, details: Record<string, unknown> = {}): unknown => expect.objectContaining({ code, details: expect.objectContaining({ type: 'a.b', ...details }) })

const nested = (depth: number): unknown => {
  let value: unknown = 1
  for (let level = 0; level < depth; level++) value = level % 2 === 0 ? [value] : { a: value }
  return value
}

class Money {
  readonly cents = 5
}

const cycle: Record<string, unknown> = {}
cycle['self'] = cycle

describe('encodeBody', () => {
  test.each<readonly [string, unknown, string]>([
    ['undefined', undefined, 'null'],
    ['null', null, 'null'],
    ['text', 'Grüße 😀 \u2028', '"Grüße 😀 \u2028"'],
    ['an absent field', { a: undefined, b: 1 }, '{"b":1}'],
    ['an object without prototype', Object.assign(Object.create(null), { a: 1 }), '{"a":1}'],
    ['-0 (B19)', -0, '0'],
    ['NUL inside text (B06)', '\u0000', '"\\u0000"'],
    ['keys that only look dangerous (B09)', { toString: 1, hasOwnProperty: 2, then: 3, proto: 4 }, '{"toString":1,"hasOwnProperty":2,"then":3,"proto":4}'],
    ['the largest whole number', Number.MAX_SAFE_INTEGER, '9007199254740991'],
    ['a large number that is written with an exponent', 1e300, '1e+300'],
    ['a getter', { get a() { return 1 } }, '{"a":1}'],
  ])('writes %s', (_name, data, text) => {
    expect(encode(data).toString()).toBe(text)
  })

  test.each<readonly [string, unknown, string, string]>([
    ['NaN (B15)', { a: Number.NaN }, 'a', 'NaN'],
    ['Infinity (B15)', [1, Infinity], '1', 'Infinity'],
    ['undefined inside an array (B15)', { a: [1, undefined] }, 'a.1', 'undefined'],
    ['a hole in an array', { a: Array.from({ length: 2 }).concat([]).fill(1, 0, 1) }, 'a.1', 'undefined'],
    ['a function (B15)', { a: () => 1 }, 'a', 'function'],
    ['a symbol (B15)', { a: Symbol('x') }, 'a', 'symbol'],
    ['a bigint (B16)', { a: { b: 1n } }, 'a.b', 'bigint'],
    ['a Date (B17)', { at: new Date(0) }, 'at', 'Date'],
    ['an invalid Date (B18)', { at: new Date(Number.NaN) }, 'at', 'Date'],
    ['a Map (B17)', { a: new Map([[1, 2]]) }, 'a', 'Map'],
    ['a Set (B17)', new Set([1]), '', 'Set'],
    ['bytes (B17)', { a: new Uint8Array(2) }, 'a', 'Uint8Array'],
    ['an instance (B17)', { price: new Money() }, 'price', 'Money'],
    ['a boxed number', { a: Object(5) }, 'a', 'Number'],
    ['a promise', { a: Promise.resolve(1) }, 'a', 'Promise'],
    ['toJSON of its own (B21)', { a: { toJSON: () => 'x' } }, 'a.toJSON', 'function'],
    ['a getter that throws (B21)', { get a(): number { throw new TypeError('no') } }, '', 'cannot be read'],
    ['a lone surrogate (B05)', { a: ['x\ud800'] }, 'a.0', 'surrogate'],
    ['a lone surrogate in a name (B05)', { a: { 'x\udc00': 1 } }, 'a', 'surrogate'],
    ['a cycle (B20)', cycle, Array.from({ length: 64 }, () => 'self').join('.'), 'cycle'],
    ['65 levels (B10)', nested(65), expect.any(String) as string, '64 levels'],
    ['__proto__ (B07)', JSON.parse('{"a":{"__proto__":{"admin":true}}}'), 'a.__proto__', 'prototypes'],
    ['constructor (B08)', { constructor: { prototype: 1 } }, 'constructor', 'prototypes'],
    ['prototype (B08)', { prototype: 1 }, 'prototype', 'prototypes'],
    // JSON has room for them, but no reader of ours would take them back (B13).
    ['a whole number beyond 2^53', { a: 2 ** 53 }, 'a', 'exact'],
    ['a negative whole number beyond 2^53', { a: -1e20 }, 'a', 'exact'],
  ])('refuses %s', (_name, data, path, problem) => {
    expect(() => encode(data)).toThrow(failing('contract.payload_unencodable', { path, problem: expect.stringContaining(problem) }))
  })

  test('takes 64 levels and reads them back', () => {
    expect(decode(encode(nested(64)))).toEqual(nested(64))
  })

  test('refuses one byte beyond the limit with both figures (B22)', () => {
    const text = 'x'.repeat(262_142)
    expect(encode(text).length).toBe(262_144)
    expect(() => encode(`${text}y`)).toThrow(failing('contract.payload_too_large', { bytes: 262_145, bytesMax: 262_144 }))
    expect(() => encode('üü', 5)).toThrow(failing('contract.payload_too_large', { bytes: 6, bytesMax: 5 }))
  })
})

describe('decodeBody', () => {
  test.each<readonly [string, string, unknown]>([
    ['blanks around', ' {"a" : [1, 2.5e3, -0.1, true, null] } ', { a: [1, 2_500, -0.1, true, null] }],
    ['the last of two equal names (B12)', '{"a":1,"a":2}', { a: 2 }],
    ['digits inside text', '{"id":"9007199254740993","\\"9007199254740993":"1e400"}', { id: '9007199254740993', '"9007199254740993': '1e400' }],
    ['the largest whole number', '[9007199254740991,-9007199254740991]', [9_007_199_254_740_991, -9_007_199_254_740_991]],
    ['long decimals', '[0.1234567890123456789,123456789012.345678]', [0.123_456_789_012_345_68, 123_456_789_012.345_67]],
    ['a large number with an exponent', '1e+300', 1e300],
    ['the least number', '5e-324', 5e-324],
    ['zero in many forms', '[0e0,0.0e-999,0E+5,-0.0]', [0, 0, 0, -0]],
    ['dangerous words as values', '{"a":["__proto__","constructor","prototype","\\u005f_proto__"]}', { a: ['__proto__', 'constructor', 'prototype', '__proto__'] }],
    ['harmless names that begin like dangerous ones', '{"_p":1,"cons":2,"proto":3,"\\u0061":4,"":5}', { _p: 1, cons: 2, proto: 3, a: 4, '': 5 }],
    ['text beyond ASCII', '"Grüße 😀"', 'Grüße 😀'],
    ['escapes at the end of text', '["\\\\","\\"",1]', ['\\', '"', 1]],
  ])('reads %s', (_name, text, data) => {
    expect(decode(text)).toEqual(data)
  })

  test.each<readonly [string, string | Uint8Array, string]>([
    ['nothing (B01)', '', 'empty'],
    ['what is no JSON (B02)', 'hello', 'not JSON'],
    ['truncated JSON (B02)', '{"a":[1,', 'not JSON'],
    ['a number and more', '1 2', 'not JSON'],
    ['invalid UTF-8 (B03)', Buffer.from([0x22, 0xff, 0x22]), 'not UTF-8'],
    ['a truncated UTF-8 sequence (B03)', Buffer.from([0x22, 0xe2, 0x82, 0x22]), 'not UTF-8'],
    ['a surrogate written as UTF-8 (B05)', Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22]), 'not UTF-8'],
    ['a byte-order mark (B04)', Buffer.from([0xef, 0xbb, 0xbf, 0x31]), 'not JSON'],
    ['UTF-16', Buffer.from('{"a":1}', 'utf16le'), 'not JSON'],
    ['65 levels (B10)', `${'['.repeat(65)}${']'.repeat(65)}`, '64 levels'],
    ['100,000 levels (B10)', `${'['.repeat(100_000)}${']'.repeat(100_000)}`, '64 levels'],
    ['100,000 levels that do not end (B10)', '['.repeat(100_000), 'not JSON'],
    ['a whole number beyond 2^53 (B13)', '{"id":9007199254740993}', '9007199254740993'],
    ['one with a sign', '[-9007199254740992]', '-9007199254740992'],
    ['one with a point', '[9007199254740993.0]', '9007199254740993.0'],
    ['1e400 (B14)', '[1e400]', '1e400'],
    ['-1E999 (B14)', '[-1E999]', '-1E999'],
    ['one beside a dangerous name', '{"a":9007199254740993,"__proto__":1}', '__proto__'],
    ['__proto__ (B07)', '{"a":[{"__proto__":{}}]}', '__proto__'],
    ['__proto__ in escapes (B07)', '{"\\u005f_proto__":1}', '__proto__'],
    ['__proto__ in other escapes (B07)', '{"__prot\\u006F__":1}', '__proto__'],
    ['constructor (B08)', '{"constructor":{"prototype":1}}', 'constructor'],
    ['constructor in escapes (B08)', '{"\\u0063onstructor":1}', 'constructor'],
    ['prototype deep inside (B08)', '[[[{"a":{"prototype":1}}]]]', 'prototype'],
  ])('refuses %s', (_name, body, problem) => {
    expect(() => decode(body)).toThrow(failing('contract.body_malformed', { problem: expect.stringContaining(problem) }))
  })

  test('refuses a body beyond the limit before it reads it', () => {
    expect(() => decode('['.repeat(6), 5)).toThrow(failing('contract.payload_too_large', { bytes: 6, bytesMax: 5 }))
  })

  test('reads as many elements as fit, dangerous words among them (B11)', () => {
    const many = `["\\u0061",${'0,'.repeat(1_000_000)}{"cons":1}]`
    expect(decode(many, 16_777_216)).toHaveLength(1_000_002)
    expect(() => decode(many.replace('cons', 'constructor'), 16_777_216)).toThrow(failing('contract.body_malformed'))
  })

  test('reads from the middle of a larger buffer', () => {
    const pool = new Uint8Array([0x31, 0x5b, 0x32, 0x5d, 0x33])
    expect(decode(pool.subarray(1, 4))).toEqual([2])
  })

  test('changes no prototype', () => {
    expect(() => decode('{"__proto__":{"admin":true}}')).toThrow()
    expect(Reflect.get({}, 'admin')).toBeUndefined()
  })
})

describe('what was encoded', () => {
  const dangerous = new Set(['__proto__', 'constructor', 'prototype'])
  const json = fc.jsonValue({ maxDepth: 6, stringUnit: 'binary' }).filter((value) => !JSON.stringify(value).match(/"(?:__proto__|constructor|prototype)":/))
  const anything = fc.anything({ maxDepth: 5, key: fc.string().filter((key) => !dangerous.has(key)), withBigInt: true, withDate: true, withMap: true, withSparseArray: true, withNullPrototype: true })

  test('is decoded to what JSON makes of it', () => {
    fc.assert(fc.property(json, (value) => {
      let body: Buffer
      try {
        body = encode(value)
      } catch (error) {
        // Whole numbers beyond 2^53 are the only JSON that is refused.
        expect(error).toMatchObject({ code: 'contract.payload_unencodable', details: { problem: expect.stringContaining('exact') } })
        return
      }
      expect(decode(body)).toEqual(JSON.parse(JSON.stringify(value)))
      expect(body.toString()).toBe(JSON.stringify(value))
    }))
  })

  test('can always be decoded, and whatever cannot is refused with our error', () => {
    fc.assert(fc.property(anything, (value) => {
      let body: Buffer
      try {
        body = encode(value)
      } catch (error) {
        expect(error).toMatchObject({ code: 'contract.payload_unencodable' })
        return
      }
      expect(() => decode(body)).not.toThrow()
    }), { numRuns: 500 })
  })

  test('is not taken for something else however the bytes are damaged', () => {
    fc.assert(fc.property(json, fc.nat(), fc.integer({ min: 0, max: 255 }), (value, at, byte) => {
      const body = Buffer.from(JSON.stringify(value))
      body[at % body.length] = byte
      try {
        decode(body)
      } catch (error) {
        expect(error).toMatchObject({ code: 'contract.body_malformed' })
      }
    }), { numRuns: 500 })
  })
})

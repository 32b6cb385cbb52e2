import type { PublishOptions } from '../bus/options.ts'
import type { WireMessage } from '../core/envelope.ts'
import type { ErrorCode } from '../core/errors.ts'
import { BODY_BYTES_MAX, HOPS_MAX } from '../core/limits.ts'
import type { Schema } from '../contract/schema.ts'
import { userError } from './conformance-stage.ts'

// The bad inputs by their numbers, as data.

/** A message that is dead-lettered at once. */
export interface Unreadable {
  readonly what: string
  readonly reason: ErrorCode
  readonly body?: Uint8Array
  readonly parts?: Partial<WireMessage>
}

const text = (json: string): Uint8Array => Buffer.from(json)
const nested = (depth: number): string => `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`

/** Messages that arrive and that nobody can read. */
export const UNREADABLE: readonly Unreadable[] = [
  { what: 'B01 an empty body', reason: 'contract.body_malformed', body: text('') },
  { what: 'B02 half of a JSON text', reason: 'contract.body_malformed', body: text('{"n":1,"te') },
  { what: 'B02 no JSON at all', reason: 'contract.body_malformed', body: text('hello') },
  {
    what: 'B03 bytes that are no UTF-8',
    reason: 'contract.body_malformed',
    body: Buffer.concat([text('{"n":1,"text":"'), Buffer.from([0xff, 0xc0]), text('"}')]),
  },
  { what: 'B04 a byte-order mark', reason: 'contract.body_malformed', body: Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), text('{"n":1}')]) },
  { what: 'B07 the key __proto__', reason: 'contract.body_malformed', body: text('{"n":1,"__proto__":{"isAdmin":true}}') },
  { what: 'B07 the key __proto__, escaped', reason: 'contract.body_malformed', body: text(String.raw`{"n":1,"\u005f_proto__":{"isAdmin":true}}`) },
  { what: 'B08 the key constructor', reason: 'contract.body_malformed', body: text('{"n":1,"constructor":{"prototype":{"a":1}}}') },
  { what: 'B10 nesting of 100,000 levels', reason: 'contract.body_malformed', body: text('['.repeat(100_000)) },
  { what: 'B10 nesting of 65 levels', reason: 'contract.body_malformed', body: text(nested(65)) },
  { what: 'B13 an integer beyond 2^53', reason: 'contract.body_malformed', body: text('{"n":9007199254740993}') },
  { what: 'B14 a number beyond every double', reason: 'contract.body_malformed', body: text('{"n":1e400}') },
  { what: 'B22 a body one byte too large', reason: 'contract.payload_too_large', body: text(`{"n":1,"text":"${'x'.repeat(BODY_BYTES_MAX - 17 + 1)}"}`) },
  { what: 'B36 too many hops', reason: 'bus.hops_exceeded', parts: { hops: HOPS_MAX + 1 } },
  { what: 'B36 a million hops', reason: 'bus.hops_exceeded', parts: { hops: 1_000_000 } },
  { what: 'B38 a newer version', reason: 'contract.version_unknown', parts: { version: 2 } },
  { what: 'data that do not fit', reason: 'contract.payload_invalid', body: text('{"n":"one"}') },
  { what: 'JSON of another shape', reason: 'contract.payload_invalid', body: text('[]') },
  { what: 'null', reason: 'contract.payload_invalid', body: text('null') },
]

/** A publish that is refused before anything is sent. */
export interface Refused {
  readonly what: string
  readonly code: ErrorCode
  readonly data?: unknown
  readonly options?: PublishOptions
}

/** What a caller in plain JavaScript may give, whatever the types say. */
export function untyped<T>(value: unknown): T {
  // The case is about what happens to values that the compiler would refuse.
  return value as T
}

const circular: Record<string, unknown> = {}
circular['self'] = circular

const RESERVED_HEADERS: readonly string[] = [
  'nats-rollup', 'nats-msg-id', 'nats-ttl', 'nats-expected-stream', 'nats-schedule', 'Nats-Rollup', 'ce-id', 'cc', 'bcc', 'x-death', 'x-delay', 'expiration',
  'trunkline-attempt', 'content-type',
]

function refusedHeaders(what: string, headers: unknown): readonly Refused[] {
  return [{ what: `${what} the headers ${JSON.stringify(headers).slice(0, 60)}`, code: 'contract.header_refused', options: { headers: untyped(headers) } }]
}

function refusedAttribute(what: string, options: PublishOptions): Refused {
  return { what: `${what}: ${JSON.stringify(options).slice(0, 60)}`, code: 'contract.attribute_invalid', options }
}

/** Publishes that are refused. */
export const REFUSED: readonly Refused[] = [
  { what: 'B05 a lone surrogate', code: 'contract.payload_unencodable', data: { text: 'a\ud800b' } },
  { what: 'B07 the key __proto__', code: 'contract.payload_unencodable', data: JSON.parse('{"__proto__":{"a":1}}') },
  { what: 'B08 the key constructor', code: 'contract.payload_unencodable', data: { constructor: { a: 1 } } },
  { what: 'B10 nesting of 65 levels', code: 'contract.payload_unencodable', data: JSON.parse(nested(65)) },
  { what: 'B15 NaN', code: 'contract.payload_unencodable', data: { n: Number.NaN } },
  { what: 'B15 Infinity', code: 'contract.payload_unencodable', data: { n: [Infinity] } },
  { what: 'B15 a function', code: 'contract.payload_unencodable', data: { n: () => 1 } },
  { what: 'B15 a symbol', code: 'contract.payload_unencodable', data: { n: Symbol('s') } },
  { what: 'B15 undefined in a list', code: 'contract.payload_unencodable', data: { n: [undefined] } },
  { what: 'B16 a BigInt', code: 'contract.payload_unencodable', data: { n: 10n } },
  { what: 'B17 a Map', code: 'contract.payload_unencodable', data: { n: new Map([[1, 2]]) } },
  { what: 'B17 a Date', code: 'contract.payload_unencodable', data: { n: new Date(0) } },
  { what: 'B18 an invalid Date', code: 'contract.payload_unencodable', data: { n: new Date(Number.NaN) } },
  { what: 'B20 a circle', code: 'contract.payload_unencodable', data: circular },
  {
    what: 'B21 a getter that throws',
    code: 'contract.payload_unencodable',
    data: {
      get n(): number {
        throw userError('getter')
      },
    },
  },
  { what: 'B22 a body one byte too large', code: 'contract.payload_too_large', data: 'x'.repeat(BODY_BYTES_MAX - 1) },
  { what: 'B22 a body of 16 MiB', code: 'contract.payload_too_large', data: 'x'.repeat(16_777_217) },
  ...refusedHeaders('B23 ten thousand headers', Object.fromEntries(Array.from({ length: 10_000 }, (_, n) => [`h${n}`, 'v']))),
  ...refusedHeaders('B23 a header of 64 KiB', { big: 'x'.repeat(65_536) }),
  ...['a\r\nb: c', 'a\nb', 'a\u0000b'].flatMap((value) => refusedHeaders('B24 the value of', { mark: value })),
  ...['', ' ', 'a b', 'a:b', 'ä', 'A', 'a\r\nb', 'a\u0000'].flatMap((name) => refusedHeaders('B24 the name of', { [name]: 'v' })),
  ...RESERVED_HEADERS.flatMap((name) => refusedHeaders('B25, B26 the reserved name of', { [name]: 'all' })),
  ...refusedHeaders('no text in', { mark: 5 }),
  ...['../other', 'a.b', '*', 'A', '', 'x'.repeat(64), 'a\nb'].map((tenant) => refusedAttribute('B30 a tenant', { tenant })),
  ...['', 'x'.repeat(10_240), 'a\nb', '\u0000'].map((id) => refusedAttribute('B32 an id', { id })),
  refusedAttribute('a correlation id', { correlationId: 'a\nb' }),
  refusedAttribute('a trace', { traceparent: 'trace' }),
  ...[-1, Number.NaN, 0, 10 ** 15, Infinity, '10'].map((timeoutMs): Refused => ({
    what: `B43 the time limit ${timeoutMs}`,
    code: 'core.option_invalid',
    options: { timeoutMs: untyped(timeoutMs) },
  })),
]

/** Keys that are allowed, however they look. B31: the two spellings of é are two keys. */
export const ODD_KEYS: readonly string[] = [
  '.', 'a.b', '*', '>', '#', 'a b', ' ', '🚚', '%2e', '=', '=2E', '-', '$SYS.x', 'a/b\\c', '"', "'; DROP TABLE x; --", 'x'.repeat(255), '\u00e9', 'e\u0301',
  '__proto__', 'constructor', '漢字'.repeat(40),
]

/** Values that JSON holds, however they look. */
export const ODD_VALUES: readonly unknown[] = [
  { n: 1, toString: 'x', hasOwnProperty: 'y', then: 'z', valueOf: null },
  0, -1, '', 'a\u0000b', '\u2028\u2029', '\u202e', '🚚', '\u00e9', 'e\u0301', [], {}, [[[]]],
  { '': 0 }, { 'a.b': 1, '*': 2, '>': 3 }, 9_007_199_254_740_991, 5e-324, 1.797_693_134_862_315_7e308, 'x'.repeat(100_000),
  Array.from({ length: 10_000 }, (_, n) => n), true, false,
]

/** Names of types outside the grammar (B27, B28). */
export const BAD_TYPES: readonly string[] = [
  '', ' ', 'a', 'a..b', '.a', 'a.', '*', 'a.*', 'a.>', '#', '$SYS.x', '$JS.API.x', 'A.b', 'a.B', 'a.b.c',
  'ä.b', `a.${'x'.repeat(300)}`, 'constructor', '__proto__', 'a b.c',
]

/** A schema that takes anything. */
export const ANYTHING: Schema = { '~standard': { version: 1, vendor: 'conformance', validate: (value: unknown) => ({ value }) } }

import type { WireMessage } from '../core/envelope.ts'
import { TrunklineError } from '../core/errors.ts'
import { HEADER_BYTES_MAX, HEADER_COUNT_MAX } from '../core/limits.ts'
import { hasControls, idProblem, isTenant, keyProblem } from './names.ts'

// The one mapping between messages and CloudEvents 1.0 attributes; `docs/wire-format.md` describes it
// for programs in other languages. Brokers differ only in the prefix and in where the content type is.

/** Media type of every body that the library writes. */
export const CONTENT_TYPE = 'application/json'
/** Largest number of a version on the wire. */
const VERSION_MAX = 1_000_000

/** Calls `set` with every CloudEvents attribute that the message has, `datacontenttype` apart. */
export function writeAttributes(message: WireMessage, set: (name: string, value: string) => void): void {
  set('specversion', '1.0')
  set('id', message.id)
  set('source', message.source)
  set('type', message.type)
  if (message.time !== '') set('time', message.time)
  if (message.version !== 1) set('dataversion', `${message.version}`)
  if (message.key !== undefined) set('partitionkey', message.key)
  if (message.correlationId !== undefined) set('correlationid', message.correlationId)
  if (message.causationId !== undefined) set('causationid', message.causationId)
  if (message.deadline !== undefined) set('deadline', message.deadline)
  if (message.tenant !== undefined) set('tenant', message.tenant)
  if (message.traceparent !== undefined) set('traceparent', message.traceparent)
  if (message.tracestate !== undefined) set('tracestate', message.tracestate)
  if (message.hops > 0) set('hops', `${message.hops}`)
  if (message.replyTo !== undefined) set('replyto', message.replyTo)
  if (message.outcome !== undefined) set('outcome', message.outcome)
}

/** Names of all attributes, in the order in which they are written; the content type has its own place with some brokers. */
export const ATTRIBUTE_NAMES: readonly string[] = [
  'datacontenttype', 'specversion', 'id', 'source', 'type', 'time', 'dataversion', 'partitionkey', 'correlationid', 'causationid',
  'deadline', 'tenant', 'traceparent', 'tracestate', 'hops', 'replyto', 'outcome',
]

/** What an adapter found of a message beside its attributes. */
export interface WireRest {
  readonly contentType: string | undefined
  /** Headers that are neither CloudEvents attributes nor the broker's own. */
  readonly headers: Readonly<Record<string, string>> | undefined
  readonly body: Uint8Array
  /** Id for messages that carry none or a bad one: the place in the broker, never random. */
  readonly placeId: string
  /** Why the headers could not be read at all, where that is so. */
  readonly defect?: string | undefined
}

/** What an adapter found of a message. */
export interface WireParts extends WireRest {
  /** The value of a CloudEvents attribute, already unescaped, or undefined. */
  readonly attribute: (name: string) => string | undefined
}

/**
 * Reads a message. It never throws: what cannot be a message of ours comes back with `defect` set
 * and is dead-lettered by the bus with that reason.
 */
export function readMessage(parts: WireParts): WireMessage {
  return messageFromValues(ATTRIBUTE_NAMES.map((name) => parts.attribute(name)), parts)
}

/** As `readMessage`, for an adapter that has the unescaped values at the places of `ATTRIBUTE_NAMES` already. */
export function messageFromValues(values: readonly (string | undefined)[], rest: WireRest): WireMessage {
  const id = values[2]
  const type = values[4]
  const source = values[3]
  const key = values[7]
  const tenant = values[11]
  const version = values[6] === undefined ? 1 : countOf(values[6])
  const hops = values[14] === undefined ? 0 : countOf(values[14])
  const contentType = rest.contentType ?? CONTENT_TYPE
  const badId = id === undefined ? '' : idProblem(id)
  const badKey = key === undefined ? undefined : keyProblem(key)
  const defect =
    rest.defect ??
    (values[1] !== '1.0' || id === undefined || type === undefined || type === '' || source === undefined || source === ''
      ? 'it is not a CloudEvents 1.0 message: specversion, id, source or type is missing'
      : (badId ??
        badKey ??
        (tenant === undefined || isTenant(tenant) ? undefined : 'the tenant is outside the grammar') ??
        (version >= 1 && version <= VERSION_MAX ? undefined : 'dataversion is not a whole number from 1') ??
        (hops >= 0 ? undefined : 'hops is not a whole number') ??
        contentTypeProblem(contentType)))
  return {
    id: id === undefined || badId !== undefined ? rest.placeId : id,
    source: source ?? '',
    type: type ?? '',
    version: Math.max(0, version),
    time: values[5] ?? '',
    contentType,
    key: badKey === undefined ? key : undefined,
    correlationId: values[8],
    causationId: values[9],
    deadline: values[10],
    tenant,
    traceparent: values[12],
    tracestate: values[13],
    hops: Math.max(0, hops),
    replyTo: values[15],
    outcome: values[16],
    headers: rest.headers,
    body: rest.body,
    defect,
  }
}

/** What is wrong with the media type of a body, or undefined. */
export function contentTypeProblem(contentType: string): string | undefined {
  return isJson(contentType) ? undefined : `the content type is ${JSON.stringify(contentType.slice(0, 100))}, not JSON`
}

const DIGITS_MAX = 9

/** A whole number in decimal digits, or -1: what other programs write in other ways is not guessed at. */
function countOf(text: string): number {
  if (text.length === 0 || text.length > DIGITS_MAX) return -1
  let count = 0
  for (let index = 0; index < text.length; index++) {
    const digit = text.charCodeAt(index) - 0x30
    if (digit < 0 || digit > 9) return -1
    count = count * 10 + digit
  }
  return count
}

function isJson(contentType: string): boolean {
  if (contentType === CONTENT_TYPE) return true
  const media = (contentType.split(';', 1)[0] ?? '').trim().toLowerCase()
  return media === CONTENT_TYPE || (media.endsWith('+json') && !media.startsWith('application/cloudevents'))
}

const HEADER_NAME = /^[a-z][a-z0-9-]{0,63}$/
/** Prefixes and names that steer a broker, another tool, or ourselves. */
const RESERVED_PREFIXES: readonly string[] = [
  'nats-', 'ce-', 'cloudevents', 'trunkline-', 'amq', 'x-death', 'x-delay', 'x-deliver', 'x-acquired', 'x-first-death',
  'x-last-death', 'x-opt-', 'x-stream-', 'x-match', 'x-received', 'x-routing', 'x-trunkline-',
]
const RESERVED_NAMES: ReadonlySet<string> = new Set([
  'cc', 'bcc', 'expiration', 'content-type', 'content-encoding', 'delivery-mode', 'priority', 'reply-to', 'status', 'description',
])

/**
 * Checks the headers that a user wants to send: lower-case names of letters, digits and dashes;
 * printable values; at most 64 headers and 8 KiB.
 *
 * @throws `contract.header_refused`, also for names that steer a broker (`nats-*`, `x-*`, `cc`, …).
 */
export function checkHeaders(headers: Readonly<Record<string, string>>): void {
  const entries = Object.entries(headers)
  if (entries.length > HEADER_COUNT_MAX) throw refused('', `there are ${entries.length} headers; at most ${HEADER_COUNT_MAX} may be set`)
  let bytes = 0
  for (const [name, value] of entries) {
    if (!HEADER_NAME.test(name)) throw refused(name, 'names are lower-case letters, digits and dashes, at most 64')
    if (RESERVED_NAMES.has(name) || RESERVED_PREFIXES.some((prefix) => name.startsWith(prefix))) throw refused(name, 'the name is reserved for brokers and for the library')
    if (typeof value !== 'string') throw refused(name, 'the value is not a string')
    if (hasControls(value)) throw refused(name, 'the value has control characters')
    bytes += name.length + Buffer.byteLength(value)
  }
  if (bytes > HEADER_BYTES_MAX) throw refused('', `the headers take ${bytes} bytes; at most ${HEADER_BYTES_MAX} are allowed`)
}

/** True where a header of an incoming message is a user's and not a broker's or ours. */
export function isUserHeader(name: string): boolean {
  return HEADER_NAME.test(name) && !RESERVED_NAMES.has(name) && !RESERVED_PREFIXES.some((prefix) => name.startsWith(prefix))
}

function refused(header: string, problem: string): TrunklineError {
  return new TrunklineError('contract.header_refused', { header: header.slice(0, 100), problem })
}

// oxlint-disable-next-line no-control-regex -- the characters that RFC 7230 forbids are what is looked for
const NEEDS_ESCAPE = /[^\u0021-\u007e]|["%]/

/**
 * Percent-encodes a header value as the NATS and HTTP bindings of CloudEvents ask: space, double
 * quote, percent and everything outside printable ASCII.
 */
export function escapeHeader(value: string): string {
  if (!NEEDS_ESCAPE.test(value)) return value
  let text = ''
  for (const char of value) {
    if (NEEDS_ESCAPE.test(char)) for (const byte of Buffer.from(char)) text += `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
    else text += char
  }
  return text
}

/** Reverses `escapeHeader`, and quoted strings of older writers; undefined for bytes that are no UTF-8. */
export function unescapeHeader(value: string): string | undefined {
  let text = value
  if (text.length >= 2 && text.startsWith('"') && text.endsWith('"')) text = text.slice(1, -1).replaceAll(/\\(.)/g, '$1')
  if (!text.includes('%')) return text
  try {
    return decodeURIComponent(text.replaceAll(/%(?![0-9A-Fa-f]{2})/g, '%25'))
  } catch {
    return undefined
  }
}

import { instantText } from '../../core/clock.ts'
import type { WireMessage } from '../../core/envelope.ts'
import { derivedId } from '../../core/random.ts'
import { idProblem } from '../../contract/names.ts'
import { isUserHeader, readMessage, writeAttributes } from '../../contract/wire.ts'
import type { RabbitMessage, RabbitProperties, RabbitPublishOptions, RabbitTable } from './rabbitmq-client.ts'

// CloudEvents AMQP binding, binary content mode: attributes are headers with a prefix, the data's
// content type is the `content_type` property, the body is the bare data.

const PREFIX = 'cloudEvents:'
/** Writers for AMQP 1.0 brokers that forbid the colon use this one; the binding allows both. */
const PREFIX_OTHER = 'cloudEvents_'

/** Attempts that have begun, on a message that the library moved. */
export const ATTEMPTS_HEADER = 'trunkline-attempts'
/** Set on a message that was taken out of the dead letters by hand. */
export const REDRIVEN_HEADER = 'trunkline-redriven'
/** When a delayed message has waited long enough, in milliseconds since 1970. */
export const DELAY_UNTIL_HEADER = 'trunkline-delay-until'
/** Queue that a delayed message goes back to. */
export const DELAY_QUEUE_HEADER = 'trunkline-delay-queue'
/** Milliseconds that a delayed message has to wait once more after that. */
export const DELAY_LEFT_HEADER = 'trunkline-delay-left'

/** Farthest instant from 1970 that has a text. */
const INSTANT_MS_MAX = 8.64e15
/** Longest text of a property; headers have no such limit. */
const PROPERTY_BYTES_MAX = 255

/** Header names by attribute, so that reading a message builds no strings. */
const HEADER_OF = new Map<string, readonly [string, string]>()

function headersOf(name: string): readonly [string, string] {
  let found = HEADER_OF.get(name)
  if (found === undefined) {
    found = [PREFIX + name, PREFIX_OTHER + name]
    HEADER_OF.set(name, found)
  }
  return found
}

/** Headers and content type of a message. The body is not copied. */
export function publishOptionsOf(message: WireMessage, persistent: boolean): RabbitPublishOptions {
  const headers: Record<string, unknown> = {}
  writeAttributes(message, (name, value) => {
    headers[headersOf(name)[0]] = value
  })
  if (message.headers !== undefined) Object.assign(headers, message.headers)
  const messageId = Buffer.byteLength(message.id) <= PROPERTY_BYTES_MAX ? message.id : ''
  return { persistent, mandatory: true, contentType: message.contentType, messageId, headers }
}

/** The body as amqplib wants it, without a copy where that is possible. */
export function contentOf(body: Uint8Array): Buffer {
  return Buffer.isBuffer(body) ? body : Buffer.from(body.buffer, body.byteOffset, body.byteLength)
}

/**
 * Reads a message of ours or of a foreign program. It never throws; what cannot be a message
 * of ours comes back with `defect` set.
 * The id of a message that has none is derived from what it says, so that it is the same at every delivery.
 */
export function messageOf(raw: RabbitMessage): WireMessage {
  const { properties } = raw
  const headers = properties.headers
  const contentType = textOf(properties.contentType)
  return readMessage({
    attribute: (name) => {
      if (headers === undefined) return undefined
      const [own, other] = headersOf(name)
      return textOf(headers[own] ?? headers[other])
    },
    contentType,
    headers: headers === undefined ? undefined : userHeadersOf(headers),
    body: raw.content,
    get placeId() {
      return placeIdOf(raw)
    },
    defect: contentDefect(properties, headers),
  })
}

function placeIdOf(raw: RabbitMessage): string {
  const { messageId, timestamp } = raw.properties
  const id = textOf(messageId)
  if (id !== undefined && idProblem(id) === undefined) return id
  return derivedId(JSON.stringify(copiedHeaders(raw)), textOf(timestamp) ?? '', raw.content.toString('base64'))
}

function contentDefect(properties: RabbitProperties, headers: RabbitTable | undefined): string | undefined {
  const encoding = textOf(properties.contentEncoding)
  if (encoding !== undefined && encoding !== '' && encoding.toLowerCase() !== 'utf-8' && encoding.toLowerCase() !== 'identity') {
    return `the content encoding is ${JSON.stringify(encoding.slice(0, 100))}, which is not read`
  }
  return headers === undefined ? 'it has no headers, so it is not a CloudEvents message in binary mode' : undefined
}

function userHeadersOf(headers: RabbitTable): Record<string, string> | undefined {
  let found: Record<string, string> | undefined
  for (const name in headers) {
    if (name.startsWith('cloudEvents') || !isUserHeader(name)) continue
    const value = textOf(headers[name])
    if (value === undefined) continue
    found ??= {}
    found[name] = value
  }
  return found
}

/** A field value as text: strings, numbers, booleans and timestamps; undefined for tables, lists and bytes. */
export function textOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value
  if (value === undefined || value === null) return undefined
  if (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint') return `${value}`
  return timestampText(value)
}

/** amqplib gives AMQP timestamps, which are seconds, as `{ '!': 'timestamp', value }`. */
function timestampText(value: object): string | undefined {
  if (!('!' in value) || value['!'] !== 'timestamp' || !('value' in value) || typeof value.value !== 'number') return undefined
  const ms = value.value * 1_000
  return Math.abs(ms) <= INSTANT_MS_MAX ? instantText(ms) : undefined
}

/** A header of the library's own, as a whole number from 0; 0 where it is missing or forged. */
export function countOf(headers: RabbitTable | undefined, name: string): number {
  const value = Number(textOf(headers?.[name]) ?? 0)
  return Number.isSafeInteger(value) && value >= 0 ? value : 0
}

/** How a message stands, for a copy that is to stand the same. */
export function stateHeadersOf(raw: RabbitMessage): RabbitTable {
  const headers = raw.properties.headers
  const isRedriven = headers?.[REDRIVEN_HEADER] !== undefined
  return { [ATTEMPTS_HEADER]: `${countOf(headers, ATTEMPTS_HEADER)}`, ...(isRedriven ? { [REDRIVEN_HEADER]: '1' } : {}) }
}

/** Times that a queue gave the message out before, where the broker counts it. 4.x counts in two headers. */
export function deliveriesBefore(raw: RabbitMessage): number {
  if (!raw.fields.redelivered) return 0
  const headers = raw.properties.headers
  return Math.max(countOf(headers, 'x-delivery-count'), countOf(headers, 'x-acquired-count'))
}

/** What brokers add, what would route a copy once more (`CC`, `BCC`), and what says how a copy of ours stands. */
const NOT_COPIED: ReadonlySet<string> = new Set(['CC', 'BCC', 'x-delivery-count', 'x-acquired-count', ATTEMPTS_HEADER, REDRIVEN_HEADER])
const NOT_COPIED_PREFIXES: readonly string[] = ['x-death', 'x-first-death', 'x-last-death', 'trunkline-dead-', 'trunkline-hold-', 'trunkline-delay-']

/** Headers that a copy keeps; the same at every delivery. */
function copiedHeaders(raw: RabbitMessage): Record<string, unknown> {
  const headers: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(raw.properties.headers ?? {})) {
    if (!NOT_COPIED.has(name) && !NOT_COPIED_PREFIXES.some((prefix) => name.startsWith(prefix))) headers[name] = value
  }
  return headers
}

/**
 * Options to send a message once more with all that its publisher gave it, foreign headers included.
 *
 * Expiration and user id are left out: the one would lose the copy, the other would close the
 * channel where the publisher was somebody else.
 */
export function copyOptionsOf(raw: RabbitMessage, added: RabbitTable): RabbitPublishOptions {
  const { properties } = raw
  const headers = { ...copiedHeaders(raw), ...added }
  const { contentType, contentEncoding, correlationId, replyTo, messageId, timestamp, type, appId } = properties
  return {
    persistent: true,
    mandatory: true,
    headers,
    ...(typeof contentType === 'string' ? { contentType } : {}),
    ...(typeof contentEncoding === 'string' ? { contentEncoding } : {}),
    ...(typeof correlationId === 'string' ? { correlationId } : {}),
    ...(typeof replyTo === 'string' ? { replyTo } : {}),
    ...(typeof messageId === 'string' ? { messageId } : {}),
    ...(typeof timestamp === 'number' ? { timestamp } : {}),
    ...(typeof type === 'string' ? { type } : {}),
    ...(typeof appId === 'string' ? { appId } : {}),
  }
}

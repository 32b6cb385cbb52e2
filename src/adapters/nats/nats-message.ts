import { CONTENT_TYPE, escapeHeader, isUserHeader, readMessage, unescapeHeader, writeAttributes } from '../../contract/wire.ts'
import type { WireMessage } from '../../core/envelope.ts'
import { parseHeaders, type Headers } from './nats-headers.ts'

// Pure mapping between messages and header lines: the NATS binding of CloudEvents 1.0 in binary mode.
// Attributes are `ce-…` with percent-encoded values; the user's headers keep their names, and their values
// are percent-encoded as well, so that blanks at the ends and non-ASCII text survive every client.

/** The header lines of a message that is not stored; what says nothing new is left out, because each line costs at both ends. */
export function headerLines(message: WireMessage): string {
  return written(message, '', noEscape) ?? written(message, '', escapeHeader) ?? ''
}

/**
 * The header lines of a message to store, with the id under which the stream drops repeats: CloudEvents ids are unique
 * per source only.
 */
export function storedLines(message: WireMessage): string {
  return written(message, STORAGE_ID, noEscape) ?? written(message, STORAGE_ID, escapeHeader) ?? ''
}

const STORAGE_ID = 'Nats-Msg-Id'

/**
 * Header lines with every value given to `escape`; undefined where nothing was to be escaped and some value must be. One look at
 * all values together costs less than one at each, and nearly no message needs escaping.
 */
function written(message: WireMessage, idHeader: string, escape: (value: string) => string): string | undefined {
  let values = message.contentType
  let lines = idHeader === '' ? '' : `${idHeader}: ${escape(message.source)}#${escape(message.id)}\r\n`
  if (idHeader !== '' || message.contentType !== CONTENT_TYPE) lines += `ce-datacontenttype: ${escape(message.contentType)}\r\n`
  writeAttributes(message, (name, value) => {
    lines += `ce-${name}: ${escape(value)}\r\n`
    values += value
  })
  const { headers } = message
  if (headers !== undefined) {
    for (const name of Object.keys(headers)) {
      const value = headers[name] ?? ''
      lines += `${name}: ${escape(value)}\r\n`
      values += value
    }
  }
  return escape === noEscape && escapeHeader(values) !== values ? undefined : lines
}

function noEscape(value: string): string {
  return value
}

/**
 * Reads a message. It never throws; what is not one of ours comes back with `defect`.
 *
 * @param text its header block, or empty.
 * @param placeId stands in for an id that is missing or bad.
 */
export function messageOf(text: string, body: Uint8Array, placeId: string): WireMessage {
  return messageFrom(parseHeaders(text), body, placeId)
}

/** As `messageOf`, for headers that were parsed already. */
export function messageFrom(headers: Headers, body: Uint8Array, placeId: string): WireMessage {
  const { attributes, others, isEscaped } = headers
  const contentType = attributes.get('datacontenttype') ?? others.get('content-type')
  const shared = { headers: others.size === 0 ? undefined : userHeaders(others), body, placeId }
  if (!isEscaped) return readMessage({ ...shared, attribute: (name) => attributes.get(name), contentType })
  return readMessage({
    ...shared,
    attribute: (name) => unescaped(attributes.get(name)),
    contentType: unescaped(contentType),
    defect: badEscape(attributes),
  })
}

function unescaped(raw: string | undefined): string | undefined {
  return raw === undefined ? undefined : unescapeHeader(raw)
}

function userHeaders(others: ReadonlyMap<string, string>): Readonly<Record<string, string>> | undefined {
  let found: Record<string, string> | undefined
  for (const [name, raw] of others) {
    if (!isUserHeader(name)) continue
    found ??= Object.create(null) as Record<string, string> // a null prototype, so that no name means more than text
    found[name] = unescapeHeader(raw) ?? raw
  }
  return found
}

/** An escape that is no UTF-8 must not be taken for an attribute that is absent. */
function badEscape(attributes: ReadonlyMap<string, string>): string | undefined {
  for (const [name, raw] of attributes) {
    if (raw.includes('%') && unescapeHeader(raw) === undefined) return `the header ce-${name.slice(0, 64)} is not percent-encoded UTF-8`
  }
  return undefined
}

import { ATTRIBUTE_NAMES, CONTENT_TYPE, contentTypeProblem, escapeHeader, isUserHeader, messageFromValues, unescapeHeader } from '../../contract/wire.ts'
import type { WireMessage } from '../../core/envelope.ts'
import { parseHeaders, type Headers } from './nats-headers.ts'

// Pure mapping between messages and header lines: the NATS binding of CloudEvents 1.0 in binary mode.
// Attributes are `ce-…` with percent-encoded values; the user's headers keep their names, and their values
// are percent-encoded as well, so that blanks at the ends and non-ASCII text survive every client.

/** A header whose value is mostly that of the message before: it is escaped once and not for each message. */
class RepeatedLine {
  readonly #name: string
  #value = ''
  #line: string

  constructor(name: string) {
    this.#name = name
    this.#line = line(name, '')
  }

  of(value: string): string {
    if (value !== this.#value) {
      this.#line = line(this.#name, value)
      this.#value = value
    }
    return this.#line
  }
}

const contentTypes = new RepeatedLine('ce-datacontenttype')
const sources = new RepeatedLine('ce-source')
const types = new RepeatedLine('ce-type')
const times = new RepeatedLine('ce-time')
const deadlines = new RepeatedLine('ce-deadline')

/** The header lines of a message that is not stored; what says nothing new is left out, because each line costs at both ends. */
export function headerLines(message: WireMessage): string {
  return message.contentType === CONTENT_TYPE ? attributeLines(message) : contentTypes.of(message.contentType) + attributeLines(message)
}

/**
 * The header lines of a message to store, with the id under which the stream drops repeats: CloudEvents ids are unique
 * per source only.
 */
export function storedLines(message: WireMessage): string {
  const { contentType, source, id } = message
  return `Nats-Msg-Id: ${escapeHeader(source)}#${escapeHeader(id)}\r\n${contentTypes.of(contentType)}${attributeLines(message)}`
}

/**
 * The header lines of an answer. The subject that it goes to says which question it answers; what is left to say is what became of
 * the question, and nothing where it was simply answered.
 */
export function answerLines(message: WireMessage): string {
  return message.outcome === undefined ? '' : line('ce-outcome', message.outcome)
}

function line(name: string, value: string): string {
  return `${name}: ${escapeHeader(value)}\r\n`
}

/** What `writeAttributes` gives, and the user's headers, spelled out: this is written for every message. */
function attributeLines(message: WireMessage): string {
  let lines = `ce-specversion: 1.0\r\nce-id: ${escapeHeader(message.id)}\r\n${sources.of(message.source)}${types.of(message.type)}`
  if (message.time !== '') lines += times.of(message.time)
  if (message.version !== 1) lines += `ce-dataversion: ${message.version}\r\n`
  if (message.key !== undefined) lines += line('ce-partitionkey', message.key)
  if (message.correlationId !== undefined) lines += line('ce-correlationid', message.correlationId)
  if (message.causationId !== undefined) lines += line('ce-causationid', message.causationId)
  if (message.deadline !== undefined) lines += deadlines.of(message.deadline)
  if (message.tenant !== undefined) lines += line('ce-tenant', message.tenant)
  if (message.traceparent !== undefined) lines += line('ce-traceparent', message.traceparent)
  if (message.tracestate !== undefined) lines += line('ce-tracestate', message.tracestate)
  if (message.hops > 0) lines += `ce-hops: ${message.hops}\r\n`
  if (message.replyTo !== undefined) lines += line('ce-replyto', message.replyTo)
  if (message.outcome !== undefined) lines += line('ce-outcome', message.outcome)
  const { headers } = message
  if (headers !== undefined) for (const name of Object.keys(headers)) lines += line(name, headers[name] ?? '')
  return lines
}

/**
 * Reads an answer: its outcome and its body. An answer that says more, as other programs may write it, is read the same way.
 *
 * @param text its header block, or empty.
 * @param token stands in for the id.
 */
export function answerOf(text: string, body: Uint8Array, token: string): WireMessage {
  if (text === '') return bareAnswer(body, token, undefined, undefined)
  const { values, others, isEscaped } = parseHeaders(text)
  const read = (raw: string | undefined): string | undefined => (isEscaped ? unescaped(raw) : raw)
  const contentType = read(values[0] ?? others.get('content-type')) ?? CONTENT_TYPE
  return bareAnswer(body, token, read(values[16]), (isEscaped ? badEscape(values) : undefined) ?? contentTypeProblem(contentType))
}

function bareAnswer(body: Uint8Array, token: string, outcome: string | undefined, defect: string | undefined): WireMessage {
  return {
    id: token, source: '', type: '', version: 1, time: '', contentType: CONTENT_TYPE, key: undefined, correlationId: undefined, causationId: undefined,
    deadline: undefined, tenant: undefined, traceparent: undefined, tracestate: undefined, hops: 0, replyTo: undefined, outcome, headers: undefined,
    body, defect,
  }
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
  const { values, others, isEscaped } = headers
  const contentType = values[0] ?? (others.size === 0 ? undefined : others.get('content-type'))
  const own = others.size === 0 ? undefined : userHeaders(others)
  if (!isEscaped) return messageFromValues(values, { contentType, headers: own, body, placeId, defect: undefined })
  return messageFromValues(values.map(unescaped), { contentType: unescaped(contentType), headers: own, body, placeId, defect: badEscape(values) })
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
function badEscape(values: readonly (string | undefined)[]): string | undefined {
  const bad = values.findIndex((raw) => raw?.includes('%') === true && unescapeHeader(raw) === undefined)
  return bad < 0 ? undefined : `the header ce-${ATTRIBUTE_NAMES[bad]} is not percent-encoded UTF-8`
}

import { derivedId } from '../../core/random.ts'
import { keyProblem } from '../../contract/names.ts'
import { CONTENT_TYPE, isUserHeader, readMessage, writeAttributes } from '../../contract/wire.ts'
import type { WireMessage } from '../../core/envelope.ts'
import type { EsdbProposed, EsdbRecorded, EsdbResolved } from './eventstoredb-client.ts'

// How a message is stored: the contract's type is the event's type, its attributes and headers are the metadata under their CloudEvents
// names, and the body is the data. The client parses and rewrites JSON, so a body goes as JSON only where that gives the very same
// bytes back; every other one goes as bytes.

/** Metadata as this adapter writes it: attributes by name, the user's headers, and marks of its own. */
export type EsdbMetadata = Readonly<Record<string, unknown>>

/** An event as it was stored, with its body as bytes. */
export interface EsdbEvent {
  readonly stream: string
  readonly revision: bigint
  /** Commit position; -1n where the server did not tell. */
  readonly position: bigint
  readonly storedAtMs: number
  readonly id: string
  readonly type: string
  readonly metadata: EsdbMetadata
  readonly body: Uint8Array
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/
const HEADERS = 'headers'
/** Marks begin with this, so that none is taken for an attribute. */
const MARK = 'trunkline-'

/** The id under which a message is stored: ids of events are UUIDs, and messages' are unique per source only. */
export function eventIdOf({ source, id }: WireMessage, place: string): string {
  return derivedId(source, id, place)
}

/**
 * An event that holds the message.
 *
 * @param marks what the adapter wants to know about it later, beside the message.
 */
export function eventOf(id: string, message: WireMessage, marks: Readonly<Record<string, string>> = {}): EsdbProposed {
  const metadata: Record<string, unknown> = {}
  writeAttributes(message, (name, value) => {
    metadata[name] = value
  })
  if (message.contentType !== CONTENT_TYPE) metadata['datacontenttype'] = message.contentType
  // The server's own names, so that its projections by correlation find our events.
  if (message.correlationId !== undefined) metadata['$correlationId'] = message.correlationId
  if (message.causationId !== undefined) metadata['$causationId'] = message.causationId
  if (message.headers !== undefined) metadata[HEADERS] = { ...message.headers }
  for (const [name, value] of Object.entries(marks)) metadata[MARK + name] = value
  const json = exactJson(message.body)
  const type = message.type === '' ? 'unknown' : message.type
  if (json === undefined) return { id, type, contentType: 'application/octet-stream', data: new Uint8Array(message.body), metadata }
  return { id, type, contentType: 'application/json', data: json, metadata }
}

/** The same message once more, as it came and not as it was understood, with other marks. */
export function copyOf(id: string, event: EsdbEvent, marks: Readonly<Record<string, string>>): EsdbProposed {
  const { type, metadata, body } = event
  const kept: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(metadata)) if (!name.startsWith(MARK)) kept[name] = value
  for (const [name, value] of Object.entries(marks)) kept[MARK + name] = value
  // What has no id of its own is known by its first place, wherever its copies are.
  if (textIn(metadata, 'id') === undefined) kept[`${MARK}place`] = placeOf(event)
  const json = exactJson(body)
  if (json === undefined) return { id, type, contentType: 'application/octet-stream', data: new Uint8Array(body), metadata: kept }
  return { id, type, contentType: 'application/json', data: json, metadata: kept }
}

/** An event of the adapter's own, without a message. */
export function recordOf(id: string, type: string, data: Record<string, unknown>): EsdbProposed {
  return { id: UUID.test(id) ? id : derivedId(id), type, contentType: 'application/json', data, metadata: {} }
}

/** Reads what a client gave; undefined for a link whose target is gone (guard 23). */
export function storedOf({ event, commitPosition }: EsdbResolved): EsdbEvent | undefined {
  if (event === undefined) return undefined
  return {
    stream: event.streamId,
    revision: event.revision,
    position: event.position?.commit ?? commitPosition ?? -1n,
    storedAtMs: event.created.getTime(),
    id: event.id,
    type: event.type,
    metadata: isObject(event.metadata) ? event.metadata : {},
    body: bodyOf(event),
  }
}

/** The message in an event. It never throws: an event that is none of ours comes back with `defect`. */
export function messageOf(event: EsdbEvent): WireMessage {
  const { metadata, body } = event
  return readMessage({
    attribute: (name) => textIn(metadata, name),
    contentType: textIn(metadata, 'datacontenttype'),
    headers: headersIn(metadata),
    body,
    placeId: placeOf(event),
  })
}

/** The message in an event of a store, which keeps what it was given whatever the bus would say of it. */
export function storedMessageOf(event: EsdbEvent): WireMessage {
  const message = messageOf(event)
  return message.defect !== undefined && markOf(event, 'stored') === 'true' ? { ...message, defect: undefined } : message
}

/** The ordering key of the message in an event, if it has one. */
export function messageKey({ metadata }: EsdbEvent): string | undefined {
  const key = textIn(metadata, 'partitionkey')
  return key === undefined || keyProblem(key) !== undefined ? undefined : key
}

/** What `eventOf` was given beside the message. */
export function markOf({ metadata }: EsdbEvent, name: string): string | undefined {
  return textIn(metadata, MARK + name)
}

/** The fields of a record of the adapter's own. */
export function fieldsOf({ body }: EsdbEvent): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(Buffer.from(body).toString())
    return isObject(value) ? value : {}
  } catch {
    return {}
  }
}

function placeOf({ stream, revision, metadata }: EsdbEvent): string {
  return textIn(metadata, `${MARK}place`) ?? `${stream}:${revision}`
}

/** The value whose JSON is these very bytes, if there is one that clients take. */
function exactJson(body: Uint8Array): Record<string, unknown> | unknown[] | string | undefined {
  try {
    const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength)
    const value: unknown = JSON.parse(bytes.toString())
    if (!Buffer.from(JSON.stringify(value)).equals(bytes)) return undefined
    return typeof value === 'string' || Array.isArray(value) || isRecord(value) ? value : undefined
  } catch {
    return undefined
  }
}

function bodyOf({ data, isJson }: EsdbRecorded): Uint8Array {
  if (data instanceof Uint8Array) return data
  // A malformed JSON text of another program comes as the text.
  if (!isJson && typeof data === 'string') return Buffer.from(data)
  return Buffer.from(JSON.stringify(data) ?? '')
}

function textIn(metadata: EsdbMetadata, name: string): string | undefined {
  const value = metadata[name]
  return typeof value === 'string' ? value : undefined
}

function headersIn(metadata: EsdbMetadata): Readonly<Record<string, string>> | undefined {
  const given = metadata[HEADERS]
  if (!isObject(given)) return undefined
  // A null prototype, so that no name means more than text.
  const found: Record<string, string> = Object.create(null) as Record<string, string>
  for (const [name, value] of Object.entries(given)) if (typeof value === 'string' && isUserHeader(name)) found[name] = value
  return found
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return isObject(value)
}

import { persistent, shared, streams } from './protos.ts'
import type { Expected, Proposed, Recorded } from './log.ts'

type Ids = InstanceType<typeof shared.UUID>
type Identifier = InstanceType<typeof shared.StreamIdentifier>

/** The text of an id, whichever way it came. */
export function idText(id: Ids | undefined): string {
  if (id === undefined) return ''
  const structured = id.getStructured()
  if (structured === undefined) return id.getString()
  const part = (bits: string): string => BigInt.asUintN(64, BigInt(bits)).toString(16).padStart(16, '0')
  const hex = part(structured.getMostSignificantBits()) + part(structured.getLeastSignificantBits())
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

/** An id as text. */
export function idOf(text: string): Ids {
  return new shared.UUID().setString(text)
}

/** The name of a stream. */
export function nameOf(identifier: Identifier | undefined): string {
  return identifier === undefined ? '' : Buffer.from(identifier.getStreamName_asU8()).toString()
}

/** A name as the wire has it. */
export function identifierOf(name: string): Identifier {
  return new shared.StreamIdentifier().setStreamName(Buffer.from(name))
}

/** What all requests with an expected revision have in common. */
interface Expecting {
  hasRevision(): boolean
  getRevision(): string
  hasNoStream(): boolean
  hasStreamExists(): boolean
}

/** What a writer expects. */
export function expectedOf(options: Expecting): Expected {
  if (options.hasRevision()) return BigInt(options.getRevision())
  if (options.hasNoStream()) return 'no_stream'
  return options.hasStreamExists() ? 'stream_exists' : 'any'
}

/** A message to be written, of either way of appending. */
interface ProposedMessage {
  getId(): Ids | undefined
  getMetadataMap(): { get(name: string): string | undefined }
  getCustomMetadata_asU8(): Uint8Array
  getData_asU8(): Uint8Array
}

/** Reads a message to be written. */
export function proposedOf(message: ProposedMessage): Proposed {
  const map = message.getMetadataMap()
  return {
    id: idText(message.getId()),
    type: map.get('type') ?? '',
    contentType: map.get('content-type') ?? 'application/octet-stream',
    metadata: message.getCustomMetadata_asU8(),
    data: message.getData_asU8(),
  }
}

type StreamRecord = InstanceType<typeof streams.ReadResp.ReadEvent.RecordedEvent>
type PersistentRecord = InstanceType<typeof persistent.ReadResp.ReadEvent.RecordedEvent>

/** An event as the streams service gives it. */
export function recordOf(event: Recorded): StreamRecord {
  return filled(new streams.ReadResp.ReadEvent.RecordedEvent(), event)
}

/** An event as a persistent subscription gives it. */
export function persistentRecordOf(event: Recorded): PersistentRecord {
  return filled(new persistent.ReadResp.ReadEvent.RecordedEvent(), event)
}

function filled<R extends StreamRecord | PersistentRecord>(record: R, event: Recorded): R {
  record.setId(idOf(event.id))
  record.setStreamIdentifier(identifierOf(event.stream))
  record.setStreamRevision(`${event.revision}`)
  record.setPreparePosition(`${event.position}`)
  record.setCommitPosition(`${event.position}`)
  record.setCustomMetadata(event.metadata)
  record.setData(event.data)
  const map = record.getMetadataMap()
  map.set('type', event.type)
  map.set('content-type', event.contentType)
  map.set('created', `${event.createdTicks}`)
  return record
}

/** What a filter lets through. */
export type Filter = (event: Recorded) => boolean

interface Expression {
  getRegex(): string
  getPrefixList(): readonly string[]
}

interface FilterOptions {
  getStreamIdentifier(): Expression | undefined
  getEventType(): Expression | undefined
}

/** Reads a filter; everything passes where there is none. */
export function filterOf(options: FilterOptions | undefined): Filter {
  if (options === undefined) return () => true
  const byName = options.getStreamIdentifier()
  const expression = byName ?? options.getEventType()
  if (expression === undefined) return () => true
  const textOf = (event: Recorded): string => (byName === undefined ? event.type : event.stream)
  const prefixes = expression.getPrefixList()
  if (prefixes.length > 0) return (event) => prefixes.some((prefix) => textOf(event).startsWith(prefix))
  const pattern = new RegExp(expression.getRegex())
  return (event) => pattern.test(textOf(event))
}

import type { EsdbExpected, EsdbProposed } from './eventstoredb-client.ts'
import { fieldsOf, recordOf, type EsdbEvent } from './eventstoredb-event.ts'
import type { EsdbFailure } from './eventstoredb-failure.ts'
import type { CallResult, EsdbLink } from './eventstoredb-link.ts'

/** Type of the events that take others out. */
const REMOVED = '-removed'
const PAGE = 256
/** Removed entries at the beginning of the stream after which they are given to the server to forget. */
const TRUNCATE_EVERY = 64

/** What a ledger tells while it reads on. */
export interface LedgerReader {
  /** An entry that was not removed by what has been read so far. */
  onEntry(event: EsdbEvent): void
  /** It is removed. */
  onRemoved(revision: bigint): void
}

/**
 * A stream as a set of entries: events are added at its end and taken out by events that name their revisions, because single events
 * cannot be deleted. What is removed at the beginning is truncated now and then.
 */
export class EsdbLedger {
  readonly stream: string
  readonly #link: EsdbLink
  readonly #reader: LedgerReader
  /** Revisions of the entries that are there, in order. */
  readonly #live = new Set<bigint>()
  #last = -1n
  #truncatedTo = 0n
  #reading: Promise<EsdbFailure | undefined> | undefined

  constructor(link: EsdbLink, stream: string, reader: LedgerReader) {
    this.#link = link
    this.stream = stream
    this.#reader = reader
  }

  /** Revision up to which it has been read; -1n where nothing was. */
  get last(): bigint {
    return this.#last
  }

  has(revision: bigint): boolean {
    return this.#live.has(revision)
  }

  /** Revisions of the entries, in order. */
  get revisions(): readonly bigint[] {
    return [...this.#live]
  }

  /** Reads what was added since the last time. Resolves with why it could not. */
  refresh(): Promise<EsdbFailure | undefined> {
    this.#reading ??= this.#readOn().finally(() => {
      this.#reading = undefined
    })
    return this.#reading
  }

  /** Takes in an event that somebody else has read, in the order of the stream. */
  take(event: EsdbEvent): void {
    if (event.revision <= this.#last) return
    this.#last = event.revision
    if (event.type !== REMOVED) {
      this.#live.add(event.revision)
      this.#reader.onEntry(event)
      return
    }
    const { revisions } = fieldsOf(event)
    if (!Array.isArray(revisions)) return
    for (const text of revisions) {
      const revision = typeof text === 'string' && /^\d+$/.test(text) ? BigInt(text) : -1n
      if (this.#live.delete(revision)) this.#reader.onRemoved(revision)
    }
  }

  /** Takes in what its only writer has appended itself. */
  own(last: bigint, added: readonly bigint[], removed: readonly bigint[]): void {
    for (const revision of added) this.#live.add(revision)
    for (const revision of removed) this.#live.delete(revision)
    this.#last = last
  }

  /** The event that takes entries out. */
  removal(id: string, revisions: readonly bigint[]): EsdbProposed {
    return recordOf(id, REMOVED, { revisions: revisions.map(String) })
  }

  /** Appends to the stream. */
  async append(events: EsdbProposed[], expectedRevision: EsdbExpected): Promise<CallResult<bigint>> {
    const result = await this.#link.call((client) =>
      client.appendToStream(this.stream, events, { ...this.#link.callOptions, expectedRevision, streamState: expectedRevision }),
    )
    return result.kind === 'failed' ? result : { kind: 'done', value: result.value.nextExpectedRevision }
  }

  /** Reads one entry; undefined where it is not there any more. */
  async readOne(revision: bigint): Promise<CallResult<EsdbEvent | undefined>> {
    const result = await this.#link.read((client) =>
      client.readStream(this.stream, { ...this.#link.callOptions, direction: 'forwards', fromRevision: revision, maxCount: 1 }),
    )
    if (result.kind === 'failed') return result.failure.kind === 'stream-missing' ? { kind: 'done', value: undefined } : result
    const [event] = result.value.events
    return { kind: 'done', value: event?.revision === revision ? event : undefined }
  }

  /** Lets the server forget what is removed at the beginning of the stream. */
  async truncate(): Promise<void> {
    const [first = this.#last + 1n] = this.#live
    if (first < this.#truncatedTo + BigInt(TRUNCATE_EVERY)) return
    this.#truncatedTo = first
    await this.#link.call((client) => client.setStreamMetadata(this.stream, { truncateBefore: Number(first) }, this.#link.callOptions))
  }

  async #readOn(): Promise<EsdbFailure | undefined> {
    for (;;) {
      const fromRevision = this.#last + 1n
      const result = await this.#link.read((client) =>
        client.readStream(this.stream, { ...this.#link.callOptions, direction: 'forwards', fromRevision, maxCount: PAGE }),
      )
      if (result.kind === 'failed') return result.failure.kind === 'stream-missing' ? undefined : result.failure
      const { events, isCut } = result.value
      for (const event of events) this.take(event)
      if (!isCut && events.length < PAGE) return undefined
    }
  }
}

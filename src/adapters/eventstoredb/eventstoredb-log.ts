import { sleep } from '../../core/clock.ts'
import { TrunklineError } from '../../core/errors.ts'
import type {
  Appended, EventLog, ExpectedRevision, FollowOptions, LogCapabilities, LogPage, NewEvent, ReadQuery, Selection, StoredEvent, StreamMetadata,
} from '../../store/port.ts'
import type { WireMessage } from '../../core/envelope.ts'
import type { EsdbExpected, EsdbPosition, EsdbProposed, EsdbSubscription } from './eventstoredb-client.ts'
import { eventIdOf, eventOf, storedMessageOf, type EsdbEvent } from './eventstoredb-event.ts'
import type { EsdbFailure } from './eventstoredb-failure.ts'
import { EsdbFeed } from './eventstoredb-feed.ts'
import type { EsdbLink, EsdbPage } from './eventstoredb-link.ts'
import { filterOf, isSelected, metadataOf, serverMetadata } from './eventstoredb-selection.ts'

/** What a log of EventStoreDB can do: a transaction is one append to one stream. */
export const eventStoreDbLogCapabilities: LogCapabilities = { canCommitRows: false, canCommitStreams: false, survivesProcessDeath: true }

/** Tries at one append: a repetition with the same ids at the same revision is answered as the first one. */
const APPEND_TRIES_MAX = 3
const AGAIN_MS = 100
/** Events of the whole log that one page of a category may have to pass over. */
const SCAN_MAX = 2_000
/** Time after which a subscription that never said that it has caught up is asked: old servers do not say it. */
const ASK_AFTER_MS = 500
/** Time that a subscription has for an event that a read has found. */
const GRACE_MS = 5_000

/** Streams of events in EventStoreDB. */
export class EsdbLog implements EventLog {
  readonly capabilities: LogCapabilities = eventStoreDbLogCapabilities
  readonly #link: () => EsdbLink
  readonly #silenceMaxMs: number
  /** The highest position that any append of this process was answered with: one that is not above it is a repetition. */
  #highest = -1n

  constructor(link: () => EsdbLink, silenceMaxMs: number) {
    this.#link = link
    this.#silenceMaxMs = silenceMaxMs
  }

  async append(stream: string, expected: ExpectedRevision, events: readonly NewEvent[]): Promise<Appended> {
    checkOwn(stream)
    const link = this.#link()
    const before = this.#highest
    const expectedRevision: EsdbExpected = expected === 'noStream' ? 'no_stream' : expected
    const proposed = events.map(({ message, isPublic }) => storeEventOf(message, isPublic, stream))
    for (let tries = 1; ; tries++) {
      const result = await link.call((client) =>
        client.appendToStream(stream, proposed, { ...link.callOptions, expectedRevision, streamState: expectedRevision }),
      )
      if (result.kind === 'done') {
        const { nextExpectedRevision: revision, position } = result.value
        const isRepeated = position !== undefined && position.commit <= before
        if (position !== undefined && position.commit > this.#highest) this.#highest = position.commit
        return { revision, position: position?.commit, isRepeated }
      }
      const { failure } = result
      // Without an exact expectation a repetition is recognised only for a while (E-05): the caller decides.
      const isRepeatable = failure.kind === 'not-leader' || (failure.kind === 'unknown' && expected !== 'any') || (failure.kind === 'poisoned' && expected !== 'any')
      if (!isRepeatable || tries >= APPEND_TRIES_MAX || link.closed.aborted) throw this.#errorOf(failure, stream, expected)
      await sleep(link.host.clock, AGAIN_MS * tries, link.closed)
    }
  }

  async read(query: ReadQuery): Promise<LogPage> {
    const { selection } = query
    return selection.kind === 'stream' ? await this.#readStream(selection.stream, query) : await this.#readAll(selection, query)
  }

  async *follow(selection: Selection, after: bigint | undefined, { pageMax, signal }: FollowOptions): AsyncGenerator<LogPage, void, undefined> {
    const link = this.#link()
    const feed = new EsdbFeed(link, pageMax, (onCheckpoint) => opened(link, selection, after, onCheckpoint))
    const pages = new FeedPages(feed, after, pageMax, selection.kind === 'stream')
    try {
      while (!signal.aborted) {
        const page = pages.next()
        if (page?.kind === 'ended') throw link.closed.aborted ? closedError() : downOf(link.notice(page.cause ?? endedWithout(page.problem)))
        if (page !== undefined) {
          yield page.page
          continue
        }
        const isEarly = !pages.isCaughtUp
        await feed.arrived(isEarly ? ASK_AFTER_MS : this.#silenceMaxMs, AbortSignal.any([signal, link.closed]))
        if (link.closed.aborted) throw closedError()
        if (!pages.hasMore() && !signal.aborted) await this.#ask(selection, pages, feed, signal)
      }
    } finally {
      feed.close()
    }
  }

  async head(): Promise<bigint | undefined> {
    const link = this.#link()
    const result = await link.read((client) => client.readAll({ ...link.callOptions, direction: 'backwards', fromPosition: 'end', maxCount: 1 }))
    if (result.kind === 'failed') throw downOf(result.failure)
    return result.value.events[0]?.position
  }

  async metadata(stream: string): Promise<StreamMetadata> {
    const link = this.#link()
    const result = await link.call((client) => client.getStreamMetadata(stream, link.callOptions))
    if (result.kind === 'failed') throw this.#errorOf(result.failure, stream, 'any')
    return metadataOf(result.value.metadata ?? {})
  }

  async setMetadata(stream: string, metadata: StreamMetadata): Promise<void> {
    checkOwn(stream)
    const link = this.#link()
    const result = await link.call((client) => client.setStreamMetadata(stream, serverMetadata(metadata), link.callOptions))
    if (result.kind === 'failed') throw this.#errorOf(result.failure, stream, 'any')
  }

  async #readStream(stream: string, { direction, after, limit }: ReadQuery): Promise<LogPage> {
    if (direction === 'backwards' && after === 0n) return { events: [], cursor: after, isEnd: true }
    const fromRevision = after === undefined ? (direction === 'forwards' ? 'start' : 'end') : direction === 'forwards' ? after + 1n : after - 1n
    const link = this.#link()
    // One more than is wanted tells whether this is the end.
    const result = await link.read((client) => client.readStream(stream, { ...link.callOptions, direction, fromRevision, maxCount: limit + 1 }))
    if (result.kind === 'failed') {
      if (result.failure.kind === 'stream-missing' || result.failure.kind === 'stream-deleted') return { events: [], cursor: after, isEnd: true }
      throw downOf(result.failure)
    }
    const { events, isCut } = result.value
    const wanted = events.slice(0, limit)
    return { events: wanted.map(storedEvent), cursor: wanted.at(-1)?.revision ?? after, isEnd: !isCut && events.length <= limit }
  }

  async #readAll(selection: Selection, { direction, after, limit }: ReadQuery): Promise<LogPage> {
    const found: StoredEvent[] = []
    let cursor = after
    for (let scanned = 0; scanned < SCAN_MAX; ) {
      const count = Math.min(SCAN_MAX, Math.max(64, limit + 1))
      const { events, isCut } = await this.#scan(direction, cursor, count)
      const fresh = events.filter(({ position }) => position !== cursor)
      for (const event of fresh) {
        if (isSelected(selection, event)) {
          if (found.length === limit) return { events: found, cursor, isEnd: false }
          found.push(storedEvent(event))
        }
        cursor = event.position
      }
      scanned += count
      if (!isCut && events.length < count) return { events: found, cursor, isEnd: true }
      if (found.length >= limit && !isCut) continue
      if (isCut && found.length > 0) break
    }
    return { events: found, cursor, isEnd: false }
  }

  async #scan(direction: ReadQuery['direction'], cursor: bigint | undefined, maxCount: number): Promise<EsdbPage> {
    const link = this.#link()
    const fromPosition = cursor === undefined ? (direction === 'forwards' ? 'start' : 'end') : positionOf(cursor)
    const result = await link.read((client) => client.readAll({ ...link.callOptions, direction, fromPosition, maxCount }))
    if (result.kind === 'failed') throw downOf(result.failure)
    return result.value
  }

  /**
   * A subscription has been silent. Where a read finds nothing behind its cursor it has caught up; where it finds something that does not come
   * soon, the subscription is dead without knowing it (E-06).
   */
  async #ask(selection: Selection, pages: FeedPages, feed: EsdbFeed, signal: AbortSignal): Promise<void> {
    const { cursor } = pages
    const page = await this.read({ selection, direction: 'forwards', after: cursor, limit: 1 })
    if (pages.hasMore()) return
    if (page.events.length === 0) {
      if (page.isEnd) pages.caughtUp(page.cursor)
      return
    }
    await feed.arrived(GRACE_MS, signal)
    if (!pages.hasMore() && !signal.aborted) throw down('a subscription gave nothing although there is something')
  }

  #errorOf(failure: EsdbFailure, stream: string, expected: ExpectedRevision): TrunklineError {
    const options = { cause: failure.cause }
    if (failure.kind === 'wrong-revision') {
      return new TrunklineError('store.wrong_revision', { stream, expected: `${expected}`, actual: failure.actual === undefined ? 'noStream' : `${failure.actual}` }, options)
    }
    if (['unknown', 'poisoned', 'not-leader'].includes(failure.kind)) return downOf(failure)
    return new TrunklineError('store.refused', { store: 'eventstoredb', problem: failure.problem }, options)
  }
}

/** Makes pages of what a subscription gives. */
class FeedPages {
  readonly #feed: EsdbFeed
  readonly #pageMax: number
  readonly #isStream: boolean
  #cursor: bigint | undefined
  #isCaughtUp = false
  #isTold = false
  #held: ReturnType<EsdbFeed['poll']>

  constructor(feed: EsdbFeed, after: bigint | undefined, pageMax: number, isStream: boolean) {
    this.#feed = feed
    this.#isStream = isStream
    this.#cursor = after
    this.#pageMax = pageMax
  }

  get cursor(): bigint | undefined {
    return this.#cursor
  }

  get isCaughtUp(): boolean {
    return this.#isCaughtUp
  }

  hasMore(): boolean {
    this.#held ??= this.#feed.poll()
    return this.#held !== undefined
  }

  /** Found out by a read. */
  caughtUp(cursor: bigint | undefined): void {
    this.#isCaughtUp = true
    this.#cursor = cursor ?? this.#cursor
  }

  next(): { readonly kind: 'page'; readonly page: LogPage } | { readonly kind: 'ended'; readonly problem: string; readonly cause: unknown } | undefined {
    const events: StoredEvent[] = []
    let hasMoved = false
    while (events.length < this.#pageMax && this.hasMore()) {
      const item = this.#held
      if (item?.kind === 'ended' && (events.length > 0 || hasMoved)) break
      this.#held = undefined
      if (item?.kind === 'ended') return item
      if (item?.kind === 'caughtUp') this.#isCaughtUp = true
      if (item?.kind === 'checkpoint') this.#cursor = item.position
      if (item?.kind === 'event') {
        events.push(storedEvent(item.event))
        this.#cursor = this.#isStream ? item.event.revision : item.event.position
      }
      hasMoved ||= item?.kind === 'checkpoint'
    }
    const isEnd = this.#isCaughtUp && !this.hasMore()
    if (events.length === 0 && !hasMoved && (!isEnd || this.#isTold)) return undefined
    this.#isTold = isEnd
    return { kind: 'page', page: { events, cursor: this.#cursor, isEnd } }
  }
}

function opened(link: EsdbLink, selection: Selection, after: bigint | undefined, onCheckpoint: (subscription: unknown, position: EsdbPosition) => Promise<void>): EsdbSubscription {
  const { client, callOptions } = link
  if (selection.kind === 'stream') return client.subscribeToStream(selection.stream, { ...callOptions, fromRevision: after ?? 'start' })
  const fromPosition = after === undefined ? 'start' : positionOf(after)
  return client.subscribeToAll({ ...callOptions, fromPosition, filter: { ...filterOf(selection), checkpointInterval: 4, checkpointReached: onCheckpoint } })
}

function storedEvent(event: EsdbEvent): StoredEvent {
  const { stream, revision, position, storedAtMs } = event
  return { stream, revision, position, storedAtMs, message: storedMessageOf(event) }
}

/** An event of a stream, as it is appended. @param marks what the unit has to say beside it. */
export function storeEventOf(message: WireMessage, isPublic: boolean, stream: string, marks: Readonly<Record<string, string>> = {}): EsdbProposed {
  const isWhole = message.defect === undefined
  return eventOf(eventIdOf(message, stream), message, { ...(isWhole ? { stored: 'true' } : {}), ...(isPublic ? { public: 'true' } : {}), ...marks })
}

/** Names that the server or this adapter uses are not a user's. @throws `store.refused`. */
export function checkOwn(stream: string): void {
  if (!stream.startsWith('$') && !stream.startsWith('trunkline-')) return
  throw new TrunklineError('store.refused', { store: 'eventstoredb', problem: 'names of streams that begin with $ or trunkline- are reserved' })
}

/** Events written by clients of today have one position. */
function positionOf(cursor: bigint): EsdbPosition {
  return { commit: cursor, prepare: cursor }
}

function endedWithout(problem: string): { readonly type: string; readonly message: string } {
  return { type: 'cancelled', message: problem }
}

function closedError(): TrunklineError {
  return down('the store was closed')
}

function down(problem: string): TrunklineError {
  return new TrunklineError('store.down', { store: 'eventstoredb', problem })
}

function downOf({ problem, cause }: EsdbFailure): TrunklineError {
  return new TrunklineError('store.down', { store: 'eventstoredb', problem }, { cause })
}

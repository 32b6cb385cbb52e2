import { TrunklineError } from '../../core/errors.ts'
import type { Appended, ExpectedRevision, LogPage, NewEvent, ReadQuery, Selection, StoredEvent, StreamMetadata } from '../../store/port.ts'

/** A stream: what is still kept of it, and its settings. */
interface MemoryStream {
  readonly events: StoredEvent[]
  /** Revision of the last event that it ever had. */
  last: bigint
  metadata: StreamMetadata
}

/** What a read looks at. */
type EventQuery = Pick<ReadQuery, 'direction' | 'after' | 'limit'>

const NOTHING: readonly StoredEvent[] = []
/** Changes of streams with settings, after which what nobody can read any more is thrown away. */
const SWEEP_EVERY = 1_024

/** The committed events of a database. */
export class MemoryEvents {
  #all: StoredEvent[] = []
  readonly #streams = new Map<string, MemoryStream>()
  readonly #categories = new Map<string, StoredEvent[]>()
  readonly #waiting = new Set<() => void>()
  #position = 0n
  #untilSweep = SWEEP_EVERY

  /** Position of the last event ever committed, 0 in an empty log. */
  get position(): bigint {
    return this.#position
  }

  /** Revision of the last event of a stream, -1 where it has none. */
  lastRevision(stream: string): bigint {
    return this.#streams.get(stream)?.last ?? -1n
  }

  /** All that is kept of a stream, also what readers do not see any more. */
  kept(stream: string): readonly StoredEvent[] {
    return this.#streams.get(stream)?.events ?? NOTHING
  }

  metadata(stream: string): StreamMetadata {
    return this.#streams.get(stream)?.metadata ?? {}
  }

  setMetadata(stream: string, metadata: StreamMetadata): void {
    this.#stream(stream).metadata = metadata
    this.#untilSweep--
  }

  /** Commits events, whose revisions and positions follow on the last ones. */
  commit(events: readonly StoredEvent[], nowMs: number): void {
    for (const event of events) {
      const stream = this.#stream(event.stream)
      stream.events.push(event)
      stream.last = event.revision
      this.#all.push(event)
      this.#category(event.stream).push(event)
      this.#position = event.position
      if (hasLimits(stream.metadata)) this.#untilSweep--
    }
    if (this.#untilSweep <= 0) this.#sweep(nowMs)
    for (const wake of this.#waiting) wake()
  }

  /** Resolves when something stands beyond the position, or as soon as one of the signals aborts. */
  async changed(position: bigint, signals: readonly AbortSignal[]): Promise<void> {
    if (this.#position > position || signals.some(({ aborted }) => aborted)) return
    const { promise, resolve } = Promise.withResolvers<void>()
    const wake = (): void => resolve()
    this.#waiting.add(wake)
    for (const signal of signals) signal.addEventListener('abort', wake)
    await promise
    this.#waiting.delete(wake)
    for (const signal of signals) signal.removeEventListener('abort', wake)
  }

  read({ selection, direction, after, limit }: ReadQuery, nowMs: number): LogPage {
    const isStream = selection.kind === 'stream'
    return pageOf(this.#selected(selection), { direction, after, limit }, isStream, (event) => this.#isVisible(event, nowMs))
  }

  #selected(selection: Selection): readonly StoredEvent[] {
    if (selection.kind === 'all') return this.#all
    return selection.kind === 'stream' ? this.kept(selection.stream) : (this.#categories.get(selection.category) ?? NOTHING)
  }

  #isVisible(event: StoredEvent, nowMs: number): boolean {
    const stream = this.#streams.get(event.stream)
    if (stream === undefined || !hasLimits(stream.metadata)) return true
    return isWithin(event, stream.metadata, stream.last, nowMs)
  }

  #sweep(nowMs: number): void {
    this.#untilSweep = SWEEP_EVERY
    const isVisible = (event: StoredEvent): boolean => this.#isVisible(event, nowMs)
    this.#all = this.#all.filter(isVisible)
    for (const events of [...this.#categories.values(), ...[...this.#streams.values()].map((stream) => stream.events)]) {
      const kept = events.filter(isVisible)
      if (kept.length < events.length) events.splice(0, events.length, ...kept)
    }
  }

  #stream(name: string): MemoryStream {
    let stream = this.#streams.get(name)
    if (stream === undefined) {
      stream = { events: [], last: -1n, metadata: {} }
      this.#streams.set(name, stream)
    }
    return stream
  }

  #category(stream: string): StoredEvent[] {
    const dash = stream.indexOf('-')
    const name = dash < 0 ? stream : stream.slice(0, dash)
    let events = this.#categories.get(name)
    if (events === undefined) {
      events = []
      this.#categories.set(name, events)
    }
    return events
  }
}

function hasLimits({ truncateBefore, countMax, ageMaxMs }: StreamMetadata): boolean {
  return truncateBefore !== undefined || countMax !== undefined || ageMaxMs !== undefined
}

function isWithin(event: StoredEvent, { truncateBefore, countMax, ageMaxMs }: StreamMetadata, last: bigint, nowMs: number): boolean {
  if (truncateBefore !== undefined && event.revision < truncateBefore) return false
  if (countMax !== undefined && event.revision <= last - BigInt(countMax)) return false
  return ageMaxMs === undefined || event.storedAtMs >= nowMs - ageMaxMs
}

/** A page of events that stand in order; cursors are revisions within one stream and positions elsewhere. */
export function pageOf(events: readonly StoredEvent[], query: EventQuery, isStream: boolean, isVisible: (event: StoredEvent) => boolean): LogPage {
  const cursorOf = (event: StoredEvent): bigint => (isStream ? event.revision : event.position)
  const isForwards = query.direction === 'forwards'
  const step = isForwards ? 1 : -1
  const found: StoredEvent[] = []
  for (let at = startOf(events, query, cursorOf); at >= 0 && at < events.length; at += step) {
    const event = events[at]
    if (event === undefined || !isVisible(event)) continue
    if (found.length === query.limit) return { events: found, cursor: lastCursor(found, cursorOf) ?? query.after, isEnd: false }
    found.push(event)
  }
  return { events: found, cursor: lastCursor(found, cursorOf) ?? query.after, isEnd: true }
}

function lastCursor(events: readonly StoredEvent[], cursorOf: (event: StoredEvent) => bigint): bigint | undefined {
  const last = events.at(-1)
  return last === undefined ? undefined : cursorOf(last)
}

/** Index of the first event that is wanted. */
function startOf(events: readonly StoredEvent[], { direction, after }: EventQuery, cursorOf: (event: StoredEvent) => bigint): number {
  const isForwards = direction === 'forwards'
  if (after === undefined) return isForwards ? 0 : events.length - 1
  let [low, high] = [0, events.length]
  // Forwards the first one beyond the cursor, backwards the one before the first that is not below it.
  while (low < high) {
    const middle = (low + high) >>> 1
    const event = events[middle]
    const isBelow = event !== undefined && (isForwards ? cursorOf(event) <= after : cursorOf(event) < after)
    if (isBelow) low = middle + 1
    else high = middle
  }
  return isForwards ? low : low - 1
}

/** Events on their way into the log: each transaction has its own. */
export class StagedEvents {
  readonly #base: MemoryEvents
  readonly #events: StoredEvent[] = []

  constructor(base: MemoryEvents) {
    this.#base = base
  }

  get isEmpty(): boolean {
    return this.#events.length === 0
  }

  append(stream: string, expected: ExpectedRevision, events: readonly NewEvent[], nowMs: number): Appended {
    const whole = this.#whole(stream)
    const last = whole.at(-1)?.revision ?? this.#base.lastRevision(stream)
    if (expected !== 'any') {
      const wanted = expected === 'noStream' ? -1n : expected
      const repeated = wanted === last ? undefined : repetitionOf(whole, wanted, events)
      if (repeated !== undefined) return { revision: repeated.revision, position: repeated.position, isRepeated: true }
      if (wanted !== last) {
        throw new TrunklineError('store.wrong_revision', { stream, expected: String(expected), actual: last < 0n ? 'noStream' : String(last) })
      }
    }
    const position = this.#events.at(-1)?.position ?? this.#base.position
    events.forEach(({ message }, at) => {
      const after = BigInt(at + 1)
      this.#events.push({ stream, revision: last + after, position: position + after, storedAtMs: nowMs, message })
    })
    const count = BigInt(events.length)
    return { revision: last + count, position: position + count, isRepeated: false }
  }

  readStream(stream: string, query: EventQuery, nowMs: number): LogPage {
    const whole = this.#whole(stream)
    const last = whole.at(-1)?.revision ?? -1n
    const metadata = this.#base.metadata(stream)
    return pageOf(whole, query, true, (event) => isWithin(event, metadata, last, nowMs))
  }

  commit(nowMs: number): void {
    if (!this.isEmpty) this.#base.commit(this.#events, nowMs)
  }

  #whole(stream: string): readonly StoredEvent[] {
    const own = this.#events.filter((event) => event.stream === stream)
    const kept = this.#base.kept(stream)
    return own.length === 0 ? kept : [...kept, ...own]
  }
}

/** The last of the events where exactly these follow the expected revision already. */
function repetitionOf(stream: readonly StoredEvent[], wanted: bigint, events: readonly NewEvent[]): StoredEvent | undefined {
  const first = stream[0]?.revision ?? 0n
  const from = Number(wanted + 1n - first)
  const isThere = from >= 0 && events.length > 0 && events.every(({ message }, at) => stream[from + at]?.message.id === message.id)
  return isThere ? stream[from + events.length - 1] : undefined
}

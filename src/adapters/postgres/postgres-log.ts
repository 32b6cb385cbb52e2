import { assert, isTrunklineError, TrunklineError } from '../../core/errors.ts'
import type {
  Appended, EventLog, ExpectedRevision, FollowOptions, LogCapabilities, LogPage, NewEvent, ReadQuery, Selection, StoredEvent, StreamMetadata,
} from '../../store/port.ts'
import type { PgRow } from './postgres-client.ts'
import type { PgDatabase } from './postgres-database.ts'
import { STORE } from './postgres-errors.ts'
import { type LogStatements, logStatements } from './postgres-log-statements.ts'
import { attributesText, idOf, messageFrom } from './postgres-message.ts'
import { bigintAt, bytesAt, numberAt, optionalBigintAt, optionalNumberAt, optionalTextAt, textAt } from './postgres-rows.ts'
import type { PgExecutor } from './postgres-session.ts'
import { PgWatermark } from './postgres-watermark.ts'

const REVISION_MAX = 9_223_372_036_854_775_807n
const SCAVENGE_MAX = 1_000
/** Time between two clean-ups of a stream that its settings keep short. */
const SCAVENGE_EVERY_MS = 60_000
/** Streams that wait for one. */
const SCAVENGE_STREAMS_MAX = 1_000

const CAPABILITIES: LogCapabilities = { canCommitRows: true, canCommitStreams: true, survivesProcessDeath: true }

/** Which events, and how many of them, without where they are in the log. */
type StreamQuery = Omit<ReadQuery, 'selection'>

/** One append to one stream. */
export interface StreamAppend {
  readonly stream: string
  readonly expected: Exclude<ExpectedRevision, 'any'>
  readonly events: readonly NewEvent[]
}

/** Reading of one stream from its beginning, or from behind a revision. */
export interface StreamRead {
  readonly stream: string
  readonly after: bigint | undefined
  readonly limit: number
}

/** The event log of a schema. */
export class PgEventLog implements EventLog {
  readonly capabilities: LogCapabilities = CAPABILITIES
  readonly #database: PgDatabase
  readonly #statements: LogStatements
  readonly #scavenges = new Set<string>()
  #isScavenging = false
  #watermark: PgWatermark | undefined
  #unlisten: (() => void) | undefined

  constructor(database: PgDatabase) {
    this.#database = database
    this.#statements = logStatements(database.schema)
  }

  /**
   * Begins to watch.
   *
   * @throws `store.refused` where someone has changed what readers rely on.
   */
  async open(): Promise<void> {
    const { settings, schema, host, signals } = this.#database
    const [row] = await this.#database.run(this.#statements.check, [])
    // P-07: a session that takes numbers in advance would use them late.
    const isSound = row !== undefined && textAt(row, 'cache') === '1' && /pg_advisory_xact_lock_shared.*nextval/s.test(textAt(row, 'position'))
    if (!isSound) {
      throw new TrunklineError('store.refused', { store: STORE, problem: `the sequences ${schema}.event_position and ${schema}.outbox_id must have CACHE 1, and the default of ${schema}.event.position must be as the migration made it` })
    }
    const watermark = new PgWatermark({
      executor: this.#database, schema, clock: host.clock, random: host.random, hearsOthers: () => signals.isListening, idlePollMs: settings.idlePollMs,
      lostCount: () => this.#database.lostCount,
    })
    this.#watermark = watermark
    this.#unlisten = signals.on('log', () => watermark.wake())
  }

  /** Ends every follower's wait. */
  async close(): Promise<void> {
    this.#unlisten?.()
    await this.#watermark?.close()
    this.#watermark = undefined
  }

  /** Something was appended in a transaction of this process that has committed. */
  committed(): void {
    this.#watermark?.wake()
    this.#database.signals.announce('log')
  }

  async append(stream: string, expected: ExpectedRevision, events: readonly NewEvent[]): Promise<Appended> {
    const appended = await this.appendOn(this.#database, stream, expected, events)
    // Also a repetition: who appended first may have died before it told anybody.
    this.committed()
    return appended
  }

  /** Appends on a transaction, or on the database itself. */
  async appendOn(executor: PgExecutor, stream: string, expected: ExpectedRevision, events: readonly NewEvent[]): Promise<Appended> {
    assert(events.length > 0, 'an append has at least one event')
    const kind = typeof expected === 'bigint' ? 'exact' : expected
    const { appendOne, appendMany } = this.#statements
    const place = [stream, categoryOf(stream), String(typeof expected === 'bigint' ? expected : -1n)]
    const [first] = events
    // Rows come in the order in which they were inserted, which is that of the events.
    const rows = events.length === 1 && first !== undefined
      ? await executor.run(appendOne[kind], [...place, attributesText(first.message), first.message.body])
      : await executor.run(appendMany[kind], [...place, events.map(({ message }) => attributesText(message)), events.map(({ message }) => message.body), events.length])
    const row = rows.at(-1)
    if (row === undefined) return await this.#repeated(executor, stream, expected, events)
    if (row['limited'] === true) this.#scavengeLater(stream)
    return { revision: bigintAt(row, 'revision'), position: bigintAt(row, 'position'), isRepeated: false }
  }

  /** Appends to several streams, none of them twice. An error stands for one whose expectation failed. @throws `store.*` where nothing was done. */
  async appendStreamsOn(executor: PgExecutor, appends: readonly StreamAppend[]): Promise<readonly (Appended | Error)[]> {
    const [first] = appends
    if (appends.length === 1 && first !== undefined) return [await this.appendOn(executor, first.stream, first.expected, first.events)]
    const exact = appends.filter(({ expected }) => expected !== 'noStream')
    const [old, made] = await Promise.all([
      this.#appendStreams(executor, 'exact', exact),
      this.#appendStreams(executor, 'noStream', appends.filter(({ expected }) => expected === 'noStream')),
    ])
    return await Promise.all(appends.map(async ({ stream, expected, events }) => {
      const row = (expected === 'noStream' ? made : old).get(stream)
      if (row === undefined) return await this.#repeated(executor, stream, expected, events).catch((error: unknown) => isTrunklineError(error, 'store.wrong_revision') ? error : Promise.reject(error))
      if (row['limited'] === true) this.#scavengeLater(stream)
      return { revision: bigintAt(row, 'revision'), position: bigintAt(row, 'position'), isRepeated: false }
    }))
  }

  async #appendStreams(executor: PgExecutor, kind: 'exact' | 'noStream', appends: readonly StreamAppend[]): Promise<ReadonlyMap<string, PgRow>> {
    if (appends.length === 0) return new Map()
    const sorted = appends.toSorted((one, other) => (one.stream < other.stream ? -1 : 1))
    const events = sorted.flatMap(({ stream, expected, events: own }) => own.map(({ message }, at) => ({ stream, revision: String(before(expected) + BigInt(at + 1)), message })))
    const rows = await executor.run(this.#statements.appendStreams[kind], [
      sorted.map(({ stream }) => stream), sorted.map(({ expected }) => String(before(expected))), sorted.map(({ events: own }) => own.length), sorted.map(({ stream }) => categoryOf(stream)),
      events.map(({ stream }) => stream), events.map(({ revision }) => revision), events.map(({ message }) => attributesText(message)), events.map(({ message }) => message.body),
    ])
    return new Map(rows.map((row) => [textAt(row, 'name'), row]))
  }

  /** What an earlier try of the same append has answered. @throws `store.wrong_revision` where there was none. */
  async #repeated(executor: PgExecutor, stream: string, expected: ExpectedRevision, events: readonly NewEvent[]): Promise<Appended> {
    const first = before(expected) + 1n
    const last = before(expected) + BigInt(events.length)
    const rows = await executor.run(this.#statements.find, [stream, String(first), String(last)])
    const isSame = rows.length === events.length && rows.every((row, index) => {
      const attributes = optionalTextAt(row, 'attributes')
      return attributes !== undefined && idOf(attributes) === events[index]?.message.id
    })
    const end = rows.at(-1)
    if (isSame && end !== undefined) return { revision: last, position: bigintAt(end, 'position'), isRepeated: true }
    const head = rows[0] === undefined ? -1n : bigintAt(rows[0], 'head')
    throw new TrunklineError('store.wrong_revision', { stream, expected: String(expected), actual: head < 0n ? 'noStream' : String(head) })
  }

  async read(query: ReadQuery): Promise<LogPage> {
    const { selection } = query
    if (selection.kind === 'stream') return await this.readStreamOn(this.#database, selection.stream, query)
    return await this.#readBelow(selection, query, await this.#mark().look())
  }

  /** Reads a stream as a transaction, or the database itself, sees it. */
  async readStreamOn(executor: PgExecutor, stream: string, { direction, after, limit }: StreamQuery): Promise<LogPage> {
    const cursor = after ?? (direction === 'forwards' ? -1n : REVISION_MAX)
    const rows = await executor.run(this.#statements.stream[direction], [stream, String(cursor), limit])
    const events = rows.map((row) => storedEvent(row, stream))
    return { events, cursor: events.at(-1)?.revision ?? after, isEnd: isLast(rows, limit) }
  }

  /** Reads several streams forwards, as a transaction sees them. */
  async readStreamsOn(executor: PgExecutor, reads: readonly StreamRead[]): Promise<readonly LogPage[]> {
    const [first] = reads
    if (reads.length === 1 && first !== undefined) return [await this.readStreamOn(executor, first.stream, { ...first, direction: 'forwards' })]
    const rows = await executor.run(this.#statements.streams, [reads.map(({ stream }) => stream), reads.map(({ after }) => String(after ?? -1n)), reads.map(({ limit }) => limit)])
    const byPlace = Map.groupBy(rows, (row) => numberAt(row, 'place'))
    return reads.map(({ stream, after, limit }, at) => {
      const own = byPlace.get(at + 1) ?? []
      const events = own.map((row) => storedEvent(row, stream))
      return { events, cursor: events.at(-1)?.revision ?? after, isEnd: isLast(own, limit) }
    })
  }

  /** Reads a category or everything, up to a position that is safe to pass. */
  async #readBelow(selection: Exclude<Selection, { kind: 'stream' }>, { direction, after, limit }: StreamQuery, safe: bigint): Promise<LogPage> {
    const cursor = after ?? (direction === 'forwards' ? 0n : REVISION_MAX)
    const values = [String(cursor), limit, String(safe)]
    const rows = selection.kind === 'all'
      ? await this.#database.run(this.#statements.all[direction], values)
      : await this.#database.run(this.#statements.category[direction], [...values, selection.category])
    const events = rows.filter((row) => row['attributes'] !== null).map((row) => storedEvent(row, textAt(row, 'stream')))
    const isEnd = isLast(rows, limit)
    const last = rows.at(-1)
    // At the end, everything up to the mark has been looked at, gaps and other categories included.
    if (isEnd && direction === 'forwards') return { events, cursor: safe > cursor ? safe : after, isEnd }
    return { events, cursor: last === undefined ? after : bigintAt(last, 'position'), isEnd }
  }

  async *follow(selection: Selection, after: bigint | undefined, { pageMax, signal }: FollowOptions): AsyncIterable<LogPage> {
    const mark = this.#mark()
    const category = selection.kind === 'category' ? selection.category : selection.kind === 'stream' ? categoryOf(selection.stream) : undefined
    let cursor = after
    let isTold = false
    /** How far the log had been seen when a stream was read. */
    let seen = await mark.look()
    const { generation } = mark
    while (!signal.aborted) {
      if (mark.generation !== generation) throw lostTrack()
      const safe = mark.safe
      const query: StreamQuery = { direction: 'forwards', after: cursor, limit: pageMax }
      const page = selection.kind === 'stream'
        ? await this.readStreamOn(this.#database, selection.stream, query)
        : await this.#readBelow(selection, query, safe)
      if (mark.generation !== generation) throw lostTrack()
      cursor = page.cursor
      const isEnd = page.isEnd && safe === mark.safe
      if (page.events.length > 0 || (isEnd && !isTold)) yield { ...page, isEnd }
      isTold = isEnd
      if (!page.isEnd) continue
      seen = await mark.beyond(safe, category, signal)
      // What was skipped on the way holds nothing for this reader.
      if (selection.kind !== 'stream' && seen > (cursor ?? 0n)) cursor = seen
    }
  }

  async head(): Promise<bigint | undefined> {
    const safe = await this.#mark().look()
    return safe === 0n ? undefined : safe
  }

  async metadata(stream: string): Promise<StreamMetadata> {
    const [row] = await this.#database.run(this.#statements.metadata, [stream])
    if (row === undefined) return {}
    const [truncateBefore, countMax, ageMaxMs] = [optionalBigintAt(row, 'truncate_before'), optionalNumberAt(row, 'count_max'), optionalNumberAt(row, 'age_max_ms')]
    const custom = optionalTextAt(row, 'custom')
    return {
      ...(truncateBefore === undefined ? {} : { truncateBefore }),
      ...(countMax === undefined ? {} : { countMax }),
      ...(ageMaxMs === undefined ? {} : { ageMaxMs }),
      ...(custom === undefined ? {} : { custom: objectIn(custom) }),
    }
  }

  async setMetadata(stream: string, { truncateBefore, countMax, ageMaxMs, custom }: StreamMetadata): Promise<void> {
    await this.#database.run(this.#statements.setMetadata, [
      stream, categoryOf(stream), truncateBefore === undefined ? null : String(truncateBefore), countMax ?? null,
      ageMaxMs === undefined ? null : Math.round(ageMaxMs), custom === undefined ? null : JSON.stringify(custom),
    ])
    this.#scavengeLater(stream)
  }

  /** Removes what the settings of streams have ended, one stream after the other, when there is time. */
  #scavengeLater(stream: string): void {
    if (this.#scavenges.size >= SCAVENGE_STREAMS_MAX) return
    this.#scavenges.add(stream)
    if (this.#isScavenging) return
    this.#isScavenging = true
    const { clock } = this.#database.host
    const scavenge = async (): Promise<void> => {
      for (const each of this.#scavenges) {
        this.#scavenges.delete(each)
        // The rest, and what could not be done, is done when the stream grows again.
        if (this.#watermark !== undefined) await this.#database.run(this.#statements.scavenge, [each, SCAVENGE_MAX]).catch(() => undefined)
      }
      clock.setTimer(SCAVENGE_EVERY_MS, () => {
        this.#isScavenging = false
        const [next] = this.#scavenges
        if (next !== undefined && this.#watermark !== undefined) this.#scavengeLater(next)
      }, { background: true })
    }
    clock.defer(() => void scavenge())
  }

  #mark(): PgWatermark {
    if (this.#watermark === undefined) throw new TrunklineError('store.down', { store: STORE, problem: 'it is not open' })
    return this.#watermark
  }
}

/** The revision before the first event of an append. */
function before(expected: ExpectedRevision): bigint {
  return typeof expected === 'bigint' ? expected : -1n
}

function lostTrack(): TrunklineError {
  return new TrunklineError('store.down', { store: STORE, problem: 'the link was lost meanwhile, and what is behind it may be another copy of the database' })
}

/** The category of a stream: its name up to the first dash. */
function categoryOf(stream: string): string {
  const dash = stream.indexOf('-')
  return dash < 0 ? stream : stream.slice(0, dash)
}

/** True where the page was not full: neither by the number of events nor by their bytes. */
function isLast(rows: readonly PgRow[], limit: number): boolean {
  const [row] = rows
  return row === undefined || (rows.length < limit && numberAt(row, 'found') === rows.length)
}

function storedEvent(row: PgRow, stream: string): StoredEvent {
  const position = bigintAt(row, 'position')
  return {
    stream,
    revision: bigintAt(row, 'revision'),
    position,
    storedAtMs: Math.floor(numberAt(row, 'stored_ms')),
    message: messageFrom(textAt(row, 'attributes'), bytesAt(row, 'body'), `position-${position}`),
  }
}

function objectIn(text: string): Readonly<Record<string, unknown>> {
  const value: unknown = JSON.parse(text)
  return isRecord(value) ? value : {}
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

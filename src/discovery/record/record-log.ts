import { TrunklineError, isTrunklineError } from '../../core/errors.ts'
import type { EventStore } from '../../store/event-store.ts'
import type { Fact } from '../../store/fact.ts'
import { PastView, RECORDED, type RecordEntry, foldRecord, seenAtMs } from './past-view.ts'

/** The part of an event store that a record needs. */
export type RecordEvents = Pick<EventStore, 'append' | 'read' | 'setMetadata'>

/** Milliseconds between two events of the record after which nobody was recording: well above what a recorder lets pass. */
export const RECORD_GAP_MS = 75_000
/** Entries that are read rather than halved further. */
const HALVED_TO = 400n

/** The end of the record. */
export interface RecordTail {
  readonly revision: bigint
  readonly recorder: string
  /** True where its recorder has left it to others. */
  readonly isLeft: boolean
}

/** The stream that transitions are recorded in: written under its last revision, and searched by time. */
export class RecordLog {
  readonly #events: RecordEvents
  readonly #stream: string

  constructor(events: RecordEvents, stream: string) {
    this.#events = events
    this.#stream = stream
  }

  /** The last event. @throws `store.*`. */
  async tail(): Promise<RecordTail | undefined> {
    const last = await this.#one('backwards', undefined)
    return last === undefined ? undefined : { revision: last.revision, recorder: last.data.recorder, isLeft: last.type === 'trunkline.record-left' }
  }

  /**
   * Appends behind the event that the writer saw or wrote last, so that of two recorders one alone goes on. Gives the new last revision.
   *
   * @throws `store.wrong_revision` where somebody else wrote, `store.*`.
   */
  async append(after: bigint | undefined, facts: readonly Fact[]): Promise<bigint> {
    try {
      const { revision } = await this.#events.append(this.#stream, after ?? 'noStream', facts)
      return revision
    } catch (error) {
      if (after !== undefined || !isTrunklineError(error, 'store.wrong_revision') || !/^\d+$/.test(error.details.actual) || (await this.tail()) !== undefined) throw error
      // Everything in it is too old to be seen; what is written now stands behind it nevertheless.
      const { revision } = await this.#events.append(this.#stream, BigInt(error.details.actual), facts)
      return revision
    }
  }

  /** Lets events end after so long. @throws `store.*`. */
  async keepFor(keptMs: number): Promise<void> {
    await this.#events.setMetadata(this.#stream, { ageMaxMs: keptMs })
  }

  /**
   * Who was there at a time. Reads what lies between that time and the statement before it, and some pages to find it.
   *
   * @param nowMs the wall clock, to know how long ago the last event is.
   * @throws `discovery.unrecorded`, `store.*`.
   */
  async at(atMs: number, nowMs: number): Promise<PastView> {
    const [last, next] = await this.#around(atMs)
    const rows = last === undefined ? undefined : foldRecord(await this.#sinceStatement(last.revision))
    if (last === undefined || rows === undefined) {
      throw new TrunklineError('discovery.unrecorded', { at: new Date(atMs).toISOString(), problem: 'the record begins later, or what was recorded then is no longer kept' })
    }
    const silentMs = (next?.storedAtMs ?? Math.max(nowMs, atMs)) - last.storedAtMs
    const doubt = silentMs <= RECORD_GAP_MS ? undefined : `nobody recorded for ${Math.round(silentMs / 1_000)} s ${next === undefined ? 'since then' : 'round then'}`
    return new PastView(atMs, rows.values(), doubt)
  }

  /** The last event up to a time and the first one after it. Events are in the order in which they were seen. */
  async #around(atMs: number): Promise<readonly [RecordEntry | undefined, RecordEntry | undefined]> {
    const end = await this.#one('backwards', undefined)
    let before = await this.#one('forwards', undefined)
    if (end === undefined || before === undefined || seenAtMs(before) > atMs) return [undefined, before]
    if (seenAtMs(end) <= atMs) return [end, undefined]
    let beyond = end.revision
    while (beyond - before.revision > HALVED_TO) {
      const middle: bigint = (before.revision + beyond) / 2n
      const found: RecordEntry | undefined = await this.#one('forwards', middle - 1n)
      if (found === undefined || found.revision >= beyond || seenAtMs(found) > atMs) beyond = middle
      else before = found
    }
    for await (const entry of this.#events.read(this.#stream, RECORDED, { after: before.revision })) {
      if (seenAtMs(entry) > atMs) return [before, entry]
      before = entry
    }
    return [before, undefined]
  }

  /** The events from the last whole statement up to this revision, in order. */
  async #sinceStatement(revision: bigint): Promise<readonly RecordEntry[]> {
    const entries: RecordEntry[] = []
    for await (const entry of this.#events.read(this.#stream, RECORDED, { direction: 'backwards', after: revision + 1n })) {
      entries.push(entry)
      if ('part' in entry.data && entry.data.part === 0 && foldRecord(entries.toReversed()) !== undefined) break
    }
    return entries.toReversed()
  }

  async #one(direction: 'forwards' | 'backwards', after: bigint | undefined): Promise<RecordEntry | undefined> {
    for await (const entry of this.#events.read(this.#stream, RECORDED, { direction, limit: 1, ...(after === undefined ? {} : { after }) })) return entry
    return undefined
  }
}

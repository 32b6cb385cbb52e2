import { sleep } from '../../core/clock.ts'
import { TrunklineError } from '../../core/errors.ts'
import type { InboxEntry, InboxVerdict, NewOutboxRow, UnitTransaction } from '../../outbox/port.ts'
import type { Appended, ExpectedRevision, LogPage, NewEvent, NewTimer, ReadQuery, Snapshot, StoredEvent, StoredTimer } from '../../store/port.ts'
import type { EsdbDesk } from './eventstoredb-desk.ts'
import { downOf } from './eventstoredb-desk.ts'
import { enteredIn, keyOf, ops, progressIn, type DeskTimer, type Mark, type Op } from './eventstoredb-desk-state.ts'
import type { EsdbLink } from './eventstoredb-link.ts'
import { checkOwn, storeEventOf, type EsdbLog } from './eventstoredb-log.ts'
import { unheardIn, unitIn } from './eventstoredb-lookback.ts'

const TRIES_MAX = 5
const AGAIN_MS = 100

/** What a unit works with. */
export interface UnitParts {
  readonly link: EsdbLink
  readonly log: EsdbLog
  readonly desk: EsdbDesk
}

/** What the unit has appended so far. */
interface Staged {
  readonly stream: string
  /** Revision of the last event before; -1n for a stream that does not exist. */
  readonly base: bigint
  readonly events: NewEvent[]
}

/**
 * A unit of work: one append to one stream. With events it is the append to their stream, and everything else rides in the metadata of the last one
 * until it is written to the desk; without events it is the append to the desk.
 */
export class EsdbUnit implements UnitTransaction<undefined> {
  readonly handle = undefined
  readonly #parts: UnitParts
  readonly #ops: Op[] = []
  readonly #marks = new Map<string, Mark>()
  /** Timers as this unit sees them, where it has changed them. */
  readonly #timers = new Map<string, DeskTimer | undefined>()
  /** Timers that have to be as they were found. */
  readonly #versions = new Map<string, number | undefined>()
  readonly #epochs = new Map<string, bigint>()
  #staged: Staged | undefined
  #synced: Promise<void> | undefined
  #isOver = false
  /** What must not be swallowed: a unit that could not do all that it was told does nothing. */
  #failure: TrunklineError | undefined

  constructor(parts: UnitParts) {
    this.#parts = parts
  }

  end(): void {
    this.#isOver = true
  }

  async append(stream: string, expected: ExpectedRevision, events: readonly NewEvent[]): Promise<Appended> {
    this.#check('append')
    checkOwn(stream)
    const staged = this.#staged
    if (staged !== undefined && staged.stream !== stream) {
      this.#failure = new TrunklineError('bus.unsupported', { adapter: 'eventstoredb', capability: 'canCommitStreams', needed: `events of ${staged.stream} and ${stream} in one unit` })
      throw this.#failure
    }
    const base = staged?.base ?? (await this.#lastRevision(stream))
    const current = base + BigInt(staged?.events.length ?? 0)
    const wanted = expected === 'noStream' ? -1n : expected === 'any' ? current : expected
    if (wanted !== current) {
      const repeated = await this.#repeated(stream, wanted, events)
      if (repeated !== undefined) return repeated
      throw new TrunklineError('store.wrong_revision', { stream, expected: `${expected}`, actual: current < 0n ? 'noStream' : `${current}` })
    }
    this.#check('append')
    if (events.length > 0) this.#staged = { stream, base, events: [...(staged?.events ?? []), ...events] }
    return { revision: current + BigInt(events.length), position: undefined, isRepeated: false }
  }

  async readStream(stream: string, query: Omit<ReadQuery, 'selection'>): Promise<LogPage> {
    this.#check('readStream')
    const own = this.#staged?.stream === stream ? this.#ownEvents(this.#staged) : []
    const { direction, after, limit } = query
    const selection = { kind: 'stream', stream } as const
    if (direction === 'forwards') {
      const page = await this.#parts.log.read({ ...query, selection })
      if (!page.isEnd || own.length === 0) return page
      const rest = own.filter(({ revision }) => after === undefined || revision > after)
      const events = [...page.events, ...rest].slice(0, limit)
      return { events, cursor: events.at(-1)?.revision ?? page.cursor, isEnd: page.events.length + rest.length <= limit }
    }
    const mine = own.filter(({ revision }) => after === undefined || revision < after).toReversed().slice(0, limit)
    const before = mine.at(-1)?.revision ?? after
    if (mine.length === limit) return { events: mine, cursor: before, isEnd: before === 0n }
    const page = await this.#parts.log.read({ selection, direction, after: before, limit: limit - mine.length })
    return { ...page, events: [...mine, ...page.events] }
  }

  async saveCheckpoint(name: string, cursor: bigint, epoch: bigint | undefined): Promise<void> {
    await this.#sync('saveCheckpoint')
    if (epoch !== undefined) {
      this.#checkEpoch(name, epoch)
      this.#epochs.set(name, epoch)
    }
    this.#ops.push(epoch === undefined ? ops.checkpoint(name, cursor) : ops.progress(name, cursor))
  }

  async saveSnapshot(snapshot: Snapshot): Promise<void> {
    await this.#sync('saveSnapshot')
    this.#ops.push(ops.snapshot(snapshot))
  }

  async putTimer(timer: NewTimer): Promise<void> {
    await this.#sync('putTimer')
    this.#ops.push(ops.timer(timer))
    const { id, due, kind, message, recurrence } = timer
    const dueAtMs = 'atMs' in due ? due.atMs : this.#parts.desk.nowMs + due.afterMs
    this.#timers.set(id, { id, dueAtMs, kind, message, recurrence, version: 0 })
  }

  async cancelTimer(id: string): Promise<boolean> {
    await this.#sync('cancelTimer')
    const found = this.#timer(id)
    this.#seen(id)
    if (found === undefined) return false
    this.#ops.push(ops.cancel(id))
    this.#timers.set(id, undefined)
    return true
  }

  async takeDue(limit: number): Promise<readonly StoredTimer[]> {
    await this.#sync('takeDue')
    const { state, nowMs } = this.#parts.desk
    const ids = new Set([...state.timers.keys(), ...this.#timers.keys()])
    const due = [...ids].flatMap((id) => {
      const timer = this.#timer(id)
      return timer !== undefined && timer.dueAtMs <= nowMs ? [timer] : []
    })
    const taken = due.toSorted((one, other) => one.dueAtMs - other.dueAtMs || (one.id < other.id ? -1 : 1)).slice(0, limit)
    for (const { id } of taken) {
      this.#seen(id)
      this.#ops.push(ops.cancel(id))
      this.#timers.set(id, undefined)
    }
    return taken.map(({ id, dueAtMs, kind, message, recurrence }) => ({ id, dueAtMs, kind, message, recurrence }))
  }

  async enter(entry: InboxEntry): Promise<InboxVerdict> {
    await this.#sync('enter')
    return this.#enter(entry)
  }

  async enterMany(entries: readonly InboxEntry[]): Promise<readonly InboxVerdict[]> {
    await this.#sync('enterMany')
    return entries.map((entry) => this.#enter(entry))
  }

  async keepAnswer(entry: InboxEntry, answer: Uint8Array): Promise<void> {
    await this.#sync('keepAnswer')
    this.#ops.push(ops.answer(entry, answer))
  }

  async write(rows: readonly NewOutboxRow[]): Promise<void> {
    await this.#sync('write')
    for (const row of rows) this.#ops.push(ops.row(row))
  }

  /** Commits. @throws `store.conflict`, `store.lease_lost`, `store.down`, what a swallowed refusal was. */
  async commit(): Promise<void> {
    this.#isOver = true
    if (this.#failure !== undefined) throw this.#failure
    const { desk } = this.#parts
    if (this.#staged !== undefined) await this.#commitEvents(this.#staged)
    else if (this.#ops.length > 0) {
      await desk.commit(() => {
        this.#verify()
        return this.#ops
      })
    }
  }

  async #commitEvents(staged: Staged): Promise<void> {
    const { desk, link } = this.#parts
    await desk.refresh()
    this.#verify()
    await this.#afterThoseBefore(staged.stream)
    const { stream, base, events } = staged
    const last = events.length - 1
    const proposed = events.map(({ message, isPublic }, at) =>
      storeEventOf(message, isPublic, stream, at === last && this.#ops.length > 0 ? { unit: JSON.stringify(this.#ops) } : {}),
    )
    const expected = base < 0n ? 'no_stream' : base
    for (let tries = 1; ; tries++) {
      const result = await link.call((client) => client.appendToStream(stream, proposed, { ...link.callOptions, expectedRevision: expected, streamState: expected }))
      if (result.kind === 'done') break
      const { failure } = result
      if (failure.kind === 'wrong-revision') throw conflict(`somebody else has appended to ${stream}`)
      if (!['unknown', 'poisoned', 'not-leader'].includes(failure.kind)) throw new TrunklineError('store.refused', { store: 'eventstoredb', problem: failure.problem }, { cause: failure.cause })
      if (tries >= TRIES_MAX || link.closed.aborted) throw downOf(failure)
      await sleep(link.host.clock, AGAIN_MS * tries, link.closed)
    }
    // It is committed. What rides along is brought to the desk now, or by the courier.
    const from = proposed[last]?.id
    if (this.#ops.length > 0) await desk.commit(() => this.#ops, from).catch(() => undefined)
  }

  /**
   * Brings to the desk what earlier units of this stream have left behind: what they published then stands before what this one does. One of them
   * may be this very unit, committed by a process that died before the desk knew.
   */
  async #afterThoseBefore(stream: string): Promise<void> {
    const { link, desk } = this.#parts
    for (const event of await unheardIn(link, desk, stream)) {
      const list = unitIn(event)
      await desk.commit(() => list, event.id)
      if (enteredIn(list).some((key) => this.#marks.has(key))) throw conflict('the message was handled already')
      const names = [...this.#epochs.keys()]
      const done = names.find((name) => (progressIn(list, name) ?? -1n) >= (progressIn(this.#ops, name) ?? 0n))
      // An earlier holder, or an earlier life of this one, was further than the checkpoint said: whoever follows begins anew from there.
      if (done !== undefined) throw leaseLost(done)
    }
  }

  /** Everything that this unit has found out still holds. */
  #verify(): void {
    const { state } = this.#parts.desk
    for (const [name, epoch] of this.#epochs) {
      this.#checkEpoch(name, epoch)
      // What an earlier holder had done was brought to the desk after this one had looked.
      if ((state.checkpoints.get(name) ?? -1n) >= (progressIn(this.#ops, name) ?? 0n)) throw leaseLost(name)
    }
    for (const key of this.#marks.keys()) if (state.marks.has(key)) throw conflict('the message was handled by somebody else')
    for (const [id, version] of this.#versions) if (state.timers.get(id)?.version !== version) throw conflict('the timer was changed by somebody else')
  }

  #checkEpoch(name: string, epoch: bigint): void {
    if (this.#parts.desk.state.leases.get(name)?.epoch === epoch) return
    throw leaseLost(name)
  }

  #enter(entry: InboxEntry): InboxVerdict {
    const key = keyOf(entry.group, entry.source, entry.id)
    const digest = Buffer.from(entry.digest).toString('base64')
    const mark = this.#marks.get(key) ?? this.#parts.desk.state.marks.get(key)
    if (mark === undefined) {
      this.#marks.set(key, { digest, answer: undefined, atMs: 0 })
      this.#ops.push(ops.enter(entry))
      return { kind: 'new' }
    }
    if (mark.digest !== digest) return { kind: 'collision' }
    return { kind: 'seen', answer: mark.answer === undefined ? undefined : Buffer.from(mark.answer, 'base64') }
  }

  #timer(id: string): DeskTimer | undefined {
    return this.#timers.has(id) ? this.#timers.get(id) : this.#parts.desk.state.timers.get(id)
  }

  #seen(id: string): void {
    if (!this.#timers.has(id) && !this.#versions.has(id)) this.#versions.set(id, this.#parts.desk.state.timers.get(id)?.version)
  }

  #ownEvents({ stream, base, events }: Staged): readonly StoredEvent[] {
    const { nowMs } = this.#parts.desk
    return events.map(({ message }, at) => ({ stream, revision: base + 1n + BigInt(at), position: -1n, storedAtMs: nowMs, message }))
  }

  async #lastRevision(stream: string): Promise<bigint> {
    const page = await this.#parts.log.read({ selection: { kind: 'stream', stream }, direction: 'backwards', after: undefined, limit: 1 })
    return page.events[0]?.revision ?? -1n
  }

  /** What an append answers whose events are there already. */
  async #repeated(stream: string, wanted: bigint, events: readonly NewEvent[]): Promise<Appended | undefined> {
    const { events: stored } = await this.#parts.log.read({ selection: { kind: 'stream', stream }, direction: 'forwards', after: wanted < 0n ? undefined : wanted, limit: Math.max(1, events.length) })
    const isSame = events.length > 0 && events.every(({ message }, at) => stored[at]?.message.id === message.id && stored[at]?.message.source === message.source && stored[at]?.revision === wanted + 1n + BigInt(at))
    const last = stored[events.length - 1]
    return isSame && last !== undefined ? { revision: last.revision, position: last.position, isRepeated: true } : undefined
  }

  async #sync(operation: string): Promise<void> {
    this.#check(operation)
    this.#synced ??= this.#parts.desk.refresh()
    await this.#synced
    this.#check(operation)
  }

  #check(operation: string): void {
    if (this.#isOver) throw new TrunklineError('outbox.unit_over', { operation })
  }
}

function leaseLost(lease: string): TrunklineError {
  return new TrunklineError('store.lease_lost', { store: 'eventstoredb', lease })
}

function conflict(problem: string): TrunklineError {
  return new TrunklineError('store.conflict', { store: 'eventstoredb', problem })
}

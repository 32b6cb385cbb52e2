import { equal, fail, ok } from 'node:assert/strict'
import type { TransportHost } from '../bus/port.ts'
import { sleep, systemClock } from '../core/clock.ts'
import type { WireMessage } from '../core/envelope.ts'
import { TrunklineError, isTrunklineError } from '../core/errors.ts'
import { silentLogger } from '../core/logger.ts'
import { type Random, seededRandom, systemRandom } from '../core/random.ts'
import type { NewOutboxRow, StoreBackend, StoreHost, TransactOptions, UnitTransaction } from '../outbox/port.ts'
import type { EventLog, LogPage, NewEvent, Selection, StoredEvent } from '../store/port.ts'
import { Gate, range, wireMessage } from './conformance-stage.ts'
import { WAIT_MS_MAX, comesTrue } from './conformance-wait.ts'
import type { BusinessRows, StorePlace, StoreSubject } from './store-conformance-subject.ts'

const REPEATS_MAX = 50
const PAGES_MAX = 10_000

/** A unit of work as cases write it. */
export type StoreWork<T> = (tx: UnitTransaction<unknown>) => Promise<T>

/** What a case works with: backends on the case's own database, and waits with a limit. What it made ends with it. */
export class StoreStage implements AsyncDisposable {
  readonly subject: StoreSubject
  /** Repeats from run to run, so that a case that shuffles does so in the same way. */
  readonly random: Random = seededRandom(20_252)
  readonly #place: StorePlace
  readonly #backends: StoreBackend<unknown>[] = []
  readonly #gates: Gate[] = []
  readonly #aborts: AbortController[] = []
  readonly #after: (() => Promise<void>)[] = []

  constructor(subject: StoreSubject, place: StorePlace) {
    this.subject = subject
    this.#place = place
  }

  /** A backend on the case's database, open: each call is another process. */
  async open(parts: Partial<StoreHost> = {}): Promise<StoreBackend<unknown>> {
    const backend = this.#place.make()
    await backend.open({
      clock: systemClock, random: systemRandom, logger: silentLogger, service: 'conformance', instance: systemRandom.id(systemClock.nowMs()),
      isOwnTransport: false, report: () => {}, ...parts,
    })
    this.#backends.push(backend)
    return backend
  }

  /** Closes every backend: the processes have ended. */
  async closeAll(): Promise<void> {
    for (const controller of this.#aborts.splice(0)) controller.abort()
    await Promise.all(this.#backends.splice(0).map((backend) => backend.close()))
  }

  /** The user's table. */
  get rows(): BusinessRows {
    return this.#place.rows ?? fail(`${this.subject.name} has no business rows`)
  }

  /** What a transport of this place is opened with. */
  get transportHost(): TransportHost {
    return { clock: systemClock, random: systemRandom, logger: silentLogger, service: 'conformance', instance: systemRandom.id(systemClock.nowMs()), report: () => {} }
  }

  /** Runs this before the case's database is removed. */
  atEnd(work: () => Promise<void>): void {
    this.#after.push(work)
  }

  /** A gate that opens at the latest when the case ends. */
  gate(): Gate {
    const gate = new Gate()
    this.#gates.push(gate)
    return gate
  }

  /** A signal that aborts at the latest when the case ends. */
  abort(): AbortController {
    const controller = new AbortController()
    this.#aborts.push(controller)
    return controller
  }

  /** Milliseconds that never go backwards. */
  get elapsedMs(): number {
    return systemClock.monotonicMs()
  }

  /** Resolves when the condition holds; see `comesTrue`. */
  async until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
    await comesTrue(what, holds, this.subject.waitMsMax ?? WAIT_MS_MAX)
  }

  /** What the promise comes to; rejects where it does not come to an end in time. */
  async inTime<T>(what: string, promise: Promise<T>): Promise<T> {
    let isOver = false
    const over = promise.finally(() => {
      isOver = true
    })
    over.catch(() => undefined)
    await this.until(what, () => isOver)
    return await over
  }

  /** Time that must pass, or that work pretends to take. No case is right only because of it. */
  pause(delayMs: number): Promise<void> {
    return sleep(systemClock, delayMs)
  }

  /** Runs a unit, again and again while the database gives it up for a conflict: what the library itself does. */
  async unit<T>(backend: StoreBackend<unknown>, work: StoreWork<T>, options?: TransactOptions): Promise<T> {
    for (let left = REPEATS_MAX; ; left--) {
      try {
        return await backend.transact(work, options)
      } catch (error) {
        if (left === 0 || !isTrunklineError(error, 'store.conflict')) throw error
        await this.pause(this.random.next() * 10)
      }
    }
  }

  /** Follows a log in the background and collects what it gives. */
  follow(log: EventLog, selection: Selection, after?: bigint, pageMax = 100): Follower {
    const follower = new Follower(log.follow(selection, after, { pageMax, signal: this.#followSignal() }))
    this.atEnd(() => follower.ended)
    return follower
  }

  #followSignal(): AbortSignal {
    return this.abort().signal
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const gate of this.#gates) gate.open()
    for (const controller of this.#aborts) controller.abort()
    await Promise.allSettled(this.#after.map((work) => work()))
    await Promise.allSettled(this.#backends.map((backend) => backend.close()))
    await this.#place.close()
  }
}

/** What a background reader of a log has seen. */
export class Follower {
  readonly pages: LogPage[] = []
  readonly events: StoredEvent[] = []
  error: unknown
  /** True once it has ended without an error. */
  isOver = false
  readonly ended: Promise<void>

  constructor(pages: AsyncIterable<LogPage>) {
    this.ended = this.#collect(pages)
  }

  async #collect(pages: AsyncIterable<LogPage>): Promise<void> {
    try {
      for await (const page of pages) {
        this.pages.push(page)
        this.events.push(...page.events)
      }
      this.isOver = true
    } catch (error) {
      this.error = error
    }
  }

  /** How often it has caught up. */
  get endings(): number {
    return this.pages.filter(({ isEnd }) => isEnd).length
  }

  get numbers(): readonly number[] {
    return numbersOf(this.events)
  }
}

/** Events whose data are the numbers given. */
export function newEvents(numbers: readonly number[], parts: Partial<WireMessage> = {}): readonly NewEvent[] {
  return numbers.map((n) => ({ message: wireMessage({ type: 'conformance.happened', ...parts }, { n }), isPublic: false }))
}

/** The number that is the data of a message of the suite. */
export function numberIn(message: WireMessage): number {
  const data: unknown = JSON.parse(Buffer.from(message.body).toString())
  return typeof data === 'object' && data !== null && 'n' in data && typeof data.n === 'number' ? data.n : Number.NaN
}

/** The numbers of events, in their order. */
export function numbersOf(events: readonly { readonly message: WireMessage }[]): readonly number[] {
  return events.map(({ message }) => numberIn(message))
}

/** Rows for the outbox, in shard 0 unless told otherwise, whose data are the numbers given. */
export function newRows(numbers: readonly number[], key?: string, shard = 0): readonly NewOutboxRow[] {
  return numbers.map((n) => ({ kind: 'event', message: wireMessage({ type: 'conformance.happened', key }, { n }), shard }))
}

/** All that is selected, forwards page by page. */
export async function readAll(log: EventLog, selection: Selection, limit = 500, after?: bigint): Promise<readonly StoredEvent[]> {
  const events: StoredEvent[] = []
  let cursor = after
  for (const _page of range(1, PAGES_MAX)) {
    const page = await log.read({ selection, direction: 'forwards', after: cursor, limit })
    ok(page.events.length <= limit, `a page of ${page.events.length} where ${limit} are the limit`)
    ok(page.isEnd || page.events.length > 0 || page.cursor !== cursor, 'a page gets on')
    events.push(...page.events)
    cursor = page.cursor
    if (page.isEnd) return events
  }
  return fail(`${PAGES_MAX} pages are not the end`)
}

/** The whole of one stream. */
export function readStream(log: EventLog, stream: string): Promise<readonly StoredEvent[]> {
  return readAll(log, { kind: 'stream', stream })
}

/** Two messages are the same, attribute by attribute and byte by byte. */
export function sameMessage(actual: WireMessage | undefined, expected: WireMessage): void {
  ok(actual !== undefined, 'the message is there')
  equal(Buffer.compare(actual.body, expected.body), 0, `the body of ${expected.id} is kept byte by byte`)
  for (const [name, value] of Object.entries(expected)) {
    if (name !== 'body') equal(JSON.stringify(Reflect.get(actual, name)), JSON.stringify(value), `${name} of ${expected.id} is kept`)
  }
}

/** One of several, in turn. */
export function oneOf<T>(several: readonly T[], turn: number): T {
  return several[turn % several.length] ?? fail('there is one')
}

/** A unit gives up on purpose with this. */
export function giveUp(): TrunklineError {
  return new TrunklineError('bus.rejected', { reason: 'the case rolls back' })
}

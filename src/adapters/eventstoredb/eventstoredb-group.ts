import type { DeadLetterRecord, DeliverySink, Subscription, TransportSubscription } from '../../bus/port.ts'
import { RecentIds } from '../../bus/protocol/recent-ids.ts'
import { backoffMs } from '../../core/backoff.ts'
import { sleep } from '../../core/clock.ts'
import { errorText } from '../../core/errors.ts'
import { derivedId } from '../../core/random.ts'
import type { EsdbDelivered } from './eventstoredb-client.ts'
import { EsdbConsuming, type Consuming } from './eventstoredb-consumer.ts'
import { EsdbDelays } from './eventstoredb-delays.ts'
import { EsdbDelivery, type Outcomes } from './eventstoredb-delivery.ts'
import { copyOf, fieldsOf, markOf, recordOf, storedOf, type EsdbEvent } from './eventstoredb-event.ts'
import type { EsdbParts } from './eventstoredb-parts.ts'
import { EsdbRoster } from './eventstoredb-roster.ts'

const AGAIN = { initialMs: 100, factor: 2, maxMs: 2_000 }
const SETTLED_MAX = 4_096
const TIMEOUT_MIN_MS = 30_000
const TIMEOUT_MAX_MS = 3_600_000
const CLOSE_MS_MAX = 5_000

/** A message that waits for its turn, or runs. */
interface Held {
  delivered: EsdbDelivered
  source: EsdbConsuming
  readonly event: EsdbEvent
  readonly retryCount: number
  delivery: EsdbDelivery | undefined
}

/**
 * A group without order: one persistent subscription for each of its types, and one to the messages that come back. What fails is copied: to the
 * stream of messages that are ready again, or to the one of those that wait for their time, because a refusal to the server has no delay. The
 * instances share the messages as the server deals them out; one of them moves those whose time has come.
 */
export class EsdbGroup implements TransportSubscription, Consuming, Outcomes {
  readonly #parts: EsdbParts
  readonly #subscription: Subscription
  readonly #sink: DeliverySink
  readonly #consumers: EsdbConsuming[]
  readonly #roster: EsdbRoster
  readonly #ready: string
  readonly #delayed: string
  /** By event id. */
  readonly #held = new Map<string, Held>()
  readonly #waiting: Held[] = []
  readonly #settled = new RecentIds(SETTLED_MAX)
  readonly #ended = new AbortController()
  #delays: EsdbDelays | undefined
  #inFlight = 0
  #isPaused = false
  #pending = 0
  #idle: (() => void) | undefined

  constructor(parts: EsdbParts, subscription: Subscription, sink: DeliverySink) {
    const { link, host, names, settings } = parts
    const { kind, group, types, from, inFlightMax } = subscription
    this.#parts = parts
    this.#subscription = subscription
    this.#sink = sink
    this.#ready = names.ready(kind, group)
    this.#delayed = names.delayed(kind, group)
    const shared = { link, host, group, silenceMaxMs: settings.silenceMaxMs, bufferSize: inFlightMax, messageTimeoutMs: this.#messageTimeoutMs }
    const start = kind === 'command' || from === 'beginning' ? 'start' : 'end'
    this.#consumers = [
      ...types.map((type) => new EsdbConsuming({ ...shared, stream: names.published(kind, type), from: start }, this)),
      new EsdbConsuming({ ...shared, stream: this.#ready, from: 'start' }, this),
    ]
    this.#roster = new EsdbRoster(link, host, { stream: names.roster(kind, group), roles: 1, leaseMs: settings.leaseMs, start: -1n }, {
      stateOf: () => undefined,
      taken: () => this.#startMoving(),
      lost: () => void this.#stopMoving(),
      asked: () => void this.#stopMoving().then(async () => await this.#roster.release(0)),
    })
  }

  /** Resolves when the group exists durably. @throws `bus.subscription_conflict`, `bus.connection_lost`. */
  async open(): Promise<void> {
    for (const consumer of this.#consumers) await consumer.open()
    this.#roster.open()
  }

  pause(): Promise<void> {
    this.#isPaused = true
    return Promise.resolve()
  }

  resume(): Promise<void> {
    this.#isPaused = false
    this.#pump()
    return Promise.resolve()
  }

  async close(): Promise<void> {
    if (this.#ended.signal.aborted) return
    this.#isPaused = true
    await Promise.all(this.#waiting.splice(0).map((held) => this.#giveBack(held)))
    this.#ended.abort()
    await this.#quiet()
    await Promise.all(this.#consumers.map((consumer) => consumer.close()))
    await this.#stopMoving()
    await this.#roster.close()
  }

  onDelivered(delivered: EsdbDelivered, source: EsdbConsuming): void {
    const event = storedOf(delivered)
    // A link whose target is gone: nothing is left to be handled (guard 23).
    if (event === undefined) return source.ack(delivered)
    if (this.#settled.has(event.id)) return source.ack(delivered)
    const known = this.#held.get(event.id)
    if (known !== undefined) {
      // It came again after a lost link: the newest copy is the one to be acked.
      known.delivered = delivered
      known.source = source
      return
    }
    const held: Held = { delivered, source, event, retryCount: delivered.retryCount, delivery: undefined }
    this.#held.set(event.id, held)
    this.#waiting.push(held)
    this.#pump()
  }

  async recordBegun({ event, attempt }: EsdbDelivery): Promise<void> {
    const { names, publisher } = this.#parts
    const { kind, group } = this.#subscription
    const stream = names.begun(kind, group, event.id)
    await publisher.store(stream, recordOf(derivedId(stream, `${attempt}`), '-begun', { attempt }), 0)
  }

  ack(delivery: EsdbDelivery): void {
    this.#done(delivery, true)
  }

  async retry(delivery: EsdbDelivery, attempts: number, delayMs: number): Promise<void> {
    await this.#copied(delivery, async () => await this.#store(delivery, attempts, delayMs))
  }

  async release(delivery: EsdbDelivery, attempts: number): Promise<void> {
    await this.#copied(delivery, async () => await this.#store(delivery, attempts, 0))
  }

  async deadLetter(delivery: EsdbDelivery, record: DeadLetterRecord): Promise<void> {
    const { kind, group } = this.#subscription
    await this.#copied(delivery, async () => await this.#parts.deadLetters.bury(delivery.event, record, { kind, group }))
  }

  async #store({ event, isRedriven }: EsdbDelivery, attempts: number, delayMs: number): Promise<void> {
    const marks = { attempts: `${attempts}`, ...(isRedriven ? { redriven: 'true' } : {}) }
    const stream = delayMs > 0 ? this.#delayed : this.#ready
    const copy = copyOf(derivedId(event.id, this.#subscription.group, `${attempts}`, delayMs > 0 ? 'later' : 'now'), event, delayMs > 0 ? { ...marks, delay: `${Math.ceil(delayMs)}` } : marks)
    await this.#parts.publisher.store(stream, copy, event.body.length)
  }

  /** Acks once the copy is stored; a message whose copy could not be stored comes again. */
  async #copied(delivery: EsdbDelivery, store: () => Promise<void>): Promise<void> {
    this.#pending++
    const storing = store().then(() => true, (error: unknown) => {
      this.#parts.host.logger.debug({ problem: errorText(error) }, 'a message could not be given back, and comes again')
      return false
    })
    this.#free(delivery)
    const isStored = await storing
    this.#done(delivery, isStored, true)
    this.#pending--
    if (this.#pending === 0) this.#idle?.()
  }

  #free(_delivery: EsdbDelivery): void {
    this.#inFlight--
    this.#pump()
  }

  #done(delivery: EsdbDelivery, isAcked: boolean, isFree = false): void {
    const held = this.#held.get(delivery.event.id)
    if (held?.delivery !== delivery) return
    this.#held.delete(delivery.event.id)
    if (isAcked) {
      this.#settled.add(delivery.event.id)
      held.source.ack(held.delivered)
      if (delivery.hasRecord) this.#forget(delivery.event.id)
    }
    if (!isFree) this.#free(delivery)
  }

  #forget(eventId: string): void {
    const { link, names } = this.#parts
    const { kind, group } = this.#subscription
    void link.call((client) => client.deleteStream(names.begun(kind, group, eventId), link.callOptions))
  }

  #pump(): void {
    while (!this.#isPaused && this.#inFlight < this.#subscription.inFlightMax) {
      const held = this.#waiting.shift()
      if (held === undefined) return
      this.#inFlight++
      if (held.retryCount > 0) void this.#offerSuspect(held)
      else this.#offer(held, 0)
    }
  }

  /** It was given out before, and nobody settled it: an attempt may have begun. */
  async #offerSuspect(held: Held): Promise<void> {
    const begun = await this.#recorded(held.event.id)
    if (begun === undefined || this.#ended.signal.aborted) {
      this.#inFlight--
      this.#held.delete(held.event.id)
      return
    }
    this.#offer(held, begun)
  }

  #offer(held: Held, begun: number): void {
    const attempts = Number(markOf(held.event, 'attempts') ?? 0)
    const isSuspect = held.retryCount > 0
    held.delivery = new EsdbDelivery(this, {
      event: held.event,
      begun: Math.max(Number.isSafeInteger(attempts) ? attempts : 0, begun),
      isSuspect,
      isRedriven: markOf(held.event, 'redriven') === 'true',
      hasRecord: begun > 0,
    })
    this.#sink(held.delivery)
  }

  /** The number of the last attempt that was recorded; tries until that is known. */
  async #recorded(eventId: string): Promise<number | undefined> {
    const { link, names, host } = this.#parts
    const { kind, group } = this.#subscription
    const stream = names.begun(kind, group, eventId)
    for (let tries = 1; !this.#ended.signal.aborted && !link.closed.aborted; tries++) {
      const result = await link.read((client) => client.readStream(stream, { ...link.callOptions, direction: 'backwards', fromRevision: 'end', maxCount: 1 }))
      if (result.kind === 'done') return attemptIn(result.value.events[0])
      if (result.failure.kind === 'stream-missing') return 0
      await sleep(host.clock, backoffMs(AGAIN, tries, host.random), this.#ended.signal)
    }
    return undefined
  }

  /** What was never handed out goes to others, at once and without being a suspect there. */
  async #giveBack(held: Held): Promise<void> {
    const { event } = held
    this.#held.delete(event.id)
    if (held.retryCount > 0) return
    const attempts = Number(markOf(event, 'attempts') ?? 0)
    const marks = { attempts: `${attempts}`, ...(markOf(event, 'redriven') === 'true' ? { redriven: 'true' } : {}) }
    const copy = copyOf(derivedId(event.id, this.#subscription.group, `${attempts}`, 'now'), event, marks)
    const late = sleep(this.#parts.host.clock, CLOSE_MS_MAX, this.#parts.link.closed).then(() => false)
    const isStored = await Promise.race([this.#parts.publisher.store(this.#ready, copy, event.body.length).then(() => true, () => false), late])
    if (isStored) held.source.ack(held.delivered)
  }

  /** Resolves when no copy is being stored any more, or after a while. */
  async #quiet(): Promise<void> {
    if (this.#pending === 0) return
    const idle = new Promise<void>((resolve) => {
      this.#idle = resolve
    })
    await Promise.race([idle, sleep(this.#parts.host.clock, CLOSE_MS_MAX, this.#parts.link.closed)])
  }

  #startMoving(): void {
    const { link, host, publisher } = this.#parts
    this.#delays = new EsdbDelays({ link, host, publisher, stream: this.#delayed, ready: this.#ready, serverNowMs: () => this.#roster.serverNowMs })
    this.#delays.start()
  }

  async #stopMoving(): Promise<void> {
    const delays = this.#delays
    this.#delays = undefined
    await delays?.stop()
  }

  get #messageTimeoutMs(): number {
    const { types, handlerTimeoutMs } = this.#subscription
    const longestMs = (types.length + 2) * Math.max(TIMEOUT_MIN_MS, handlerTimeoutMs)
    return Math.min(TIMEOUT_MAX_MS, longestMs)
  }
}

function attemptIn(event: EsdbEvent | undefined): number {
  const attempt = event === undefined ? 0 : fieldsOf(event)['attempt']
  return typeof attempt === 'number' && Number.isSafeInteger(attempt) ? attempt : 0
}

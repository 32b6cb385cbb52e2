import type { ContractTypes, EventContract } from '../contract/contract.ts'
import { backoffMs } from '../core/backoff.ts'
import { sleep } from '../core/clock.ts'
import { TrunklineError, errorText, isTrunklineError } from '../core/errors.ts'
import { EventDeadLettered } from './event-dead-letter.ts'
import { fact, newEvents } from './fact.ts'
import type { EventStoreParts } from './event-store-parts.ts'
import type { Lease, LogPage, StoredEvent, StoreTransaction } from './port.ts'
import type { EventCodec, RecordedEvent } from './recorded.ts'
import type { EventContext, EventSubscriptionSettings } from './subscription-options.ts'

/** How a subscription is. */
export type EventSubscriptionState = 'stopped' | 'standby' | 'catching-up' | 'live' | 'halted'

type AnyHandler = (event: never, context: EventContext) => unknown

/** Waits after the database could not be used. */
const DOWN_BACKOFF = { initialMs: 100, factor: 2, maxMs: 5_000 } as const
/** Time between two checkpoints of a reader that wants nothing of what it reads. */
const IDLE_CHECKPOINT_MS = 1_000
const PAGE_MAX = 500

/** A handler failed on one event; what is to be done with it is decided outside its transaction. */
class Failed {
  readonly event: StoredEvent
  readonly error: unknown

  constructor(event: StoredEvent, error: unknown) {
    this.event = event
    this.error = error
  }
}

/**
 * Follows the log from its checkpoint on, and handles each event in the transaction that moves the checkpoint: once in effect, in
 * order. One process does it at a time, by a lease whose epoch the checkpoint checks. It supervises itself: after a lost link it goes on from
 * what was committed (E-06).
 */
export class EventSubscription {
  readonly name: string
  readonly #settings: EventSubscriptionSettings
  readonly #codec: EventCodec<EventContract<string, ContractTypes>>
  readonly #handle: AnyHandler
  #parts: EventStoreParts | undefined
  #state: EventSubscriptionState = 'stopped'
  #reason = ''
  #stopping: AbortController | undefined
  #running: Promise<void> | undefined
  #cursor: bigint | undefined
  #savedAtMs = 0
  #handled = 0

  constructor(settings: EventSubscriptionSettings, codec: EventCodec<EventContract>, handle: AnyHandler) {
    this.name = settings.name
    this.#settings = settings
    this.#codec = codec
    this.#handle = handle
  }

  get state(): EventSubscriptionState {
    return this.#state
  }

  /** Why it is halted. */
  get reason(): string {
    return this.#reason
  }

  /** The cursor of the last event that it is done with, as far as this process knows. */
  get cursor(): bigint | undefined {
    return this.#cursor
  }

  /** Events handled by this process. */
  get handled(): number {
    return this.#handled
  }

  /** Begins, or begins again after it halted. The store calls it; so may an operator, when the cause is gone. */
  start(parts: EventStoreParts): void {
    if (this.#running !== undefined) return
    this.#parts = parts
    this.#stopping = new AbortController()
    this.#state = 'standby'
    this.#running = this.#run(parts, this.#stopping.signal).finally(() => {
      this.#running = undefined
      if (this.#state !== 'halted') this.#state = 'stopped'
    })
  }

  /** Goes on after it halted. */
  resume(): void {
    if (this.#state === 'halted' && this.#parts !== undefined) this.start(this.#parts)
  }

  /** Ends after the transaction that is under way. */
  async stop(): Promise<void> {
    this.#stopping?.abort()
    await this.#running
    this.#state = 'stopped'
  }

  async #run(parts: EventStoreParts, stop: AbortSignal): Promise<void> {
    const { clock, random, logger, leases, instance, leaseMs } = parts
    let failures = 0
    while (!stop.aborted && this.#state !== 'halted') {
      try {
        const [lease] = await leases.hold([this.name], instance, leaseMs, 1)
        failures = 0
        if (lease === undefined) {
          this.#state = 'standby'
          await sleep(clock, leaseMs * (0.8 + 0.4 * random.next()), stop)
        } else await this.#lead(parts, lease, stop)
      } catch (error) {
        if (stop.aborted) break
        if (failures++ === 0 && !isTrunklineError(error, 'store.lease_lost')) logger.warn({ err: error, subscription: this.name }, 'a subscription lost its database; it goes on when that is back')
        await sleep(clock, backoffMs(DOWN_BACKOFF, failures, random), stop)
      }
    }
  }

  /** Handles events for as long as the lease is ours. */
  async #lead(parts: EventStoreParts, lease: Lease, stop: AbortSignal): Promise<void> {
    const { clock, leases, instance, leaseMs, logger } = parts
    const ended = new AbortController()
    const end = (): void => ended.abort()
    stop.addEventListener('abort', end, { once: true })
    let renewal: Promise<void> = Promise.resolve()
    const renew = async (): Promise<void> => {
      try {
        const [kept] = await leases.hold([this.name], instance, leaseMs, 1)
        if (kept?.epoch !== lease.epoch) end()
      } catch (error) {
        logger.debug({ err: error, subscription: this.name }, 'the lease of a subscription could not be renewed')
      }
      plan()
    }
    const plan = (): void => {
      if (!ended.signal.aborted) timer = clock.setTimer(leaseMs / 2.5, () => {
        renewal = renew()
      }, { background: true })
    }
    let timer = clock.setTimer(leaseMs / 2.5, () => {
      renewal = renew()
    }, { background: true })
    try {
      await this.#follow(parts, lease.epoch, ended.signal)
    } finally {
      end()
      timer.cancel()
      stop.removeEventListener('abort', end)
      await renewal
      await leases.release([this.name], instance).catch(() => undefined)
    }
  }

  async #follow(parts: EventStoreParts, epoch: bigint, signal: AbortSignal): Promise<void> {
    const { log, checkpoints } = parts
    const { from, start } = this.#settings
    this.#state = 'catching-up'
    this.#cursor = await checkpoints.load(this.name)
    if (this.#cursor === undefined && start === 'end') this.#cursor = await this.#endOf(parts)
    for await (const page of log.follow(from, this.#cursor, { pageMax: PAGE_MAX, signal })) {
      if (signal.aborted) return
      if (!(await this.#page(parts, page, epoch, signal))) return
      if (page.isEnd) this.#caughtUp()
    }
  }

  async #endOf({ log }: EventStoreParts): Promise<bigint | undefined> {
    const { from } = this.#settings
    return from.kind === 'stream' ? (await log.read({ selection: from, direction: 'backwards', after: undefined, limit: 1 })).events[0]?.revision : await log.head()
  }

  #caughtUp(): void {
    this.#state = 'live'
    try {
      this.#settings.onCaughtUp?.()
    } catch (error) {
      this.#parts?.logger.error({ err: error, subscription: this.name }, 'onCaughtUp threw')
    }
  }

  /** False where it cannot go on. */
  async #page(parts: EventStoreParts, page: LogPage, epoch: bigint, signal: AbortSignal): Promise<boolean> {
    const wanted = page.events.filter((event) => this.#codec.knows(event))
    const { batchMax } = this.#settings
    for (let from = 0; from < wanted.length; from += batchMax) {
      if (signal.aborted) return false
      const batch = wanted.slice(from, from + batchMax)
      if (!(await this.#batch(parts, batch, epoch, signal))) return false
    }
    if (page.cursor !== undefined) await this.#passed(parts, page.cursor, epoch, wanted.length > 0)
    return true
  }

  async #batch(parts: EventStoreParts, batch: readonly StoredEvent[], epoch: bigint, signal: AbortSignal): Promise<boolean> {
    if (batch.length > 1) {
      try {
        await this.#commit(parts, batch, epoch, 1, signal)
        return true
      } catch (error) {
        if (!(error instanceof TrunklineError) || !(error.cause instanceof Failed)) throw error
        // One of them cannot be handled: each by itself from here on, so that it is found.
      }
    }
    for (const event of batch) if (!(await this.#single(parts, event, epoch, signal))) return false
    return true
  }

  async #single(parts: EventStoreParts, event: StoredEvent, epoch: bigint, signal: AbortSignal): Promise<boolean> {
    const { clock, random, logger } = parts
    const { attemptsMax, backoff, onPoison } = this.#settings
    for (let attempt = 1; !signal.aborted; attempt++) {
      try {
        await this.#commit(parts, [event], epoch, attempt, signal)
        return true
      } catch (thrown) {
        if (!(thrown instanceof TrunklineError) || !(thrown.cause instanceof Failed)) throw thrown
        const { error } = thrown.cause
        const isFinal = attempt >= attemptsMax || (isTrunklineError(error) && error.disposition !== 'retry')
        const place = { subscription: this.name, stream: event.stream, revision: `${event.revision}`, type: event.message.type, attempt }
        logger[isFinal ? 'error' : 'warn']({ err: error, ...place }, isFinal ? 'a stored event cannot be handled' : 'a stored event could not be handled; it is tried again')
        if (!isFinal) await sleep(clock, backoffMs(backoff, attempt, random), signal)
        else if (onPoison === 'deadLetter') {
          await this.#passOver(parts, event, epoch, attempt, error)
          return true
        } else {
          this.#state = 'halted'
          this.#reason = `${event.message.type} at ${event.stream}/${event.revision}: ${errorText(error).slice(0, 300)}`
          return false
        }
      }
    }
    return false
  }

  /** Handles events and moves the checkpoint behind the last of them, in one transaction. */
  async #commit(parts: EventStoreParts, batch: readonly StoredEvent[], epoch: bigint, attempt: number, signal: AbortSignal): Promise<void> {
    const last = batch.at(-1)
    if (last === undefined) return
    await parts.transact(async (tx, unit) => {
      for (const event of batch) await this.#one(parts, event, attempt, signal, unit)
      await tx.saveCheckpoint(this.name, this.#cursorOf(last), epoch)
    }, signal)
    this.#handled += batch.length
    this.#cursor = this.#cursorOf(last)
    this.#savedAtMs = parts.clock.monotonicMs()
  }

  async #one(parts: EventStoreParts, event: StoredEvent, attempt: number, signal: AbortSignal, unit: object): Promise<void> {
    try {
      const recorded: RecordedEvent | undefined = this.#codec.read(event)
      const context = Object.assign({ attempt, subscription: this.name, signal }, unit)
      // The codec reads what the handler was typed with.
      if (recorded !== undefined) await this.#limited(parts, parts.inScopeOf(event.message, () => this.#handle(recorded as never, context)))
    } catch (error) {
      // What the database gave up is repeated by who runs the transaction; everything else is this event's.
      if (isTrunklineError(error) && (error.code === 'store.conflict' || error.code === 'store.down')) throw error
      throw new TrunklineError('store.event_unreadable', { stream: event.stream, revision: `${event.revision}`, problem: 'its handler failed' }, { cause: new Failed(event, error) })
    }
  }

  async #limited(parts: EventStoreParts, result: unknown): Promise<void> {
    const { timeoutMs } = this.#settings
    const over = Promise.withResolvers<never>()
    const timer = parts.clock.setTimer(timeoutMs, () => {
      over.reject(new TrunklineError('bus.handler_timeout', { type: 'stored events', group: this.name, timeoutMs }))
    })
    try {
      await Promise.race([result, over.promise])
    } finally {
      timer.cancel()
    }
  }

  async #passOver(parts: EventStoreParts, event: StoredEvent, epoch: bigint, attempts: number, error: unknown): Promise<void> {
    const { stream, revision, message } = event
    const reason = isTrunklineError(error) ? error.code : 'bus.handler_failed'
    const letter = fact(EventDeadLettered, {
      subscription: this.name, stream, revision: `${revision}`, type: message.type, id: message.id, attempts, reason, problem: errorText(error).slice(0, 2_000),
    })
    await parts.transact(async (tx) => {
      await tx.append(`deadletters-${this.name}`, 'any', newEvents(parts.messages, [letter]))
      await tx.saveCheckpoint(this.name, this.#cursorOf(event), epoch)
    })
    this.#cursor = this.#cursorOf(event)
  }

  /** A reader that wants little would read it all again after a restart. */
  async #passed(parts: EventStoreParts, cursor: bigint, epoch: bigint, isSaved: boolean): Promise<void> {
    const nowMs = parts.clock.monotonicMs()
    if (isSaved || cursor === this.#cursor || nowMs - this.#savedAtMs < IDLE_CHECKPOINT_MS) return
    await parts.transact((tx: StoreTransaction) => tx.saveCheckpoint(this.name, cursor, epoch))
    this.#cursor = cursor
    this.#savedAtMs = nowMs
  }

  #cursorOf(event: StoredEvent): bigint {
    return this.#settings.from.kind === 'stream' ? event.revision : event.position
  }
}

import type { LoadState } from '../bus/call-policy.ts'
import { DelayQueue, type DelayRule } from './delay-queue.ts'
import type { TokenBucket } from './token-bucket.ts'

/** What each caller may do. */
export interface CallerRule {
  /** Requests of one caller handled at the same time. */
  readonly inFlightMax: number
  /** How long, and how many of its requests may wait. */
  readonly delay: DelayRule
  /** A new caller's bucket of permits; undefined where only time and room limit it. */
  readonly bucket: () => TokenBucket | undefined
}

/** What is limited. */
export interface FairRule {
  /** Requests of all callers handled at the same time. */
  readonly inFlightMax: number
  /** Callers that are kept apart; those beyond share one place. */
  readonly callersMax: number
  readonly callerRule: (caller: string) => CallerRule
}

/** Why a request is not taken. */
export interface Refusal {
  readonly problem: string
  readonly retryAfterMs: number
}

/** A request that waited too long. */
export interface Expired<R> {
  readonly request: R
  readonly refusal: Refusal
}

interface Caller<R> {
  readonly name: string
  rule: CallerRule
  readonly queue: DelayQueue<R>
  bucket: TokenBucket | undefined
  inFlight: number
  isInTurn: boolean
}

/**
 * Shares a bounded number of slots fairly among callers, without a clock: each caller has a line of its own, and free slots go round the callers that
 * wait. However much one of them sends, it fills its own line only. All times are monotonic milliseconds.
 */
export class FairQueue<R> {
  #rule: FairRule
  readonly #callers = new Map<string, Caller<R>>()
  /** Callers that wait, in the order of their turns. */
  readonly #turns: Caller<R>[] = []
  #inFlight = 0

  constructor(rule: FairRule) {
    this.#rule = rule
  }

  /** Other limits from now on; what waits or is handled stays. Buckets begin full. */
  change(rule: FairRule): void {
    this.#rule = rule
    for (const caller of this.#callers.values()) {
      caller.rule = rule.callerRule(caller.name)
      caller.bucket = caller.rule.bucket()
      caller.queue.change(caller.rule.delay)
    }
  }

  /** Requests that wait. */
  get waiting(): number {
    let sum = 0
    for (const { queue } of this.#turns) sum += queue.size
    return sum
  }

  /** `shedding` while the line of some caller does not empty. */
  state(nowMs: number): LoadState {
    return this.#turns.some(({ queue }) => queue.state(nowMs) === 'shedding') ? 'shedding' : 'normal'
  }

  /** Puts a request into its caller's line; what `next` gives then is to be started. */
  offer(request: R, callerName: string, nowMs: number): Refusal | undefined {
    const caller = this.#caller(callerName, nowMs)
    const permit = caller.bucket?.take(nowMs, 0)
    if (permit?.kind === 'refused') return { problem: `${caller.name} asks more often than it may`, retryAfterMs: permit.retryAfterMs }
    const canStart = caller.queue.size === 0 && this.#inFlight < this.#rule.inFlightMax && caller.inFlight < caller.rule.inFlightMax
    if (!canStart && caller.queue.isFull) {
      caller.bucket?.giveBack()
      return { problem: `${caller.queue.size} requests of ${caller.name} wait already`, retryAfterMs: caller.rule.delay.intervalMs }
    }
    caller.queue.push(request, nowMs)
    this.#queueUp(caller)
    return undefined
  }

  #queueUp(caller: Caller<R>): void {
    if (caller.isInTurn) return
    caller.isInTurn = true
    this.#turns.push(caller)
  }

  /** The next request to start, with its caller; undefined where none waits or nothing is free. */
  next(nowMs: number): { readonly request: R; readonly caller: string } | undefined {
    for (let left = this.#turns.length; left > 0 && this.#inFlight < this.#rule.inFlightMax; left--) {
      const caller = this.#turns.shift()
      if (caller === undefined) return undefined
      caller.isInTurn = false
      const request = caller.inFlight < caller.rule.inFlightMax ? caller.queue.pop(nowMs) : undefined
      if (caller.queue.size > 0) this.#queueUp(caller)
      if (request === undefined) continue
      caller.inFlight++
      this.#inFlight++
      return { request, caller: caller.name }
    }
    return undefined
  }

  /** A request of this caller, as `next` named it, has been handled. */
  ended(callerName: string): void {
    const caller = this.#callers.get(callerName)
    if (caller === undefined) return
    caller.inFlight--
    this.#inFlight--
  }

  /** Takes out what waited too long. */
  expired(nowMs: number): readonly Expired<R>[] {
    return this.#turns.flatMap(({ name, queue, rule }) =>
      queue.expired(nowMs).map(({ item, waitedMs }) => ({
        request: item, refusal: { problem: `it waited for ${Math.round(waitedMs)} ms behind other requests of ${name}`, retryAfterMs: rule.delay.intervalMs },
      })),
    )
  }

  /** Milliseconds until something has waited too long; undefined where nothing waits. */
  nextExpiryInMs(nowMs: number): number | undefined {
    let earliest: number | undefined
    for (const { queue } of this.#turns) {
      const inMs = queue.nextExpiryInMs(nowMs)
      if (inMs !== undefined && inMs < (earliest ?? Infinity)) earliest = inMs
    }
    return earliest
  }

  #caller(name: string, nowMs: number): Caller<R> {
    const known = this.#callers.get(name)
    if (known !== undefined) return known
    if (this.#callers.size >= this.#rule.callersMax) this.#forgetIdle(nowMs)
    // Whoever invents names must not fill the memory: the rest shares a line.
    const key = this.#callers.size < this.#rule.callersMax || name === OTHERS ? name : OTHERS
    if (key !== name) return this.#caller(key, nowMs)
    const rule = this.#rule.callerRule(name)
    const caller: Caller<R> = { name, rule, queue: new DelayQueue(rule.delay), bucket: rule.bucket(), inFlight: 0, isInTurn: false }
    this.#callers.set(name, caller)
    return caller
  }

  #forgetIdle(nowMs: number): void {
    for (const [name, { inFlight, queue, bucket }] of this.#callers) {
      if (inFlight === 0 && queue.size === 0 && bucket?.isFull(nowMs) !== false) this.#callers.delete(name)
    }
  }
}

/** The place of the callers that are too many. */
const OTHERS = 'all others'

import { type Clock, type Timer, systemClock } from '../core/clock.ts'
import { assert } from '../core/errors.ts'

/** What `virtualClock` takes. */
export interface VirtualClockOptions {
  /** Wall-clock time at the start, in milliseconds since 1970. Default 1,700,000,000,000. */
  readonly startMs?: number
  /** Callbacks that one `advance` or `settle` may run before it is taken for an endless loop. Default 1,000,000. */
  readonly callbacksMax?: number
}

const START_MS = 1_700_000_000_000
const CALLBACKS_MAX = 1_000_000

class VirtualTimer implements Timer {
  readonly dueMs: number
  readonly callback: () => void
  readonly #forget: (timer: VirtualTimer) => void

  constructor(dueMs: number, callback: () => void, forget: (timer: VirtualTimer) => void) {
    this.dueMs = dueMs
    this.callback = callback
    this.#forget = forget
  }

  cancel(): void {
    this.#forget(this)
  }
}

/**
 * A clock that stands still until it is told to go on, so that minutes of retries and time limits
 * pass in a moment and always in the same order.
 *
 * Timers fire in the order of their instants, those of one instant in the order they were set.
 * Between two callbacks everything that awaits promises alone runs to its end; what waits for real
 * input or output is not waited for.
 */
export class VirtualClock implements Clock {
  readonly #callbacksMax: number
  /** Sorted by the instant that they are due at. */
  readonly #timers: VirtualTimer[] = []
  #deferred: (() => void)[] = []
  #wallMs: number
  #elapsedMs = 0

  constructor(options: VirtualClockOptions = {}) {
    this.#wallMs = options.startMs ?? START_MS
    this.#callbacksMax = options.callbacksMax ?? CALLBACKS_MAX
  }

  nowMs(): number {
    return Math.floor(this.#wallMs + this.#elapsedMs)
  }

  monotonicMs(): number {
    return this.#elapsedMs
  }

  /** Timers that wait; useful to see that nothing was left behind. */
  get timerCount(): number {
    return this.#timers.length
  }

  /** Milliseconds until the next timer is due, or undefined where none waits. */
  get nextTimerInMs(): number | undefined {
    const [next] = this.#timers
    return next === undefined ? undefined : Math.max(0, next.dueMs - this.#elapsedMs)
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    const timer = new VirtualTimer(this.#elapsedMs + (delayMs > 0 ? delayMs : 0), callback, this.#forget)
    let index = this.#timers.length
    while (index > 0 && (this.#timers[index - 1]?.dueMs ?? 0) > timer.dueMs) index--
    this.#timers.splice(index, 0, timer)
    return timer
  }

  readonly #forget = (timer: VirtualTimer): void => {
    const index = this.#timers.indexOf(timer)
    if (index >= 0) this.#timers.splice(index, 1)
  }

  defer(callback: () => void): void {
    this.#deferred.push(callback)
  }

  /** Sets the wall clock forward or, with a negative number, back. Timers and durations do not notice. */
  stepWallClock(byMs: number): void {
    this.#wallMs += byMs
  }

  /**
   * Runs everything that can run without time going by.
   *
   * @throws what a callback throws, and `core.invariant_broken` when the work never ends.
   */
  async settle(): Promise<void> {
    await this.#settle(0)
  }

  /**
   * Lets time go by: fires every timer that falls due, at its own instant, and those that they set.
   *
   * @throws what a callback throws, and `core.invariant_broken` when the work never ends.
   */
  async advance(byMs: number): Promise<void> {
    assert(byMs >= 0, 'time goes forward')
    const untilMs = this.#elapsedMs + byMs
    let count = await this.#settle(0)
    for (let next = this.#timers[0]; next !== undefined && next.dueMs <= untilMs; next = this.#timers[0]) {
      this.#timers.shift()
      this.#elapsedMs = Math.max(this.#elapsedMs, next.dueMs)
      next.callback()
      count = await this.#settle(count + 1)
    }
    this.#elapsedMs = untilMs
  }

  /** Runs what was deferred, with all promises between; gives the number of callbacks so far. */
  async #settle(before: number): Promise<number> {
    let count = before
    await promisesSettled()
    while (this.#deferred.length > 0) {
      const callbacks = this.#deferred
      this.#deferred = []
      for (const callback of callbacks) {
        callback()
        await promisesSettled()
        count++
        assert(count < this.#callbacksMax, 'the work ends')
      }
    }
    assert(count < this.#callbacksMax, 'the work ends')
    return count
  }
}

/** The platform runs all promise reactions, and those that they add, before the next turn of its loop. */
function promisesSettled(): Promise<void> {
  return new Promise((resolve) => systemClock.defer(resolve))
}

/** Makes a clock for tests and simulations; see `VirtualClock`. */
export function virtualClock(options: VirtualClockOptions = {}): VirtualClock {
  return new VirtualClock(options)
}

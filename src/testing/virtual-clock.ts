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
  /** Its number among all timers: those of one instant fire in the order they were set. */
  readonly order: number
  readonly #forget: (timer: VirtualTimer) => void
  isOver = false

  constructor(dueMs: number, order: number, callback: () => void, forget: (timer: VirtualTimer) => void) {
    this.dueMs = dueMs
    this.order = order
    this.callback = callback
    this.#forget = forget
  }

  cancel(): void {
    this.#forget(this)
  }
}

function isSooner(left: VirtualTimer, right: VirtualTimer): boolean {
  return left.dueMs < right.dueMs || (left.dueMs === right.dueMs && left.order < right.order)
}

/** Timers by their instants: a binary heap, for a simulated cluster has tens of thousands. What was cancelled stays until it comes to the top, or is half of it. */
class TimerHeap {
  #timers: VirtualTimer[] = []
  #cancelled = 0

  /** Timers that have not been cancelled. */
  get size(): number {
    return this.#timers.length - this.#cancelled
  }

  add(timer: VirtualTimer): void {
    const timers = this.#timers
    let at = timers.push(timer) - 1
    for (let parent = (at - 1) >> 1; at > 0; at = parent, parent = (at - 1) >> 1) {
      const above = timers[parent]
      if (above === undefined || isSooner(above, timer)) break
      timers[at] = above
      timers[parent] = timer
    }
  }

  /** The next one that is due. */
  peek(): VirtualTimer | undefined {
    while (this.#timers[0]?.isOver === true) {
      this.#removeTop()
      this.#cancelled--
    }
    return this.#timers[0]
  }

  /** Takes out what `peek` gave. */
  take(): void {
    this.#removeTop()
  }

  cancelled(): void {
    this.#cancelled++
    if (this.#cancelled < 1_000 || this.#cancelled * 2 < this.#timers.length) return
    const left = this.#timers.filter(({ isOver }) => !isOver)
    this.#timers = []
    this.#cancelled = 0
    for (const timer of left) this.add(timer)
  }

  #removeTop(): void {
    const timers = this.#timers
    const last = timers.pop()
    if (last === undefined || timers.length === 0) return
    let at = 0
    for (;;) {
      const [left, right] = [timers[2 * at + 1], timers[2 * at + 2]]
      if (left === undefined) break
      const below = right !== undefined && isSooner(right, left) ? right : left
      if (isSooner(last, below)) break
      timers[at] = below
      at = below === left ? 2 * at + 1 : 2 * at + 2
    }
    timers[at] = last
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
  readonly #timers = new TimerHeap()
  #timersSet = 0
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
    return this.#timers.size
  }

  /** Milliseconds until the next timer is due, or undefined where none waits. */
  get nextTimerInMs(): number | undefined {
    const next = this.#timers.peek()
    return next === undefined ? undefined : Math.max(0, next.dueMs - this.#elapsedMs)
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    const timer = new VirtualTimer(this.#elapsedMs + (delayMs > 0 ? delayMs : 0), this.#timersSet++, callback, this.#forget)
    this.#timers.add(timer)
    return timer
  }

  readonly #forget = (timer: VirtualTimer): void => {
    if (timer.isOver) return
    timer.isOver = true
    this.#timers.cancelled()
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
    for (let next = this.#timers.peek(); next !== undefined && next.dueMs <= untilMs; next = this.#timers.peek()) {
      next.isOver = true
      this.#timers.take()
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

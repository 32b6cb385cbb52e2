/** What makes a circuit open; exactly one of the three forms. */
export type Trip =
  /** So many failures in a row. */
  | { readonly consecutive: number }
  /** More than this share of the calls of the last `windowMs` failed, and there were at least `callsMin` (default 20). */
  | { readonly ratio: number; readonly windowMs: number; readonly callsMin?: number }
  /** More than this share of the last `windowCalls` calls failed, and there were at least `callsMin` (default: all of them). */
  | { readonly ratio: number; readonly windowCalls: number; readonly callsMin?: number }

/** Remembers how calls ended. Times are monotonic milliseconds. */
export interface FailureWindow {
  record(isFailure: boolean, nowMs: number): void
  /** True where too many failed. */
  isBroken(nowMs: number): boolean
  /** Forgets everything. */
  reset(): void
}

/** Failures in a row. */
export class ConsecutiveWindow implements FailureWindow {
  readonly #failuresMax: number
  #failures = 0

  constructor(failuresMax: number) {
    this.#failuresMax = failuresMax
  }

  record(isFailure: boolean): void {
    this.#failures = isFailure ? this.#failures + 1 : 0
  }

  isBroken(): boolean {
    return this.#failures >= this.#failuresMax
  }

  reset(): void {
    this.#failures = 0
  }
}

/** The share of failures among the last calls. */
export class CountWindow implements FailureWindow {
  readonly #ratio: number
  readonly #callsMin: number
  /** 1 for a failure; as many as there were, at most as long as the window. */
  readonly #ended: Uint8Array
  #count = 0
  #next = 0
  #failures = 0

  constructor(ratio: number, windowCalls: number, callsMin: number) {
    this.#ratio = ratio
    this.#callsMin = callsMin
    this.#ended = new Uint8Array(windowCalls)
  }

  record(isFailure: boolean): void {
    this.#failures += (isFailure ? 1 : 0) - (this.#ended[this.#next] ?? 0)
    this.#ended[this.#next] = isFailure ? 1 : 0
    this.#next = (this.#next + 1) % this.#ended.length
    if (this.#count < this.#ended.length) this.#count++
  }

  isBroken(): boolean {
    return this.#count >= this.#callsMin && this.#failures > this.#ratio * this.#count
  }

  reset(): void {
    this.#ended.fill(0)
    this.#count = 0
    this.#next = 0
    this.#failures = 0
  }
}

interface Slice {
  readonly startedAtMs: number
  calls: number
  failures: number
}

const SLICES_MIN = 5
const SLICE_MAX_MS = 1_000

/** The share of failures among the calls of the last time. Kept in slices of at most a second, and at least five of them, so that memory is bounded. */
export class TimeWindow implements FailureWindow {
  readonly #ratio: number
  readonly #callsMin: number
  readonly #sliceMs: number
  readonly #windowMs: number
  /** Oldest first. */
  readonly #slices: Slice[] = []
  #calls = 0
  #failures = 0

  constructor(ratio: number, windowMs: number, callsMin: number) {
    this.#ratio = ratio
    this.#callsMin = callsMin
    this.#sliceMs = windowMs / Math.max(SLICES_MIN, Math.ceil(windowMs / SLICE_MAX_MS))
    this.#windowMs = windowMs
  }

  record(isFailure: boolean, nowMs: number): void {
    this.#forget(nowMs)
    let slice = this.#slices.at(-1)
    if (slice === undefined || nowMs - slice.startedAtMs >= this.#sliceMs) {
      slice = { startedAtMs: nowMs, calls: 0, failures: 0 }
      this.#slices.push(slice)
    }
    slice.calls++
    this.#calls++
    if (isFailure) {
      slice.failures++
      this.#failures++
    }
  }

  isBroken(nowMs: number): boolean {
    this.#forget(nowMs)
    return this.#calls >= this.#callsMin && this.#failures > this.#ratio * this.#calls
  }

  reset(): void {
    this.#slices.length = 0
    this.#calls = 0
    this.#failures = 0
  }

  #forget(nowMs: number): void {
    for (let oldest = this.#slices[0]; oldest !== undefined && nowMs - oldest.startedAtMs >= this.#windowMs; oldest = this.#slices[0]) {
      this.#slices.shift()
      this.#calls -= oldest.calls
      this.#failures -= oldest.failures
    }
  }
}

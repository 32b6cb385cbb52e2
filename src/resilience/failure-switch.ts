/** When a kill switch trips, and for how long. */
export interface SwitchRule {
  /** Share of the attempts of the window that must have failed, from 0 to 1. */
  readonly ratio: number
  readonly windowMs: number
  /** Attempts in the window below which it does not trip. */
  readonly attemptsMin: number
  readonly pauseMs: number
  /** Bound of the pause, which doubles each time that it trips again within a window after a pause. */
  readonly pauseMaxMs: number
}

const SLICES = 10

/**
 * Decides when a group pauses, without a clock: too many of its attempts of the last time have failed. Times are monotonic milliseconds.
 */
export class FailureSwitch {
  readonly #rule: SwitchRule
  /** Attempts and failures by slices of the window, oldest first. */
  readonly #slices: { readonly startedAtMs: number; attempts: number; failures: number }[] = []
  #pauseMs: number
  #resumedAtMs = -Infinity
  #isPaused = false

  constructor(rule: SwitchRule) {
    this.#rule = rule
    this.#pauseMs = rule.pauseMs
  }

  /** An attempt has ended; milliseconds to pause for where it trips the switch. */
  record(isFailure: boolean, nowMs: number): number | undefined {
    // What had been fetched already ends after the pause began.
    if (this.#isPaused) return undefined
    this.#count(isFailure, nowMs)
    let attempts = 0
    let failures = 0
    for (const slice of this.#slices) {
      attempts += slice.attempts
      failures += slice.failures
    }
    if (!isFailure || attempts < this.#rule.attemptsMin || failures < this.#rule.ratio * attempts) return undefined
    this.#isPaused = true
    this.#pauseMs = nowMs - this.#resumedAtMs <= this.#rule.windowMs ? Math.min(this.#rule.pauseMaxMs, this.#pauseMs * 2) : this.#rule.pauseMs
    return this.#pauseMs
  }

  /** The pause is over: it counts anew. */
  resumed(nowMs: number): void {
    this.#isPaused = false
    this.#resumedAtMs = nowMs
    this.#slices.length = 0
  }

  #count(isFailure: boolean, nowMs: number): void {
    const { windowMs } = this.#rule
    for (let oldest = this.#slices[0]; oldest !== undefined && nowMs - oldest.startedAtMs >= windowMs; oldest = this.#slices[0]) this.#slices.shift()
    let slice = this.#slices.at(-1)
    if (slice === undefined || nowMs - slice.startedAtMs >= windowMs / SLICES) {
      slice = { startedAtMs: nowMs, attempts: 0, failures: 0 }
      this.#slices.push(slice)
    }
    slice.attempts++
    if (isFailure) slice.failures++
  }
}

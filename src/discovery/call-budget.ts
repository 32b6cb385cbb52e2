/** Share of a second call that each call pays for. */
const RATIO = 0.2
/** Second calls a second that are there without any. */
const PER_S = 10
/** Second calls that can be saved up. */
const SAVED_MAX = 100

/** Keeps second attempts and hedges a small part of all calls, so that they do not multiply the load of what fails because of its load. */
export class CallBudget {
  #saved = PER_S
  #lastMs: number

  constructor(nowMs: number) {
    this.#lastMs = nowMs
  }

  /** A first attempt pays in. */
  deposit(nowMs: number): void {
    this.#saved = Math.min(SAVED_MAX, this.#saved + RATIO + ((nowMs - this.#lastMs) * PER_S) / 1_000)
    this.#lastMs = nowMs
  }

  /** Takes one out; false where there is none. */
  withdraw(): boolean {
    if (this.#saved < 1) return false
    this.#saved -= 1
    return true
  }
}

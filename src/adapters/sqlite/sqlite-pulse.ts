import type { Clock, Timer } from '../../core/clock.ts'

/** Wait between two looks while there is traffic that nothing announces. */
const KEEN_MS = 10
/** Time without traffic after which looks become rare again. */
const KEEN_FOR_MS = 1_000

/** What a pulse drives. */
export interface PulseWork {
  readonly clock: Clock
  /** Time between two rounds of duties, and between two looks while nothing happens. */
  readonly restMs: number
  /** True while others announce what they do, so that looking often is not needed. */
  readonly isToldByOthers: () => boolean
  /** Looks for work that others have left; true where there was some. */
  readonly look: () => boolean
  /** Whatever has to be done now and then. */
  readonly duties: () => void
}

/**
 * The one timer of an idle instance, however many subscriptions it has: it does the duties and finds what
 * no wake-up told. Where there are no wake-ups, it looks often while messages come and rarely when none do.
 */
export class SqlitePulse {
  readonly #work: PulseWork
  #timer: Timer | undefined
  #waitMs: number
  #stirredAtMs = Number.NEGATIVE_INFINITY
  #dutiesAtMs = Number.NEGATIVE_INFINITY
  #isClosed = false

  constructor(work: PulseWork) {
    this.#work = work
    this.#waitMs = work.restMs
  }

  /** Does the first round at once. */
  start(): void {
    this.#beat()
  }

  /** There is traffic: something was left for others, who may answer, or the wake-ups have ended. */
  stir(): void {
    const { clock, isToldByOthers } = this.#work
    if (this.#timer === undefined || isToldByOthers()) return
    this.#stirredAtMs = clock.monotonicMs()
    if (this.#waitMs <= KEEN_MS) return
    this.#waitMs = KEEN_MS
    this.#timer.cancel()
    this.#arm()
  }

  close(): void {
    this.#isClosed = true
    this.#timer?.cancel()
    this.#timer = undefined
  }

  readonly #beat = (): void => {
    const { clock, restMs, look, duties } = this.#work
    const nowMs = clock.monotonicMs()
    if (nowMs >= this.#dutiesAtMs) {
      this.#dutiesAtMs = nowMs + restMs
      duties()
    }
    if (look()) this.#stirredAtMs = nowMs
    const isKeen = nowMs - this.#stirredAtMs < KEEN_FOR_MS
    this.#waitMs = isKeen ? Math.min(KEEN_MS, restMs) : Math.min(2 * this.#waitMs, restMs)
    if (!this.#isClosed) this.#arm()
  }

  #arm(): void {
    const { clock, restMs, isToldByOthers } = this.#work
    this.#timer = clock.setTimer(isToldByOthers() ? restMs : this.#waitMs, this.#beat)
  }
}

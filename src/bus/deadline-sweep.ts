import type { Clock, Timer } from '../core/clock.ts'

/** Something that is given up when its time is over. */
export interface Expiring {
  /** Monotonic milliseconds. */
  readonly expiresAtMs: number
  /** Called once, after the entry was removed. Must not throw. */
  expire(): void
}

/** Entries that expire close together are swept together. */
const SWEEP_SPACING_MS = 10

/**
 * Time limits for many things at once with a single timer: adding and removing cost a set operation,
 * where a timer each costs a quarter of a microsecond and an `AbortSignal.timeout` two.
 */
export class DeadlineSweep {
  readonly #clock: Clock
  readonly #entries = new Set<Expiring>()
  #timer: Timer | undefined
  #wakesAtMs = Infinity

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Entries that wait. */
  get size(): number {
    return this.#entries.size
  }

  add(entry: Expiring): void {
    this.#entries.add(entry)
    if (entry.expiresAtMs < this.#wakesAtMs) this.#wakeAt(entry.expiresAtMs)
  }

  /** True where the entry was still waiting. */
  remove(entry: Expiring): boolean {
    return this.#entries.delete(entry)
  }

  /** Expires everything at once. */
  expireAll(): void {
    const entries = [...this.#entries]
    this.#entries.clear()
    for (const entry of entries) entry.expire()
    this.close()
  }

  /** Stops the timer; entries stay as they are. */
  close(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#wakesAtMs = Infinity
  }

  #wakeAt(atMs: number): void {
    this.#timer?.cancel()
    this.#wakesAtMs = atMs
    this.#timer = this.#clock.setTimer(atMs - this.#clock.monotonicMs(), () => this.#sweep(), { background: true })
  }

  #sweep(): void {
    this.#timer = undefined
    this.#wakesAtMs = Infinity
    const nowMs = this.#clock.monotonicMs()
    let earliestMs = Infinity
    const expired: Expiring[] = []
    for (const entry of this.#entries) {
      if (entry.expiresAtMs <= nowMs) expired.push(entry)
      else if (entry.expiresAtMs < earliestMs) earliestMs = entry.expiresAtMs
    }
    for (const entry of expired) if (this.#entries.delete(entry)) entry.expire()
    if (earliestMs < Infinity && earliestMs < this.#wakesAtMs) this.#wakeAt(Math.max(earliestMs, nowMs + SWEEP_SPACING_MS))
  }
}

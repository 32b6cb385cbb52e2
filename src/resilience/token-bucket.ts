/** What a bucket says to a call: when it may run, or when to ask again. */
export type Permit = { readonly kind: 'granted'; /** 0 for now. */ readonly waitMs: number } | { readonly kind: 'refused'; readonly retryAfterMs: number }

/**
 * A token bucket without a clock, kept as one number: the instant at which it would be full again (the "generic cell rate algorithm"). It holds
 * `burstMax` permits and gets `permitsPerSecond` a second. All times are monotonic milliseconds.
 */
export class TokenBucket {
  readonly #intervalMs: number
  readonly #burstMs: number
  #fullAtMs = -Infinity

  constructor(permitsPerSecond: number, burstMax: number) {
    this.#intervalMs = 1_000 / permitsPerSecond
    this.#burstMs = this.#intervalMs * burstMax
  }

  /** Takes a permit, also one that is there only after a wait of at most `waitMaxMs`. */
  take(nowMs: number, waitMaxMs: number): Permit {
    const fullAtMs = Math.max(this.#fullAtMs, nowMs) + this.#intervalMs
    const shortMs = fullAtMs - this.#burstMs - nowMs
    // Sums of fractions end a hair beside the whole number.
    const waitMs = shortMs < 1e-6 ? 0 : shortMs
    if (waitMs > waitMaxMs + 1e-6) return { kind: 'refused', retryAfterMs: Math.ceil(waitMs) }
    this.#fullAtMs = fullAtMs
    return { kind: 'granted', waitMs }
  }

  /** Puts a permit back that was taken and not used. */
  giveBack(): void {
    this.#fullAtMs -= this.#intervalMs
  }

  /** True where every permit is there: nothing would be lost if it were forgotten. */
  isFull(nowMs: number): boolean {
    return this.#fullAtMs <= nowMs
  }
}

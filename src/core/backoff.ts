import { BACKOFF_DELAY_MIN_MS } from './limits.ts'
import { type OptionNames, optionNames } from './option-names.ts'
import type { Random } from './random.ts'

/** How the wait between attempts grows. */
export interface Backoff {
  /** Upper bound of the first wait, in milliseconds. */
  readonly initialMs: number
  /** Factor from one wait to the next, at least 1. */
  readonly factor: number
  /** Upper bound of every wait, in milliseconds. */
  readonly maxMs: number
}

/** How often and how fast a failed delivery is tried again. Everything left out has a safe default. */
export interface RetryOptions {
  /** Attempts in all, the first one included. Default 5. */
  readonly attemptsMax?: number
  /** Attempts that follow the first at once, in the same process, before the delayed ones. Default 0. */
  readonly immediateMax?: number
  /** Upper bound of the first delay, in milliseconds. Default 500. */
  readonly initialMs?: number
  /** Growth of the bound from delay to delay. Default 2. */
  readonly factor?: number
  /** Upper bound of every delay, in milliseconds. Default 300,000; at most 86,400,000. */
  readonly maxMs?: number
}

/** The names of `RetryOptions`. */
export const retryNames: OptionNames = optionNames<RetryOptions>({ attemptsMax: true, immediateMax: true, initialMs: true, factor: true, maxMs: true })

/**
 * The wait before try number `retry` (1-based): "full jitter", a uniform draw between the minimum
 * of 100 ms (or `initialMs` or `maxMs`, if smaller) and the exponential bound, so that many waiters spread out
 * (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
 */
export function backoffMs(backoff: Backoff, retry: number, random: Random): number {
  // The growth overflows to infinity in the end, and 0 times infinity is not a number.
  if (backoff.initialMs === 0) return 0
  const bound = Math.min(backoff.maxMs, backoff.initialMs * backoff.factor ** Math.max(0, retry - 1))
  const floor = Math.min(BACKOFF_DELAY_MIN_MS, backoff.initialMs, backoff.maxMs)
  return Math.max(floor, Math.round(random.next() * bound))
}

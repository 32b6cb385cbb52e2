import { backoffMs, type Backoff, type RetryOptions } from '../core/backoff.ts'
import { type Disposition, type ErrorCode, TrunklineError, errorText, isTrunklineError, retryAfterMsOf } from '../core/errors.ts'
import { ATTEMPTS_MAX, IMMEDIATE_RETRIES, RETRY_DELAY_LIMIT_MS, RETRY_DELAY_MAX_MS, RETRY_FACTOR, RETRY_INITIAL_MS } from '../core/limits.ts'
import type { Random } from '../core/random.ts'

/** One failed attempt, as the retry policy sees it. */
export interface Failure {
  readonly error: unknown
  /** What the library would do with this error by itself. */
  readonly disposition: Disposition
  /** 1-based number of the attempt that failed. */
  readonly attempt: number
  readonly attemptsMax: number
  readonly type: string
  readonly group: string
}

/** What happens to the delivery next. */
export type Decision =
  | { readonly kind: 'retry'; /** 0 delivers again at once. */ readonly delayMs: number }
  | { readonly kind: 'deadLetter' }
  | { readonly kind: 'stop' }

/**
 * A policy of the user's: a pure function. Undefined leaves the decision to the default policy.
 * It may retry beyond `attemptsMax`; deliveries whose process died are always bounded by it.
 */
export type DecideRetry = (failure: Failure) => Decision | undefined

/** A retry policy with every default filled in. */
export interface RetryPolicy extends Backoff {
  readonly attemptsMax: number
  readonly immediateMax: number
}

/**
 * Fills in the defaults.
 *
 * @throws `core.option_invalid` for values that are not numbers in their range.
 */
export function retryPolicy(...layers: readonly (RetryOptions | undefined)[]): RetryPolicy {
  let merged: RetryOptions = {}
  for (const layer of layers) merged = { ...merged, ...layer }
  return {
    attemptsMax: wholeInRange('retry.attemptsMax', merged.attemptsMax ?? ATTEMPTS_MAX, 1, 1_000_000),
    immediateMax: wholeInRange('retry.immediateMax', merged.immediateMax ?? IMMEDIATE_RETRIES, 0, 1_000),
    initialMs: inRange('retry.initialMs', merged.initialMs ?? RETRY_INITIAL_MS, 0, RETRY_DELAY_LIMIT_MS),
    factor: inRange('retry.factor', merged.factor ?? RETRY_FACTOR, 1, 100),
    maxMs: inRange('retry.maxMs', merged.maxMs ?? RETRY_DELAY_MAX_MS, 0, RETRY_DELAY_LIMIT_MS),
  }
}

/** The longest time from the first attempt to the last one. */
export function retryHorizonMs(policy: RetryPolicy): number {
  let sumMs = 0
  for (let retry = 1; retry < policy.attemptsMax - policy.immediateMax; retry++) {
    const delayMs = policy.initialMs * policy.factor ** (retry - 1)
    // From here on all waits are the same.
    if (delayMs >= policy.maxMs) return sumMs + policy.maxMs * (policy.attemptsMax - policy.immediateMax - retry)
    sumMs += delayMs
  }
  return sumMs
}

/**
 * Gives a number back if it lies in `[min, max]`.
 *
 * @throws `core.option_invalid` otherwise.
 */
export function inRange(option: string, value: unknown, min: number, max: number): number {
  if (typeof value === 'number' && value >= min && value <= max) return value
  throw outOfRange(option, `a number from ${min} to ${max}`, value)
}

/** As `inRange`, for whole numbers. */
export function wholeInRange(option: string, value: unknown, min: number, max: number): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= max) return value
  throw outOfRange(option, `a whole number from ${min} to ${max}`, value)
}

function outOfRange(option: string, expected: string, value: unknown): TrunklineError {
  const actual = typeof value === 'number' || typeof value === 'string' ? `${value}` : errorText(value)
  return new TrunklineError('core.option_invalid', { option, expected, actual: actual.slice(0, 100) })
}

/** What the library does with an error: its own say so by code, everything a handler throws is worth a retry. */
export function dispositionOf(error: unknown): Disposition {
  return isTrunklineError(error) ? error.disposition : 'retry'
}

/** The code under which an error is reported and dead-lettered. */
export function codeOf(error: unknown): ErrorCode {
  return isTrunklineError(error) ? error.code : 'bus.handler_failed'
}

/**
 * Failure → retry, dead letter or stop. Pure but for the jitter, which is drawn from `random`.
 */
export function decideRetry(failure: Failure, policy: RetryPolicy, custom: DecideRetry | undefined, random: Random): Decision {
  const decision = custom === undefined ? undefined : askCustom(custom, failure)
  if (decision !== undefined) return decision
  if (failure.disposition === 'reject') return { kind: 'deadLetter' }
  if (failure.disposition === 'stop') return { kind: 'stop' }
  if (failure.attempt >= policy.attemptsMax) return { kind: 'deadLetter' }
  // Never before the one that refused wants to be asked again.
  const afterMs = Math.min(retryAfterMsOf(failure.error) ?? 0, RETRY_DELAY_LIMIT_MS)
  if (failure.attempt <= policy.immediateMax) return { kind: 'retry', delayMs: afterMs }
  return { kind: 'retry', delayMs: Math.max(afterMs, backoffMs(policy, failure.attempt - policy.immediateMax, random)) }
}

/** A policy that throws or answers nonsense must not decide over a message: the default does. */
function askCustom(custom: DecideRetry, failure: Failure): Decision | undefined {
  let decision: Decision | undefined
  try {
    decision = custom(failure)
  } catch {
    return undefined
  }
  if (decision?.kind === 'deadLetter' || decision?.kind === 'stop') return decision
  if (decision?.kind !== 'retry' || !(decision.delayMs >= 0)) return undefined
  return { kind: 'retry', delayMs: Math.min(decision.delayMs, RETRY_DELAY_LIMIT_MS) }
}

/**
 * Marks an error as permanent: thrown by a handler, it dead-letters the message without another attempt.
 *
 * @param cause the error behind it, or a text.
 */
export function reject(cause: unknown): TrunklineError<'bus.rejected'> {
  return new TrunklineError('bus.rejected', { reason: errorText(cause) }, { cause })
}

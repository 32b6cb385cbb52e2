import { TrunklineError, errorText } from '../core/errors.ts'
import type { IsFailure } from './failures.ts'

/** What the options of every policy may say. */
export interface PolicyOptions {
  /** For errors, events and people. Default: what is called, a contract's type for instance, or the kind of the policy. */
  readonly name?: string
}

/**
 * Gives a number back if it lies in `[min, max]`.
 *
 * @throws `core.option_invalid` otherwise.
 */
export function numberIn(option: string, value: unknown, min: number, max: number): number {
  if (typeof value === 'number' && value >= min && value <= max) return value
  throw new TrunklineError('core.option_invalid', { option, expected: `a number from ${min} to ${max}`, actual: errorText(value).slice(0, 100) })
}

/** As `numberIn`, for whole numbers. */
export function wholeIn(option: string, value: unknown, min: number, max: number): number {
  if (Number.isSafeInteger(value)) return numberIn(option, value, min, max)
  throw new TrunklineError('core.option_invalid', { option, expected: `a whole number from ${min} to ${max}`, actual: errorText(value).slice(0, 100) })
}

/** A function that tells which errors count, or the default. @throws `core.option_invalid` for anything else. */
export function checkedPredicate(option: string, given: IsFailure | undefined, fallback: IsFailure): IsFailure {
  if (given === undefined || typeof given === 'function') return given ?? fallback
  throw new TrunklineError('core.option_invalid', { option, expected: 'a function from an error to true or false', actual: typeof given })
}

/** A day: no time of a policy is longer. */
export const POLICY_TIME_MAX_MS = 86_400_000

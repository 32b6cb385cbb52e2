import { TrunklineError } from '../core/errors.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../core/option-names.ts'
import { numberIn } from './policy-options.ts'

/** What `retryBudget` takes. */
export interface RetryBudgetOptions {
  /** Retries that each call pays for, so that retries are at most this share of the calls. Default 0.2. */
  readonly ratio?: number
  /** Retries a second that are there without any calls. Default 10. */
  readonly perSecondMin?: number
  /** Retries that can be saved up. Default 100. */
  readonly savedMax?: number
}

const NAMES: OptionNames = optionNames<RetryBudgetOptions>({ ratio: true, perSecondMin: true, savedMax: true })

/**
 * Keeps retries a small part of all calls, so that they do not multiply the load of what is failing because of its load. The idea is that of
 * Finagle's retry budgets: every call pays a share of a retry in, every retry takes one out.
 */
export class RetryBudget {
  readonly #ratio: number
  readonly #perMs: number
  readonly #savedMax: number
  #saved: number
  #atMs: number | undefined

  constructor(options: RetryBudgetOptions) {
    refuseUnknown('retryBudget', options, NAMES)
    this.#ratio = numberIn('ratio', options.ratio ?? 0.2, 0, 10)
    this.#perMs = numberIn('perSecondMin', options.perSecondMin ?? 10, 0, 1_000_000) / 1_000
    this.#savedMax = numberIn('savedMax', options.savedMax ?? 100, 1, 1_000_000)
    this.#saved = Math.min(this.#savedMax, this.#perMs * 1_000)
  }

  /** A first attempt. */
  deposit(): void {
    this.#saved = Math.min(this.#savedMax, this.#saved + this.#ratio)
  }

  /** True where a retry may be made, which is then paid for. @param nowMs monotonic. */
  withdraw(nowMs: number): boolean {
    this.#saved = Math.min(this.#savedMax, this.#saved + Math.max(0, nowMs - (this.#atMs ?? nowMs)) * this.#perMs)
    this.#atMs = nowMs
    // Sums of fractions such as 0.2 end a hair below the whole number.
    if (this.#saved < 1 - 1e-9) return false
    this.#saved -= 1
    return true
  }
}

/**
 * A budget for retries; give one value to several policies and they share it.
 *
 * @throws `core.option_invalid`, `core.option_unknown`.
 */
export function retryBudget(options: RetryBudgetOptions = {}): RetryBudget {
  return new RetryBudget(options)
}

/** The budget that was given, or one of its own. @throws `core.option_invalid`. */
export function checkedBudget(given: RetryBudget | undefined): RetryBudget {
  if (given === undefined || given instanceof RetryBudget) return given ?? new RetryBudget({})
  throw new TrunklineError('core.option_invalid', { option: 'budget', expected: 'a value made by retryBudget()', actual: typeof given })
}

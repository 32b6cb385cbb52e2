import type { PolicyCall, PolicyRun, PolicyWork } from '../bus/call-policy.ts'
import { type Backoff, backoffMs } from '../core/backoff.ts'
import { sleep } from '../core/clock.ts'
import { retryAfterMsOf } from '../core/errors.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../core/option-names.ts'
import type { Random } from '../core/random.ts'
import { type IsFailure, cancelled, isNotBegun, isPassing } from './failures.ts'
import { type Policy, wholeCall } from './policy.ts'
import { POLICY_TIME_MAX_MS, type PolicyOptions, checkedPredicate, numberIn, wholeIn } from './policy-options.ts'
import { type RetryBudget, checkedBudget } from './retry-budget.ts'

/** What `retry` takes. */
export interface CallRetryOptions extends PolicyOptions {
  /** Attempts in all, the first one included. Default 3. */
  readonly attemptsMax?: number
  /** Upper bound of the first wait, in milliseconds. Default 100. */
  readonly initialMs?: number
  /** Growth of the bound from wait to wait. Default 2. */
  readonly factor?: number
  /** Upper bound of every wait, in milliseconds. Default 2,000. */
  readonly maxMs?: number
  /** Which errors are worth another attempt. Default: failures of what is called, and refusals that pass. */
  readonly isRetryable?: IsFailure
  /** Commands may be done twice. Default false: they are sent again only where they were certainly not begun. */
  readonly idempotent?: boolean
  /** Default: one for this policy alone, with the defaults of `retryBudget`. */
  readonly budget?: RetryBudget
}

const NAMES: OptionNames = optionNames<CallRetryOptions>({
  name: true, attemptsMax: true, initialMs: true, factor: true, maxMs: true, isRetryable: true, idempotent: true, budget: true,
})

/** What decides over the next attempt. */
export interface RetryRule extends Backoff {
  readonly attemptsMax: number
  readonly isRetryable: IsFailure
  readonly idempotent: boolean
}

/** A failed attempt. */
export interface FailedAttempt {
  readonly error: unknown
  /** 1-based. */
  readonly attempt: number
  readonly kind: PolicyCall['kind']
  /** Milliseconds until nobody waits any more. */
  readonly leftMs: number
}

/** The wait before the next attempt, in milliseconds; undefined where there is none. Pure but for the jitter; the budget is asked after it. */
export function nextTryMs(failed: FailedAttempt, rule: RetryRule, random: Random): number | undefined {
  const { error, attempt, kind, leftMs } = failed
  if (attempt >= rule.attemptsMax || !rule.isRetryable(error)) return undefined
  if (kind === 'command' && !rule.idempotent && !isNotBegun(error)) return undefined
  const waitMs = Math.max(backoffMs(rule, attempt, random), retryAfterMsOf(error) ?? 0)
  // An attempt that begins when nobody waits any more only makes load.
  return waitMs < leftMs ? waitMs : undefined
}

class Retry implements Policy {
  readonly kind = 'retry'
  readonly name: string
  readonly #rule: RetryRule
  readonly #budget: RetryBudget

  constructor(options: CallRetryOptions) {
    refuseUnknown('retry', options, NAMES)
    this.name = options.name ?? this.kind
    this.#rule = {
      attemptsMax: wholeIn('attemptsMax', options.attemptsMax ?? 3, 1, 1_000),
      initialMs: numberIn('initialMs', options.initialMs ?? 100, 0, POLICY_TIME_MAX_MS),
      factor: numberIn('factor', options.factor ?? 2, 1, 100),
      maxMs: numberIn('maxMs', options.maxMs ?? 2_000, 0, POLICY_TIME_MAX_MS),
      isRetryable: checkedPredicate('isRetryable', options.isRetryable, isPassing),
      idempotent: options.idempotent === true,
    }
    this.#budget = checkedBudget(options.budget)
  }

  async run<T>(work: PolicyWork<T>, options?: PolicyRun): Promise<T> {
    const call = wholeCall(options, this.name)
    const { signal, host: { clock, random } } = call
    this.#budget.deposit()
    for (let attempt = 1; ; attempt++) {
      try {
        return await work(signal, call)
      } catch (error) {
        if (signal.aborted) throw error
        const waitMs = nextTryMs({ error, attempt, kind: call.kind, leftMs: call.expiresAtMs - clock.monotonicMs() }, this.#rule, random)
        if (waitMs === undefined || !this.#budget.withdraw(clock.monotonicMs())) throw error
        await sleep(clock, waitMs, signal)
        if (signal.aborted) throw cancelled(call.name, signal)
      }
    }
  }
}

/**
 * Tries a failed call again, after the backoff of the library and never before the one called wants to be asked again (`retryAfterMs`), within
 * the caller's deadline and a budget.
 *
 * @throws `core.option_invalid`, `core.option_unknown`.
 */
export function retry(options: CallRetryOptions = {}): Policy {
  return new Retry(options)
}

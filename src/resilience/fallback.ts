import type { PolicyRun, PolicyWork } from '../bus/call-policy.ts'
import { TrunklineError } from '../core/errors.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../core/option-names.ts'
import { type IsFailure, isOutOfTime, isUnanswered } from './failures.ts'
import { type Policy, wholeCall } from './policy.ts'
import { type PolicyOptions, checkedPredicate } from './policy-options.ts'

/** What `fallback` takes: a value, or a function that makes one. */
export type FallbackOptions<F> = PolicyOptions & {
  /** Which errors it stands in for. Default: failures and refusals; what was answered (a declared error, bad data) passes through. */
  readonly isFailure?: IsFailure
} & (
    | { readonly value: F; readonly use?: undefined }
    | { readonly use: (error: unknown) => F | PromiseLike<F>; readonly value?: undefined }
  )

const NAMES: OptionNames = optionNames<Record<'name' | 'isFailure' | 'value' | 'use', unknown>>({ name: true, isFailure: true, value: true, use: true })

class Fallback<F> implements Policy<F> {
  declare readonly '~fallback'?: { readonly value: F }
  readonly kind = 'fallback'
  readonly name: string
  readonly #stands: IsFailure
  readonly #use: (error: unknown) => F | PromiseLike<F>

  constructor(options: FallbackOptions<F>) {
    refuseUnknown('fallback', options, NAMES, 'an object such as { value: 0 }')
    const { use } = options
    if ('value' in options === (use !== undefined) || (use !== undefined && typeof use !== 'function')) {
      throw new TrunklineError('core.option_invalid', { option: 'given to fallback', expected: 'an object with a value, or else with a function called use', actual: Object.keys(options).join(', ') })
    }
    this.name = options.name ?? this.kind
    this.#stands = checkedPredicate('isFailure', options.isFailure, isUnanswered)
    this.#use = use ?? (() => options.value)
  }

  async run<T>(work: PolicyWork<T>, options?: PolicyRun): Promise<T | F> {
    const call = wholeCall(options, this.name)
    try {
      return await work(call.signal, call)
    } catch (error) {
      const stands = call.signal.aborted ? isOutOfTime(call.signal) : this.#stands(error)
      if (!stands) throw error
      return await this.#use(error)
    }
  }
}

/**
 * Gives something else where the call fails: a value, or what a function makes of the error.
 *
 * @throws `core.option_invalid`, `core.option_unknown`.
 */
export function fallback<F>(options: FallbackOptions<F>): Policy<F> {
  return new Fallback(options)
}

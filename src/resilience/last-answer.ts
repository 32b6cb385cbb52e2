import type { PolicyRun, PolicyWork } from '../bus/call-policy.ts'
import { TrunklineError } from '../core/errors.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../core/option-names.ts'
import { type IsFailure, isOutOfTime, isUnanswered } from './failures.ts'
import { type Policy, wholeCall } from './policy.ts'
import { POLICY_TIME_MAX_MS, type PolicyOptions, checkedPredicate, numberIn, wholeIn } from './policy-options.ts'

/** What `lastAnswer` takes. */
export interface LastAnswerOptions extends PolicyOptions {
  /** Milliseconds that an answer may be old. Default 300,000. */
  readonly ageMaxMs?: number
  /** Answers that are kept, the ones used last. Default 1,000. */
  readonly entriesMax?: number
  /** Which errors it stands in for. Default: failures and refusals. */
  readonly isFailure?: IsFailure
}

const NAMES: OptionNames = optionNames<LastAnswerOptions>({ name: true, ageMaxMs: true, entriesMax: true, isFailure: true })

interface Kept {
  readonly value: unknown
  readonly atMs: number
}

class LastAnswer implements Policy {
  readonly kind = 'last-answer'
  readonly name: string
  readonly #ageMaxMs: number
  readonly #entriesMax: number
  readonly #stands: IsFailure
  /** In the order in which they were given or used. */
  readonly #kept = new Map<string, Kept>()

  constructor(options: LastAnswerOptions) {
    refuseUnknown('lastAnswer', options, NAMES)
    this.name = options.name ?? this.kind
    this.#ageMaxMs = numberIn('ageMaxMs', options.ageMaxMs ?? 300_000, 1, POLICY_TIME_MAX_MS)
    this.#entriesMax = wholeIn('entriesMax', options.entriesMax ?? 1_000, 1, 1_000_000)
    this.#stands = checkedPredicate('isFailure', options.isFailure, isUnanswered)
  }

  async run<T>(work: PolicyWork<T>, options?: PolicyRun): Promise<T> {
    const call = wholeCall(options, this.name)
    if (call.key === undefined) {
      throw new TrunklineError('core.option_invalid', { option: 'key of a run of lastAnswer', expected: 'a function that tells calls with the same answer', actual: 'undefined' })
    }
    const key = call.key()
    try {
      const value = await work(call.signal, call)
      this.#keep(key, { value, atMs: call.host.clock.monotonicMs() })
      return value
    } catch (error) {
      const kept = this.#kept.get(key)
      const stands = call.signal.aborted ? isOutOfTime(call.signal) : this.#stands(error)
      if (kept === undefined || !stands || call.host.clock.monotonicMs() - kept.atMs > this.#ageMaxMs) throw error
      this.#keep(key, kept)
      // The key names the call, whose answers are of one type.
      return kept.value as T
    }
  }

  #keep(key: string, kept: Kept): void {
    this.#kept.delete(key)
    this.#kept.set(key, kept)
    if (this.#kept.size <= this.#entriesMax) return
    for (const oldest of this.#kept.keys()) {
      this.#kept.delete(oldest)
      return
    }
  }
}

/**
 * Gives the last answer to the same call where this one fails: stale, and of the right type. Asks know their own key (type and data); stand-alone,
 * give `run` one: `{ key: () => url }`. Answers are kept as they are, so do not change them.
 *
 * @throws `core.option_invalid`, `core.option_unknown`.
 */
export function lastAnswer(options: LastAnswerOptions = {}): Policy {
  return new LastAnswer(options)
}

import type { CallPolicy, PolicyCall, PolicyHost, PolicyRun, PolicyWork } from '../bus/call-policy.ts'
import { neverAborted } from '../core/abort.ts'
import { systemClock } from '../core/clock.ts'
import { systemRandom } from '../core/random.ts'

/** What a policy does to a call. */
export type PolicyKind =
  | 'timeout' | 'retry' | 'circuit-breaker' | 'bulkhead' | 'rate-limit' | 'load-shed' | 'fallback' | 'last-answer' | 'composed'

/**
 * What stands round a call. It holds its own state, so that one value used in several places shares breaker, slots and permits
 * among them; make a value for each where they shall not.
 *
 * `Fallback` is what it may give instead of the call's own result.
 */
export interface Policy<Fallback = never> extends CallPolicy<Fallback> {
  readonly kind: PolicyKind
  /** For errors, events and people. */
  readonly name: string
  /**
   * Runs `work` under the policy. Hand the signal that it gets to whatever can be cancelled: it aborts with the caller's own, and
   * when a time limit is over.
   *
   * @throws what `work` throws, and the policy's own refusals: `resilience.*`.
   */
  run<T>(work: PolicyWork<T>, options?: PolicyRun): Promise<T | Fallback>
}

const MACHINE: PolicyHost = { clock: systemClock, random: systemRandom, emit: () => {} }

/** The whole of what was said about a call; what was left out comes from the machine. */
export function wholeCall(options: PolicyRun | undefined, name: string): PolicyCall {
  // A policy inside another one gets what the outer one made.
  if (isWhole(options)) return options
  return {
    signal: options?.signal ?? neverAborted,
    host: options?.host ?? MACHINE,
    name: options?.name ?? name,
    kind: options?.kind ?? 'work',
    key: options?.key,
    expiresAtMs: options?.expiresAtMs ?? Infinity,
  }
}

function isWhole(options: PolicyRun | undefined): options is PolicyCall {
  return options?.host !== undefined && options.signal !== undefined && options.name !== undefined && options.kind !== undefined && options.expiresAtMs !== undefined
}

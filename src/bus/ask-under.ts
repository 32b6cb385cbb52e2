import type { Contract } from '../contract/contract.ts'
import { linkedController, neverAborted } from '../core/abort.ts'
import { TrunklineError } from '../core/errors.ts'
import type { EarlyEnd } from './balancer.ts'
import type { CallPolicy, PolicyHost } from './call-policy.ts'
import type { DeadlineSweep } from './deadline-sweep.ts'

/** What bounds one attempt of an ask. */
export interface AttemptLimits {
  /** Milliseconds until the ask as a whole ends. */
  readonly timeoutMs: number
  /** Milliseconds until nobody waits for this attempt: what the answerer is told. */
  readonly deadlineMs: number
  readonly signal: AbortSignal | undefined
  /** When it ends before its time, for another one. */
  readonly early?: EarlyEnd | undefined
}

/** An ask that a policy stands round. */
export interface PolicedAsk {
  readonly contract: Contract
  readonly data: unknown
  readonly timeoutMs: number
  readonly signal: AbortSignal | undefined
  /** True for a command that may be done twice. */
  readonly isIdempotent: boolean
}

/**
 * Runs the attempts of an ask under a policy. The time limit holds for all of them together, and for what the policy makes them wait; when it is
 * over a fallback may still stand in.
 *
 * @throws `bus.ask_timeout`, and what the policy rejects with.
 */
export async function askUnder(
  policy: CallPolicy<unknown>, ask: PolicedAsk, host: PolicyHost, deadlines: DeadlineSweep, once: (limits: AttemptLimits) => Promise<unknown>,
): Promise<unknown> {
  const { contract, data, timeoutMs } = ask
  const { clock } = host
  const { controller, release } = linkedController(ask.signal ?? neverAborted)
  const { signal } = controller
  const expiresAtMs = clock.monotonicMs() + timeoutMs
  let late: TrunklineError | undefined
  const expire = (): void => {
    late = new TrunklineError('bus.ask_timeout', { type: contract.type, timeoutMs })
    controller.abort(late)
  }
  const limit = { expiresAtMs, expire }
  deadlines.add(limit)
  try {
    return await policy.run((attemptSignal, call) => {
      const nowMs = clock.monotonicMs()
      return once({ timeoutMs: expiresAtMs - nowMs, deadlineMs: Math.min(expiresAtMs, call.expiresAtMs) - nowMs, signal: attemptSignal })
    }, { signal, host, name: contract.type, kind: contract.kind === 'command' && ask.isIdempotent ? 'work' : contract.kind, key: () => `${contract.type} ${keyText(data)}`, expiresAtMs })
  } catch (error) {
    // Whatever the policy made of it: the time was over.
    throw late !== undefined && signal.reason === late ? late : error
  } finally {
    deadlines.remove(limit)
    release()
  }
}

/** Data of one ask as text; what JSON cannot hold has been refused by the contract before anything is answered. */
function keyText(data: unknown): string {
  try {
    return JSON.stringify(data) ?? ''
  } catch {
    return ''
  }
}

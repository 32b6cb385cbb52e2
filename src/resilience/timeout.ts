import type { PolicyRun, PolicyWork } from '../bus/call-policy.ts'
import { linkedController } from '../core/abort.ts'
import { TrunklineError } from '../core/errors.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../core/option-names.ts'
import { type Policy, wholeCall } from './policy.ts'
import { POLICY_TIME_MAX_MS, type PolicyOptions, numberIn } from './policy-options.ts'

/** What `timeout` takes. */
export interface TimeoutOptions extends PolicyOptions {
  /** Milliseconds that one call may take. Default 5,000. */
  readonly timeoutMs?: number
}

const NAMES: OptionNames = optionNames<TimeoutOptions>({ name: true, timeoutMs: true })
const CALL_TIMEOUT_MS = 5_000

class Timeout implements Policy {
  readonly kind = 'timeout'
  readonly name: string
  readonly #timeoutMs: number

  constructor(options: TimeoutOptions) {
    refuseUnknown('timeout', options, NAMES)
    this.name = options.name ?? this.kind
    this.#timeoutMs = numberIn('timeoutMs', options.timeoutMs ?? CALL_TIMEOUT_MS, 1, POLICY_TIME_MAX_MS)
  }

  run<T>(work: PolicyWork<T>, options?: PolicyRun): Promise<T> {
    const call = wholeCall(options, this.name)
    const { clock } = call.host
    const timeoutMs = this.#timeoutMs
    return new Promise((resolve, reject) => {
      const { controller, release } = linkedController(call.signal)
      const { signal } = controller
      const timer = clock.setTimer(timeoutMs, () => {
        release()
        const error = new TrunklineError('resilience.timeout', { name: call.name, timeoutMs })
        // First the caller, so that it sees this error and not what the work makes of its abortion.
        reject(error)
        controller.abort(error)
      })
      const end = (): void => {
        timer.cancel()
        release()
      }
      invoke(work, signal, { ...call, signal, expiresAtMs: Math.min(call.expiresAtMs, clock.monotonicMs() + timeoutMs) }).then(
        (value) => {
          end()
          resolve(value)
        },
        (error: unknown) => {
          end()
          reject(error)
        },
      )
    })
  }
}

async function invoke<T>(work: PolicyWork<T>, ...args: Parameters<PolicyWork<T>>): Promise<T> {
  return await work(...args)
}

/**
 * Gives a call up after a time: it rejects with `resilience.timeout` at once, and the signal that the work got aborts.
 *
 * @throws `core.option_invalid`, `core.option_unknown`.
 */
export function timeout(options: TimeoutOptions | number = {}): Policy {
  return new Timeout(typeof options === 'number' ? { timeoutMs: options } : options)
}

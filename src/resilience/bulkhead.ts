import type { PolicyCall, PolicyRun, PolicyWork } from '../bus/call-policy.ts'
import { TrunklineError } from '../core/errors.ts'
import { IN_FLIGHT_LIMIT } from '../core/limits.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../core/option-names.ts'
import { cancelled } from './failures.ts'
import { type Policy, wholeCall } from './policy.ts'
import { type PolicyOptions, wholeIn } from './policy-options.ts'
import { Slots } from './slots.ts'

/** What `bulkhead` takes. */
export interface BulkheadOptions extends PolicyOptions {
  /** Calls under way at the same time. Default 64. */
  readonly inFlightMax?: number
  /** Calls that wait for one to end; further ones are refused. Default: as many as may be under way. */
  readonly waitingMax?: number
}

const NAMES: OptionNames = optionNames<BulkheadOptions>({ name: true, inFlightMax: true, waitingMax: true })
const CALLS_IN_FLIGHT_MAX = 64

/** A bulkhead as a policy. */
export class Bulkhead implements Policy {
  readonly kind = 'bulkhead'
  readonly name: string
  readonly #slots: Slots

  constructor(options: BulkheadOptions) {
    refuseUnknown('bulkhead', options, NAMES)
    this.name = options.name ?? this.kind
    const inFlightMax = wholeIn('inFlightMax', options.inFlightMax ?? CALLS_IN_FLIGHT_MAX, 1, IN_FLIGHT_LIMIT)
    this.#slots = new Slots(inFlightMax, wholeIn('waitingMax', options.waitingMax ?? inFlightMax, 0, 1_000_000))
  }

  /** Calls under way. */
  get inFlight(): number {
    return this.#slots.inFlight
  }

  /** Calls that wait for a slot. */
  get waiting(): number {
    return this.#slots.waiting
  }

  async run<T>(work: PolicyWork<T>, options?: PolicyRun): Promise<T> {
    const call = wholeCall(options, this.name)
    if (call.signal.aborted) throw cancelled(call.name, call.signal)
    if (!this.#slots.take()) await this.#turn(call)
    try {
      return await work(call.signal, call)
    } finally {
      this.#slots.release()
    }
  }

  /** Waits for a slot. */
  #turn({ name, signal }: PolicyCall): Promise<void> {
    const slots = this.#slots
    return new Promise((resolve, reject) => {
      const aborted = (): void => {
        if (slots.leave(waiter)) reject(cancelled(name, signal))
      }
      const waiter = {
        admitted: (): void => {
          signal.removeEventListener('abort', aborted)
          resolve()
        },
      }
      if (slots.wait(waiter)) signal.addEventListener('abort', aborted, { once: true })
      else reject(new TrunklineError('resilience.bulkhead_full', { name, inFlightMax: slots.inFlightMax, waitingMax: slots.waitingMax }))
    })
  }
}

/**
 * Bounds how many calls are under way and how many wait, first come, first served; what finds no room is refused with `resilience.bulkhead_full`.
 *
 * @throws `core.option_invalid`, `core.option_unknown`.
 */
export function bulkhead(options: BulkheadOptions = {}): Bulkhead {
  return new Bulkhead(options)
}

import type { CircuitState, PolicyHost, PolicyRun, PolicyWork } from '../bus/call-policy.ts'
import { TrunklineError } from '../core/errors.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../core/option-names.ts'
import { Circuit, type PassageEnd } from './circuit.ts'
import { ConsecutiveWindow, CountWindow, type FailureWindow, TimeWindow, type Trip } from './failure-window.ts'
import { type IsFailure, isFailure, isOutOfTime, isOwn } from './failures.ts'
import { type Policy, wholeCall } from './policy.ts'
import { POLICY_TIME_MAX_MS, type PolicyOptions, checkedPredicate, numberIn, wholeIn } from './policy-options.ts'

/** What `circuitBreaker` takes. */
export interface CircuitBreakerOptions extends PolicyOptions {
  /** What opens it. Default: more than half of the calls of the last 10 s failed, and there were at least 20. */
  readonly trip?: Trip
  /** Milliseconds from opening to the first trial. Default 5,000. */
  readonly openMs?: number
  /** Bound of that time, which doubles with each failed trial. Default 60,000, or `openMs` if that is longer. */
  readonly openMaxMs?: number
  /** Calls that are let through as trials, and must all succeed to close it. Default 1. */
  readonly trials?: number
  /** Which errors count as failures. Default: those that say that what is called is not well. */
  readonly isFailure?: IsFailure
}

const NAMES: OptionNames = optionNames<CircuitBreakerOptions>({ name: true, trip: true, openMs: true, openMaxMs: true, trials: true, isFailure: true })
const TRIP: OptionNames = new Set(['consecutive', 'ratio', 'windowMs', 'windowCalls', 'callsMin'])
const OPEN_MS = 5_000
const OPEN_MAX_MS = 60_000
const CALLS_MIN = 20

/** A circuit breaker as a policy. */
export class CircuitBreaker implements Policy {
  readonly kind = 'circuit-breaker'
  readonly name: string
  readonly #circuit: Circuit
  readonly #isFailure: IsFailure

  constructor(options: CircuitBreakerOptions) {
    refuseUnknown('circuitBreaker', options, NAMES)
    this.name = options.name ?? this.kind
    const openMs = numberIn('openMs', options.openMs ?? OPEN_MS, 1, POLICY_TIME_MAX_MS)
    const openMaxMs = numberIn('openMaxMs', options.openMaxMs ?? Math.max(openMs, OPEN_MAX_MS), openMs, POLICY_TIME_MAX_MS)
    this.#circuit = new Circuit(windowOf(options.trip ?? { ratio: 0.5, windowMs: 10_000 }), { openMs, openMaxMs, trials: wholeIn('trials', options.trials ?? 1, 1, 1_000) })
    this.#isFailure = checkedPredicate('isFailure', options.isFailure, isFailure)
  }

  /** What it is now. An open one lets the next call through as a trial when its time is over. */
  get state(): CircuitState {
    return this.#circuit.state
  }

  async run<T>(work: PolicyWork<T>, options?: PolicyRun): Promise<T> {
    const call = wholeCall(options, this.name)
    const { clock } = call.host
    const circuit = this.#circuit
    const before = circuit.state
    const passage = circuit.enter(clock.monotonicMs())
    if (circuit.state !== before) this.#tell(call.host, call.name)
    if (passage === undefined) throw new TrunklineError('resilience.circuit_open', { name: call.name, retryAfterMs: Math.ceil(circuit.retryAfterMs(clock.monotonicMs())) })
    const leave = (end: PassageEnd): void => {
      const was = circuit.state
      circuit.leave(passage, end, clock.monotonicMs())
      if (circuit.state !== was) this.#tell(call.host, call.name)
    }
    try {
      const value = await work(call.signal, call)
      leave('success')
      return value
    } catch (error) {
      leave(this.#endOf(error, call.signal))
      throw error
    }
  }

  /** What its caller gave up says nothing; what took too long does. */
  #endOf(error: unknown, signal: AbortSignal): PassageEnd {
    if (signal.aborted) return isOutOfTime(signal) ? 'failure' : 'void'
    return this.#isFailure(error) ? 'failure' : answered(error)
  }

  #tell({ clock, emit }: PolicyHost, called: string): void {
    const { state } = this.#circuit
    emit({ kind: 'circuit-changed', name: this.name === this.kind ? called : this.name, state, retryAfterMs: Math.ceil(this.#circuit.retryAfterMs(clock.monotonicMs())) })
  }
}

/** Refusals of policies inside of this one never reached what is called; every other error that is no failure is an answer of it. */
function answered(error: unknown): PassageEnd {
  return isOwn(error) ? 'void' : 'success'
}

function windowOf(trip: Trip): FailureWindow {
  refuseUnknown('trip of circuitBreaker', trip, TRIP, 'an object such as { consecutive: 5 }')
  if ('consecutive' in trip) return new ConsecutiveWindow(wholeIn('trip.consecutive', trip.consecutive, 1, 1_000_000))
  const ratio = numberIn('trip.ratio', trip.ratio, 0, 1)
  if ('windowMs' in trip) {
    return new TimeWindow(ratio, numberIn('trip.windowMs', trip.windowMs, 1, POLICY_TIME_MAX_MS), wholeIn('trip.callsMin', trip.callsMin ?? CALLS_MIN, 1, 1_000_000))
  }
  const windowCalls = wholeIn('trip.windowCalls', trip.windowCalls, 1, 100_000)
  return new CountWindow(ratio, windowCalls, wholeIn('trip.callsMin', trip.callsMin ?? windowCalls, 1, windowCalls))
}

/**
 * Stops calling what fails: after too many failures it refuses with `resilience.circuit_open` for a time, then lets trials through.
 *
 * @throws `core.option_invalid`, `core.option_unknown`.
 */
export function circuitBreaker(options: CircuitBreakerOptions = {}): CircuitBreaker {
  return new CircuitBreaker(options)
}

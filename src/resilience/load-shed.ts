import type { LoadState, PolicyCall, PolicyHost, PolicyRun, PolicyWork } from '../bus/call-policy.ts'
import type { Timer } from '../core/clock.ts'
import { TrunklineError } from '../core/errors.ts'
import { IN_FLIGHT_LIMIT } from '../core/limits.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../core/option-names.ts'
import { DelayQueue, type DelayRule } from './delay-queue.ts'
import { cancelled } from './failures.ts'
import { type Policy, wholeCall } from './policy.ts'
import { POLICY_TIME_MAX_MS, type PolicyOptions, numberIn, wholeIn } from './policy-options.ts'

/** What bounds a queue that sheds by delay. */
export interface SheddingOptions {
  /** Milliseconds that something may wait while the queue does not empty. Default 20. */
  readonly targetDelayMs?: number
  /** Milliseconds that the queue must be standing to count as overload; until then this long may be waited. Default 200. */
  readonly intervalMs?: number
  /** Entries at most, whatever they have waited. Default 1,000. */
  readonly waitingMax?: number
}

/** What `loadShed` takes. */
export interface LoadShedOptions extends PolicyOptions, SheddingOptions {
  /** Calls under way at the same time. Default 64. */
  readonly inFlightMax?: number
}

const NAMES: OptionNames = optionNames<LoadShedOptions>({ name: true, targetDelayMs: true, intervalMs: true, waitingMax: true, inFlightMax: true })

interface Waiter {
  readonly call: PolicyCall
  readonly admit: () => void
  readonly refuse: (error: TrunklineError) => void
}

class LoadShed implements Policy {
  readonly kind = 'load-shed'
  readonly name: string
  readonly #inFlightMax: number
  readonly #rule: DelayRule
  readonly #queue: DelayQueue<Waiter>
  #inFlight = 0
  #state: LoadState = 'normal'
  #timer: Timer | undefined

  constructor(options: LoadShedOptions) {
    refuseUnknown('loadShed', options, NAMES)
    this.name = options.name ?? this.kind
    this.#inFlightMax = wholeIn('inFlightMax', options.inFlightMax ?? 64, 1, IN_FLIGHT_LIMIT)
    this.#rule = delayRule(options)
    this.#queue = new DelayQueue(this.#rule)
  }

  async run<T>(work: PolicyWork<T>, options?: PolicyRun): Promise<T> {
    const call = wholeCall(options, this.name)
    if (this.#inFlight < this.#inFlightMax && this.#queue.size === 0) this.#inFlight++
    else await this.#turn(call)
    try {
      return await work(call.signal, call)
    } finally {
      this.#next(call.host)
    }
  }

  #turn(call: PolicyCall): Promise<void> {
    const { signal, host, name } = call
    return new Promise((resolve, reject) => {
      const aborted = (): void => {
        if (this.#queue.remove(waiter)) reject(cancelled(name, signal))
      }
      const release = (): void => signal.removeEventListener('abort', aborted)
      const waiter: Waiter = {
        call,
        admit: () => {
          release()
          resolve()
        },
        refuse: (error) => {
          release()
          reject(error)
        },
      }
      const nowMs = host.clock.monotonicMs()
      this.#shed(nowMs)
      if (this.#queue.isFull) {
        reject(this.#error(name, 0))
        return
      }
      this.#queue.push(waiter, nowMs)
      signal.addEventListener('abort', aborted, { once: true })
      this.#watch(host)
    })
  }

  /** A call has ended: its slot goes on. */
  #next(host: PolicyHost): void {
    const nowMs = host.clock.monotonicMs()
    this.#shed(nowMs)
    const waiter = this.#queue.pop(nowMs)
    if (waiter === undefined) this.#inFlight--
    else waiter.admit()
    this.#tell(host, nowMs)
  }

  #shed(nowMs: number): void {
    for (const { item, waitedMs } of this.#queue.expired(nowMs)) item.refuse(this.#error(item.call.name, Math.round(waitedMs)))
  }

  #error(name: string, waitedMs: number): TrunklineError<'resilience.shed'> {
    return new TrunklineError('resilience.shed', { name, waitedMs, retryAfterMs: this.#rule.intervalMs })
  }

  /** One timer for the oldest of all that wait. */
  #watch(host: PolicyHost): void {
    if (this.#timer !== undefined) return
    const nowMs = host.clock.monotonicMs()
    this.#shed(nowMs)
    this.#tell(host, nowMs)
    const inMs = this.#queue.nextExpiryInMs(nowMs)
    if (inMs === undefined) return
    this.#timer = host.clock.setTimer(inMs, () => {
      this.#timer = undefined
      this.#watch(host)
    }, { background: true })
  }

  #tell({ emit }: PolicyHost, nowMs: number): void {
    const state = this.#queue.state(nowMs)
    if (state === this.#state) return
    this.#state = state
    emit({ kind: 'load-changed', name: this.name, state, reason: state === 'shedding' ? `${this.#queue.size} calls wait, and the queue has not been empty for ${this.#rule.intervalMs} ms` : 'the queue is empty' })
  }
}

/** Fills in the defaults. @throws `core.option_invalid`. */
export function delayRule(options: SheddingOptions): DelayRule {
  const intervalMs = numberIn('intervalMs', options.intervalMs ?? 200, 1, POLICY_TIME_MAX_MS)
  return {
    intervalMs,
    targetDelayMs: numberIn('targetDelayMs', options.targetDelayMs ?? Math.min(20, intervalMs), 0, intervalMs),
    waitingMax: wholeIn('waitingMax', options.waitingMax ?? 1_000, 0, 1_000_000),
  }
}

/**
 * Bounds what is under way, and sheds by how long things wait: bursts may wait for a while, but where the queue does not empty, what waited longer than
 * `targetDelayMs` is refused with `resilience.shed` and the newest goes first, so that what is done is done in time.
 *
 * @throws `core.option_invalid`, `core.option_unknown`.
 */
export function loadShed(options: LoadShedOptions = {}): Policy {
  return new LoadShed(options)
}

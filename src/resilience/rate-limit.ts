import type { PolicyCall, PolicyRun, PolicyWork } from '../bus/call-policy.ts'
import { sleep } from '../core/clock.ts'
import { TrunklineError } from '../core/errors.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../core/option-names.ts'
import { cancelled } from './failures.ts'
import { type Policy, wholeCall } from './policy.ts'
import { POLICY_TIME_MAX_MS, type PolicyOptions, numberIn } from './policy-options.ts'
import { SharedRate, type SharedRateOptions } from './shared-rate.ts'
import { TokenBucket } from './token-bucket.ts'

/** What `rateLimit` takes. */
export interface RateLimitOptions extends PolicyOptions {
  /** Calls a second, in the long run. */
  readonly permitsPerSecond: number
  /** Calls that may come at once after a pause. Default: those of one second, at least one. */
  readonly burstMax?: number
  /** Longest wait for a permit, in milliseconds; a call that would wait longer is refused. Default 0. */
  readonly waitMaxMs?: number
  /** Shares the permits with every instance that uses the same name in the same store. Where the store is down, calls fail with its error. */
  readonly shared?: SharedRateOptions
}

const NAMES: OptionNames = optionNames<RateLimitOptions>({ name: true, permitsPerSecond: true, burstMax: true, waitMaxMs: true, shared: true })

class RateLimit implements Policy {
  readonly kind = 'rate-limit'
  readonly name: string
  readonly #bucket: TokenBucket
  readonly #shared: SharedRate | undefined
  readonly #waitMaxMs: number

  constructor(options: RateLimitOptions) {
    refuseUnknown('rateLimit', options, NAMES, 'an object such as { permitsPerSecond: 100 }')
    this.name = options.name ?? this.kind
    this.#bucket = bucketOf(options.permitsPerSecond, options.burstMax)
    const { permitsPerSecond, burstMax, shared } = options
    this.#shared = shared === undefined ? undefined : new SharedRate(shared, permitsPerSecond, burstMax ?? Math.max(1, permitsPerSecond))
    this.#waitMaxMs = numberIn('waitMaxMs', options.waitMaxMs ?? 0, 0, POLICY_TIME_MAX_MS)
  }

  async run<T>(work: PolicyWork<T>, options?: PolicyRun): Promise<T> {
    const call = wholeCall(options, this.name)
    if (this.#shared !== undefined) {
      await this.#takeShared(this.#shared, call)
      return await work(call.signal, call)
    }
    const nowMs = call.host.clock.monotonicMs()
    // No longer than somebody waits for the call.
    const permit = this.#bucket.take(nowMs, Math.min(this.#waitMaxMs, Math.max(0, call.expiresAtMs - nowMs)))
    if (permit.kind === 'refused') throw new TrunklineError('resilience.rate_limited', { name: call.name, retryAfterMs: permit.retryAfterMs })
    if (permit.waitMs > 0) await this.#wait(call, permit.waitMs)
    return await work(call.signal, call)
  }

  async #takeShared(shared: SharedRate, call: PolicyCall): Promise<void> {
    const { host, signal, name } = call
    const untilMs = Math.min(host.clock.monotonicMs() + this.#waitMaxMs, call.expiresAtMs)
    for (;;) {
      const permit = await shared.take(host)
      if (permit.kind === 'granted') return
      if (host.clock.monotonicMs() + permit.retryAfterMs > untilMs) throw new TrunklineError('resilience.rate_limited', { name, retryAfterMs: permit.retryAfterMs })
      await sleep(host.clock, permit.retryAfterMs, signal)
      if (signal.aborted) throw cancelled(name, signal)
    }
  }

  async #wait({ name, signal, host }: PolicyCall, waitMs: number): Promise<void> {
    await sleep(host.clock, waitMs, signal)
    if (!signal.aborted) return
    this.#bucket.giveBack()
    throw cancelled(name, signal)
  }
}

/** A bucket, with its options checked. @throws `core.option_invalid`. */
export function bucketOf(permitsPerSecond: number, burstMax: number | undefined): TokenBucket {
  const perSecond = numberIn('permitsPerSecond', permitsPerSecond, 1e-6, 1e9)
  return new TokenBucket(perSecond, numberIn('burstMax', burstMax ?? Math.max(1, perSecond), 1, 1e9))
}

/**
 * Bounds how many calls are made in a time: a bucket of permits, of this process alone or `shared`. What finds none is refused with `resilience.rate_limited`, or waits
 * for at most `waitMaxMs`.
 *
 * @throws `core.option_invalid`, `core.option_unknown`.
 */
export function rateLimit(options: RateLimitOptions): Policy {
  return new RateLimit(options)
}

import type { PolicyCall, PolicyRun, PolicyWork } from '../bus/call-policy.ts'
import { sleep } from '../core/clock.ts'
import { TrunklineError } from '../core/errors.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../core/option-names.ts'
import { cancelled } from './failures.ts'
import { type Policy, wholeCall } from './policy.ts'
import { POLICY_TIME_MAX_MS, type PolicyOptions, numberIn } from './policy-options.ts'
import { TokenBucket } from './token-bucket.ts'

/** What `rateLimit` takes. */
export interface RateLimitOptions extends PolicyOptions {
  /** Calls a second, in the long run. */
  readonly permitsPerSecond: number
  /** Calls that may come at once after a pause. Default: those of one second, at least one. */
  readonly burstMax?: number
  /** Longest wait for a permit, in milliseconds; a call that would wait longer is refused. Default 0. */
  readonly waitMaxMs?: number
}

const NAMES: OptionNames = optionNames<RateLimitOptions>({ name: true, permitsPerSecond: true, burstMax: true, waitMaxMs: true })

class RateLimit implements Policy {
  readonly kind = 'rate-limit'
  readonly name: string
  readonly #bucket: TokenBucket
  readonly #waitMaxMs: number

  constructor(options: RateLimitOptions) {
    refuseUnknown('rateLimit', options, NAMES, 'an object such as { permitsPerSecond: 100 }')
    this.name = options.name ?? this.kind
    this.#bucket = bucketOf(options.permitsPerSecond, options.burstMax)
    this.#waitMaxMs = numberIn('waitMaxMs', options.waitMaxMs ?? 0, 0, POLICY_TIME_MAX_MS)
  }

  async run<T>(work: PolicyWork<T>, options?: PolicyRun): Promise<T> {
    const call = wholeCall(options, this.name)
    const nowMs = call.host.clock.monotonicMs()
    // No longer than somebody waits for the call.
    const permit = this.#bucket.take(nowMs, Math.min(this.#waitMaxMs, Math.max(0, call.expiresAtMs - nowMs)))
    if (permit.kind === 'refused') throw new TrunklineError('resilience.rate_limited', { name: call.name, retryAfterMs: permit.retryAfterMs })
    if (permit.waitMs > 0) await this.#wait(call, permit.waitMs)
    return await work(call.signal, call)
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
 * Bounds how many calls are made in a time: a bucket of permits, of this process alone. What finds none is refused with `resilience.rate_limited`, or waits
 * for at most `waitMaxMs`.
 *
 * @throws `core.option_invalid`, `core.option_unknown`.
 */
export function rateLimit(options: RateLimitOptions): Policy {
  return new RateLimit(options)
}

import { vi } from 'vitest'
import { type PolicyEvent, type PolicyHost, TrunklineError, isTrunklineError, seededRandom } from '../../src/index.ts'
import { type VirtualClock, virtualClock } from '../../src/testing/virtual-clock.ts'

/** A clock that stands still, and what the policies on it told. */
export class PolicyRig {
  readonly clock: VirtualClock = virtualClock()
  readonly events: PolicyEvent[] = []
  readonly host: PolicyHost = { clock: this.clock, random: seededRandom(1), emit: (event) => void this.events.push(event) }
}

/** What a promise came to, as soon as it is known: a value, a code, or the text of another error. */
export class Watched {
  outcome: unknown = 'pending'

  constructor(promise: Promise<unknown>) {
    promise.then(
      (value) => {
        this.outcome = value
      },
      (error: unknown) => {
        this.outcome = isTrunklineError(error) ? error.code : error instanceof Error ? error.message : error
      },
    )
  }
}

/** Failures that say that what is called is not well. */
export function broken(): TrunklineError {
  return new TrunklineError('bus.no_responder', { type: 'pricing.quote' })
}

/** A call that ends when it is told to. */
export class OpenCall {
  readonly promise: Promise<unknown>
  signal: AbortSignal | undefined
  resolve: (value: unknown) => void = () => {}
  reject: (error: unknown) => void = () => {}

  constructor() {
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
  }

  readonly work = (signal: AbortSignal): Promise<unknown> => {
    this.signal = signal
    return this.promise
  }
}

/** Lets the same time go by for a policy of ours, on its virtual clock, and for one of cockatiel, on timers that vitest fakes. */
export class TwoClocks implements Disposable {
  readonly clock: VirtualClock = virtualClock({ startMs: 1_000_000 })
  readonly host: PolicyHost

  /** @param chance what the random source gives each time; the largest below 1 makes every wait as long as it may be. */
  constructor(chance: number = 0) {
    vi.useFakeTimers({ toFake: ['Date', 'setTimeout', 'clearTimeout'], now: 1_000_000 })
    this.host = { clock: this.clock, random: { next: () => chance, id: () => 'id' }, emit: () => {} }
  }

  async advance(byMs: number): Promise<void> {
    await vi.advanceTimersByTimeAsync(byMs)
    await this.clock.advance(byMs)
  }

  [Symbol.dispose](): void {
    vi.useRealTimers()
  }
}

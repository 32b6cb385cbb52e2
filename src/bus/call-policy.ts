import type { Clock } from '../core/clock.ts'
import type { Random } from '../core/random.ts'

// What the bus needs of policies round asks and handlers: types only. `resilience` implements them.

/** What a policy gets from whoever runs it. */
export interface PolicyHost {
  readonly clock: Clock
  readonly random: Random
  /** Tells what a policy has become; a bus tells its observers. */
  readonly emit: (event: PolicyEvent) => void
}

/** What changes in a policy, told apart by `kind`. */
export type PolicyEvent =
  | { readonly kind: 'circuit-changed'; readonly name: string; readonly state: CircuitState; /** Until the next trial; 0 where calls are let through. */ readonly retryAfterMs: number }
  | { readonly kind: 'load-changed'; readonly name: string; readonly state: LoadState; readonly reason: string }

/** `half-open`: some trial calls decide whether it closes. */
export type CircuitState = 'closed' | 'open' | 'half-open'
/** `shedding`: what waits too long is refused. */
export type LoadState = 'normal' | 'shedding'

/** One call as policies see it. */
export interface PolicyCall {
  /** Aborts when nobody waits for the call any more. */
  readonly signal: AbortSignal
  readonly host: PolicyHost
  /** What is called, for errors and events: a contract's type. */
  readonly name: string
  /** A command is not repeated unless its policy says that it may be. */
  readonly kind: 'query' | 'command' | 'event' | 'work'
  /** Tells calls with the same answer; undefined where nothing is known of the data. Made when it is asked for. */
  readonly key: (() => string) | undefined
  /** Monotonic milliseconds of the host's clock after which nobody waits any more; `Infinity` for none. */
  readonly expiresAtMs: number
}

/** What a caller may say about a call. */
export type PolicyRun = { readonly [N in keyof PolicyCall]?: PolicyCall[N] | undefined }

/** What runs under a policy. `call` is what the policies outside of it have made of the call. */
export type PolicyWork<T> = (signal: AbortSignal, call: PolicyCall) => T | PromiseLike<T>

/** What runs round an ask or a handler; policies of `resilience` are such. `Fallback` is what it may give instead. */
export interface CallPolicy<Fallback = never> {
  readonly name: string
  /** Carries the type; never set. */
  readonly '~fallback'?: { readonly value: Fallback }
  run<T>(work: PolicyWork<T>, options?: PolicyRun): Promise<T | Fallback>
}

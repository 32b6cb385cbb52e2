import type { Random } from '../core/random.ts'

// What the bus needs from discovery to send an ask to one instance: types only.

/** One instance that a call can go to, as the caller sees it. */
export interface BalanceCandidate {
  readonly instance: string
  /** Where the call would go. */
  readonly address: string
  readonly version: string
  readonly zone: string | undefined
  readonly weight: number
  readonly tags: readonly string[]
  /** Calls of this caller that it has not answered yet. */
  readonly pending: number
  /** Moving average of the time that it took to answer this caller, in milliseconds; undefined before the first answer. */
  readonly latencyMs: number | undefined
}

/** What a rule chooses by, beside the candidates. */
export interface BalanceChoice {
  readonly random: Random
  /** Of consistent hashing; undefined where none was given. */
  readonly key: string | undefined
  /** Choices made before, for turns. */
  readonly turn: number
}

/** Chooses one of at least one candidate. It may be called many thousand times a second, and must not throw. */
export type BalanceRule = (candidates: readonly [BalanceCandidate, ...BalanceCandidate[]], choice: BalanceChoice) => BalanceCandidate

/** The rules that come with the library. */
export type BalanceName = 'round-robin' | 'random' | 'weighted' | 'least-pending' | 'latency' | 'hash'

/** How an instance is chosen. */
export interface BalanceOptions {
  /** Default `least-pending`: two at random, and of them the one with fewer unanswered calls. */
  readonly by?: BalanceName | BalanceRule
  /** What `hash` goes by, and what a canary sticks to: calls with one key go to one instance. */
  readonly key?: string
  /** `near`: instances of the own zone, and others only where these have too much to do. Default `any`. */
  readonly zone?: 'any' | 'near'
  /** Unanswered calls for each near instance from which the other zones help. Default 10. */
  readonly spillAt?: number
  /** Only instances of these versions: a range as npm has it, such as `^2.1`. */
  readonly version?: string
  /** This share of the calls, 0 to 1, goes to instances of this range, and the others to the rest. */
  readonly canary?: { readonly version: string; readonly share: number }
  /** Instances that are tried, within the time limit and the retry budget. Default 3. */
  readonly attemptsMax?: number
  /** Time for one attempt while others could follow, in milliseconds. Default: half of what is left. */
  readonly attemptTimeoutMs?: number
  /** Milliseconds after which a second instance is asked as well; the first answer counts. Only for what may be done twice. Default: never. */
  readonly hedgeAfterMs?: number
}

/** One ask that is to be balanced. */
export interface BalancedCall {
  readonly type: string
  readonly version: number
  readonly timeoutMs: number
  readonly signal: AbortSignal | undefined
  /** True where it may be done twice: by a query, or a command that says so. Else another instance is asked only where the first did certainly not begin. */
  readonly mayRepeat: boolean
  readonly balance: BalanceName | BalanceOptions
}

/** When an attempt ends before its time, so that another instance can be asked. */
export interface EarlyEnd {
  /** Milliseconds after which it may. */
  readonly afterMs: number
  /** Asked once, then: true ends it like any attempt whose time is over, false leaves it all its time. */
  readonly mayEnd: () => boolean
}

/** What bounds one attempt of the balancer. */
export interface BalancedLimits {
  readonly timeoutMs: number
  readonly signal: AbortSignal
  readonly early?: EarlyEnd | undefined
}

/** Asks one instance. */
export type BalancedAttempt = (to: string, limits: BalancedLimits) => Promise<unknown>

/** Chooses the instances that an ask goes to. */
export interface Balancer {
  /**
   * Makes attempts until one is answered, the time is over or nobody is left.
   *
   * @throws `discovery.no_instance`, `core.option_unknown`, `core.option_invalid`, and what the last attempt rejects with.
   */
  ask(call: BalancedCall, attempt: BalancedAttempt): Promise<unknown>
}

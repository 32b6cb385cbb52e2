import type { Contract, EventContract } from '../contract/contract.ts'
import type { Clock } from '../core/clock.ts'
import type { Message } from '../core/envelope.ts'
import type { TrunklineError } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
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
  | { readonly kind: 'subscription-paused'; readonly group: string; readonly reason: string; /** Until it goes on. */ readonly resumeAfterMs: number }
  | { readonly kind: 'subscription-resumed'; readonly group: string }

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

/** One request on its way to a handler. Exactly one of `start` and `refuse` is called, once. */
export interface AdmissionRequest {
  /** Name of the service that asks, or any URI reference of a foreign program. */
  readonly caller: string
  /** Runs the handler. */
  readonly start: () => void
  /** Answers with an error instead. */
  readonly refuse: (error: TrunklineError) => void
}

/** Decides on the provider's side which requests are handled, and in which order. */
export interface Admission {
  /** Takes a request: it is started or refused now or later. Never throws. */
  offer(request: AdmissionRequest): void
  /** The handler of a started request has ended. */
  ended(request: AdmissionRequest): void
}

/** What a bus gives to what guards its calls. */
export interface ResilienceHost extends PolicyHost {
  readonly service: string
  readonly instance: string
  readonly logger: Logger
  /** Sends an event to every broadcast subscription; never rejects. */
  readonly broadcast: (contract: EventContract, data: unknown) => void
  /** Pauses the subscription of a group, which goes on where `resume` is called; both never reject. */
  readonly pause: (group: string, reason: string) => void
  readonly resume: (group: string) => void
}

/** What guards the calls of one bus. */
export interface AttachedResilience {
  /** What stands round asks of a contract; asked once for each. */
  readonly callPolicy: ((contract: Contract) => CallPolicy<unknown> | undefined) | undefined
  /** What stands round the handlers of a contract; asked once for each. */
  readonly handlePolicy: (contract: Contract) => CallPolicy<unknown> | undefined
  /**
   * Who lets in what is asked of a query or a command, the same for each time that it is asked for one contract; undefined leaves it to the bus, which takes
   * everything as it comes.
   */
  readonly admission: (contract: Contract, inFlightMax: number) => Admission | undefined
  /** Hears how each attempt of a group's handlers ended; undefined where nobody wants to know. */
  readonly outcomes: (group: string) => ((isFailure: boolean) => void) | undefined
  /** Broadcasts that it wants to hear. */
  readonly broadcasts: readonly { readonly contract: EventContract; readonly handler: (message: Message) => void }[]
  /** Hears what changes in any policy of this bus. */
  readonly heard: (event: PolicyEvent) => void
  /** Stops its timers. */
  readonly stop: () => void
}

/** What `createBus` takes as `resilience`. One value belongs to one bus. */
export interface BusResilience {
  /** Ties it to a bus, when that bus is made. */
  attach(host: ResilienceHost): AttachedResilience
}

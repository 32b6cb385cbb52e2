import type { ContractTypes, Contract, DataOutput, ReplyInput } from '../contract/contract.ts'
import type { RetryOptions } from '../core/backoff.ts'
import type { Clock } from '../core/clock.ts'
import type { Message } from '../core/envelope.ts'
import type { Logger } from '../core/logger.ts'
import type { Random } from '../core/random.ts'
import type { BalanceName, BalanceOptions } from './balancer.ts'
import type { BatchOptions } from './batch-runner.ts'
import type { BusResilience, CallPolicy } from './call-policy.ts'
import type { BusSettings } from './settings-port.ts'
import type { HandlerContext } from './context.ts'
import type { SendOptions } from './envelopes.ts'
import type { Middleware } from './middleware.ts'
import type { BusCompanion, BusExtension, BusOutbox, Transport } from './port.ts'
import type { DecideRetry } from './retry-policy.ts'
import type { UnitContext, WithinOptions } from './within.ts'

/** Who runs on this bus. */
export interface ServiceInfo {
  /** Lower-case letters, digits, `-` and `_`; part of group names and of every message's source. */
  readonly name: string
  /** For people, and later for balancing. Default `0.0.0`. */
  readonly version?: string
}

/** Defaults that one bus sets for its subscriptions and calls. */
export interface BusDefaults {
  readonly retry?: RetryOptions
  /** Deliveries of one subscription handled at the same time. Default 16. */
  readonly inFlightMax?: number
  /** Time for one attempt of a handler, in milliseconds. Default 30,000. */
  readonly handlerTimeoutMs?: number
  /** Time for a publish to be stored, reconnects included. Default 30,000. */
  readonly publishTimeoutMs?: number
  /** Time for an ask to be answered. Default 5,000. */
  readonly askTimeoutMs?: number
  /** Time that `stop` may take. Default 10,000. */
  readonly drainTimeoutMs?: number
  /** Largest body that is published or consumed, in bytes. Default 262,144. */
  readonly bodyBytesMax?: number
}

/** A value that offers a transport beside other things, as a database does. */
export interface TransportSource {
  readonly transport: Transport
}

/** What `createBus` takes. */
export interface BusOptions {
  readonly service: ServiceInfo
  /** Carries everything; the bus opens and closes it. A transport, or a value that has one, such as `sqlite({ … })`. */
  readonly transport: Transport | TransportSource
  /** Carries broadcasts and requests where `transport` cannot. */
  readonly light?: Transport | TransportSource
  /** The outbox of the store that this service works with; the bus opens and closes the store. A store named by `within` needs no mention. */
  readonly outbox?: BusOutbox
  /** Announces this instance and finds the others: `discovery()`. */
  readonly discovery?: BusCompanion
  /** Checks of this process and of what it needs: `healthChecks()`. */
  readonly health?: BusCompanion
  /**
   * A pino logger, or anything shaped like one; `silentLogger` for none. Default: pino, which writes warnings and errors as
   * lines of JSON to standard error.
   */
  readonly logger?: Logger
  readonly defaults?: BusDefaults
  /** Contracts to check at start although this bus does not subscribe to them. */
  readonly contracts?: readonly Contract[]
  readonly middleware?: readonly Middleware[]
  /** Typed configuration of this bus: `settings({ … })`. */
  readonly settings?: BusSettings
  /** What guards all asks and handlers of this bus: `resilience({ … })`. */
  readonly resilience?: BusResilience
  /** Started, drained and stopped with the bus, in this order. */
  readonly extensions?: readonly BusExtension[]
  /** Default: the machine's. */
  readonly clock?: Clock
  /** Default: the machine's. */
  readonly random?: Random
}

/** What every durable subscription accepts. */
export interface SubscribeOptions {
  /** Deliveries handled at the same time by this instance. Default 16. */
  readonly inFlightMax?: number
  /** Time for one attempt, in milliseconds. Default 30,000. */
  readonly timeoutMs?: number
  /** Over the contract's and the bus' defaults. */
  readonly retry?: RetryOptions
  /** Failure → retry or dead letter, as a pure function; undefined leaves it to the default policy. */
  readonly decide?: DecideRetry
  /** Name of the handler for logs and dead letters. Default: the function's name, or the group. */
  readonly name?: string
}

/** Options of `bus.on`. */
export interface GroupOptions extends SubscribeOptions {
  /** Competing consumers that share one subscription; unique within the service, whose name is put before it. */
  readonly group: string
  /**
   * `key`: messages of one key are handled one at a time, in the order accepted, across all instances of the
   * group. Default: what the contracts say, else `none`.
   */
  readonly order?: 'key' | 'none'
  /** Where a group that does not exist yet starts. Default `new`. */
  readonly from?: 'new' | 'beginning'
}

/** Options of `bus.on` for a batch handler. */
export interface BatchGroupOptions extends GroupOptions {
  readonly batch: BatchOptions
}

/** Options of `bus.on` for a broadcast subscription: every instance, not durable, no retry. */
export interface BroadcastOptions {
  readonly broadcast: true
  /** Events handled at the same time. Default 256. */
  readonly inFlightMax?: number
  /** Time for one handler, in milliseconds. Default 30,000. */
  readonly timeoutMs?: number
  readonly name?: string
}

/** Options of `bus.handle`. */
export interface HandleOptions extends SubscribeOptions {
  /** As for groups; needs a contract with a key. */
  readonly order?: 'key' | 'none'
}

/** Options of `bus.answer`. */
export interface AnswerOptions {
  /** Requests handled at the same time; four times as many may wait, further ones are refused. Default 256. */
  readonly inFlightMax?: number
  /** Time for one answer, in milliseconds; the asker's deadline can only shorten it. Default 30,000. */
  readonly timeoutMs?: number
  readonly name?: string
}

/** Options of `bus.publish` and `bus.send`. */
export interface PublishOptions extends SendOptions {
  /** Time to be stored, reconnects included, in milliseconds. Default 30,000. */
  readonly timeoutMs?: number
  /** Wall-clock instant after which the message is dead-lettered instead of handled, in milliseconds. Default: none. */
  readonly deadlineAtMs?: number
  /** Inside a unit of work: now, and also where the unit is rolled back. Without it a unit refuses; use the unit's own `publish`. */
  readonly immediately?: boolean
}

/** Options of `bus.ask`; `Fallback` is what its policy may give instead of an answer. */
export interface AskOptions<Fallback = never> extends SendOptions {
  /** Time to be answered, all attempts of a policy included, in milliseconds; the deadline of the message being handled can only shorten it. Default 5,000. */
  readonly timeoutMs?: number
  /** Gives the ask up with `bus.ask_cancelled`; the message may be handled nevertheless. */
  readonly signal?: AbortSignal
  /** What runs round the ask, such as `compose(retry(), circuitBreaker())`. Each attempt is a message of its own, unless `id` is given. */
  readonly policy?: CallPolicy<Fallback>
  /**
   * Chooses the instance here, among those that the bus's directory knows, instead of leaving it to the broker. A rule by its name, or options. An
   * instance that does not answer, or is overloaded, is followed by another one within the time limit. A command asked like this is not stored: it is
   * handed to one instance that handles it without order, and its answer is what says that it was done.
   */
  readonly balance?: BalanceName | BalanceOptions
  /**
   * True for a command that may be done twice, for instance because its handler is `within` a store: where nobody knows whether it was done, another instance may be
   * asked, with the same message id, and `policy` may repeat it. Default false: only what certainly did not begin is tried elsewhere.
   */
  readonly isIdempotent?: boolean
  /** Inside a unit of work: although the transaction is held meanwhile. Without it a unit refuses; ask in `prepare`. */
  readonly immediately?: boolean
}

/** The message type that a handler of a contract gets, told apart by `type` where there are several. */
export type MessageOf<C extends Contract> = C extends Contract<infer T, ContractTypes> ? Message<T, DataOutput<C>> : never

/** A handler of events. */
export type EventHandler<C extends Contract> = (message: MessageOf<C>, context: HandlerContext) => unknown
/** A handler of many events at once; when it throws, each is handled again by itself. */
export type EventBatchHandler<C extends Contract> = (messages: readonly MessageOf<C>[], context: HandlerContext) => unknown
/** A handler of a command or query; what it returns is the answer, and nothing where the contract has no reply. */
export type CallHandler<C extends Contract> = (message: MessageOf<C>, context: HandlerContext) => AnswerOf<C> | PromiseLike<AnswerOf<C>>
type AnswerOf<C extends Contract> = [ReplyInput<C>] extends [undefined] ? void : ReplyInput<C>

/** What makes a subscription a unit of work; `Prepared` is what `prepare` gives. */
export interface UnitOptions<U extends object, Prepared, M> extends WithinOptions<U, Prepared> {
  readonly prepare?: (message: M, context: HandlerContext) => Prepared | PromiseLike<Prepared>
}

/** A handler of events that is a unit of work. */
export type UnitHandle<C extends Contract, U extends object, Prepared> = (message: MessageOf<C>, context: UnitContext<U, Prepared>) => unknown
/** A handler of a command that is a unit of work. */
export type UnitCallHandle<C extends Contract, U extends object, Prepared> = (
  message: MessageOf<C>, context: UnitContext<U, Prepared>,
) => AnswerOf<C> | PromiseLike<AnswerOf<C>>

import type { Contract } from '../contract/contract.ts'
import type { Clock } from '../core/clock.ts'
import type { WireMessage } from '../core/envelope.ts'
import type { Logger } from '../core/logger.ts'
import type { Random } from '../core/random.ts'
import type { Balancer } from './balancer.ts'
import type { BusEvent } from './bus-events.ts'
import type { PolicyHost } from './call-policy.ts'

// What the bus needs from the rooms above it: types only. Adapters implement `Transport`; the core
// wrapper round each adapter (`bus/runtime-transport.ts`) owns start once, close once, time limits
// and state reports, so an adapter keeps no retry policy, no validation and no logging of its own.

/**
 * What a transport can do. Every flag is always present, so that a new flag fails the compilation of
 * each adapter until its author has decided. `can…` is an operation that is refused with
 * `bus.unsupported` where it is false; `keeps…` and `survives…` are guarantees.
 */
export interface TransportCapabilities {
  /** Stores what is published until every group has handled it. */
  readonly canStore: boolean
  /** Delivers to groups in order of each key, across instances. */
  readonly canOrderByKey: boolean
  /** Non-durable events to every instance. */
  readonly canBroadcast: boolean
  /** Questions with answers. */
  readonly canRequest: boolean
  /** Lists, shows, redrives and removes dead letters. */
  readonly canManageDeadLetters: boolean
  /** A new group can start with messages published before it existed. */
  readonly canReplay: boolean
  /** Holds a failed delivery back for a time and lets the others pass; where it `canStore`, no process has to live on for it. */
  readonly canDelayRetry: boolean
  /** What was accepted survives the death of every process that uses the transport. */
  readonly survivesProcessDeath: boolean
  /** What was accepted survives a restart and a crash of the broker. */
  readonly survivesBrokerRestart: boolean
  /** Works between machines. */
  readonly spansMachines: boolean
  /** Reading one dead letter costs as much as reading all before it. */
  readonly scansDeadLetters: boolean
}

/** What the bus gives an adapter when it opens it. */
export interface TransportHost {
  readonly clock: Clock
  readonly random: Random
  /** Bound to service and adapter. For what only the adapter sees; it must never hold a secret or a body. */
  readonly logger: Logger
  /** The service's name; for client names and inbox prefixes. */
  readonly service: string
  /** This running process' id. */
  readonly instance: string
  /**
   * Tells the bus how the link is. `down` while nothing can be stored or delivered, `degraded` with
   * the reason while something works less well. Calling it again with the same state is free.
   */
  readonly report: (state: TransportState, reason: string) => void
}

/** How a transport's link is. */
export type TransportState = 'up' | 'degraded' | 'down'

/**
 * Says that a publish was given up by its caller. A part of `AbortSignal`, so that one fits; the wrapper's own
 * is cheaper to make, which counts because every publish has one.
 */
export interface PublishSignal {
  readonly aborted: boolean
  /** Takes one listener; a second one replaces it. */
  addEventListener(type: 'abort', listener: () => void, options?: { readonly once?: boolean }): void
  removeEventListener(type: 'abort', listener: () => void): void
}

/** Where a message goes. */
export interface Outbound {
  readonly kind: 'event' | 'command'
  readonly message: WireMessage
}

/**
 * A messaging technology behind the bus.
 *
 * An adapter value can be opened once at a time, by one bus. All methods but `open` are called only
 * between `open` and `close`. Errors are `TrunklineError`s with the client's error as `cause`.
 */
export interface Transport {
  /** Short name for people and logs: `nats`. */
  readonly name: string
  readonly capabilities: TransportCapabilities

  /**
   * Connects and makes sure that the shared topology exists. It resolves when messages can be
   * published, and rejects with `bus.connection_lost` when that does not succeed in a time that the
   * adapter's own options set (default 10 s); after that the adapter must not go on trying.
   */
  open(host: TransportHost): Promise<void>

  /**
   * Stores a message and resolves **only when it is durably stored** (a broker's confirm, a commit).
   *
   * Messages given in one order on one transport are stored in that order per key while the
   * link holds. While the link is down the adapter keeps the message and sends it after the
   * reconnect with the same id, until the wrapper gives up (the wrapper owns the time limit and
   * aborts `signal`; after that the outcome is unknown). An event that no group wants is stored or
   * dropped as the broker does it; a command is always kept for the group to come.
   *
   * Returns undefined where the message is stored already when the call returns.
   *
   * @throws `bus.publish_refused` when the broker refuses the message, `bus.connection_lost`.
   */
  publish(outbound: Outbound, signal: PublishSignal | undefined): Promise<void> | undefined

  /**
   * Starts delivering to `sink`. Resolves when the group exists durably: every message published
   * after that is kept for it, also while no instance runs.
   */
  subscribe(subscription: Subscription, sink: DeliverySink): Promise<TransportSubscription>

  /** The dead letters of every group; only with `canManageDeadLetters`. */
  readonly deadLetters: DeadLetterPlane | undefined
  /** Broadcast and request/reply without durability; only with `canBroadcast` or `canRequest`. */
  readonly light: LightPlane | undefined

  /** Closes what `open` opened and nothing else. Called once, after every subscription was closed. */
  close(): Promise<void>
}

/** What one group wants. */
export interface Subscription {
  /** `service.group` for events; `service.command` style names never occur: a command's group is its type. */
  readonly group: string
  readonly kind: 'event' | 'command'
  /** Type names, at least one; for a command exactly one. */
  readonly types: readonly string[]
  /** `key`: one delivery at a time per key, in the order accepted, across all instances of the group. */
  readonly order: 'key' | 'none'
  /** Where a group that does not exist yet starts. */
  readonly from: 'new' | 'beginning'
  /** Deliveries that may be with the sink, unsettled, at the same time. The adapter's prefetch. */
  readonly inFlightMax: number
  /** Longest time that one attempt can take in the bus; leases and ack waits must be kept alive for it. */
  readonly handlerTimeoutMs: number
}

/** Takes deliveries. It never throws and returns at once. */
export type DeliverySink = (delivery: Delivery) => void

/**
 * One message handed to one group, until exactly one of the four settling methods is called.
 *
 * A settling method resolves when the broker has it, or when it is certain to be redelivered. It
 * does not reject for a lost link: the message will come again, which at-least-once allows. `ack` returns
 * undefined where that is so already when it returns.
 */
export interface Delivery {
  readonly message: WireMessage
  /**
   * 1-based number of this attempt: one more than the attempts that are known to have begun, because they failed
   * with `retry` or were recorded with `begin`. The one that made it a suspect is not known, so it is not in it.
   */
  readonly attempt: number
  /**
   * True where an earlier attempt began or may have begun and nobody settled it: its process died, hung,
   * or lost its link. The bus runs suspects one at a time per process and calls `begin` first.
   */
  readonly isSuspect: boolean
  /** Taken out of the dead letters by hand: order and inbox checks must let it pass. */
  readonly isRedriven: boolean
  /**
   * Records durably that this attempt begins, so that a death of the process counts it. Called for suspects
   * only, right before the handler. Resolves with the number of the attempt that now begins.
   */
  begin(): Promise<number>
  /** The message was handled. */
  ack(): Promise<void> | undefined
  /** The attempt failed: deliver again after `delayMs`, with `attempt` one higher. Never blocks other keys or messages. */
  retry(delayMs: number): Promise<void>
  /** Give up: keep the message with its record. In an ordered group its key stays held until redrive or removal. */
  deadLetter(record: DeadLetterRecord): Promise<void>
  /** Give it back unhandled, without spending an attempt: the bus is stopping. */
  release(): Promise<void>
}

/** A running subscription. */
export interface TransportSubscription {
  /** Stops new deliveries; those with the sink stay valid. Idempotent. */
  pause(): Promise<void>
  /** Ends a pause. */
  resume(): Promise<void>
  /** Ends the subscription; unsettled deliveries go to other instances. The group stays. Idempotent. */
  close(): Promise<void>
}

/** Why a delivery was given up. JSON-safe; texts are capped and free of control characters, but for the line breaks of a stack. */
export interface DeadLetterRecord {
  /** `TrunklineError` code, or `bus.handler_failed` for errors of the user's handler. */
  readonly reason: string
  /** The error and its causes, outermost first, at most 8. */
  readonly errors: readonly { readonly name: string; readonly message: string; readonly code?: string; readonly stack?: string }[]
  readonly attempts: number
  /** Name of the handler, for people. */
  readonly handler: string
  readonly service: string
  readonly instance: string
  /** RFC 3339. */
  readonly at: string
}

/** A dead letter as listed. */
export interface DeadLetter {
  /** Stable id of the dead letter itself; unique per transport. */
  readonly id: string
  readonly group: string
  readonly kind: 'event' | 'command'
  /** Attributes, headers and the original bytes. */
  readonly message: WireMessage
  readonly record: DeadLetterRecord
  /** True where later messages of the same key wait behind it. */
  readonly holdsKey: boolean
}

/** What to list. All parts that are given must match. */
export interface DeadLetterFilter {
  readonly group?: string
  readonly type?: string
  readonly reason?: string
}

/** One page of a listing, oldest first. */
export interface DeadLetterPage {
  readonly items: readonly DeadLetter[]
  /** Give it to the next call; undefined after the last page. */
  readonly next: string | undefined
}

/** The dead letters of a transport. Listing changes nothing, however often it is done. */
export interface DeadLetterPlane {
  list(filter: DeadLetterFilter, options: { readonly limit: number; readonly after?: string | undefined }): Promise<DeadLetterPage>
  /** The dead letter, or undefined. */
  read(id: string): Promise<DeadLetter | undefined>
  /**
   * Delivers it again to its group: attempt 1, the same message id, `isRedriven` set. In an ordered group it goes
   * before the messages of its key that waited. False where it does not exist (any more).
   */
  redrive(id: string): Promise<boolean>
  /** Removes it for good and lets its key go on. False where it does not exist (any more). */
  remove(id: string): Promise<boolean>
}

/** A message that came in on the light plane. */
export interface LightDelivery {
  readonly message: WireMessage
  /** Where an answer goes, or undefined for broadcasts. */
  readonly replyTo: string | undefined
}

/** What came back for a request. */
export type LightReply =
  | { readonly kind: 'reply'; readonly message: WireMessage }
  | { readonly kind: 'no-responder' }

/**
 * Delivery without durability: what is sent while nobody listens, or while the link is down, is gone.
 *
 * The bus owns correlation, time limits and late answers: an adapter only carries tokens. A sink that is
 * called must never see an exception of its own reach the client's reader; adapters wrap every callback.
 */
export interface LightPlane {
  /** Address of this instance's inbox; stable until `close`, also across reconnects. Set after `open`. */
  readonly address: string
  /** Answers to requests of this instance, with the token given to `request`. Set once, before any request. */
  onReply(sink: (token: string, reply: LightReply) => void): void
  /** Sends an event to every broadcast subscription; resolves when it was handed to the link, undefined where it was so at once. */
  broadcast(message: WireMessage): Promise<void> | undefined
  /**
   * Sends a request to one of the instances that answer its type; with `to`, the address of one, to that one alone, which gives
   * `no-responder` where it is known to be gone or not to answer the type. `token` is unique per instance and safe in a subject.
   */
  request(message: WireMessage, token: string, to?: string): Promise<void> | undefined
  /** The address that an answer with this token goes to, for messages that travel on the durable plane. */
  replyAddress(token: string): string
  /** Answers. `replyTo` is what came with the request. */
  reply(replyTo: string, message: WireMessage): Promise<void> | undefined
  /**
   * Takes events of the given types: those that were broadcast, and those published durably while this
   * subscription lives. Every instance gets each one.
   */
  onBroadcast(types: readonly string[], sink: (delivery: LightDelivery) => void): Promise<LightSubscription>
  /** Takes requests of one type; the instances of all services that answer it share them. */
  onRequest(type: string, sink: (delivery: LightDelivery) => void): Promise<LightSubscription>
}

/** A running light subscription. */
export interface LightSubscription {
  /** Ends it; idempotent. Requests that were already taken may still be answered. */
  close(): Promise<void>
}

/** How one part of a bus is: a link, a store, a check. */
export interface HealthPart {
  readonly name: string
  readonly state: 'up' | 'degraded' | 'down'
  readonly reasons: readonly string[]
}

/** Hooks for what lives beside the bus and starts and stops with it: outbox relays, discovery, gateways. */
export interface BusExtension {
  readonly name: string
  /** After the transport is open and before deliveries start. */
  start?(): Promise<void>
  /** After deliveries have started: the time to send something that this process itself may want. */
  ready?(): Promise<void>
  /** The bus begins to stop: the time to say so. Intake stops next; publishing still works. */
  drain?(): Promise<void>
  /** After handlers have finished and before the transport closes; also after a start that failed. */
  stop?(): Promise<void>
  /** Its part of the bus' health; `parts` where it is made of several. */
  health?(): { readonly state: 'up' | 'degraded' | 'down'; readonly reasons: readonly string[]; readonly parts?: readonly HealthPart[] }
}

/** How long an ask beside the service waits, and which instance it is for. */
export interface SideAskOptions {
  readonly timeoutMs: number
  /** Light-plane address of one instance; default: any that answers. */
  readonly to?: string
}

/** The light plane for what lives beside a service: typed, without the service's middleware and counters. Nothing it carries is stored. */
export interface SidePlane {
  /** Why there is none, or undefined. */
  readonly problem: string | undefined
  /** Address of this instance. @throws `bus.unsupported`, `bus.not_running` before the transport is open. */
  readonly address: string
  /** Resolves when the link has it. */
  broadcast(contract: Contract, data: unknown): Promise<void>
  /** @throws as `Bus.ask` does. */
  ask(contract: Contract, data: unknown, options: SideAskOptions): Promise<unknown>
  /** Hands over what could be decoded and validated; the rest is dropped. */
  onBroadcast(contracts: readonly Contract[], sink: (contract: Contract, data: unknown) => void): Promise<LightSubscription>
  /** Answers at once with what `answer` gives. */
  onAsk(contract: Contract, answer: (data: unknown) => unknown): Promise<LightSubscription>
}

/** What a bus tells of itself to what lives beside it. */
export interface BusView {
  readonly service: { readonly name: string; readonly version: string }
  /** This process' bus. */
  readonly instance: string
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly side: SidePlane
  /** Where changes of breakers are told, as policies of this bus tell theirs. */
  readonly policyHost: PolicyHost
  /** How the link of the light plane is. */
  readonly linkState: () => TransportState
  /** How the bus feels, the parts that live beside it included. */
  readonly health: () => { readonly state: 'up' | 'degraded' | 'down'; readonly reasons: readonly string[] }
  /** Has the bus look at its health again, and tell its observers where it has changed. */
  readonly healthChanged: () => void
  /** As `Bus.observe`. */
  readonly observe: (observer: (event: BusEvent) => void) => () => void
  /** Deliveries and requests that are being handled. */
  readonly inFlight: () => number
  /** Contracts that this bus handles, and those that it has sent or was given. */
  readonly contracts: () => { readonly accepts: readonly Contract[]; readonly sends: readonly Contract[] }
}

/** What lives beside a bus and looks at it, as `createBus` takes it: a directory, health checks. */
export interface BusCompanion {
  /**
   * Ties it to a bus, when that bus is made. What it gives back starts, drains and stops with the bus.
   *
   * @throws `discovery.attached_twice` where another bus has it.
   */
  attach(view: BusView): BusExtension
  /** Chooses instances for asks with `balance`; of a directory alone. */
  readonly balancer?: Balancer | undefined
}

/** Makes messages as the bus does: validated, with its source, and with the ids of the message that is being handled. */
export interface MessageMaker {
  /** @throws `contract.*` for data or options that do not fit. */
  make(contract: Contract, data: unknown, options?: MessageMakerOptions): Outbound
}

/** What a message may be made with; `SendOptions` of the bus, and a deadline. */
export interface MessageMakerOptions {
  readonly id?: string
  readonly correlationId?: string
  readonly causationId?: string
  readonly tenant?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly traceparent?: string
  readonly deadlineAtMs?: number
}

/** What a bus gives a store that works with it. */
export interface UnitHost {
  readonly service: string
  readonly instance: string
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly messages: MessageMaker
  /** The transport that outgoing messages go to; a store whose own transport it is needs no relay. Undefined without a bus. */
  readonly transport: Transport | undefined
  /** Stores a message durably through the bus' transport; rejects when that was not confirmed in time. */
  readonly publish: (outbound: Outbound, timeoutMs: number) => Promise<void> | undefined
  /** How the transport's link is now. */
  readonly linkState: () => TransportState
}

/** One message to be handled in one transaction together with its effects. */
export interface UnitRequest {
  readonly group: string
  readonly message: WireMessage
  /** Taken out of the dead letters by hand: its mark from an earlier success still counts. */
  readonly isRedriven: boolean
  readonly signal: AbortSignal
  /** Calls the user's handler with what the unit adds to its context. It may be called again where the transaction has to be repeated. */
  readonly work: (unit: object) => unknown
  /** For a message that somebody waits for: writes what the handler gave back, to be kept beside the mark. */
  readonly encodeAnswer: ((value: unknown) => Uint8Array) | undefined
}

/** What became of a unit of work. */
export type UnitOutcome =
  /** Committed. */
  | { readonly kind: 'done'; readonly value: unknown }
  /** It had been committed before: nothing was done now. */
  | { readonly kind: 'seen'; /** What it answered then, where somebody waited for it. */ readonly answer: Uint8Array | undefined }
  /** Rolled back. */
  | { readonly kind: 'failed'; readonly error: unknown }

/**
 * A store in which handlers run: inbox mark, business rows, events and outgoing messages of one message commit together.
 * `Unit` is what it adds to a handler's context.
 */
export interface UnitOfWork<Unit extends object = object> {
  readonly name: string
  /** Time that a message is remembered as handled, in milliseconds. */
  readonly inboxRetentionMs: number
  /** Carries the type; never set. */
  readonly '~unit'?: Unit
  /** What `bus.schedule` uses on a bus that has no outbox and no other store. */
  readonly scheduler?: Scheduling
  /**
   * Ties the store to a bus, when that bus is made. What it gives back starts, drains and stops with the bus.
   *
   * @throws `outbox.attached_twice` where another bus has it.
   */
  attach(host: UnitHost): BusExtension
  /** Runs a message as a unit. Never rejects. */
  run(request: UnitRequest): Promise<UnitOutcome>
  /**
   * Runs messages in one transaction where that goes well, and in smaller ones where one of them fails, so that each comes
   * out as if it had run alone. Messages of one key run one after the other, in the order given. Never rejects.
   */
  runMany(requests: readonly UnitRequest[]): Promise<readonly UnitOutcome[]>
}

/** When something is to be published, and under which name it can be cancelled. Exactly one of `at`, `afterMs` and `cron`. */
export interface ScheduleOptions extends Omit<MessageMakerOptions, 'id'> {
  /** Unique in the store, at most 255 characters: scheduling again under it replaces what was there. Default: a fresh one. */
  readonly id?: string
  /** The instant, as a date or in milliseconds since 1970. One that has passed fires at once. */
  readonly at?: Date | number
  /** Milliseconds from the commit's statement on, by the database's clock. */
  readonly afterMs?: number
  /** Cron expression of five fields, or of six with seconds first: it fires again and again until it is cancelled. */
  readonly cron?: string
  /** IANA time zone of `cron`. Default `UTC`. */
  readonly timeZone?: string
}

/** Messages that leave later: what `bus.schedule` stands on. */
export interface Scheduling {
  /** Resolves with the id when it is durably stored. @throws `contract.*`, `outbox.timer_invalid`, `store.*`. */
  schedule(contract: Contract, data: unknown, options: ScheduleOptions): Promise<string>
  /** False where it has fired, or never was. */
  cancel(id: string): Promise<boolean>
}

/** An outbox as `createBus` takes it. */
export interface BusOutbox {
  readonly unitOfWork: UnitOfWork
  readonly scheduling: Scheduling
}

import type { AnyCommand, AnyQuery, Contract, ContractTypes, DataInput, DefinedContract, EventContract, ReplyOutput } from '../contract/contract.ts'
import { aKind, checkedName } from '../contract/names.ts'
import { type Clock, systemClock } from '../core/clock.ts'
import { TrunklineError } from '../core/errors.ts'
import { BODY_BYTES_MAX, DRAIN_TIMEOUT_MS } from '../core/limits.ts'
import type { Logger } from '../core/logger.ts'
import { type Random, systemRandom } from '../core/random.ts'
import { StandardLogger } from '../core/standard-logger.ts'
import { Attachments } from './attachments.ts'
import type { BatchHandle } from './batch-runner.ts'
import { BusExtensions, StoppingParts } from './bus-extensions.ts'
import type { SettingsHost } from './settings-port.ts'
import type { AttachedResilience, PolicyEvent, PolicyHost, ResilienceHost } from './call-policy.ts'
import { BusCounters, type BusEvent, type BusHealth, type BusState, type BusStats } from './bus-events.ts'
import { healthFrom, healthParts } from './bus-health.ts'
import { BusObservers } from './bus-observers.ts'
import { Calls } from './calls.ts'
import { checkAnswerOptions, checkBusOptions, checkHandleOptions, checkOnOptions, transportOf } from './checked-options.ts'
import type { HandlerContext } from './context.ts'
import { DeadLetters, deadLetterPlane } from './dead-letters.ts'
import { DeadlineSweep } from './deadline-sweep.ts'
import type { RunnerHost } from './delivery-runner.ts'
import { Envelopes } from './envelopes.ts'
import { HandlerGuard } from './handler-guard.ts'
import { Intake } from './intake.ts'
import { EnvelopeMaker } from './message-maker.ts'
import { type Middleware, handleChain, receiveChain } from './middleware.ts'
import type {
  AnswerOptions, AskOptions, BatchGroupOptions, BroadcastOptions, BusDefaults, BusOptions, CallHandler, EventBatchHandler, EventHandler, GroupOptions,
  HandleOptions, MessageOf, PublishOptions, UnitCallHandle, UnitHandle, UnitOptions,
} from './options.ts'
import type { BusExtension, ScheduleOptions, Transport, TransportHost, UnitHost, UnitOfWork } from './port.ts'
import { ContractRegistry } from './registry.ts'
import { RuntimeTransport } from './runtime-transport.ts'
import { type Scope, currentScope } from './scope.ts'
import { Sender } from './sender.ts'
import { type AnyHandle, type PlanRequest, type UnitPart, checkEvents, commandPlan, eventPlan, listOf } from './subscriptions.ts'
import { BusSidePlane } from './side-plane.ts'
import type { BusView, HealthPart } from './port.ts'
import { SuspectGate } from './suspect-gate.ts'

/** Time that stores and other extensions get to stop after the handlers took too long. */
const EXTENSIONS_STOP_MS = 3_000

type AnyOnOptions = (GroupOptions & Partial<UnitPart>) | BatchGroupOptions | BroadcastOptions

/** A handler as a caller may write it: its parameter is typed by its contract. */
type TypedHandle = (message: never, context: HandlerContext) => unknown

/** The overloads tied the handler to its contract, whose `decode` makes what it is called with. */
function erased(handler: TypedHandle): AnyHandle & BatchHandle {
  if (typeof handler !== 'function') throw new TrunklineError('core.option_invalid', { option: 'handler', expected: 'a function', actual: typeof handler })
  return handler as AnyHandle & BatchHandle
}

/**
 * Makes a bus. Nothing is connected before `start`.
 *
 * @throws `core.option_invalid` for a service name outside the grammar or a default out of range, `core.option_unknown`
 *   for a name that no option has.
 */
export function createBus(options: BusOptions): Bus {
  return new Bus(options)
}

/**
 * One service instance's place on the bus: it publishes, sends and asks, and hands what comes in to the
 * subscribed handlers. Subscribe first, then `start`, then publish; `stop` loses nothing.
 */
export class Bus implements AsyncDisposable {
  readonly service: { readonly name: string; readonly version: string }
  /** Id of this running instance. */
  readonly instance: string
  /** Dead letters of the transport; every call throws `bus.not_running` or `bus.unsupported` where there are none. */
  readonly deadLetters: DeadLetters
  readonly #clock: Clock
  readonly #random: Random
  readonly #rootLogger: Logger
  readonly #logger: Logger
  readonly #defaults: BusDefaults
  readonly #registry = new ContractRegistry()
  readonly #envelopes: Envelopes
  readonly #counters = new BusCounters()
  readonly #deadlines: DeadlineSweep
  readonly #calls: Calls
  readonly #transport: RuntimeTransport
  readonly #lightTransport: RuntimeTransport
  readonly #middleware: Middleware[] = []
  readonly #sender: Sender
  readonly #intake: Intake
  readonly #observers: BusObservers
  readonly #attachments: Attachments
  readonly #extensions: BusExtensions
  readonly #parts: StoppingParts
  readonly #resilience: AttachedResilience | undefined
  readonly #guard: HandlerGuard
  #host: RunnerHost | undefined
  #state: BusState = 'idle'
  /** From the moment the transport is open until it closes: handlers may publish while the bus still starts or drains. */
  #isOpen = false
  #starting: Promise<void> | undefined
  #stopping: Promise<void> | undefined

  constructor(options: BusOptions) {
    checkBusOptions(options)
    this.service = { name: checkedName('service.name', options.service.name), version: options.service.version ?? '0.0.0' }
    this.#clock = options.clock ?? systemClock
    this.#random = options.random ?? systemRandom
    this.instance = this.#random.id(this.#clock.nowMs())
    this.#rootLogger = options.logger ?? new StandardLogger()
    this.#logger = this.#rootLogger.child({ service: this.service.name })
    this.#observers = new BusObservers(this.#logger)
    this.#defaults = options.defaults ?? {}
    this.#envelopes = new Envelopes(this.#clock, this.#random, this.service.name)
    this.#deadlines = new DeadlineSweep(this.#clock)
    this.#calls = new Calls({ clock: this.#clock, counters: this.#counters, bodyBytesMax: this.#bodyBytesMax, emit: this.#observers.emit })
    const watcher = { stateChanged: this.#transportChanged }
    const transport = transportOf(options.transport)
    const light = transportOf(options.light ?? transport)
    this.#transport = new RuntimeTransport(transport, this.#clock, watcher)
    this.#lightTransport = light === transport ? this.#transport : new RuntimeTransport(light, this.#clock, watcher)
    const shared = { defaults: this.#defaults, transport: this.#transport, lightTransport: this.#lightTransport }
    this.#resilience = options.resilience?.attach(this.#resilienceHost())
    this.#guard = new HandlerGuard(this.#resilience, this.#policyHost())
    this.#sender = new Sender({
      ...shared, policyOf: this.#resilience?.callPolicy, clock: this.#clock, logger: this.#logger, registry: this.#registry, envelopes: this.#envelopes, counters: this.#counters,
      deadlines: this.#deadlines, calls: this.#calls, balancer: () => options.discovery?.balancer, policyHost: this.#policyHost(), mustRun: (operation) => this.#mustRun(operation),
    })
    this.#intake = new Intake({ ...shared, sender: this.#sender, guard: this.#guard, takesDirect: options.discovery !== undefined, runnerHost: () => this.#runnerHost(), healthChanged: () => this.#healthChanged() })
    this.deadLetters = new DeadLetters(() => {
      this.#mustRun('deadLetters')
      return deadLetterPlane(this.#transport.inner)
    })
    this.#attachments = new Attachments(() => this.#unitHost())
    if (options.outbox !== undefined) this.#attachments.add(options.outbox.unitOfWork, options.outbox.scheduling)
    this.#parts = new StoppingParts(this.#logger)
    const settings = options.settings?.attach(this.#settingsHost())
    const companions = [options.health, options.discovery].flatMap((one) => (one === undefined ? [] : [one.attach(this.#view())]))
    this.#extensions = new BusExtensions(this.#attachments, [...(settings === undefined ? [] : [settings.extension]), ...companions, ...(options.extensions ?? [])], this.#parts)
    for (const contract of options.contracts ?? []) this.#registry.addSent(contract)
    for (const { contract, handler } of settings?.answers ?? []) this.#intake.addLight('request', [this.#registry.add(contract)], {}, handler)
    for (const { contract, handler } of [...(this.#resilience?.broadcasts ?? []), ...(settings?.broadcasts ?? [])]) this.#intake.addLight('broadcast', [this.#registry.add(contract)], {}, handler)
    this.use(...(options.middleware ?? []))
  }

  /** Where the bus is in its life. */
  get state(): BusState {
    return this.#state
  }

  /** The contracts that the bus knows, by type. */
  get contracts(): readonly Contract[] {
    return this.#registry.all()
  }

  /** Adds middleware, inside what is there already. Only before `start`. @throws `bus.not_running`. */
  use(...middleware: readonly Middleware[]): this {
    this.#mustBeIdle('use')
    this.#middleware.push(...middleware)
    this.#sender.use(this.#middleware)
    return this
  }

  /** Tells `observer` everything that happens, until the returned function is called. It must not throw. */
  observe(observer: (event: BusEvent) => void): () => void {
    return this.#observers.add(observer)
  }

  /**
   * Subscribes a handler to events. With `group`: a copy to the group, competing consumers inside it, retries,
   * dead letters. With `broadcast`: every instance, not durable. With `batch`: many messages at once.
   *
   * Several calls with one group share its subscription if their options are the same.
   *
   * @throws `bus.not_running` after `start`, `bus.subscription_conflict`, `core.option_invalid`, `core.option_unknown`,
   *   `contract.definition_conflict`.
   */
  on<const C extends EventContract, U extends object, P = undefined>(
    contracts: C | readonly C[], options: GroupOptions & UnitOptions<U, P, MessageOf<C>>, handler: UnitHandle<C, U, P>,
  ): this
  on<const C extends EventContract>(contracts: C | readonly C[], options: BatchGroupOptions, handler: EventBatchHandler<C>): this
  on<const C extends EventContract>(contracts: C | readonly C[], options: BroadcastOptions, handler: EventHandler<C>): this
  // The last one, because the compiler explains what is wrong by the last one: a missing group, as a rule.
  on<const C extends EventContract>(contracts: C | readonly C[], options: GroupOptions, handler: EventHandler<C>): this
  on(contracts: EventContract | readonly EventContract[], options: AnyOnOptions, handler: TypedHandle): this {
    this.#mustBeIdle('on')
    checkOnOptions(options)
    const known = listOf(contracts).map((contract) => this.#registry.add(contract))
    if ('broadcast' in options) {
      checkEvents('broadcast', known)
      this.#intake.addLight('broadcast', known, options, erased(handler))
    } else this.#intake.add(eventPlan(this.#request(known), this.#attached(options), erased(handler)))
    return this
  }

  /**
   * Subscribes the handler of a command. All services that handle it share the work.
   *
   * @throws as `on` does.
   */
  handle<C extends AnyCommand, U extends object, P = undefined>(
    contract: C, options: HandleOptions & UnitOptions<U, P, MessageOf<C>>, handler: UnitCallHandle<C, U, P>,
  ): this
  handle<C extends AnyCommand>(contract: C, handler: CallHandler<C>): this
  handle<C extends AnyCommand>(contract: C, options: HandleOptions, handler: CallHandler<C>): this
  handle(contract: AnyCommand, ...rest: readonly [TypedHandle] | readonly [HandleOptions & Partial<UnitPart>, TypedHandle]): this {
    this.#mustBeIdle('handle')
    const [options, handler] = rest.length === 1 ? [{}, rest[0]] : rest
    checkHandleOptions(options)
    this.#intake.add(commandPlan(this.#request([this.#registry.add(contract)]), this.#attached(options), erased(handler)))
    return this
  }

  /**
   * Answers a query. All running instances of all services that answer it share the requests.
   *
   * @throws as `on` does.
   */
  answer<C extends AnyQuery>(contract: C, handler: CallHandler<C>): this
  answer<C extends AnyQuery>(contract: C, options: AnswerOptions, handler: CallHandler<C>): this
  answer(contract: AnyQuery, ...rest: readonly [TypedHandle] | readonly [AnswerOptions, TypedHandle]): this {
    this.#mustBeIdle('answer')
    const [options, handler] = rest.length === 1 ? [{}, rest[0]] : rest
    checkAnswerOptions(options)
    const known = this.#registry.add(contract)
    if (known.kind !== 'query') throw new TrunklineError('bus.subscription_conflict', { subscription: known.type, problem: `it is ${aKind(known.kind)}; answer() takes a query` })
    this.#intake.addLight('request', [known], options, erased(handler))
    return this
  }

  /**
   * Adds what starts, drains and stops with the bus, after what is there already, and the store that it stands on. Only before `start`.
   *
   * @throws `bus.not_running`, `outbox.attached_twice`.
   */
  extend(make: (host: UnitHost) => BusExtension, within?: UnitOfWork): this {
    this.#mustBeIdle('extend')
    if (within !== undefined) this.#attachments.add(within)
    this.#extensions.add(make(this.#unitHost()))
    return this
  }

  /** A store that a handler runs in belongs to the bus. */
  #attached<O extends object>(options: O & Partial<UnitPart>): O & Partial<UnitPart> {
    if (options.within !== undefined) this.#attachments.add(options.within)
    return options
  }

  #unitHost(): UnitHost {
    const { service, instance } = this
    return {
      service: service.name, instance, clock: this.#clock, random: this.#random, logger: this.#logger,
      messages: new EnvelopeMaker(this.#envelopes, this.#bodyBytesMax),
      transport: this.#transport.inner,
      publish: (outbound, timeoutMs) => this.#sender.relay(outbound, timeoutMs),
      linkState: () => this.#transport.state.state,
    }
  }

  #view(): BusView {
    const { service, instance } = this
    const side = new BusSidePlane({ transport: this.#lightTransport, envelopes: this.#envelopes, calls: this.#calls, logger: this.#logger, bodyBytesMax: this.#bodyBytesMax })
    return {
      service, instance, side, clock: this.#clock, random: this.#random, logger: this.#logger, policyHost: this.#policyHost(),
      linkState: () => this.#lightTransport.state.state,
      health: () => this.health(),
      healthChanged: () => this.#healthChanged(),
      observe: (observer) => this.observe(observer),
      inFlight: () => this.#intake.inFlight,
      contracts: () => ({ accepts: this.#intake.contracts(), sends: this.#registry.sent() }),
    }
  }

  #policyHost(): PolicyHost {
    const emit = (event: PolicyEvent): void => {
      this.#observers.emit(event)
      this.#resilience?.heard(event)
    }
    return { clock: this.#clock, random: this.#random, emit }
  }

  /** Broadcasts a state to whoever hears it; nothing depends on it, and a link that is down is told elsewhere. */
  readonly #tell = (contract: EventContract, data: unknown): void => {
    if (!this.#isOpen) return
    this.#sender.broadcast(contract, data, { immediately: true }).catch((error: unknown) => this.#logger.debug({ err: error, type: contract.type }, 'a state could not be broadcast'))
  }

  #settingsHost(): SettingsHost {
    const { canBroadcast, canRequest } = this.#lightTransport.inner.capabilities
    return {
      service: this.service, instance: this.instance, clock: this.#clock, random: this.#random, logger: this.#logger, canBroadcast, canRequest,
      broadcast: this.#tell,
      ask: (contract, data, timeoutMs) => this.#sender.ask(contract, data, { timeoutMs }),
      healthChanged: () => this.#healthChanged(),
    }
  }

  #resilienceHost(): ResilienceHost {
    return {
      ...this.#policyHost(), service: this.service.name, instance: this.instance, logger: this.#logger,
      broadcast: this.#tell,
      pause: (group, reason) => this.#intake.pause(group, reason),
      resume: (group) => this.#intake.unpause(group),
    }
  }

  #request(contracts: readonly DefinedContract<string, ContractTypes>[]): PlanRequest {
    return { service: this.service.name, defaults: this.#defaults, contracts, policed: this.#guard.policed }
  }

  /**
   * Connects, checks that the transport can do what was asked for, and starts delivering.
   *
   * @throws `bus.unsupported` naming adapter and capability, `bus.connection_lost`, `core.peer_missing`,
   *   `contract.definition_invalid` for a known contract whose schema is asynchronous.
   *   After a failed start everything is closed again and the bus is stopped.
   */
  start(): Promise<void> {
    // A bus lives once: what was closed, or never came up, is replaced by a new one.
    if (this.#state === 'stopped') return Promise.reject(new TrunklineError('bus.not_running', { operation: 'start (a bus starts once; make a new one)', state: this.#state }))
    this.#starting ??= this.#start()
    return this.#starting
  }

  async #start(): Promise<void> {
    this.#mustBeIdle('start')
    this.#enter('starting')
    try {
      this.#intake.checkCapabilities()
      for (const contract of this.#registry.all()) contract.probe()
      if (this.#rootLogger instanceof StandardLogger) await this.#rootLogger.load()
      await this.#open()
      await this.#extensions.start()
      await this.#intake.start()
      await this.#extensions.ready()
    } catch (error) {
      await this.#extensions.stop()
      this.#calls.close()
      await this.#close()
      this.#enter('stopped')
      throw error
    }
    this.#enter('running')
    this.#healthChanged()
  }

  async #open(): Promise<void> {
    for (const transport of this.#transports()) {
      const logger = this.#logger.child({ adapter: transport.inner.name })
      const host: Omit<TransportHost, 'report'> = { clock: this.#clock, random: this.#random, logger, service: this.service.name, instance: this.instance }
      await transport.open(host)
    }
    this.#lightTransport.inner.light?.onReply(this.#calls.onReply)
    this.#isOpen = true
  }

  #transports(): readonly RuntimeTransport[] {
    return this.#transport === this.#lightTransport ? [this.#transport] : [this.#transport, this.#lightTransport]
  }

  #runnerHost(): RunnerHost {
    this.#host ??= {
      clock: this.#clock,
      random: this.#random,
      logger: this.#logger,
      service: this.service.name,
      instance: this.instance,
      bodyBytesMax: this.#bodyBytesMax,
      suspects: new SuspectGate(),
      deadlines: this.#deadlines,
      counters: this.#counters,
      emit: this.#observers.emit,
      around: handleChain(this.#middleware),
      receive: receiveChain(this.#middleware),
      answer: (wire, contract, outcome) => (wire.replyTo === undefined ? undefined : this.#sender.reply(wire.replyTo, contract, outcome)),
      halt: this.#intake.halt,
    }
    return this.#host
  }

  /**
   * Publishes an event and resolves when it is durably stored.
   *
   * @throws `contract.payload_invalid` and the other `contract.*` codes before anything is sent,
   *   `bus.publish_timeout` when storage was not confirmed in time (the outcome is unknown: publish again
   *   with the same `id`), `bus.publish_refused`, `bus.overloaded`, `bus.not_running`.
   */
  publish<C extends EventContract>(contract: C, data: DataInput<C>, options?: PublishOptions): Promise<void> {
    return this.#sender.store('event', contract, data, options)
  }

  /** Sends a command to the one group that handles it, now or later; resolves when it is durably stored. @throws as `publish` does. */
  send<C extends AnyCommand>(contract: C, data: DataInput<C>, options?: PublishOptions): Promise<void> {
    return this.#sender.store('command', contract, data, options)
  }

  /**
   * Hands an event to every broadcast subscription that is connected now. Nothing is stored and nothing is
   * confirmed; it resolves when the link has it.
   */
  broadcast<C extends EventContract>(contract: C, data: DataInput<C>, options?: PublishOptions): Promise<void> {
    return this.#sender.broadcast(contract, data, options)
  }

  /**
   * Asks and resolves with the answer: a query of one running instance, or a command with its outcome.
   *
   * A command that is asked is stored durably like one that is sent; only its answer is not. When the ask times
   * out, a command that has not begun is dropped and counted (`expiredRequests`) instead of being handled late.
   *
   * @throws `bus.ask_timeout`, `bus.ask_cancelled`, `bus.no_responder`, `bus.answer_failed`, `bus.callee_overloaded`, a declared error
   *   (see `contract.errorIn`), `resilience.*` by its policy, `contract.*` for data that does not fit, `bus.unsupported`, `bus.not_running`.
   */
  ask<C extends AnyQuery | AnyCommand, Fallback = never>(contract: C, data: DataInput<C>, options: AskOptions<Fallback> = {}): Promise<ReplyOutput<C> | Fallback> {
    // The reply was validated by the schema that the type comes from.
    return this.#sender.ask(contract, data, options)
  }

  /**
   * Publishes an event or sends a command later: at an instant, after a time, or again and again. Resolves with the id to cancel it by, when
   * it is durably stored. Needs a store: that of `createBus({ outbox: store.outbox })`, or the only one that a handler is `within`.
   *
   * @throws `contract.*`, `outbox.timer_invalid`, `outbox.not_attached` without a store, `core.option_invalid` with several and no outbox, `store.*`, `bus.not_running`.
   */
  async schedule<C extends EventContract | AnyCommand>(contract: C, data: DataInput<C>, options: ScheduleOptions): Promise<string> {
    this.#mustRun('schedule')
    return await this.#attachments.scheduling('schedule').schedule(contract, data, options)
  }

  /** Cancels what was scheduled. False where it has fired, or never was. @throws `outbox.not_attached`, `store.*`, `bus.not_running`. */
  async cancelSchedule(id: string): Promise<boolean> {
    this.#mustRun('cancelSchedule')
    return await this.#attachments.scheduling('cancelSchedule').cancel(id)
  }

  /** How the bus feels. `up` only while it runs, its links are up and no subscription is halted. */
  health(): BusHealth {
    return healthFrom(this.healthParts())
  }

  /** The parts that the health is made of: the bus itself, its links, halted subscriptions, stores and checks. */
  healthParts(): readonly HealthPart[] {
    return healthParts({ state: this.#state, links: this.#transports(), halted: this.#intake.halted(), paused: this.#intake.paused(), extensions: this.#extensions.all() })
  }

  /** Counts since the bus was made. */
  stats(): BusStats {
    return this.#counters.snapshot()
  }

  /**
   * Lets a subscription go on that was halted by an error of disposition `stop`; one that runs is left alone.
   *
   * @param group with or without the service's name before it; the type for commands.
   * @throws `core.option_invalid` for a group that this bus does not have.
   */
  async resume(group: string): Promise<void> {
    await this.#intake.resume(group, this.service.name)
    this.#healthChanged()
  }

  /**
   * Stops without losing anything: says so, takes no more, lets handlers finish (they can still publish and
   * ask), flushes publishes, closes. What is not finished after `drainTimeoutMs` is left to other instances.
   *
   * Called inside a handler of this bus it resolves as soon as the bus has begun to stop: the bus waits for that handler, so
   * the handler cannot wait for the bus. Outside, it resolves when everything is closed.
   */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop()
    const scope = currentScope()
    return scope === undefined ? this.#stopping : this.#stoppedFor(scope, this.#stopping)
  }

  async #stoppedFor(scope: Scope, stopping: Promise<void>): Promise<void> {
    // A handler is known to run once it has given back its promise, which it does before this goes on.
    await Promise.resolve()
    if (!this.#intake.isHandling(scope)) return await stopping
    stopping.catch((error: unknown) => this.#logger.error({ err: error }, 'the bus failed while it stopped'))
    this.#logger.warn('stop() was called inside a handler: the bus stops when this handler has ended, and the call does not wait for that')
  }

  async #stop(): Promise<void> {
    await this.#starting?.catch(() => {})
    if (this.#state === 'stopped') return
    if (this.#state === 'idle') {
      this.#enter('stopped')
      return
    }
    this.#enter('draining')
    const timeoutMs = this.#defaults.drainTimeoutMs ?? DRAIN_TIMEOUT_MS
    const isDrained = await this.#bounded(this.#drain(), timeoutMs)
    if (!isDrained) {
      const error = new TrunklineError('bus.not_running', { operation: 'handle', state: 'draining' })
      this.#intake.abort(error)
      this.#logger.warn({ timeoutMs }, 'not everything could be finished in time; it will be redelivered')
      await this.#bounded(this.#extensions.stop(), EXTENSIONS_STOP_MS)
    }
    this.#calls.close()
    await this.#close()
    this.#enter('stopped')
  }

  async #drain(): Promise<void> {
    await this.#extensions.drain()
    await this.#intake.drain(this.#parts.stop)
    await this.#extensions.stop()
    await this.#transport.flushed()
  }

  /** True where `work` ended in time. */
  #bounded(work: Promise<void>, timeoutMs: number): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const timer = this.#clock.setTimer(timeoutMs, () => resolve(false))
      work.then(() => resolve(true), reject).finally(() => timer.cancel())
    })
  }

  async #close(): Promise<void> {
    this.#isOpen = false
    this.#resilience?.stop()
    await this.#intake.close()
    await Promise.all(this.#transports().map((transport) => this.#parts.stop(transport.inner.name, () => transport.close())))
    this.#deadlines.close()
  }

  /** The same as `stop`, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  get #bodyBytesMax(): number {
    return this.#defaults.bodyBytesMax ?? BODY_BYTES_MAX
  }

  readonly #transportChanged = (transport: Transport, state: string, reason: string): void => {
    this.#logger[state === 'up' ? 'info' : 'warn']({ adapter: transport.name, state, reason }, 'the link changed')
    this.#healthChanged()
  }

  #healthChanged(): void {
    this.#observers.healthIs(this.health())
  }

  #enter(state: BusState): void {
    this.#state = state
    this.#observers.emit({ kind: 'state-changed', state })
    if (state !== 'starting') this.#healthChanged()
  }

  #mustRun(operation: string): void {
    if (this.#isOpen) return
    throw new TrunklineError('bus.not_running', { operation, state: this.#state })
  }

  #mustBeIdle(operation: string): void {
    if (this.#state !== 'idle') throw new TrunklineError('bus.not_running', { operation: `${operation} (only before start)`, state: this.#state })
  }
}

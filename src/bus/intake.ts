import type { ContractTypes, DefinedContract } from '../contract/contract.ts'
import { TrunklineError } from '../core/errors.ts'
import { HANDLER_TIMEOUT_MS, IN_FLIGHT_LIMIT } from '../core/limits.ts'
import { LightRunner } from './answers.ts'
import type { Admission } from './call-policy.ts'
import type { DeliveryRunner, HandlerEntry, RunnerHost } from './delivery-runner.ts'
import type { AnswerOptions, BusDefaults } from './options.ts'
import type { LightSubscription, Transport, TransportSubscription } from './port.ts'
import { codeOf, inRange, wholeInRange } from './retry-policy.ts'
import type { HandlerGuard } from './handler-guard.ts'
import type { RuntimeTransport } from './runtime-transport.ts'
import type { Scope } from './scope.ts'
import type { Sender } from './sender.ts'
import { type AnyHandle, type SubscriptionPlan, handlerName } from './subscriptions.ts'

/** Requests or broadcasts of one light subscription handled at the same time. */
const LIGHT_IN_FLIGHT_MAX = 256

/** One light subscription as it was asked for. */
interface LightPlan {
  readonly kind: 'broadcast' | 'request'
  readonly types: readonly string[]
  readonly entries: ReadonlyMap<string, HandlerEntry>
  readonly options: { readonly inFlightMax: number; readonly handlerTimeoutMs: number }
}

/** A durable subscription that runs. */
interface Running {
  readonly plan: SubscriptionPlan
  readonly runner: DeliveryRunner
  readonly subscription: TransportSubscription
}

/** What the incoming side needs of its bus. */
export interface IntakeParts {
  readonly defaults: BusDefaults
  readonly transport: RuntimeTransport
  readonly lightTransport: RuntimeTransport
  readonly sender: Sender
  /** Made when the first subscription starts, because the middleware is complete only then. */
  readonly runnerHost: () => RunnerHost
  readonly healthChanged: () => void
  /** What guards the handlers, where there is something. */
  readonly guard: HandlerGuard
  /** Commands without order are also taken from those who choose this instance. */
  readonly takesDirect: boolean
}

/** The incoming side of a bus: what was subscribed, what runs of it, and what is halted. */
export class Intake {
  readonly #parts: IntakeParts
  /** By kind and group: the group `sales.reserve` of service `sales` and the command `sales.reserve` are two. */
  readonly #plans = new Map<string, SubscriptionPlan>()
  readonly #lightPlans: LightPlan[] = []
  readonly #running: Running[] = []
  readonly #lightRunning: { readonly runner: LightRunner; readonly subscription: LightSubscription }[] = []
  readonly #halted = new Map<DeliveryRunner, string>()
  /** Paused by a kill switch, by full name of the group, with the reason. */
  readonly #paused = new Map<string, string>()

  constructor(parts: IntakeParts) {
    this.#parts = parts
  }

  /** @throws `bus.subscription_conflict`. */
  add(plan: SubscriptionPlan): void {
    const name = `${plan.kind} ${plan.group}`
    const known = this.#plans.get(name)
    if (known === undefined) this.#plans.set(name, plan)
    else known.join(plan)
  }

  /** @throws `bus.subscription_conflict` for a query that is answered already, `core.option_invalid`. */
  addLight(kind: LightPlan['kind'], contracts: readonly DefinedContract<string, ContractTypes>[], options: AnswerOptions, handle: AnyHandle): void {
    const answered = contracts.find(({ type }) => kind === 'request' && this.#lightPlans.some((plan) => plan.kind === kind && plan.entries.has(type)))
    if (answered !== undefined) {
      throw new TrunklineError('bus.subscription_conflict', { subscription: answered.type, problem: 'the query has two handlers on one bus' })
    }
    this.#lightPlans.push({
      kind,
      types: contracts.map(({ type }) => type),
      entries: new Map(contracts.map((contract) => [contract.type, this.#parts.guard.policed({ contract, name: handlerName(options, handle, contract.type), handle })])),
      options: {
        inFlightMax: wholeInRange('inFlightMax', options.inFlightMax ?? LIGHT_IN_FLIGHT_MAX, 1, IN_FLIGHT_LIMIT),
        handlerTimeoutMs: inRange('timeoutMs', options.timeoutMs ?? this.#parts.defaults.handlerTimeoutMs ?? HANDLER_TIMEOUT_MS, 1, 86_400_000),
      },
    })
  }

  /** Promise 5: what the transport cannot do is refused before anything runs. @throws `bus.unsupported`. */
  checkCapabilities(): void {
    const durable = this.#parts.transport.inner
    const light = this.#parts.lightTransport.inner
    const need = (holds: boolean, adapter: Transport, capability: keyof Transport['capabilities'], needed: string): void => {
      if (holds && !adapter.capabilities[capability]) throw new TrunklineError('bus.unsupported', { adapter: adapter.name, capability, needed })
    }
    for (const plan of this.#plans.values()) {
      const what = `the subscription ${plan.group}`
      plan.checkRetention()
      need(true, durable, 'canStore', what)
      need(plan.order === 'key', durable, 'canOrderByKey', `order by key of ${what}`)
      need(plan.kind === 'event' && plan.from === 'beginning', durable, 'canReplay', `"from: beginning" of ${what}`)
      need(plan.policy.attemptsMax > plan.policy.immediateMax + 1, durable, 'canDelayRetry', `delayed retries of ${what}`)
    }
    for (const plan of this.#lightPlans) {
      need(plan.kind === 'broadcast', light, 'canBroadcast', `the broadcast subscription to ${plan.types.join(', ')}`)
      need(plan.kind === 'request', light, 'canRequest', `answering ${plan.types.join(', ')}`)
    }
  }

  /** The contracts that are handled here, each once, by type. */
  contracts(): readonly DefinedContract<string, ContractTypes>[] {
    const plans = [...this.#plans.values(), ...this.#lightPlans]
    const byType = new Map(plans.flatMap(({ entries }) => [...entries.values()].map(({ contract }) => [contract.type, contract])))
    return [...byType.values()].toSorted((left, right) => (left.type < right.type ? -1 : 1))
  }

  /** Deliveries and requests whose handlers run. */
  get inFlight(): number {
    return [...this.#running, ...this.#lightRunning].reduce((sum, { runner }) => sum + runner.inFlight, 0)
  }

  /** Starts everything that was subscribed. @throws what the transport rejects with. */
  async start(): Promise<void> {
    for (const plan of this.#plans.values()) await this.#subscribe(plan)
    for (const plan of this.#lightPlans) await this.#subscribeLight(plan)
    for (const plan of this.#directPlans()) await this.#subscribeLight(plan)
  }

  async #subscribe(plan: SubscriptionPlan): Promise<void> {
    const { guard, runnerHost } = this.#parts
    const runner = plan.runner(runnerHost(), guard.outcomes(plan.group), this.#admissionOf(plan.entries, plan.slots))
    const subscription = await this.#parts.transport.subscribe(plan.subscription(), runner.take)
    this.#running.push({ plan, runner, subscription })
    // A delivery can halt it before the adapter has given us something to pause.
    if (this.#halted.has(runner)) await subscription.pause()
  }

  /** Commands are asked of one instance on the light plane, by who balances over a directory. */
  #directPlans(): readonly LightPlan[] {
    const { lightTransport: { inner }, takesDirect } = this.#parts
    if (!takesDirect || inner.light === undefined || !inner.capabilities.canRequest) return []
    return [...this.#plans.values()].filter(({ kind, order }) => kind === 'command' && order === 'none').map((plan) => {
      const { types, entries, inFlightMax, handlerTimeoutMs } = plan
      return { kind: 'request', types, entries, options: { inFlightMax, handlerTimeoutMs } }
    })
  }

  /** Whoever asks for something is let in here; events, and what nobody waits for, are not asked. */
  #admissionOf(entries: ReadonlyMap<string, HandlerEntry>, inFlightMax: number): Admission | undefined {
    for (const { contract } of entries.values()) if (contract.kind !== 'event') return this.#parts.guard.admission(contract, inFlightMax)
    return undefined
  }

  async #subscribeLight(plan: LightPlan): Promise<void> {
    const { runnerHost, sender } = this.#parts
    const light = sender.light(plan.kind === 'request' ? 'canRequest' : 'canBroadcast', plan.types.join(', '))
    const [type] = plan.types
    const runner = new LightRunner(runnerHost(), plan.entries, plan.options, sender.reply, this.#admissionOf(plan.entries, plan.options.inFlightMax))
    const subscription = plan.kind === 'request' && type !== undefined ? await light.onRequest(type, runner.take) : await light.onBroadcast(plan.types, runner.take)
    this.#lightRunning.push({ runner, subscription })
  }

  /** Halts a subscription: no redelivery can succeed until code or configuration changes. */
  readonly halt = (runner: DeliveryRunner, error: unknown): void => {
    const { logger, emit } = this.#parts.runnerHost()
    const { group } = runner.options
    const code = codeOf(error)
    logger.error({ err: error, group }, 'the subscription is halted: no redelivery can succeed until code or configuration changes')
    if (this.#halted.has(runner)) return
    this.#halted.set(runner, code)
    emit({ kind: 'subscription-halted', group, code })
    this.#parts.healthChanged()
    const running = this.#running.find((one) => one.runner === runner)
    running?.subscription.pause().catch((cause: unknown) => logger.warn({ err: cause, group }, 'the subscription could not be paused'))
  }

  /** Stops the deliveries of a group for a while. */
  readonly pause = (group: string, reason: string): void => {
    this.#paused.set(group, reason)
    this.#each(group, ({ subscription }) => subscription.pause())
  }

  /** Ends a pause. */
  readonly unpause = (group: string): void => {
    if (!this.#paused.delete(group)) return
    this.#each(group, ({ runner, subscription }) => (this.#halted.has(runner) ? Promise.resolve() : subscription.resume()))
  }

  #each(group: string, work: (running: Running) => Promise<void>): void {
    const { logger } = this.#parts.runnerHost()
    for (const running of this.#running) {
      if (running.plan.group === group) work(running).catch((cause: unknown) => logger.warn({ err: cause, group }, 'the subscription could not be paused or resumed'))
    }
    this.#parts.healthChanged()
  }

  /** Groups that are paused, with the reason. */
  paused(): readonly (readonly [string, string])[] {
    return [...this.#paused]
  }

  /** Groups that are halted, with the code of the error. */
  halted(): readonly (readonly [string, string])[] {
    return [...this.#halted].map(([runner, code]) => [runner.options.group, code])
  }

  /** See `Bus.resume`. */
  async resume(group: string, service: string): Promise<void> {
    const names = [group, `${service}.${group}`]
    const groups = [...this.#plans.values()].map((plan) => plan.group)
    if (!groups.some((known) => names.includes(known))) {
      const expected = groups.length === 0 ? 'a group of this bus, which has none' : `one of ${groups.join(', ')}`
      throw new TrunklineError('core.option_invalid', { option: 'group of bus.resume', expected, actual: String(JSON.stringify(group)).slice(0, 200) })
    }
    const named = this.#running.filter(({ plan }) => names.includes(plan.group))
    for (const { plan, runner, subscription } of named) {
      const wasPaused = this.#paused.delete(plan.group)
      if (this.#halted.delete(runner) || wasPaused) await subscription.resume()
    }
  }

  /** Takes no more, then waits for everything that was taken. @param stopPart runs a step whose failure must not stop the others. */
  async drain(stopPart: (part: string, work: () => Promise<unknown>) => Promise<void>): Promise<void> {
    await Promise.all([
      ...this.#running.map(({ plan, subscription }) => stopPart(plan.group, () => subscription.pause())),
      ...this.#lightRunning.map(({ subscription }) => stopPart('light', () => subscription.close())),
    ])
    await Promise.all([...this.#running.map(({ runner }) => runner.drain()), ...this.#lightRunning.map(({ runner }) => runner.drain())])
  }

  /** True while a handler of this bus runs in `scope`. */
  isHandling(scope: Scope): boolean {
    return [...this.#running, ...this.#lightRunning].some(({ runner }) => runner.isHandling(scope))
  }

  /** Tells the handlers that still run that nobody waits for them any more. */
  abort(reason: unknown): void {
    for (const { runner } of [...this.#running, ...this.#lightRunning]) runner.abort(reason)
  }

  /** Ends every subscription; what is not settled goes to other instances. */
  async close(): Promise<void> {
    const subscriptions = [...this.#running, ...this.#lightRunning].map(({ subscription }) => subscription)
    await Promise.allSettled(subscriptions.map((subscription) => subscription.close()))
  }
}

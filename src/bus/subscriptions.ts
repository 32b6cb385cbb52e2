import type { Contract, ContractTypes, DefinedContract } from '../contract/contract.ts'
import { aKind, checkedName } from '../contract/names.ts'
import type { Message } from '../core/envelope.ts'
import { TrunklineError } from '../core/errors.ts'
import { BATCH_MAX, BATCH_WAIT_MS, HANDLER_TIMEOUT_MS, IN_FLIGHT_LIMIT, IN_FLIGHT_MAX } from '../core/limits.ts'
import { type BatchHandle, type BatchOptions, BatchRunner } from './batch-runner.ts'
import type { Admission } from './call-policy.ts'
import type { HandlerContext } from './context.ts'
import { DeliveryRunner, type HandlerEntry, type RunnerHost } from './delivery-runner.ts'
import type { BusDefaults, GroupOptions, HandleOptions, SubscribeOptions } from './options.ts'
import type { Subscription } from './port.ts'
import { UnitBatchRunner } from './unit-batch-runner.ts'
import { type UnitHandler, type Within, type WithinOptions, withinHandle } from './within.ts'
import { type DecideRetry, type RetryPolicy, inRange, retryHorizonMs, retryPolicy, wholeInRange } from './retry-policy.ts'

/** A redelivery after a lost ack comes within minutes; a day covers a broker that was restored. */
const REDELIVERY_MARGIN_MS = 86_400_000

/** A handler with its types erased. */
export type AnyHandle = (message: Message, context: HandlerContext) => unknown

/** One durable subscription as it was asked for; several `on` calls of one group are merged into one plan. */
export class SubscriptionPlan {
  readonly kind: 'event' | 'command'
  readonly group: string
  readonly order: 'key' | 'none'
  readonly from: 'new' | 'beginning'
  readonly inFlightMax: number
  readonly handlerTimeoutMs: number
  readonly policy: RetryPolicy
  readonly #decide: DecideRetry | undefined
  readonly #entries = new Map<string, HandlerEntry>()
  readonly #batch: { readonly options: Required<BatchOptions>; readonly handle: BatchHandle } | undefined
  readonly #within: Within | undefined
  readonly #units = new Map<string, UnitHandler>()
  readonly #policed: (entry: HandlerEntry) => HandlerEntry

  constructor(parts: PlanParts) {
    this.kind = parts.kind
    this.group = parts.group
    this.order = parts.order
    this.from = parts.from
    this.inFlightMax = parts.inFlightMax
    this.handlerTimeoutMs = parts.handlerTimeoutMs
    this.policy = parts.policy
    this.#decide = parts.decide
    this.#batch = parts.batch
    this.#within = parts.within
    this.#policed = parts.policed
  }

  /** The handlers, by type. */
  get entries(): ReadonlyMap<string, HandlerEntry> {
    return this.#entries
  }

  /** Names of the types, sorted. */
  get types(): readonly string[] {
    return [...this.#entries.keys()].toSorted()
  }

  /** @throws `bus.subscription_conflict` for a second handler of one type. */
  add(entry: HandlerEntry): void {
    if (this.#entries.has(entry.contract.type)) {
      throw conflict(this.group, `${entry.contract.type} has two handlers in one group; give the second one a group of its own`)
    }
    if (this.order === 'key' && !entry.contract.hasKey) throw conflict(this.group, `order by key was asked for, but ${entry.contract.type} has no key`)
    const within = this.#within
    if (within === undefined) {
      this.#entries.set(entry.contract.type, this.#policed(entry))
      return
    }
    const unit = { contract: entry.contract, handle: entry.handle, prepare: within.prepare }
    this.#units.set(entry.contract.type, unit)
    // The policy stands round the transaction: what it repeats is a unit of its own each time.
    this.#entries.set(entry.contract.type, this.#policed({ ...entry, handle: withinHandle(within.unitOfWork, unit) }))
  }

  /** @throws `bus.subscription_conflict` when another `on` of the group wants something else. */
  join(other: SubscriptionPlan): void {
    const mine = JSON.stringify(this.#shape())
    const theirs = JSON.stringify(other.#shape())
    if (mine !== theirs || this.#batch !== undefined || other.#batch !== undefined || this.#within !== undefined || other.#within !== undefined || this.#decide !== other.#decide) {
      throw conflict(this.group, `the group is used twice with different options: ${mine} and ${theirs}`)
    }
    for (const entry of other.#entries.values()) this.add(entry)
  }

  #shape(): object {
    const { order, from, inFlightMax, handlerTimeoutMs, policy } = this
    return { order, from, inFlightMax, handlerTimeoutMs, policy }
  }

  /**
   * A mark must outlive every redelivery of its message (I-05).
   *
   * @throws `outbox.retention_too_short`.
   */
  checkRetention(): void {
    if (this.#within === undefined) return
    const { inboxRetentionMs } = this.#within.unitOfWork
    const horizonMs = retryHorizonMs(this.policy) + this.handlerTimeoutMs + REDELIVERY_MARGIN_MS
    if (inboxRetentionMs >= horizonMs) return
    throw new TrunklineError('outbox.retention_too_short', { retentionMs: inboxRetentionMs, horizonMs, problem: `the attempts of ${this.group} and a day of margin take longer` })
  }

  /** What the transport gets to know. */
  subscription(): Subscription {
    return {
      group: this.group,
      kind: this.kind,
      types: this.types,
      order: this.order,
      from: this.from,
      // Twice as many as run, so that the next ones are at hand when a handler ends.
      inFlightMax: Math.max(this.inFlightMax * 2, this.#batch?.options.sizeMax ?? 1, (this.#within?.batch?.sizeMax ?? 0) * 2),
      handlerTimeoutMs: this.handlerTimeoutMs,
    }
  }

  /** Deliveries handled at the same time. With shared transactions the next batch fills while one is under way. */
  get slots(): number {
    return Math.max(this.inFlightMax, this.#batch?.options.sizeMax ?? 1, (this.#within?.batch?.sizeMax ?? 0) * 2)
  }

  /** What handles the deliveries. */
  runner(host: RunnerHost, outcome?: (isFailure: boolean) => void, admission?: Admission): DeliveryRunner {
    const within = this.#within
    const options = {
      group: this.group,
      inFlightMax: this.slots,
      handlerTimeoutMs: this.handlerTimeoutMs,
      policy: this.policy,
      decide: this.#decide,
      entries: this.#entries,
      outcome,
      admission,
    }
    if (within?.batch !== undefined) return new UnitBatchRunner(options, host, { unitOfWork: within.unitOfWork, batch: within.batch, handlers: this.#units })
    return this.#batch === undefined ? new DeliveryRunner(options, host) : new BatchRunner(options, host, this.#batch.options, this.#batch.handle)
  }
}

interface PlanParts {
  readonly kind: 'event' | 'command'
  readonly group: string
  readonly order: 'key' | 'none'
  readonly from: 'new' | 'beginning'
  readonly inFlightMax: number
  readonly handlerTimeoutMs: number
  readonly policy: RetryPolicy
  readonly decide: DecideRetry | undefined
  readonly batch: { readonly options: Required<BatchOptions>; readonly handle: BatchHandle } | undefined
  readonly within: Within | undefined
  readonly policed: (entry: HandlerEntry) => HandlerEntry
}

/** What a plan is made from. */
export interface PlanRequest {
  readonly service: string
  readonly defaults: BusDefaults
  readonly contracts: readonly DefinedContract<string, ContractTypes>[]
  /** Puts policies round a handler. */
  readonly policed: (entry: HandlerEntry) => HandlerEntry
}

/** Plan of `bus.on`. */
export function eventPlan(request: PlanRequest, options: GroupOptions & Partial<UnitPart> & { readonly batch?: BatchOptions }, handle: AnyHandle | BatchHandle): SubscriptionPlan {
  const { contracts, service } = request
  const group = `${service}.${checkedName('group', options.group)}`
  checkEvents(group, contracts)
  if (contracts.length === 0) throw conflict(group, 'no contract was given')
  const order = options.order ?? (contracts.some((contract) => contract.order === 'key') ? 'key' : 'none')
  const within = withinOf(options)
  // The overloads of `on` tied the form of the handler to `batch`.
  const batch = options.batch === undefined || within !== undefined ? undefined : { options: checkedBatch(options.batch), handle: handle as BatchHandle }
  const plan = new SubscriptionPlan({ kind: 'event', group, order, from: options.from ?? 'new', ...common(request, options), batch, within })
  // As above: without `batch` it takes one message.
  const one: AnyHandle = batch === undefined ? (handle as AnyHandle) : (message, context) => batch.handle([message], context)
  for (const contract of contracts) plan.add({ contract, name: handlerName(options, handle, group), handle: one })
  return plan
}

/** @throws `bus.subscription_conflict` for a command or query, which a caller without types can give. */
export function checkEvents(subscription: string, contracts: readonly Contract[]): void {
  for (const contract of contracts) if (contract.kind !== 'event') throw conflict(subscription, `${contract.type} is ${aKind(contract.kind)}; on() takes events`)
}

/** Plan of `bus.handle`. */
export function commandPlan(request: PlanRequest, options: HandleOptions & Partial<UnitPart>, handle: AnyHandle): SubscriptionPlan {
  const [contract] = request.contracts
  if (contract === undefined || contract.kind !== 'command') {
    throw conflict(contract?.type ?? '', contract === undefined ? 'handle() takes a command' : `it is ${aKind(contract.kind)}; handle() takes a command`)
  }
  const plan = new SubscriptionPlan({
    kind: 'command', group: contract.type, order: options.order ?? contract.order, from: 'beginning', ...common(request, options), batch: undefined,
    within: withinOf(options),
  })
  plan.add({ contract, name: handlerName(options, handle, contract.type), handle })
  return plan
}

function common(request: PlanRequest, options: SubscribeOptions): Pick<PlanParts, 'inFlightMax' | 'handlerTimeoutMs' | 'policy' | 'decide' | 'policed'> {
  const { contracts, defaults, policed } = request
  return {
    policed,
    inFlightMax: wholeInRange('inFlightMax', options.inFlightMax ?? defaults.inFlightMax ?? IN_FLIGHT_MAX, 1, IN_FLIGHT_LIMIT),
    handlerTimeoutMs: inRange('timeoutMs', options.timeoutMs ?? defaults.handlerTimeoutMs ?? HANDLER_TIMEOUT_MS, 1, 86_400_000),
    policy: retryPolicy(defaults.retry, ...contracts.map((contract) => contract.retry), options.retry),
    decide: options.decide,
  }
}

/** The options of a unit of work, with their types erased. */
export type UnitPart = WithinOptions<object, unknown>

function withinOf(options: Partial<UnitPart>): Within | undefined {
  const { within, prepare, batch } = options
  if (within === undefined) return undefined
  // The overloads tied `prepare` to the contracts, as they did the handler.
  const erased = prepare as AnyHandle | undefined
  return { unitOfWork: within, prepare: erased, batch: batch === undefined ? undefined : checkedBatch(batch) }
}

function checkedBatch(batch: BatchOptions): Required<BatchOptions> {
  return {
    sizeMax: wholeInRange('batch.sizeMax', batch.sizeMax ?? BATCH_MAX, 1, IN_FLIGHT_LIMIT),
    waitMs: inRange('batch.waitMs', batch.waitMs ?? BATCH_WAIT_MS, 0, 60_000),
  }
}

/** What people see of a handler. */
export function handlerName(options: { readonly name?: string }, handle: { readonly name: string }, fallback: string): string {
  return options.name ?? (handle.name === '' ? fallback : handle.name)
}

function conflict(subscription: string, problem: string): TrunklineError {
  return new TrunklineError('bus.subscription_conflict', { subscription, problem })
}

/** One contract or several, as a list. */
export function listOf<C extends Contract>(contracts: C | readonly C[]): readonly C[] {
  return isList(contracts) ? contracts : [contracts]
}

function isList<C>(value: C | readonly C[]): value is readonly C[] {
  return Array.isArray(value)
}

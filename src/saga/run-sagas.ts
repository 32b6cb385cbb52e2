import type { Bus } from '../bus/bus.ts'
import type { HandlerContext } from '../bus/context.ts'
import type { MessageOf, SubscribeOptions } from '../bus/options.ts'
import type { UnitHost } from '../bus/port.ts'
import { lazy, unitRequest, unitValue } from '../bus/within.ts'
import { type Contract, defined } from '../contract/contract.ts'
import { backoffMs } from '../core/backoff.ts'
import { sleep } from '../core/clock.ts'
import type { Message } from '../core/envelope.ts'
import { TrunklineError, isTrunklineError } from '../core/errors.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../core/option-names.ts'
import type { Store } from '../outbox/store.ts'
import { category } from '../store/event-store.ts'
import { type SagaDefinition, invalid } from './definition.ts'
import { SAGA_RETRY, afterFailure } from './delivery-policy.ts'
import { SagaDirectory, type SagaFilter, type SagaStateCount, type SagaSummary } from './directory.ts'
import { type Handled, type SagaUnit, handleInput } from './engine.ts'
import { SagaFamily, type SagaWake, sagaMessage } from './family.ts'
import { sagaEventList, sagaEventOf } from './instance-log.ts'
import { InstanceLock } from './instance-lock.ts'
import { SagaHandle } from './operator.ts'
import { SagaCounters, type SagaObservation, type SagaStats, observationsOf } from './observation.ts'
import type { SagaInput } from './port.ts'
import type { SagaEvent } from './saga-events.ts'
import { QuarantineList } from './quarantine-list.ts'
import { UnitBatcher } from './unit-batcher.ts'
import { checkVersions } from './versions.ts'

/** What `runSagas` takes. */
export interface RunSagasOptions<Tx> {
  /** Brings the messages, and takes what the sagas send. Not started yet. */
  readonly bus: Bus
  /** Holds the instances. */
  readonly store: Store<Tx>
  /** Definitions; of one saga several versions at the same time. */
  readonly sagas: readonly SagaDefinition[]
  /** Messages of one saga handled at the same time by this process. Default 16. */
  readonly inFlightMax?: number
}

const NAMES: OptionNames = optionNames<RunSagasOptions<unknown>>({ bus: true, store: true, sagas: true, inFlightMax: true })
/** Time that a message waits in place for an instance that others change all the time, before the broker brings it again. */
const CONTENTION_MAX_MS = 15_000
const CONTENTION_BACKOFF = { initialMs: 10, factor: 2, maxMs: 500 } as const
/** An instance that has been in one state for this long is looked at by default. */
const STUCK_MS = 3_600_000
const FIND_MAX = 10_000

/**
 * Runs sagas in this process, inside a service or alone. More processes share the work, one message at a time for each instance. They start, drain and stop
 * with the bus: call it before `bus.start()`.
 *
 * @throws `saga.definition_invalid`, `core.option_unknown`, `bus.not_running` after `start`, `bus.subscription_conflict` for a command that something
 *   else handles here, `outbox.attached_twice`. The start of the bus throws `saga.version_missing` where the store holds unfinished instances of
 *   a version that is not among `sagas`.
 */
export function runSagas<Tx>(options: RunSagasOptions<Tx>): Sagas<Tx> {
  refuseUnknown('runSagas', options, NAMES)
  return new Sagas(options)
}

/** An event of an instance as it is watched. */
export type SagaChange = SagaEvent & { readonly saga: string; readonly instance: string; readonly revision: bigint; readonly position: bigint; readonly storedAtMs: number }

/** The sagas of one process. */
export class Sagas<Tx = unknown> {
  readonly #store: Store<Tx>
  readonly #families: ReadonlyMap<string, SagaFamily>
  readonly #lock = new InstanceLock()
  readonly #batcher: UnitBatcher
  readonly #counters = new SagaCounters()
  readonly #observers = new Set<(observation: SagaObservation) => void>()
  readonly #directories = new Map<string, SagaDirectory>()
  readonly #quarantines = new Map<string, QuarantineList>()
  #host: UnitHost | undefined

  constructor({ bus, store, sagas, inFlightMax }: RunSagasOptions<Tx>) {
    this.#store = store
    this.#batcher = new UnitBatcher(store)
    const byName = Map.groupBy(sagas, ({ name }) => name)
    if (byName.size === 0) throw invalid('', 'no sagas were given')
    this.#families = new Map([...byName].map(([name, definitions]) => [name, new SagaFamily(bus.service.name, definitions)]))
    for (const family of this.#families.values()) this.#subscribe(bus, family, inFlightMax === undefined ? {} : { inFlightMax })
    bus.extend((host) => {
      this.#host = host
      return { name: 'sagas', start: () => this.#start(), stop: () => this.#stop(), health: () => this.#health() }
    }, store)
  }

  /** Tells `observer` what happens to instances by this process, after each commit, until the returned function is called. */
  observe(observer: (observation: SagaObservation) => void): () => void {
    this.#observers.add(observer)
    return () => {
      this.#observers.delete(observer)
    }
  }

  /**
   * An instance, to look at and to act on.
   *
   * @param id what `correlate` gives, with `tenant:` before it where its messages have a tenant.
   * @throws `saga.definition_invalid` for a saga that is not run here.
   */
  instance(saga: string | SagaDefinition, id: string): SagaHandle {
    const family = this.#family(typeof saga === 'string' ? saga : saga.name)
    return new SagaHandle({ family, events: this.#store.events, host: this.#running('instance'), give: (one, input) => this.#give(family, one, input) }, id)
  }

  /**
   * Instances of one saga or of all, the one that has been longest in its state first. The first question of a process reads their events from where all
   * have ended; later ones read what has come since.
   *
   * @throws `saga.definition_invalid` for a saga that is not run here, `store.*`.
   */
  async find(filter: SagaFilter & { readonly saga?: string } = {}): Promise<readonly SagaSummary[]> {
    const { saga, ...rest } = filter
    const found = await Promise.all(this.#directoriesOf(saga).map((directory) => directory.find(rest)))
    return found.flat().toSorted((one, other) => one.sinceMs - other.sinceMs).slice(0, filter.limit ?? 100)
  }

  /**
   * Instances that need somebody: those in quarantine, those whose start has not come, and those that have been in one state for `olderThanMs` (default one hour).
   *
   * @throws as `find` does.
   */
  async stuck(options: { readonly saga?: string; readonly olderThanMs?: number; readonly limit?: number } = {}): Promise<readonly SagaSummary[]> {
    const { saga, olderThanMs = STUCK_MS, limit = 100 } = options
    const sinceBeforeMs = this.#running('stuck').clock.nowMs() - olderThanMs
    const filter = { limit, ...(saga === undefined ? {} : { saga }) }
    const [quarantined, old] = await Promise.all([this.find({ ...filter, status: 'quarantined' }), this.find({ ...filter, sinceBeforeMs, limit: FIND_MAX })])
    const late = old.filter(({ status }) => status !== 'ended' && status !== 'quarantined')
    return [...quarantined, ...late].toSorted((one, other) => one.sinceMs - other.sinceMs).slice(0, limit)
  }

  /** How many unfinished instances are in each state, with the oldest of each. @throws as `find` does. */
  async states(saga?: string): Promise<readonly SagaStateCount[]> {
    return (await Promise.all(this.#directoriesOf(saga).map((directory) => directory.states()))).flat()
  }

  /**
   * Everything that happens to the instances of a saga, in every process, as it is committed, until the signal aborts.
   *
   * @param options.after position of the last event that is not wanted. Default: from now on.
   * @throws `saga.definition_invalid`, `store.down` where the link was lost: go on from the last position.
   */
  async *changes(saga: string, options: { readonly signal: AbortSignal; readonly after?: bigint }): AsyncGenerator<SagaChange, void, undefined> {
    const family = this.#family(saga)
    const { events } = this.#store
    const after = options.after ?? (await events.head())
    const from = after === undefined ? {} : { after }
    for await (const recorded of events.follow(category(family.newest.category), sagaEventList, { ...from, signal: options.signal })) {
      const { stream, revision, position, storedAtMs } = recorded
      yield { ...sagaEventOf(recorded), saga, instance: stream.slice(stream.indexOf('-') + 1), revision, position, storedAtMs }
    }
  }

  #directoriesOf(saga: string | undefined): readonly SagaDirectory[] {
    const families = saga === undefined ? [...this.#families.values()] : [this.#family(saga)]
    return families.map((family) => {
      const directory = this.#directories.get(family.name) ?? new SagaDirectory(family, this.#store.events)
      this.#directories.set(family.name, directory)
      return directory
    })
  }

  /** Counts since it was made. */
  stats(): SagaStats {
    return this.#counters.snapshot()
  }

  #subscribe(bus: Bus, family: SagaFamily, options: SubscribeOptions): void {
    const events = family.events()
    const all: SubscribeOptions = { ...options, retry: SAGA_RETRY, decide: afterFailure }
    const onMessage = (message: Message, context: HandlerContext): Promise<unknown> => this.#message(family, message, context)
    // Types are many here, and none is known: `transition` looks at them.
    if (events.length > 0) bus.on(events, { ...all, group: `saga-${family.name}`, name: `saga ${family.name}`, from: 'new' }, (message: Message, context) => onMessage(message, context))
    for (const contract of family.commands()) bus.handle(contract, { ...all, name: `saga ${family.name}` }, async (message: MessageOf<typeof contract>, context: HandlerContext) => void (await onMessage(message, context)))
    bus.handle(family.wake, { ...all, name: `alarms of ${family.name}` }, async (message, context) => void (await this.#wake(family, message, context)))
  }

  async #message(family: SagaFamily, message: Message, context: HandlerContext): Promise<unknown> {
    const contract = family.contracts().find(({ type }) => type === message.type)
    if (contract === undefined) return undefined
    const given = sagaMessage(message, lazy(context).wire)
    const id = family.instanceOf(given)
    if (id === undefined) return undefined
    return await this.#handle(contract, message, context, family, id, { kind: 'message', message: given })
  }

  #wake(family: SagaFamily, message: Message<string, SagaWake>, context: HandlerContext): Promise<unknown> {
    const { instance, timer, token } = message.data
    return this.#handle(family.wake, message, context, family, instance, { kind: 'timer', timer, token })
  }

  async #start(): Promise<void> {
    const { clock, logger } = this.#running('start')
    for (const family of this.#families.values()) {
      await checkVersions(this.#store.events, family)
      const list = new QuarantineList(family.name, { events: this.#store.events, clock, logger })
      await list.load()
      this.#quarantines.set(family.name, list)
    }
  }

  async #stop(): Promise<void> {
    for (const list of this.#quarantines.values()) await list.settled()
    this.#quarantines.clear()
  }

  #health(): { readonly state: 'up' | 'degraded'; readonly reasons: readonly string[] } {
    const reasons = [...this.#quarantines.values()].flatMap((list) => list.reasons())
    return { state: reasons.length === 0 ? 'up' : 'degraded', reasons }
  }

  #family(name: string): SagaFamily {
    const family = this.#families.get(name)
    if (family === undefined) throw invalid(name, `it is not run here; ${[...this.#families.keys()].join(', ')} ${this.#families.size === 1 ? 'is' : 'are'}`)
    return family
  }

  /** Gives an input that is no message of the bus. */
  async #give(family: SagaFamily, id: string, input: SagaInput): Promise<void> {
    const { clock } = this.#running('instance')
    let handled: Handled | undefined
    await this.#alone(family, id, async () => {
      await this.#store.transaction(async (unit) => {
        handled = await handleInput(unit, family, id, input, clock.nowMs())
      })
    })
    if (handled !== undefined) this.#tell(handled)
  }

  /** Runs `work` when nobody else here works on the instance, and again for as long as other processes are faster. */
  async #alone<T>(family: SagaFamily, id: string, work: (tries: number) => Promise<T>, signal?: AbortSignal): Promise<T> {
    const { clock, random } = this.#running('handle')
    return await this.#lock.run(`${family.name} ${id}`, async () => {
      const sinceMs = clock.monotonicMs()
      for (let tries = 1; ; tries++) {
        try {
          return await work(tries)
        } catch (error) {
          const isContended = isTrunklineError(error, 'store.conflict') && clock.monotonicMs() - sinceMs < CONTENTION_MAX_MS && signal?.aborted !== true
          if (!isContended) throw error
          this.#counters.conflict()
          await sleep(clock, backoffMs(CONTENTION_BACKOFF, tries, random), signal)
        }
      }
    })
  }

  /** Handles an input in a transaction with the mark of its message. Contention is waited out here, and spends no attempt of the message. */
  async #handle(contract: Contract, message: Message, context: HandlerContext, family: SagaFamily, id: string, input: SagaInput): Promise<unknown> {
    const { clock } = this.#running('handle')
    let handled: Handled | undefined
    const handle = async (_message: Message, unit: unknown): Promise<undefined> => {
      // The store adds its unit to the context.
      handled = await handleInput(unit as SagaUnit, family, id, input, clock.nowMs())
    }
    const request = await unitRequest({ contract: defined(contract), handle, prepare: undefined }, message, lazy(context))
    return await this.#alone(family, id, async (tries) => {
      handled = undefined
      // Whoever is contended for must not hold up others, and a store that commits one stream at a time has nothing to share.
      const isShared = tries === 1 && this.#store.capabilities.canCommitStreams
      const outcome = await (isShared ? this.#batcher.run(request, clock) : this.#store.run(request))
      if (outcome.kind === 'done' && handled !== undefined) this.#tell(handled)
      return unitValue(outcome)
    }, context.signal)
  }

  #tell(handled: Handled): void {
    for (const observation of observationsOf(handled)) {
      this.#counters.count(observation)
      this.#log(observation)
      this.#quarantines.get(observation.saga)?.observe(observation)
      for (const observer of this.#observers) {
        try {
          observer(observation)
        } catch (error) {
          this.#host?.logger.error({ err: error }, 'an observer of the sagas threw')
        }
      }
    }
  }

  #log(observation: SagaObservation): void {
    const { kind } = observation
    if (kind === 'quarantined') this.#host?.logger.error(observation, 'a saga is quarantined; it stands still until an operator acts')
    else if (kind === 'compensation-failed' || kind === 'start-overdue' || kind === 'stream-long') this.#host?.logger.warn(observation, 'a saga needs a look')
  }

  #running(operation: string): UnitHost {
    if (this.#host === undefined) throw new TrunklineError('bus.not_running', { operation, state: 'idle' })
    return this.#host
  }
}

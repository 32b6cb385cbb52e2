import type { BusCompanion, BusExtension, BusView } from '../bus/port.ts'
import type { Balancer } from '../bus/balancer.ts'
import { type Clock, type Timer, systemClock } from '../core/clock.ts'
import { TrunklineError, errorText } from '../core/errors.ts'
import type { Announced } from './announcer.ts'
import { type Catalogue, catalogueOf } from './catalogue.ts'
import { DirectoryBalancer } from './directory-balancer.ts'
import { DirectoryFetch, type FetchOptions, type PickOptions, type Picked } from './directory-fetch.ts'
import type { DirectoryEvent } from './directory-events.ts'
import { type Instance, type InstanceState, instanceOf } from './directory-state.ts'
import { DiscoveryNode, type DiscoveryStats } from './discovery-node.ts'
import { type CheckedOptions, type DiscoveryOptions, checkedDiscovery } from './discovery-options.ts'
import type { PastView } from './record/past-view.ts'
import { RecordLog } from './record/record-log.ts'
import { Recorder } from './record/recorder.ts'

/** Default time that `waitFor` waits. */
const WAIT_MS = 30_000
/** Time that a name which two processes used is shown in health. */
const NAME_TAKEN_SHOWN_MS = 60_000

const isUp = ({ state }: Instance): boolean => state === 'up'
const isUpAndWell = ({ state, health }: Instance): boolean => state === 'up' && health !== 'down'
const always = (): boolean => true

/** How much a view can be relied on. */
export interface ViewState {
  /** `stale`: the others cannot be heard, so nobody is accused. `off`: the bus does not run, or its transport carries no announcements. */
  readonly state: 'fresh' | 'stale' | 'off'
  readonly reason: string
}

/** Options of `Directory.waitFor`. */
export interface WaitOptions {
  /** Default 30,000. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

/**
 * Makes this instance known to the others and them to it: `createBus({ …, discovery: directory })`. There is no server to ask:
 * every instance announces itself on the light plane, and every directory is its reader's own view.
 *
 * @throws `core.option_unknown`, `core.option_invalid`.
 */
export function discovery(options: DiscoveryOptions = {}): Directory {
  return new Directory(options)
}

/** Which instances of which services are there, as this process sees it. Made by `discovery`; reads nothing before its bus has started. */
export class Directory implements BusCompanion {
  readonly #options: CheckedOptions
  readonly #watchers = new Set<{ readonly service: string | undefined; readonly told: (event: DirectoryEvent) => void }>()
  #view: BusView | undefined
  #node: DiscoveryNode | undefined
  #recorder: Recorder | undefined
  #problem: string | undefined = 'its bus has not started'
  #nameTakenAtMs: number | undefined
  #balancer: DirectoryBalancer | undefined
  #revision = 0

  constructor(options: DiscoveryOptions) {
    this.#options = checkedDiscovery(options)
  }

  /** What the bus calls; not for programs. */
  attach(view: BusView): BusExtension {
    if (this.#view !== undefined) throw new TrunklineError('discovery.attached_twice', { service: this.#view.service.name })
    this.#view = view
    const { policyHost } = view
    this.#balancer = new DirectoryBalancer({ policyHost, zone: this.#options.zone, revision: () => this.#revision, candidates: (isWanted) => this.#candidates(isWanted) })
    return {
      name: 'discovery',
      start: () => this.#start(view),
      ready: () => this.#ready(view),
      drain: () => Promise.resolve(this.#node?.drain()),
      stop: () => this.#stop(),
      health: () => this.#health(view),
    }
  }

  async #start(view: BusView): Promise<void> {
    this.#problem = view.side.problem
    if (this.#problem !== undefined) return
    const node = new DiscoveryNode(view, this.#options, (event) => this.#told(event))
    try {
      await node.open()
      this.#node = node
    } catch (error) {
      // A service that can work alone does not stay down because it cannot be found.
      this.#problem = `announcements cannot be heard: ${errorText(error).slice(0, 200)}`
      view.logger.warn({ err: error }, 'discovery is off')
      await node.close()
    }
  }

  /** The bus does not wait for the others: joining goes on beside it. */
  #ready(view: BusView): Promise<void> {
    const node = this.#node
    view.clock.setTimer(0, () => {
      const joining = node?.join().catch((error: unknown) => view.logger.warn({ err: error }, 'discovery could not join; it goes on with what it hears'))
      void joining?.then(() => this.#record(view))
    }, { background: true })
    return Promise.resolve()
  }

  #record({ clock, random, logger, instance: process }: BusView): void {
    const { record } = this.#options
    const node = this.#node
    if (record === undefined || node === undefined) return
    const isThere = (other: string): boolean => [...node.state.members.values()].some(({ beat, liveness }) => beat.process === other && (liveness === 'up' || liveness === 'suspect'))
    const isFresh = (): boolean => node.state.stale === undefined
    this.#recorder = new Recorder({ process, clock, random, logger, keptMs: record.keptMs, all: () => this.all(), isFresh, isThere }, new RecordLog(record.events, record.stream))
    this.#recorder.start()
  }

  async #stop(): Promise<void> {
    const [node, recorder] = [this.#node, this.#recorder]
    const self = node === undefined ? undefined : this.all().find(({ instance }) => instance === node.state.self)
    this.#node = undefined
    this.#recorder = undefined
    this.#revision++
    this.#problem = 'its bus has stopped'
    await Promise.all([recorder?.stop(self), node?.close()])
  }

  #health(view: BusView): { readonly state: 'up' | 'degraded'; readonly reasons: readonly string[] } {
    const { state, reason } = this.view
    const reasons = state === 'fresh' ? [] : [state === 'off' ? `discovery is off: ${reason}` : `the view of other instances is stale: ${reason}`]
    if (this.#recorder?.problem !== undefined) reasons.push(`the record cannot be reached: ${this.#recorder.problem}`)
    const takenForMs = view.clock.monotonicMs() - (this.#nameTakenAtMs ?? -Infinity)
    if (takenForMs < NAME_TAKEN_SHOWN_MS) reasons.push(`another process uses the instance name ${this.#options.instance ?? ''}`)
    return { state: reasons.length === 0 ? 'up' : 'degraded', reasons }
  }

  /** What the bus calls; not for programs. */
  get balancer(): Balancer | undefined {
    return this.#balancer
  }

  /** Those that are up and not ill; where there are none, those that are less sure. */
  #candidates(isWanted: (instance: Instance) => boolean): readonly Instance[] {
    const wanted = this.all(['up', 'suspect', 'held']).filter(isWanted)
    for (const isSure of [isUpAndWell, isUp, always]) {
      const sure = wanted.filter(isSure)
      if (sure.length > 0) return sure
    }
    return []
  }

  #told(event: DirectoryEvent): void {
    this.#revision++
    this.#recorder?.told(event)
    if (event.kind === 'name-taken') this.#nameTakenAtMs = this.#view?.clock.monotonicMs()
    for (const { service, told } of this.#watchers) {
      if (service !== undefined && (!('instance' in event) || typeof event.instance === 'string' || event.instance.service !== service)) continue
      try {
        told(event)
      } catch (error) {
        this.#view?.logger.error({ err: error }, 'a watcher of the directory threw')
      }
    }
  }

  /** How much this view can be relied on now. */
  get view(): ViewState {
    const node = this.#node
    if (node === undefined) return { state: 'off', reason: this.#problem ?? '' }
    return node.state.stale === undefined ? { state: 'fresh', reason: '' } : { state: 'stale', reason: node.state.stale }
  }

  /** Counts since the bus was started; zeros before. */
  get stats(): DiscoveryStats {
    return this.#node?.stats ?? { heard: 0, dropped: 0, announced: 0, probed: 0 }
  }

  /**
   * The instances of a service in these states, by instance name; empty where none is known. In a directory with `interest`, asking
   * begins to hear the service.
   *
   * @param states default: `up` alone, which are those that can be given work.
   */
  instances(service: string, states: readonly InstanceState[] = ['up']): readonly Instance[] {
    this.#interested(service)
    return this.all(states).filter((instance) => instance.service === service)
  }

  /** The instances of all services in these states, by instance name. Default: all states. */
  all(states?: readonly InstanceState[]): readonly Instance[] {
    const state = this.#node?.state
    if (state === undefined) return []
    const instances = [...state.members.values()].map((member) => instanceOf(state, member))
    return instances.filter((instance) => states === undefined || states.includes(instance.state)).toSorted((left, right) => (left.instance < right.instance ? -1 : 1))
  }

  /**
   * Who was there at a time, as the record has it: `discovery({ record: { events: store.events } })`. The store has to be open, which it is while the bus runs.
   *
   * @param time a date, or milliseconds since 1970.
   * @throws `discovery.unrecorded`, `core.option_invalid`, `store.*`, `outbox.not_attached`.
   */
  async at(time: Date | number): Promise<PastView> {
    const atMs = Number(time)
    const { record } = this.#options
    if (!(Math.abs(atMs) <= 8.64e15)) throw new TrunklineError('core.option_invalid', { option: 'time of directory.at', expected: 'a date, or milliseconds since 1970', actual: String(time).slice(0, 100) })
    if (record === undefined) throw new TrunklineError('discovery.unrecorded', { at: new Date(atMs).toISOString(), problem: 'this directory has no record' })
    return await new RecordLog(record.events, record.stream).at(atMs, (this.#view?.clock ?? systemClock).nowMs())
  }

  /** Services with their versions and contracts, and who publishes and consumes what. */
  catalogue(): Catalogue {
    return catalogueOf(this.all())
  }

  /**
   * Tells everything that happens, or what happens to one service, until the returned function is called. What is there already is not
   * told. The listener must not throw.
   */
  watch(told: (event: DirectoryEvent) => void, service?: string): () => void {
    if (service !== undefined) this.#interested(service)
    const watcher = { service, told }
    this.#watchers.add(watcher)
    return () => {
      this.#watchers.delete(watcher)
    }
  }

  /**
   * Resolves with the instances of a service as soon as at least `count` of them are `up`.
   *
   * @throws `discovery.wait_timeout`, `discovery.off`.
   */
  async waitFor(service: string, count: number = 1, { timeoutMs = WAIT_MS, signal }: WaitOptions = {}): Promise<readonly Instance[]> {
    if (this.#view?.side.problem !== undefined) throw new TrunklineError('discovery.off', { problem: this.#view.side.problem })
    const clock: Clock = this.#view?.clock ?? systemClock
    const found = (): readonly Instance[] | undefined => {
      const instances = this.instances(service)
      return instances.length >= count ? instances : undefined
    }
    return found() ?? (await new Promise((resolve, reject) => {
      const end = (): void => {
        unwatch()
        timer.cancel()
        signal?.removeEventListener('abort', giveUp)
      }
      const giveUp = (): void => {
        end()
        reject(new TrunklineError('discovery.wait_timeout', { service, count, seen: this.instances(service).length, timeoutMs }, { cause: signal?.reason }))
      }
      const unwatch = this.watch(() => {
        const instances = found()
        if (instances === undefined) return
        end()
        resolve(instances)
      }, service)
      const timer: Timer = clock.setTimer(timeoutMs, giveUp)
      signal?.addEventListener('abort', giveUp, { once: true })
      if (signal?.aborted === true) giveUp()
    }))
  }

  /**
   * Picks an instance of a service for a call that is made without the bus, such as an ordinary `fetch`; tell it with `done` how the call went.
   *
   * @throws `discovery.no_instance`, `core.option_unknown`, `core.option_invalid`.
   */
  pick(service: string, options: PickOptions = {}): Picked {
    this.#interested(service)
    return this.#fetching('pick').pick(service, options)
  }

  /**
   * As `fetch`, at one of the instances of a service: balanced, with another instance where one is dead and the request can be made twice, within
   * `timeoutMs` altogether. The response is the instance's own, also where its status is an error.
   *
   * @param path below the address that the instance announced.
   * @throws `discovery.no_instance`, `discovery.fetch_timeout`, `resilience.*` by its policy, and what `fetch` rejects with.
   */
  async fetch(service: string, path: string, options: FetchOptions = {}): Promise<Response> {
    this.#interested(service)
    return await this.#fetching('fetch').fetch(service, path, options)
  }

  #fetching(operation: string): DirectoryFetch {
    if (this.#view === undefined || this.#balancer === undefined) throw new TrunklineError('bus.not_running', { operation: `directory.${operation}`, state: 'idle' })
    return new DirectoryFetch(this.#balancer, this.#view.policyHost)
  }

  /** Changes what this instance says of itself, such as its weight, and announces it. Before `start` it has no effect. */
  announce(announced: Announced): void {
    this.#node?.change(announced)
  }

  #interested(service: string): void {
    this.#node?.listenTo(service).catch((error: unknown) => this.#view?.logger.warn({ err: error, service }, 'a service cannot be heard'))
  }
}

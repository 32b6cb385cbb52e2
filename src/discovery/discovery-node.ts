import type { BusView } from '../bus/port.ts'
import { type Timer, sleep } from '../core/clock.ts'
import { errorText } from '../core/errors.ts'
import { Air } from './air.ts'
import type { AnnouncementKind } from './announcement-contracts.ts'
import type { Beat, InstanceInfo } from './announcement.ts'
import { type Announced, Announcer } from './announcer.ts'
import { HEARD_PER_S_MAX, RateLimit, commonBeatMs, returnSpreadMs, serviceBeatMs, startSpreadMs } from './beat-interval.ts'
import { type ContractDrift, DriftWatch } from './contract-drift.ts'
import type { DirectoryAction, DirectoryEvent } from './directory-events.ts'
import { type DirectoryInput, foldDirectory } from './directory-fold.ts'
import { type DirectoryState, emptyDirectory, sizeOf } from './directory-state.ts'
import type { CheckedOptions } from './discovery-options.ts'
import { rosterPage } from './roster.ts'

/** Shortest time between two lives that are begun because another one was heard of. */
const OUTLIVE_MS = 2_000
/** Time between two questions how large the cluster is, for those who do not hear all of it. */
const SIZE_ASK_MS = 60_000

/** A stall of the event loop after which others may have been missed, in milliseconds. */
const STALL_MS = 5_000
/** Shortest time between two questions for what was missed. */
const RELEARN_MS = 30_000
const LEARN_AGAIN_MS = 2_000

/** Who may hear an announcement. */
type Audience = 'all' | 'service'
const AUDIENCES: readonly Audience[] = ['all', 'service']

/** Counts since the bus was started. */
export interface DiscoveryStats {
  /** Announcements that were taken. */
  readonly heard: number
  /** Announcements that were dropped because too many came. */
  readonly dropped: number
  readonly announced: number
  readonly probed: number
}

/** One running instance's part in discovery: announces itself, hears the others, and does what the fold asks for. */
export class DiscoveryNode {
  readonly state: DirectoryState
  readonly #view: BusView
  readonly #options: CheckedOptions
  readonly #announcer: Announcer
  readonly #air: Air
  readonly #drifts: DriftWatch
  readonly #told: (event: DirectoryEvent) => void
  readonly #limit: RateLimit
  readonly #timers = new Set<Timer>()
  readonly #lastAnnouncedMs: Record<Audience, number> = { all: -Infinity, service: -Infinity }
  /** How soon it said that the next announcement would come. */
  readonly #promisedMs: Record<Audience, number> = { all: Infinity, service: Infinity }
  readonly #probing = new Set<string>()
  readonly #stopped = new AbortController()
  readonly #counts = { heard: 0, dropped: 0, announced: 0, probed: 0 }
  #loopDelayMs = 0
  #remoteSize = 0
  #saidHealth = ''
  #saidRevision = 0
  #lastOutliveMs = -Infinity
  #wasLinked = true
  #droppedKnown = 0
  #nextLearnAtMs = 0
  #nextSizeAskMs = 0
  #isAnnounced = false

  constructor(view: BusView, options: CheckedOptions, told: (event: DirectoryEvent) => void) {
    this.#view = view
    this.#options = options
    this.#announcer = new Announcer(view, options)
    this.#told = told
    const nowMs = view.clock.monotonicMs()
    this.#limit = new RateLimit(HEARD_PER_S_MAX, nowMs)
    this.state = emptyDirectory({ instance: this.#announcer.instance, process: view.instance }, nowMs)
    this.#drifts = new DriftWatch(view, this.#announcer.instance, (drift) => this.#drifted(drift))
    this.#air = new Air(view, {
      heard: this.#heard,
      describe: () => this.#describe(),
      show: (type) => this.#drifts.show(type),
      roster: (services, after, limit) => rosterPage(this.state, services, after, limit),
    })
  }

  /** Counts since the start. */
  get stats(): DiscoveryStats {
    return { ...this.#counts }
  }

  /** Begins to hear. */
  async open(): Promise<void> {
    await this.#air.open(this.#options.interest)
    this.#every(this.state.settings.tickMs, this.#tick)
  }

  /**
   * Asks who is there, then offers to answer that, then announces itself. In this order two instances that start at the same time
   * cannot miss each other: whoever asks too early for the other's answer is in time for its announcement.
   */
  async join(): Promise<void> {
    const { clock, random } = this.#view
    this.#say()
    await this.#learn()
    if (this.#stopped.signal.aborted) return
    await this.#air.offerRoster(this.#options.interest === 'all')
    await sleep(clock, random.next() * startSpreadMs(this.#size), this.#stopped.signal)
    if (this.#stopped.signal.aborted) return
    this.#isAnnounced = true
    for (const audience of AUDIENCES) {
      this.#announce(audience, 'started')
      // Not all at the same beat, also where all were started at once.
      this.#after(random.next() * this.#dueMs(audience), () => this.#beat(audience))
    }
  }

  async #learn(): Promise<void> {
    const { interest } = this.#options
    const services = interest === 'all' ? [undefined] : [this.#view.service.name, ...interest]
    await Promise.all(services.map((service) => this.#learnOf(service)))
  }

  async #learnOf(service: string | undefined): Promise<void> {
    const roster = await this.#air.roster(service)
    if (roster === undefined || this.#stopped.signal.aborted) return
    if (service === undefined) this.#remoteSize = roster.size
    this.fold({ kind: 'reported', rows: roster.rows })
  }

  /** Begins to hear a service that it has not heard so far. */
  async listenTo(service: string): Promise<void> {
    if (this.#options.interest === 'all') return
    await this.#air.listenTo(service)
    await this.#learnOf(service)
  }

  /** Folds an input now, tells what became of it and does what is to be done. */
  fold(input: DirectoryInput): void {
    const { events, actions } = foldDirectory(this.state, input, this.#view.clock.monotonicMs())
    for (const event of events) {
      this.#told(event)
      if (event.kind === 'instance-up' || event.kind === 'instance-changed') void this.#drifts.compareWith(event.instance)
    }
    for (const action of actions) this.#act(action)
  }

  readonly #heard = (about: AnnouncementKind, beat: Beat, info: InstanceInfo | undefined): void => {
    const isOwn = beat.process === this.#view.instance
    if (!isOwn && !this.#limit.take(this.#view.clock.monotonicMs())) {
      this.#counts.dropped++
      return
    }
    this.#counts.heard++
    this.#remoteSize = Math.max(beat.size, Math.floor(this.#remoteSize * 0.99))
    this.fold({ kind: 'heard', about, beat, info })
  }

  #act(action: DirectoryAction): void {
    if (action.kind === 'outlive') this.#outlive(action.incarnation)
    else this.#after(this.#view.random.next() * action.withinMs, () => void this.#probe(action.instance, action.address))
  }

  async #probe(instance: string, address: string): Promise<void> {
    const member = this.state.members.get(instance)
    // It was heard in the meantime.
    if (member !== undefined && member.probedAtMs === undefined && member.liveness === 'up') return
    if (this.#probing.has(instance)) return
    this.#probing.add(instance)
    this.#counts.probed++
    const answer = await this.#air.probe(instance, address, this.state.settings.probeTimeoutMs)
    this.#probing.delete(instance)
    if (this.#stopped.signal.aborted) return
    if (answer.kind !== 'answered') this.fold({ kind: 'unanswered', instance, because: answer.kind })
    else this.fold({ kind: 'answered', beat: answer.announcement, info: answer.announcement.info })
  }

  /** Told here, and said to all by the first of the instances that must find the same. */
  #drifted(drift: ContractDrift): void {
    if (this.#stopped.signal.aborted) return
    const { sender, receiver, problems } = drift
    this.#view.logger.warn({ type: drift.type, sender: sender.instance, receiver: receiver.instance, problems }, 'two instances disagree about a contract')
    this.#told({ kind: 'contract-drift', drift })
    const { name } = this.#view.service
    const mates = [...this.state.members.values()].filter(({ beat, liveness }) => beat.service === name && liveness === 'up').map(({ beat }) => beat.instance)
    if (mates.every((instance) => instance >= this.#announcer.instance)) void this.#air.tellDrift(drift)
  }

  /** Others remember a life under this name that counts for more: this one begins anew, with a higher number. */
  #outlive(incarnation: number): void {
    const nowMs = this.#view.clock.monotonicMs()
    if (nowMs - this.#lastOutliveMs < OUTLIVE_MS) return
    this.#lastOutliveMs = nowMs
    this.#announcer.outlive(incarnation)
    if (this.#isAnnounced) for (const audience of AUDIENCES) this.#announce(audience, 'started')
    else this.#say()
  }

  readonly #tick = (lateMs: number): void => {
    this.#loopDelayMs = Math.max(this.#loopDelayMs, lateMs)
    const isLinked = this.#view.linkState() !== 'down'
    this.fold({ kind: 'tick', isLinked })
    if (isLinked && !this.#wasLinked) this.#returned()
    else if (lateMs > STALL_MS || this.#counts.dropped > this.#droppedKnown) this.#missed()
    this.#wasLinked = isLinked
    if (!this.#isAnnounced) return
    const { state } = this.#view.health()
    this.#announcer.info()
    if (state !== this.#saidHealth || this.#announcer.infoRevision !== this.#saidRevision) for (const audience of AUDIENCES) this.#announce(audience, 'changed')
    const nowMs = this.#view.clock.monotonicMs()
    if (this.#options.interest === 'all' || nowMs < this.#nextSizeAskMs) return
    this.#nextSizeAskMs = nowMs + SIZE_ASK_MS
    void this.#air.roster(undefined, 0).then((roster) => {
      if (roster !== undefined) this.#remoteSize = roster.size
    })
  }

  /** What was said while the link was down is lost, both ways. */
  #returned(): void {
    this.#after(this.#view.random.next() * returnSpreadMs(this.#size), () => {
      for (const audience of AUDIENCES) if (this.#isAnnounced) this.#announce(audience, 'changed')
      void this.#learn()
    })
  }

  /** Others were not heard, or not listened to: one that was will tell, and whoever asks this one finds it complete. */
  #missed(): void {
    const nowMs = this.#view.clock.monotonicMs()
    this.#droppedKnown = this.#counts.dropped
    if (!this.#isAnnounced || nowMs < this.#nextLearnAtMs) return
    this.#nextLearnAtMs = nowMs + RELEARN_MS
    const delayMs = this.#view.random.next() * returnSpreadMs(this.#size)
    // Twice, because the broker may choose this instance itself to answer.
    for (const againMs of [0, LEARN_AGAIN_MS]) this.#after(delayMs + againMs, () => void this.#learn())
  }

  #describe(): ReturnType<Announcer['current']> {
    const nowMs = this.#view.clock.monotonicMs()
    const beatMs = this.#beatMs('all')
    // Whoever asks doubts, and is hardly the only one: say it to all, but not so often that the answers become a storm.
    if (this.#isAnnounced) for (const audience of AUDIENCES) if (nowMs - this.#lastAnnouncedMs[audience] > this.#beatMs(audience) / 2) this.#announce(audience, 'alive')
    return this.#announcer.current(beatMs, this.#size, this.#loopDelayMs)
  }

  #beat(audience: Audience): void {
    const leftMs = this.#dueMs(audience) - (this.#view.clock.monotonicMs() - this.#lastAnnouncedMs[audience])
    if (leftMs <= 1) this.#announce(audience, 'alive')
    this.#after(Math.max(1, leftMs <= 1 ? this.#dueMs(audience) : leftMs), () => this.#beat(audience))
  }

  /** A cluster that has grown makes it longer, but not before the next announcement says so. */
  #dueMs(audience: Audience): number {
    return Math.min(this.#promisedMs[audience], this.#beatMs(audience))
  }

  #announce(audience: Audience, about: AnnouncementKind): void {
    const announcement = this.#say(audience)
    this.#lastAnnouncedMs[audience] = this.#view.clock.monotonicMs()
    this.#promisedMs[audience] = announcement.beatMs
    this.#saidHealth = announcement.health
    this.#saidRevision = announcement.infoRevision
    if (audience === 'all') this.#loopDelayMs = 0
    this.#counts.announced++
    void this.#air.announce(audience, about, announcement)
  }

  /** Enters it into the own view, too, if it is what this instance will hear of itself. */
  #say(audience: Audience = this.#heardAudience): ReturnType<Announcer['next']> {
    const announcement = this.#announcer.next(this.#beatMs(audience), this.#size, this.#loopDelayMs)
    if (audience === this.#heardAudience) this.fold({ kind: 'said', beat: announcement, info: announcement.info })
    return announcement
  }

  get #heardAudience(): Audience {
    return this.#options.interest === 'all' ? 'all' : 'service'
  }

  get #size(): number {
    return Math.max(sizeOf(this.state), this.#remoteSize)
  }

  #beatMs(audience: Audience): number {
    const { beatMs } = this.#options
    if (audience === 'all') return commonBeatMs(beatMs, this.#size)
    let mates = 0
    for (const { beat } of this.state.members.values()) if (beat.service === this.#view.service.name) mates++
    return serviceBeatMs(beatMs, mates)
  }

  /** Changes what is announced, and announces it. */
  change(announced: Announced): void {
    this.#announcer.change(announced)
    if (this.#isAnnounced) for (const audience of AUDIENCES) this.#announce(audience, 'changed')
  }

  /** Says that it takes nothing new. */
  drain(): void {
    this.#announcer.phase = 'draining'
    if (this.#isAnnounced) for (const audience of AUDIENCES) this.#announce(audience, 'draining')
  }

  /** Says goodbye and hears no more. */
  async close(): Promise<void> {
    this.#stopped.abort()
    for (const timer of this.#timers) timer.cancel()
    this.#timers.clear()
    const { phase } = this.#announcer
    if (this.#isAnnounced && phase === 'draining') {
      const goodbye = this.#announcer.next(this.#beatMs('all'), this.#size, this.#loopDelayMs)
      await Promise.all(AUDIENCES.map((audience) => this.#air.announce(audience, 'stopped', goodbye)))
    }
    await this.#air.close()
  }

  #after(delayMs: number, work: () => void): void {
    if (this.#stopped.signal.aborted) return
    const timer = this.#view.clock.setTimer(delayMs, () => {
      this.#timers.delete(timer)
      try {
        work()
      } catch (error) {
        this.#view.logger.error({ problem: errorText(error) }, 'discovery failed in a step and goes on')
      }
    }, { background: true })
    this.#timers.add(timer)
  }

  #every(periodMs: number, work: (lateMs: number) => void): void {
    const dueMs = this.#view.clock.monotonicMs() + periodMs
    this.#after(periodMs, () => {
      this.#every(periodMs, work)
      work(Math.max(0, this.#view.clock.monotonicMs() - dueMs))
    })
  }
}

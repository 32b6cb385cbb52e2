import { type Directory, discovery } from '../../src/discovery/directory.ts'
import { commonBeatMs, startSpreadMs } from '../../src/discovery/beat-interval.ts'
import { BEAT_MS, type DiscoveryOptions } from '../../src/discovery/discovery-options.ts'
import { type Random, seededRandom } from '../../src/core/random.ts'
import { type VirtualClock, virtualClock } from '../../src/testing/virtual-clock.ts'
import { SimInstance } from './sim-instance.ts'
import { SimJudge } from './sim-judge.ts'
import { SimNet } from './sim-net.ts'
import type { Tally } from './tally.ts'

/** What is simulated. */
export interface SimOptions {
  readonly instances: number
  /** Instances whose directories hear everybody; the others announce themselves and hear their own service alone. */
  readonly readers: number
  readonly seed: number
  /** Minutes of faults that are measured, after the start and before the quiet at the end. */
  readonly minutes: number
  /** Share of the instances that is replaced in a minute. */
  readonly churnPerMinute: number
  readonly latencyMsMax: number
  readonly lossShare: number
  /** Milliseconds between two announcements in a small cluster; default that of `discovery`. */
  readonly beatMs?: number
  /** True where nothing is cut off, nothing stands still and no clock jumps. */
  readonly isCalm?: boolean
  /** Told the simulated seconds that have gone by, and how many there will be. */
  readonly progress?: (seconds: number, of: number) => void
  /** Another directory in the place of the real one, to see that its faults are told. */
  readonly directory?: (options: DiscoveryOptions) => Directory
}

/** Milliseconds of one distribution. */
export interface Spread {
  readonly count: number
  readonly p50: number | undefined
  readonly p99: number | undefined
  readonly max: number | undefined
}

/** What became of it. The same options give the same result. */
export interface SimResult {
  readonly instances: number
  readonly readers: number
  readonly seed: number
  readonly minutes: number
  readonly beatMs: number
  readonly detectedMs: { readonly killed: Spread; readonly lost: Spread }
  readonly joinedMs: Spread
  readonly joinedLate: number
  readonly falseDowns: number
  readonly falseSuspects: number
  readonly falseStales: number
  /** Announcements that one reader hears in a second. */
  readonly inboundPerS: { readonly mean: number; readonly p99: number | undefined; readonly max: number | undefined }
  /** Announcements that one reader dropped because too many came, on average and from its start on. */
  readonly dropped: number
  /** Broadcasts, questions and answers that one instance sends in a second. */
  readonly sentPerS: number
  readonly faults: Readonly<Record<Fault, number>>
  /** Entries of views that were wrong when it had been quiet for long enough. */
  readonly wrongAtEnd: number
  /** The first of what was wrong, in words. */
  readonly problems: readonly string[]
}

type Fault = 'stopped' | 'killed' | 'lost' | 'cut' | 'stalled' | 'clock jumps' | 'started'

/** What is promised: a joiner knows all within this time, and hears at most so many announcements in a second. */
const JOINED_MS_MAX = 2_000
const INBOUND_PER_S_MAX = 100
const START_MS = 30_000
const SERVICE_SIZE = 10
const NOTICED_MS = 20_000
const CUT_EVERY_S = 120
const CUT_SHARE = 0.1
const CUT_MS = 30_000
const STALL_SHARE_PER_MINUTE = 0.01
const STALL_MS = 20_000
const JUMP_SHARE_PER_MINUTE = 0.02
const JUMP_MS = 3_600_000

/** A cluster of real directories on virtual time, with a network and processes that fail by a seed. */
class DiscoverySim {
  readonly #options: SimOptions
  readonly #clock: VirtualClock = virtualClock({ callbacksMax: Number.MAX_SAFE_INTEGER })
  readonly #random: Random
  readonly #net: SimNet
  readonly #judge: SimJudge
  readonly #living = new Set<SimInstance>()
  readonly #readers = new Set<SimInstance>()
  readonly #faults: Record<Fault, number> = { stopped: 0, killed: 0, lost: 0, cut: 0, stalled: 0, 'clock jumps': 0, started: 0 }
  readonly #failures: unknown[] = []
  #made = 0
  #owed = 0
  #dropped = 0
  #readerSeconds = 0

  constructor(options: SimOptions) {
    this.#options = options
    this.#random = seededRandom(options.seed)
    this.#net = new SimNet(this.#clock, seededRandom(options.seed + 1), options)
    this.#judge = new SimJudge(this.#clock)
  }

  async run(): Promise<SimResult> {
    const { instances, minutes } = this.#options
    const beatMs = commonBeatMs(this.#options.beatMs ?? BEAT_MS, instances)
    const warmS = Math.ceil((START_MS + startSpreadMs(instances) + 2 * beatMs) / 1_000)
    const faultyS = Math.round(minutes * 60)
    const quietS = Math.ceil((8 * beatMs + CUT_MS + 60_000) / 1_000)
    for (let index = 0; index < instances; index++) this.#clock.setTimer(this.#random.next() * START_MS, () => this.#start(index < this.#options.readers))
    // Where nothing fails, the start is to be without a false word, too.
    this.#judge.isMeasuring = this.#options.isCalm === true
    await this.#pass(0, warmS, warmS + faultyS + quietS, () => undefined)
    this.#judge.isMeasuring = true
    const before = { ...this.#net.counts }
    await this.#pass(warmS, faultyS, warmS + faultyS + quietS, (second) => this.#breakSomething(second))
    const sent = this.#net.counts.broadcasts + this.#net.counts.asks + this.#net.counts.answers - before.broadcasts - before.asks - before.answers
    await this.#pass(warmS + faultyS, quietS, warmS + faultyS + quietS, () => undefined)
    return this.#result(beatMs, sent / (faultyS * instances))
  }

  async #pass(fromS: number, seconds: number, ofS: number, each: (second: number) => void): Promise<void> {
    for (let second = 1; second <= seconds; second++) {
      each(second)
      await this.#clock.advance(1_000)
      this.#judge.look()
      if (this.#judge.isMeasuring) for (const { isWell } of this.#readers) this.#readerSeconds += isWell ? 1 : 0
      this.#options.progress?.(fromS + second, ofS)
    }
  }

  #start(isReader: boolean): void {
    const { readers, instances, directory = discovery, seed, beatMs = BEAT_MS } = this.#options
    const number = this.#made++
    const instance = new SimInstance({
      clock: this.#clock, net: this.#net, directory: directory({ beatMs, ...(isReader || readers >= instances ? {} : { interest: [] }) }), service: `service-${number % Math.max(1, Math.ceil(instances / SERVICE_SIZE))}`,
      address: `i-${number}`, seed: seed * 1_000_003 + number, perSecond: isReader ? this.#judge.perSecond : () => undefined,
    })
    this.#living.add(instance)
    this.#judge.add(instance, isReader)
    if (isReader) this.#readers.add(instance)
    this.#faults.started++
    instance.start().catch((error: unknown) => this.#failures.push(error))
  }

  #breakSomething(second: number): void {
    const { churnPerMinute, instances } = this.#options
    this.#owed += (instances * churnPerMinute) / 60
    for (; this.#owed >= 1; this.#owed--) this.#replace()
    if (this.#options.isCalm === true) return
    if (second % CUT_EVERY_S === CUT_EVERY_S / 2) for (let count = 0; count < instances * CUT_SHARE; count++) this.#well()?.cutOff(this.#counted('cut', this.#random.next() < 0.5 ? 'known' : 'unknown'), CUT_MS, NOTICED_MS)
    if (this.#random.next() < (instances * STALL_SHARE_PER_MINUTE) / 60) this.#well()?.stall(this.#counted('stalled', STALL_MS))
    if (this.#random.next() < (instances * JUMP_SHARE_PER_MINUTE) / 60) this.#well()?.stepWallClock(this.#counted('clock jumps', this.#random.next() < 0.5 ? JUMP_MS : -JUMP_MS))
  }

  #counted<T>(fault: Fault, value: T): T {
    this.#faults[fault]++
    return value
  }

  /** One of those that have no trouble, or nobody. */
  #well(): SimInstance | undefined {
    const well = [...this.#living].filter(({ isWell }) => isWell)
    return well[Math.floor(this.#random.next() * well.length)]
  }

  /** Half of those that go say goodbye, a third is killed, and the rest loses its power. Another one comes within ten seconds. */
  #replace(): void {
    const instance = this.#well()
    if (instance === undefined) return
    const chance = this.#random.next()
    const fault = chance < 0.5 ? 'stopped' : chance < 0.84 ? 'killed' : 'lost'
    this.#faults[fault]++
    if (fault === 'stopped') instance.stop().catch((error: unknown) => this.#failures.push(error))
    else if (fault === 'killed') instance.kill()
    else instance.lose(NOTICED_MS)
    if (fault !== 'stopped') this.#judge.ended(instance, fault)
    this.#living.delete(instance)
    const wasReader = this.#readers.delete(instance)
    if (wasReader) this.#count(instance)
    this.#clock.setTimer(this.#random.next() * 10_000, () => this.#start(wasReader))
  }

  #count({ directory }: SimInstance): void {
    this.#dropped += directory.stats.dropped
  }

  #result(beatMs: number, sentPerS: number): SimResult {
    const { instances, readers, seed, minutes } = this.#options
    for (const reader of this.#readers) this.#count(reader)
    const { detected, joined, joinedLate, falseDowns, falseSuspects, falseStales, inbound } = this.#judge
    const wrong = this.#judge.wrongNow([...this.#readers])
    const failures = this.#failures.map((error) => `a start or stop failed: ${String(error)}`)
    return {
      instances, readers: Math.min(readers, instances), seed, minutes, beatMs, detectedMs: { killed: spreadOf(detected.killed), lost: spreadOf(detected.lost) },
      joinedMs: spreadOf(joined), joinedLate, falseDowns: falseDowns.length, falseSuspects, falseStales,
      inboundPerS: { mean: inbound.count === 0 ? 0 : Math.round(((inbound.mean ?? 0) * inbound.count * 10) / this.#readerSeconds) / 10, p99: inbound.quantile(0.99), max: inbound.max },
      dropped: Math.round(this.#dropped / Math.max(1, this.#judge.readersSeen)), sentPerS: Math.round(sentPerS * 100) / 100, faults: { ...this.#faults }, wrongAtEnd: wrong.length,
      problems: [...failures, ...falseDowns.slice(0, 10), ...wrong.slice(0, 10)],
    }
  }
}

function spreadOf(tally: Tally): Spread {
  return { count: tally.count, p50: tally.quantile(0.5), p99: tally.quantile(0.99), max: tally.max }
}

/** The promises of discovery that were broken, in words; empty where all was kept. */
export function brokenPromises({ falseDowns, wrongAtEnd, joinedLate, joinedMs, inboundPerS, problems }: SimResult): readonly string[] {
  const promises: readonly (readonly [boolean, string])[] = [
    [falseDowns === 0, `${falseDowns} times an instance that was there was called down`],
    [wrongAtEnd === 0, `${wrongAtEnd} entries of views were wrong after the quiet at the end`],
    [joinedLate === 0 && (joinedMs.p99 ?? 0) <= JOINED_MS_MAX, `a joiner took ${joinedMs.max ?? 0} ms to know all, ${joinedLate} took longer than 30 s`],
    [(inboundPerS.p99 ?? 0) <= INBOUND_PER_S_MAX, `a reader heard ${inboundPerS.p99 ?? 0} announcements in a second`],
  ]
  const broken = promises.flatMap(([isKept, problem]) => (isKept ? [] : [problem]))
  return broken.length === 0 && problems.length === 0 ? [] : [...broken, ...problems]
}

/** Simulates a cluster. */
export function simulateDiscovery(options: SimOptions): Promise<SimResult> {
  return new DiscoverySim(options).run()
}

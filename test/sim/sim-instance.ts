import type { BusExtension, BusView } from '../../src/bus/port.ts'
import type { Clock, Timer } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { type Random, seededRandom } from '../../src/core/random.ts'
import type { Directory } from '../../src/discovery/directory.ts'
import type { VirtualClock } from '../../src/testing/virtual-clock.ts'
import type { Host, SimNet } from './sim-net.ts'

/** What an instance is made from. */
export interface SimInstanceParts {
  readonly clock: VirtualClock
  readonly net: SimNet
  readonly directory: Directory
  readonly service: string
  /** Its process, and its address. */
  readonly address: string
  readonly seed: number
  /** Announcements that came in during one second. */
  readonly perSecond: (count: number) => void
}

/** One process with a real directory, on a clock and a link of its own that can fail. */
export class SimInstance implements Host {
  readonly address: string
  readonly service: string
  readonly directory: Directory
  readonly startedAtMs: number
  readonly #clock: VirtualClock
  readonly #net: SimNet
  readonly #perSecond: (count: number) => void
  readonly #extension: BusExtension
  readonly #asleep: (() => void)[] = []
  #wallOffsetMs = 0
  #second = -1
  #inSecond = 0
  heard = 0
  cut: Host['cut'] = 'none'
  isAlive = true
  isStalled = false
  isBelieved = true
  isStopping = false
  /** When it ended, by whatever means. */
  endedAtMs: number | undefined
  /** When it was last cut off, stalled or starting. */
  troubledAtMs: number

  constructor({ clock, net, directory, service, address, seed, perSecond }: SimInstanceParts) {
    this.#clock = clock
    this.#net = net
    this.#perSecond = perSecond
    this.directory = directory
    this.service = service
    this.address = address
    this.startedAtMs = clock.monotonicMs()
    this.troubledAtMs = this.startedAtMs
    this.#extension = directory.attach(this.#view(seededRandom(seed)))
  }

  #view(random: Random): BusView {
    const up = { state: 'up', reasons: [] } as const
    const none = { accepts: [], sends: [] }
    const clock = this.#ownClock()
    return {
      service: { name: this.service, version: '1.0.0' }, instance: this.address, clock, random, policyHost: { clock, random, emit: () => undefined }, logger: silentLogger, side: this.#net.side(this),
      linkState: () => this.#net.linkState(this), health: () => up, healthChanged: () => undefined, observe: () => () => undefined, inFlight: () => 0, contracts: () => none,
    }
  }

  /** Time goes on for a process that stands still, but its timers wait; its wall clock may be anywhere. */
  #ownClock(): Clock {
    return {
      nowMs: () => this.#clock.nowMs() + this.#wallOffsetMs,
      monotonicMs: () => this.#clock.monotonicMs(),
      setTimer: (delayMs, callback): Timer => this.#clock.setTimer(delayMs, () => this.run(callback)),
      defer: (callback) => this.#clock.defer(() => this.run(callback)),
    }
  }

  run(work: () => void): void {
    if (!this.isAlive) return
    if (this.isStalled) this.#asleep.push(work)
    else work()
  }

  counted(): void {
    this.heard++
    const second = Math.floor(this.#clock.monotonicMs() / 1_000)
    if (second !== this.#second) {
      if (this.#second >= 0) this.#perSecond(this.#inSecond)
      this.#second = second
      this.#inSecond = 0
    }
    this.#inSecond++
  }

  /** True while it can hear the others and be heard. */
  get isWell(): boolean {
    return this.isAlive && !this.isStalled && this.cut === 'none' && !this.isStopping
  }

  async start(): Promise<void> {
    await this.#extension.start?.()
    await this.#extension.ready?.()
  }

  /** Says goodbye and ends. */
  async stop(): Promise<void> {
    this.isStopping = true
    await this.#extension.drain?.()
    await new Promise<void>((resolve) => this.#clock.setTimer(1_000, resolve))
    await this.#extension.stop?.()
    this.#end()
  }

  /** Is gone at once, and the broker knows. */
  kill(): void {
    this.#end()
  }

  /** Is gone at once, as a host without power is: the broker finds out later. */
  lose(noticedAfterMs: number): void {
    this.isAlive = false
    this.endedAtMs = this.#clock.monotonicMs()
    this.#clock.setTimer(noticedAfterMs, () => this.#end())
  }

  #end(): void {
    this.isAlive = false
    this.isBelieved = false
    this.endedAtMs ??= this.#clock.monotonicMs()
    this.#net.forget(this)
  }

  stall(forMs: number): void {
    this.isStalled = true
    this.#clock.setTimer(forMs, () => {
      this.isStalled = false
      this.#recovered()
      for (const work of this.#asleep.splice(0)) this.run(work)
    })
  }

  cutOff(kind: 'known' | 'unknown', forMs: number, noticedAfterMs: number): void {
    this.cut = kind
    this.#clock.setTimer(noticedAfterMs, () => {
      if (this.cut !== 'none') this.isBelieved = false
    })
    this.#clock.setTimer(forMs, () => {
      this.cut = 'none'
      this.isBelieved = this.isAlive
      this.#recovered()
    })
  }

  #recovered(): void {
    this.troubledAtMs = this.#clock.monotonicMs()
  }

  stepWallClock(byMs: number): void {
    this.#wallOffsetMs += byMs
  }
}

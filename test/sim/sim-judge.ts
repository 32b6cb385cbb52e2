import type { DirectoryEvent } from '../../src/discovery/directory-events.ts'
import type { VirtualClock } from '../../src/testing/virtual-clock.ts'
import { Tally } from './tally.ts'
import type { SimInstance } from './sim-instance.ts'

/** Trouble that an instance had within this time excuses what others said of it: their questions were under way. */
const EXCUSED_MS = 5_000
/** A joiner is looked at for so long. */
const JOIN_MS_MAX = 30_000

/** How an instance ended. */
export type Ending = 'killed' | 'lost'

interface Joining {
  readonly startedAtMs: number
  readonly wanted: Set<string>
}

/** Knows the truth about every instance and compares with it what the directories say. */
export class SimJudge {
  readonly #clock: VirtualClock
  readonly #byAddress = new Map<string, SimInstance>()
  readonly #endings = new Map<SimInstance, Ending>()
  readonly #joining = new Map<SimInstance, Joining>()
  /** Milliseconds from an end to each other directory's word for it. */
  readonly detected: Readonly<Record<Ending, Tally>> = { killed: new Tally(), lost: new Tally() }
  readonly joined: Tally = new Tally()
  readonly inbound: Tally = new Tally()
  readonly falseDowns: string[] = []
  falseSuspects = 0
  /** Views that were called stale although their instance heard and was heard. */
  falseStales = 0
  joinedLate = 0
  readersSeen = 0
  isMeasuring = false

  constructor(clock: VirtualClock) {
    this.#clock = clock
  }

  /** Announcements that one instance heard in one second. */
  readonly perSecond = (count: number): void => {
    if (this.isMeasuring) this.inbound.add(count)
  }

  /** A new instance, and whether its view is judged. */
  add(instance: SimInstance, isReader: boolean): void {
    this.#byAddress.set(instance.address, instance)
    if (!isReader) return
    this.readersSeen++
    const wanted = new Set([...this.#byAddress.values()].filter((one) => one.isWell && this.#nowMs - one.troubledAtMs > EXCUSED_MS * 6).map(({ address }) => address))
    if (this.isMeasuring) this.#joining.set(instance, { startedAtMs: this.#nowMs, wanted })
    instance.directory.watch((event) => this.#told(instance, event))
  }

  /** An instance that is gone for good need not be known. */
  forget(instance: SimInstance): void {
    this.#byAddress.delete(instance.address)
  }

  ended(instance: SimInstance, ending: Ending): void {
    if (this.isMeasuring) this.#endings.set(instance, ending)
  }

  #told(by: SimInstance, event: DirectoryEvent): void {
    const isTrusted = this.isMeasuring && by.isWell && this.#nowMs - by.troubledAtMs > EXCUSED_MS
    if (event.kind === 'view-stale' && isTrusted) this.falseStales++
    if (!('instance' in event) || typeof event.instance === 'string') return
    const address = event.instance.addresses['bus'] ?? ''
    const about = this.#byAddress.get(address)
    if (event.kind === 'instance-up') this.#sawUp(by, address)
    if (about === undefined || (event.kind !== 'instance-down' && event.kind !== 'instance-suspect')) return
    const isWrong = about.isWell && this.#nowMs - about.troubledAtMs > EXCUSED_MS
    if (event.kind === 'instance-suspect') {
      if (isWrong && isTrusted) this.falseSuspects++
      return
    }
    if (isWrong) this.falseDowns.push(`${by.address} of ${address} after ${Math.round(this.#nowMs)} ms: ${event.reason}`)
    const ending = this.#endings.get(about)
    // Who was in trouble itself since then, or came later, had no chance to see it in time.
    if (ending !== undefined && about.endedAtMs !== undefined && by.isWell && by.troubledAtMs < about.endedAtMs - EXCUSED_MS) this.detected[ending].add(this.#nowMs - about.endedAtMs)
  }

  #sawUp(by: SimInstance, address: string): void {
    const joining = this.#joining.get(by)
    if (joining === undefined || !joining.wanted.delete(address)) return
    if (joining.wanted.size === 0) this.#complete(by, joining)
  }

  #complete(by: SimInstance, { startedAtMs }: Joining): void {
    this.#joining.delete(by)
    this.joined.add(this.#nowMs - startedAtMs)
  }

  /** Looks after joiners: whoever was to be seen and has ended meanwhile is not waited for. Call it every second. */
  look(): void {
    for (const [by, joining] of this.#joining) {
      for (const address of joining.wanted) if (this.#byAddress.get(address)?.isWell !== true) joining.wanted.delete(address)
      if (!by.isWell || by.troubledAtMs > joining.startedAtMs) this.#joining.delete(by)
      else if (joining.wanted.size === 0) this.#complete(by, joining)
      else if (this.#nowMs - joining.startedAtMs > JOIN_MS_MAX) {
        this.#joining.delete(by)
        this.joinedLate++
      }
    }
  }

  /** Entries of these views that are not the truth. */
  wrongNow(readers: readonly SimInstance[]): readonly string[] {
    const living = new Set([...this.#byAddress.values()].filter(({ isAlive }) => isAlive).map(({ address }) => address))
    return readers.flatMap((reader) => {
      const states = new Map(reader.directory.all().map(({ addresses, state }) => [addresses['bus'] ?? '', state]))
      const missing = [...living].filter((address) => states.get(address) !== 'up').map((address) => `${reader.address} sees ${address} ${states.get(address) ?? 'not at all'}`)
      const ghosts = [...states].filter(([address, state]) => !living.has(address) && state !== 'down' && state !== 'stopped').map(([address, state]) => `${reader.address} sees ${address} ${state}, which has ended`)
      return [...missing, ...ghosts]
    })
  }

  get #nowMs(): number {
    return this.#clock.monotonicMs()
  }
}

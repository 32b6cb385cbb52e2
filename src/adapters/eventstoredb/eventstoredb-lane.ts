import type { FollowerEntry, HeadEntry, HoldPlace, Lane, LaneBacking, Lanes } from '../../bus/protocol/lane-port.ts'
import type { DeadLetterRecord } from '../../bus/port.ts'
import { sleep } from '../../core/clock.ts'
import type { WireMessage } from '../../core/envelope.ts'
import { TrunklineError } from '../../core/errors.ts'
import type { EsdbEvent } from './eventstoredb-event.ts'
import { EsdbHold, Originals } from './eventstoredb-hold.ts'
import type { EsdbLaneFeed, FedLane } from './eventstoredb-lane-feed.ts'
import type { EsdbParts } from './eventstoredb-parts.ts'
import type { RoleState } from './eventstoredb-roster.ts'

const REMOVE_AGAIN_MS = 250

/** One lane of an ordered group, as long as this process owns it. */
export interface LanePlan {
  readonly number: number
  readonly kind: 'event' | 'command'
  readonly group: string
  readonly owner: string
  /** Where the previous owner was. */
  readonly state: RoleState
  readonly liveMax: number
  readonly feed: EsdbLaneFeed
  /** Wishes of operators that wait for this lane, in order. */
  readonly wishes: () => readonly LaneWish[]
  /** The lane cannot go on and must be taken over again. */
  readonly onBroken: (problem: string) => void
}

/** What an operator wants of a lane. */
export interface LaneWish {
  readonly id: string
  readonly target: string
  readonly control: 'redrive' | 'remove'
  readonly place: HoldPlace
}

/** Feeds the order engine of one lane from its hold list and from the log. */
export class EsdbLane implements LaneBacking, FedLane {
  readonly #parts: EsdbParts
  readonly #plan: LanePlan
  readonly #hold: EsdbHold
  readonly #originals = new Originals()
  readonly #lane: Lane
  readonly #ended = new AbortController()
  /** Positions of the events that are not acked. */
  readonly #unacked = new Set<bigint>()
  #position: bigint
  #delivered: bigint
  #isPaused = false
  #isClosing = false
  #isBroken = false

  constructor(parts: EsdbParts, lanes: Lanes, plan: LanePlan) {
    const { number, kind, group, state } = plan
    this.#parts = parts
    this.#plan = plan
    this.#position = state.floor
    this.#delivered = state.delivered
    this.#hold = new EsdbHold(parts.link, parts.names.hold(kind, group, number), this.#originals, this.#ended.signal)
    this.#lane = lanes.open({ number, liveMax: plan.liveMax, backing: this })
  }

  get number(): number {
    return this.#plan.number
  }

  /** It is being given up in order. */
  get isClosing(): boolean {
    return this.#isClosing
  }

  get position(): bigint {
    return this.#position
  }

  get hasRoom(): boolean {
    return !this.#isPaused && !this.#isClosing && this.#unacked.size < this.#plan.liveMax
  }

  /** How far the work is. */
  get state(): RoleState {
    let floor = this.#position
    for (const position of this.#unacked) if (position <= floor) floor = position - 1n
    const { suspect } = this.#plan.state
    // A lane that did not end in order may have handlers running.
    return { floor, delivered: this.#delivered, suspect: this.#isBroken && this.#delivered > suspect ? this.#delivered : suspect }
  }

  /** Reads the hold list and starts. @throws `bus.connection_lost`. */
  async start(): Promise<void> {
    const entries = await this.#hold.takeOver(this.#plan.owner)
    if (this.#ended.signal.aborted) return
    for (const [revision, entry] of entries) this.#lane.onHeld(entry, this.#placeOf(revision))
    for (const wish of this.#plan.wishes()) this.wish(wish)
    this.#lane.recovered()
    this.#plan.feed.add(this)
  }

  wish({ id, target, control, place }: LaneWish): void {
    if (!this.#ended.signal.aborted) this.#lane.onHeld({ role: 'control', id, target, control }, place)
  }

  take(event: EsdbEvent): void {
    if (this.#ended.signal.aborted) return
    const { position } = event
    this.#position = position
    this.#delivered = position
    this.#unacked.add(position)
    const isSuspect = position <= this.#plan.state.suspect
    this.#lane.onLive({ message: this.#originals.read(event), attempt: 0, isSuspect, ack: async () => await this.#ack(position) })
  }

  passed(position: bigint): void {
    if (position > this.#position) this.#position = position
  }

  /** Ownership is gone: nothing more is handed out or written. */
  lost(): void {
    this.#isBroken = true
    this.#lane.lost()
    this.#end()
  }

  /** Gives the lane up in order: takes in nothing more and waits for what runs. */
  async close(signal: AbortSignal): Promise<void> {
    this.#isClosing = true
    this.#plan.feed.remove(this)
    await this.#lane.close(signal)
    this.#isBroken ||= signal.aborted
    this.#end()
  }

  async append(entry: HeadEntry | FollowerEntry): Promise<HoldPlace> {
    return this.#placeOf(await this.#hold.append(entry))
  }

  async storeDeadLetter(id: string, message: WireMessage, record: DeadLetterRecord): Promise<void> {
    const { kind, group, number } = this.#plan
    const copy = (eventId: string, marks: Readonly<Record<string, string>>): ReturnType<Originals['copy']> => this.#originals.copy(eventId, message, marks)
    await this.#parts.deadLetters.buryHeld(copy, message.body.length, record, { kind, group, lane: { number, id } })
  }

  pauseLive(): void {
    this.#isPaused = true
  }

  resumeLive(): void {
    this.#isPaused = false
    this.#plan.feed.hasRoom()
  }

  degraded(reason: string | undefined): void {
    this.#parts.link.trouble(`${this.#plan.group}/${this.number}`, reason)
  }

  giveUp(problem: unknown): void {
    if (this.#ended.signal.aborted) return
    this.lost()
    this.#plan.onBroken(problem instanceof TrunklineError ? problem.message : 'the server refused an entry of a hold list')
  }

  #ack(position: bigint): Promise<void> {
    if (this.#unacked.delete(position)) this.#plan.feed.hasRoom()
    return Promise.resolve()
  }

  #placeOf(revision: bigint): HoldPlace {
    return { remove: async () => await this.#remove(revision) }
  }

  async #remove(revision: bigint): Promise<void> {
    for (;;) {
      if (this.#ended.signal.aborted) throw new TrunklineError('bus.connection_lost', { adapter: 'eventstoredb', problem: 'the lane was lost' })
      try {
        await this.#hold.remove(revision)
        return
      } catch (error) {
        await sleep(this.#parts.host.clock, REMOVE_AGAIN_MS, this.#ended.signal)
        if (this.#ended.signal.aborted) throw error
      }
    }
  }

  #end(): void {
    if (this.#ended.signal.aborted) return
    this.#ended.abort()
    this.#plan.feed.remove(this)
    this.degraded(undefined)
  }
}

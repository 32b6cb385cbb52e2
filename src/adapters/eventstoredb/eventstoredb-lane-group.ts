import type { DeliverySink, Subscription, TransportSubscription } from '../../bus/port.ts'
import type { HoldPlace, Lanes } from '../../bus/protocol/lane-port.ts'
import { lanes as orderedLanes } from '../../bus/protocol/lanes.ts'
import { sleep, type Timer } from '../../core/clock.ts'
import { errorText } from '../../core/errors.ts'
import { derivedId } from '../../core/random.ts'
import { fieldsOf, type EsdbEvent } from './eventstoredb-event.ts'
import { EsdbLane, type LaneWish } from './eventstoredb-lane.ts'
import { EsdbLaneFeed } from './eventstoredb-lane-feed.ts'
import { EsdbLedger } from './eventstoredb-ledger.ts'
import type { EsdbParts } from './eventstoredb-parts.ts'
import { EsdbRoster, type RoleState } from './eventstoredb-roster.ts'

const LIVE_MIN = 64
/** Time that running handlers get beyond their own limit when a lane moves on. */
const HAND_OVER_MS = 5_000
/** Time between two looks at what operators want. */
const LOOK_MS = 1_000
const COOL_DOWN_MS = 500
/** Longest wait for a fair share at the start. */
const SHARE_MS_MAX = 1_500

/**
 * A group with order per key: lanes, of which this process owns a fair share. A lane's messages come from a catch-up subscription, because persistent
 * subscriptions keep no order (E-10). Who owns what stands in the group's roster, by the server's clock.
 */
export class EsdbLaneGroup implements TransportSubscription {
  readonly #parts: EsdbParts
  readonly #subscription: Subscription
  readonly #lanes: Lanes
  readonly #feed: EsdbLaneFeed
  readonly #roster: EsdbRoster
  readonly #wishes: EsdbLedger
  /** Wishes that nobody has fulfilled, by revision. */
  readonly #wanted = new Map<bigint, LaneWish & { readonly lane: number }>()
  readonly #owned = new Map<number, EsdbLane>()
  readonly #ended = new AbortController()
  #timer: Timer | undefined

  constructor(parts: EsdbParts, subscription: Subscription, sink: DeliverySink, start: bigint) {
    const { link, host, names, settings } = parts
    const { kind, group, types, inFlightMax } = subscription
    this.#parts = parts
    this.#subscription = subscription
    this.#lanes = orderedLanes({ group, adapter: 'eventstoredb', clock: host.clock, random: host.random, inFlightMax, sink })
    this.#feed = new EsdbLaneFeed({ link, host, pattern: names.publishedPattern(kind, types), lanes: settings.lanes, silenceMaxMs: settings.silenceMaxMs })
    this.#roster = new EsdbRoster(link, host, { stream: names.roster(kind, group), roles: settings.lanes, leaseMs: settings.leaseMs, start }, {
      stateOf: (role) => this.#owned.get(role)?.state,
      taken: (role, state) => this.#take(role, state),
      lost: (role, problem) => this.#lose(role, problem),
      asked: (role) => void this.#handOver(role),
    })
    this.#wishes = new EsdbLedger(link, names.wishes(kind, group), {
      onEntry: (event) => this.#wish(event),
      onRemoved: (revision) => this.#wanted.delete(revision),
    })
  }

  /** Resolves when this process has its share of the lanes, or after a while: they come then. */
  async open(): Promise<void> {
    this.#roster.open()
    this.#look()
    await this.#roster.balanced(SHARE_MS_MAX)
  }

  pause(): Promise<void> {
    this.#lanes.pause()
    return Promise.resolve()
  }

  resume(): Promise<void> {
    this.#lanes.resume()
    return Promise.resolve()
  }

  async close(): Promise<void> {
    if (this.#ended.signal.aborted) return
    this.#ended.abort()
    this.#timer?.cancel()
    await Promise.all([...this.#owned.values()].map((lane) => this.#finish(lane)))
    await this.#feed.close()
    await this.#roster.close()
  }

  #take(number: number, state: RoleState): void {
    if (this.#ended.signal.aborted) return
    const { kind, group, inFlightMax } = this.#subscription
    const lane: EsdbLane = new EsdbLane(this.#parts, this.#lanes, {
      number, kind, group, state,
      owner: this.#parts.host.instance,
      liveMax: Math.max(LIVE_MIN, inFlightMax),
      feed: this.#feed,
      wishes: () => [...this.#wanted.values()].filter((wish) => wish.lane === number),
      onBroken: (problem) => void this.#giveUp(number, lane, problem),
    })
    this.#owned.set(number, lane)
    lane.start().catch((error: unknown) => void this.#giveUp(number, lane, errorText(error)))
  }

  #lose(number: number, problem: string): void {
    const lane = this.#owned.get(number)
    if (lane === undefined) return
    this.#owned.delete(number)
    lane.lost()
    this.#parts.host.logger.warn({ group: this.#subscription.group, lane: number, problem }, 'a lane was lost')
  }

  /** The lane cannot go on here: somebody, this process too, takes it over again and puts all in order. */
  async #giveUp(number: number, lane: EsdbLane, problem: string): Promise<void> {
    if (this.#owned.get(number) !== lane) return
    lane.lost()
    this.#parts.host.logger.warn({ group: this.#subscription.group, lane: number, problem }, 'a lane was given up; it is taken over again')
    await sleep(this.#parts.host.clock, COOL_DOWN_MS, this.#ended.signal)
    await this.#roster.release(number)
    if (this.#owned.get(number) === lane) this.#owned.delete(number)
  }

  /** Others should have the lane. */
  async #handOver(number: number): Promise<void> {
    const lane = this.#owned.get(number)
    if (lane === undefined || lane.isClosing) return
    await this.#finish(lane)
    await this.#roster.release(number)
    if (this.#owned.get(number) === lane) this.#owned.delete(number)
  }

  async #finish(lane: EsdbLane): Promise<void> {
    const { clock } = this.#parts.host
    const limit = new AbortController()
    const timer = clock.setTimer(this.#subscription.handlerTimeoutMs + HAND_OVER_MS, () => limit.abort(), { background: true })
    await lane.close(limit.signal)
    timer.cancel()
  }

  #look(): void {
    if (this.#ended.signal.aborted) return
    void this.#wishes.refresh().then(() => {
      if (this.#ended.signal.aborted || this.#parts.link.closed.aborted) return
      this.#timer = this.#parts.host.clock.setTimer(LOOK_MS * (0.75 + this.#parts.host.random.next() / 2), () => this.#look(), { background: true })
    })
  }

  #wish(event: EsdbEvent): void {
    const fields = fieldsOf(event)
    const { id, target, control, lane }: Readonly<Record<'id' | 'target' | 'control' | 'lane', unknown>> = {
      id: fields['id'], target: fields['target'], control: fields['control'], lane: fields['lane'],
    }
    if (typeof id !== 'string' || typeof target !== 'string' || typeof lane !== 'number' || (control !== 'redrive' && control !== 'remove')) return
    const wish: LaneWish & { readonly lane: number } = { id, target, control, lane, place: this.#placeOf(event.revision) }
    this.#wanted.set(event.revision, wish)
    this.#owned.get(lane)?.wish(wish)
  }

  #placeOf(revision: bigint): HoldPlace {
    return { remove: async () => await this.#remove(revision) }
  }

  async #remove(revision: bigint): Promise<void> {
    const removal = this.#wishes.removal(derivedId(this.#wishes.stream, `${revision}`), [revision])
    await this.#parts.publisher.store(this.#wishes.stream, removal, 0)
    this.#wanted.delete(revision)
  }
}

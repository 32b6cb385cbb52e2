import { lanes as orderedLanes } from '../../bus/protocol/lanes.ts'
import { laneMoves } from '../../bus/protocol/lane-balance.ts'
import type { Lanes } from '../../bus/protocol/lane-port.ts'
import type { DeliverySink, Subscription, TransportSubscription } from '../../bus/port.ts'
import { errorText, TrunklineError } from '../../core/errors.ts'
import type { NatsClientSubscription } from './nats-client.ts'
import type { FeedParts } from './nats-feed.ts'
import type { NatsHold } from './nats-hold.ts'
import { NatsLane } from './nats-lane.ts'
import type { Lease, NatsLeases, StoredLease } from './nats-lease.ts'
import { connectionLost, isRecord, numberIn } from './nats-link.ts'
import { NatsMembers } from './nats-members.ts'
import { groupToken } from './nats-names.ts'
import type { NatsSettings } from './nats-options.ts'
import type { Beating } from './nats-pulse.ts'
import type { ConsumerPlan, ConsumerState } from './nats-topology.ts'

const LIVE_MIN = 64
/** Time that running handlers get beyond their own limit when a lane moves on. */
const HAND_OVER_MS = 5_000
/** Looks at the hold list for entries that a previous owner stored late. */
const EARLY_POLLS = 2
const FIRST_LOOK_MS = 100

/** What ordered groups need beyond the parts of every feed. */
export interface LaneParts extends FeedParts {
  readonly hold: NatsHold
  readonly leases: NatsLeases
}

/** A lane that this process owns or is about to own. */
interface Owned {
  readonly number: number
  revision: number
  /** Monotonic time before which nobody else can have seen the lease stand still for its whole length. */
  validUntilMs: number
  suspectSeq: number
  /** The previous owner left in order. */
  readonly wasReleased: boolean
  floorSeq: number
  polls: number
  lane: NatsLane | undefined
  isReleasing: boolean
}

/** A lane as others hold it. */
interface Watched {
  revision: number
  sinceMs: number
}

/**
 * A group with order per key: its lanes, of which this process owns a fair share.
 *
 * Ownership is a record per lane, renewed by compare-and-set every third of the lease. Nobody compares clocks: others take
 * a lane over when they have watched its record stand still for the whole lease, and the owner stops by itself when it has
 * not renewed within the lease, counted from before the renewal was sent. A process that is frozen in between can still
 * run a handler it had begun; only a unit of work can exclude that.
 */
export class NatsLaneGroup implements TransportSubscription, Beating {
  readonly #parts: LaneParts
  readonly #settings: NatsSettings
  readonly #subscription: Subscription
  readonly #token: string
  readonly #owner: string
  readonly #lanes: Lanes
  readonly #members: NatsMembers
  readonly #owned = new Map<number, Owned>()
  readonly #acquiring = new Map<number, Promise<void>>()
  readonly #watched = new Map<number, Watched>()
  readonly #beatsPerTick: number
  #beats = 0
  #ticking: Promise<void> | undefined
  #isTickWanted = false
  #hints: NatsClientSubscription | undefined
  #state: 'new' | 'running' | 'closed' = 'new'

  constructor(parts: LaneParts, settings: NatsSettings, subscription: Subscription, sink: DeliverySink) {
    const { host, link, pulse } = parts
    this.#parts = parts
    this.#settings = settings
    this.#subscription = subscription
    this.#token = groupToken(subscription.kind, subscription.group)
    this.#owner = `${host.instance}/${link.token()}`
    this.#beatsPerTick = pulse.beatsIn(settings.leaseMs / 3)
    this.#lanes = orderedLanes({
      group: subscription.group,
      adapter: 'nats',
      clock: host.clock,
      random: host.random,
      inFlightMax: subscription.inFlightMax,
      sink,
    })
    this.#members = new NatsMembers(link, parts.names.members(this.#token), this.#owner, settings.leaseMs, () => this.#wantTick())
  }

  /** Resolves when the group exists durably; lanes are taken soon after. @throws `bus.subscription_conflict`, `bus.connection_lost`. */
  async open(): Promise<void> {
    await this.#layOut()
    this.#state = 'running'
    const { link, pulse, names, host } = this.#parts
    this.#hints = link.subscribe(names.hold(this.#token, 0, 'c').replace('.0.', '.*.'), undefined, () => this.#wantTick())
    this.#members.open()
    pulse.add(this)
    // Members answer a newcomer at once; the first look comes after their answers.
    host.clock.setTimer(FIRST_LOOK_MS * (1 + host.random.next()), () => this.#wantTick(), { background: true })
    await link.flush()
  }

  async pause(): Promise<void> {
    this.#lanes.pause()
    await Promise.resolve()
  }

  async resume(): Promise<void> {
    this.#lanes.resume()
    await Promise.resolve()
  }

  async close(): Promise<void> {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#hints?.unsubscribe()
    await this.#ticking
    await Promise.all(this.#acquiring.values())
    await Promise.all([...this.#owned.values()].map(async (owned) => await this.#handOver(owned)))
    this.#parts.pulse.remove(this)
    this.#members.close()
  }

  onBeat(): void {
    const nowMs = this.#parts.host.clock.monotonicMs()
    for (const owned of this.#owned.values()) if (nowMs >= owned.validUntilMs) this.#drop(owned, 'its lease could not be renewed in time')
    this.#beats += 1
    if (this.#beats < this.#beatsPerTick && !this.#isTickWanted) return
    this.#wantTick()
  }

  #wantTick(): void {
    if (this.#ticking !== undefined) {
      this.#isTickWanted = true
      return
    }
    this.#isTickWanted = false
    this.#beats = 0
    this.#ticking = this.#tick()
      .catch((error: unknown) => {
        this.#parts.host.logger.warn({ group: this.#subscription.group, problem: errorText(error) }, 'looking after lanes failed')
      })
      .finally(() => {
        this.#ticking = undefined
      })
  }

  async #tick(): Promise<void> {
    if (!this.#parts.link.isUp) return
    this.#members.beat()
    const mine = [...this.#owned.values()]
    await Promise.all(mine.map(async (owned) => await this.#renew(owned)))
    for (const owned of mine) void this.#poll(owned)
    if (this.#state !== 'running') return
    const { lanes } = this.#settings
    const free = await this.#freeLanes()
    const owned = [...new Set([...this.#owned.keys(), ...this.#acquiring.keys()])]
    const { acquire, release } = laneMoves({ lanes, owned, free, members: this.#members.count })
    for (const number of release) {
      const moving = this.#owned.get(number)
      if (moving !== undefined && !moving.isReleasing) void this.#handOver(moving)
    }
    // Not awaited: reading a long hold list must not keep the other lanes from being renewed.
    for (const number of acquire) {
      const acquiring = this.#acquire(number)
        .catch((error: unknown) => this.#warn(number, errorText(error)))
        .finally(() => this.#acquiring.delete(number))
      this.#acquiring.set(number, acquiring)
    }
  }

  /** Lanes whose owner gave them up, never existed, or has shown no sign of life for the lease; shuffled. */
  async #freeLanes(): Promise<readonly number[]> {
    const { lanes, leaseMs } = this.#settings
    const { clock, random } = this.#parts.host
    const others = Array.from({ length: lanes }, (_, number) => number).filter((number) => !this.#owned.has(number) && !this.#acquiring.has(number))
    const found = await Promise.all(
      others.map(async (number) => {
        const stored = await this.#parts.leases.read(this.#token, number)
        if (stored === undefined) return []
        const { revision, lease } = stored
        const watched = this.#watched.get(number)
        if (watched?.revision !== revision) this.#watched.set(number, { revision, sinceMs: clock.monotonicMs() })
        const isStill = watched?.revision === revision && clock.monotonicMs() - watched.sinceMs >= leaseMs
        return lease === undefined || lease.isReleased || isStill ? [{ number, order: random.next() }] : []
      }),
    )
    return found.flat().toSorted((one, other) => one.order - other.order).map(({ number }) => number)
  }

  /** Renews a lease; true where it is known to be this process' own. */
  async #renew(owned: Owned): Promise<boolean> {
    const sentAtMs = this.#parts.host.clock.monotonicMs()
    const written = await this.#write(owned, false)
    if (this.#owned.get(owned.number) !== owned) return false
    if (written === 'taken') this.#drop(owned, 'another instance has taken it over')
    if (typeof written !== 'number') return false
    this.#renewed(owned, written, sentAtMs)
    return true
  }

  #renewed(owned: Owned, revision: number, sentAtMs: number): void {
    owned.revision = revision
    // The end of the lease is noticed one beat late at worst.
    owned.validUntilMs = sentAtMs + this.#settings.leaseMs - this.#parts.pulse.beatMs
  }

  async #poll(owned: Owned): Promise<void> {
    owned.polls += 1
    try {
      await owned.lane?.poll(owned.polls <= EARLY_POLLS)
    } catch (error) {
      this.#parts.host.logger.debug({ lane: owned.number, problem: errorText(error) }, 'a hold list could not be read')
    }
  }

  async #write(owned: Owned, isReleased: boolean): Promise<number | 'taken' | undefined> {
    const { lane, suspectSeq } = owned
    const lease: Lease = {
      owner: this.#owner,
      isReleased,
      suspectSeq,
      floorSeq: Math.max(owned.floorSeq, lane?.floorSeq ?? 0),
      deliveredSeq: Math.max(owned.floorSeq, lane?.lastSeq ?? 0),
    }
    return await this.#parts.leases.write(this.#token, owned.number, lease, owned.revision, this.#settings.leaseMs / 3)
  }

  async #acquire(number: number): Promise<void> {
    const stored = await this.#parts.leases.read(this.#token, number)
    if (stored === undefined || this.#state !== 'running' || this.#owned.has(number)) return
    if (stored.revision !== (this.#watched.get(number)?.revision ?? 0)) return // somebody was faster
    const owned = this.#newOwned(number, stored)
    const sentAtMs = this.#parts.host.clock.monotonicMs()
    const written = await this.#write(owned, false)
    if (typeof written !== 'number') return
    this.#renewed(owned, written, sentAtMs)
    this.#owned.set(number, owned)
    try {
      await this.#takeOver(owned)
    } catch (error) {
      if (this.#owned.get(number) === owned) this.#drop(owned, errorText(error))
    }
  }

  #newOwned(number: number, { revision, lease }: StoredLease): Owned {
    return {
      number,
      revision,
      validUntilMs: 0,
      suspectSeq: Math.max(lease?.suspectSeq ?? 0, lease === undefined || lease.isReleased ? 0 : lease.deliveredSeq),
      wasReleased: lease?.isReleased ?? false,
      floorSeq: lease?.floorSeq ?? 0,
      polls: 0,
      lane: undefined,
      isReleasing: false,
    }
  }

  /**
   * Sets the consumer back to what the previous owner has not acked, so that it comes again in order instead of after its
   * ack wait. First the lease says where to start and what is suspect: a crash between the steps leaves enough to go on.
   */
  async #takeOver(owned: Owned): Promise<void> {
    const { topology } = this.#parts
    const plan = this.#planOf(owned.number)
    let state = await topology.findConsumer(plan)
    if (state === undefined) state = await topology.createConsumer(plan, owned.floorSeq + 1)
    else if (state.ackPending === 0) owned.floorSeq = state.ackFloorSeq
    else {
      if (!owned.wasReleased) owned.suspectSeq = Math.max(owned.suspectSeq, state.deliveredSeq)
      owned.floorSeq = state.ackFloorSeq
      if (!(await this.#renew(owned))) throw connectionLost('the lease of a lane could not be written')
      if (!(await topology.deleteConsumer(plan.stream, plan.name))) throw connectionLost('the consumer of a lane could not be set back')
      state = await topology.createConsumer(plan, owned.floorSeq + 1)
    }
    await this.#startLane(owned, plan, state)
  }

  async #startLane(owned: Owned, plan: ConsumerPlan, state: ConsumerState): Promise<void> {
    if (this.#owned.get(owned.number) !== owned || this.#state !== 'running') return
    const { kind, group, types } = this.#subscription
    const lane = new NatsLane(this.#parts, this.#parts.hold, this.#lanes, {
      number: owned.number,
      kind,
      group,
      groupToken: this.#token,
      types: new Set(types),
      consumer: plan,
      liveMax: this.#liveMax,
      suspectSeq: owned.suspectSeq,
      onBroken: (problem) => this.#drop(owned, problem),
      renew: async () => await this.#renew(owned),
    })
    owned.lane = lane
    await lane.start(Math.max(owned.floorSeq, state.deliveredSeq), state.consumerSeq)
  }

  get #liveMax(): number {
    return Math.max(LIVE_MIN, this.#subscription.inFlightMax)
  }

  /** Ownership ends without order: what was in hand comes again at the next owner. */
  #drop(owned: Owned, problem: string): void {
    if (this.#owned.get(owned.number) !== owned) return
    this.#owned.delete(owned.number)
    owned.lane?.lost()
    // Its record stands still from now on; after the lease anybody, this process too, takes the lane over.
    this.#watched.delete(owned.number)
    this.#warn(owned.number, problem)
  }

  #warn(lane: number, problem: string): void {
    this.#parts.host.logger.warn({ group: this.#subscription.group, lane, problem }, 'a lane was lost')
  }

  /** Gives a lane to others: waits for what runs, then says so. */
  async #handOver(owned: Owned): Promise<void> {
    owned.isReleasing = true
    const { clock } = this.#parts.host
    const limit = new AbortController()
    const timer = clock.setTimer(this.#subscription.handlerTimeoutMs + HAND_OVER_MS, () => limit.abort(), { background: true })
    await owned.lane?.close(limit.signal)
    timer.cancel()
    if (this.#owned.get(owned.number) !== owned) return
    // In order only if nothing was left running.
    const isReleased = !limit.signal.aborted
    this.#owned.delete(owned.number)
    this.#watched.delete(owned.number)
    if (isReleased) await this.#write(owned, true)
    this.#members.wake()
  }

  #planOf(lane: number): ConsumerPlan {
    const { names } = this.#parts
    const { kind, types, from } = this.#subscription
    const { lanes, ackWaitMs } = this.#settings
    return {
      stream: names.streamOf(kind),
      name: `${this.#token}--lane-${lane}`,
      filter: names.laneFilter(kind, types, lane, lanes),
      from: kind === 'event' ? from : 'beginning',
      ackWaitMs,
      ackPendingMax: this.#liveMax * 2,
    }
  }

  /** Makes the consumers of all lanes, once for a group. Later they belong to the owners of the lanes. */
  async #layOut(): Promise<void> {
    const { leases, names, topology } = this.#parts
    const { lanes, leaseMs } = this.#settings
    const subject = names.layout(this.#token)
    for (;;) {
      const found = await leases.readJson(subject)
      if (found === undefined) throw connectionLost('the layout of an ordered group could not be read')
      if (isRecord(found.value)) {
        if (numberIn(found.value, 'lanes') === lanes) return
        throw new TrunklineError('bus.subscription_conflict', {
          subscription: this.#subscription.group,
          problem: `the group has ${numberIn(found.value, 'lanes')} lanes; all instances must agree, and this one asks for ${lanes}`,
        })
      }
      await Promise.all(Array.from({ length: lanes }, async (_, lane) => await topology.ensureConsumer(this.#planOf(lane))))
      const written = await leases.writeJson(subject, { lanes }, found.revision, leaseMs)
      if (typeof written === 'number') return
      if (written === undefined) throw connectionLost('the layout of an ordered group could not be stored')
    }
  }
}

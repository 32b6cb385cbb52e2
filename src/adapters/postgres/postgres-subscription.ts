import type { DeliverySink, Subscription, TransportHost, TransportSubscription } from '../../bus/port.ts'
import { sleep, type Timer } from '../../core/clock.ts'
import { errorText } from '../../core/errors.ts'
import { claimedFrom, type PgClaim, type PgDeliveries } from './postgres-deliveries.ts'
import { PgDelivery } from './postgres-delivery.ts'
import type { PgMembership } from './postgres-groups.ts'
import type { PgLink } from './postgres-link.ts'
import { isPassing } from './postgres-problem.ts'
import type { PgSettler } from './postgres-settler.ts'
import type { PgTransportLocks } from './postgres-transport-locks.ts'

/** Deliveries claimed in one transaction. */
const CLAIM_MAX = 512
/** Longest time that closing a subscription waits for the database. */
const CLOSE_WAIT_MS = 5_000

/** What a subscription needs of its transport. */
export interface SubscriptionBacking {
  readonly link: PgLink
  readonly host: TransportHost
  readonly deliveries: PgDeliveries
  readonly locks: PgTransportLocks
  readonly settler: PgSettler
  readonly leaseMs: number
  /** Something was claimed. */
  readonly onClaimed: () => void
  /** This instance was put out, or the membership is gone. */
  readonly onPutOut: (instanceId: string) => void
  readonly onClosed: (subscription: PgSubscription) => void
}

/** The window of one subscription: claims what fits, hands it out, and knows when looking again makes sense. */
export class PgSubscription implements TransportSubscription {
  readonly wanted: Subscription
  readonly #sink: DeliverySink
  readonly #backing: SubscriptionBacking
  /** With the sink, unsettled. */
  readonly #inFlight = new Set<PgDelivery>()
  /** Rows in this member's window: unsettled, or settled and not yet written. */
  readonly #held = new Set<string>()
  #membership: PgMembership | undefined
  #wakes = 0
  #isHungry = true
  /** The server may hold another window than this one. */
  #isDoubtful = false
  #isClaiming = false
  #isScheduled = false
  #isPaused = false
  #isClosed = false
  #due: Timer | undefined
  #dueAtMs = Number.POSITIVE_INFINITY

  constructor(wanted: Subscription, sink: DeliverySink, membership: PgMembership, backing: SubscriptionBacking) {
    this.wanted = wanted
    this.#sink = sink
    this.#membership = membership
    this.#backing = backing
  }

  get groupId(): number | undefined {
    return this.#membership?.groupId
  }

  /** True while this instance has deliveries of the group. */
  get isBusy(): boolean {
    return this.#held.size > 0
  }

  /** Something may be there to be claimed. */
  wake(): void {
    this.#wakes++
    this.#isHungry = true
    if (!this.#isScheduled) void this.#work()
  }

  /** The instance was put out: what it had claimed is with others now. It claims again once it is a member again. */
  expel(): void {
    this.#membership = undefined
    this.#held.clear()
  }

  /** It is a member again. */
  readmit(membership: PgMembership): void {
    this.#membership = membership
    this.wake()
  }

  /**
   * Writes the window again before anything else is claimed: after a crash the server may have forgotten what was claimed last, and also
   * what became of something that was claimed before. The one would be given to others too, the other to nobody ever.
   */
  restore(): void {
    this.#isDoubtful = true
    this.wake()
  }

  #schedule(): void {
    if (this.#isScheduled || this.#isClaiming || !this.#isHungry || this.#room() === 0) return
    this.#isScheduled = true
    // Deliveries that are settled in the same turn of the event loop make room for one claim together.
    this.#backing.host.clock.defer(() => {
      this.#isScheduled = false
      void this.#work()
    })
  }

  #room(): number {
    if (this.#isClosed || this.#isPaused || this.#membership === undefined) return 0
    return Math.min(CLAIM_MAX, Math.max(0, this.wanted.inFlightMax - this.#inFlight.size))
  }

  async #work(): Promise<void> {
    if (this.#isClaiming) return
    this.#isClaiming = true
    try {
      for (let next = this.#next(); next !== undefined; next = this.#next()) {
        if (await next) continue
        await this.#backing.link.recovered()
        // It will never be up again, and waits for nothing any more.
        if (this.#backing.link.isClosed) return
      }
    } finally {
      this.#isClaiming = false
    }
  }

  /** Begins what is to be done now; false where the database could not be used. */
  #next(): Promise<boolean> | undefined {
    const membership = this.#membership
    if (membership === undefined || this.#isClosed) return undefined
    if (this.#isDoubtful) return this.#restore(membership)
    const room = this.#room()
    return this.#isHungry && room > 0 ? this.#claim(membership, room) : undefined
  }

  async #restore({ memberId }: PgMembership): Promise<boolean> {
    const { link, deliveries, host } = this.#backing
    this.#isDoubtful = false
    try {
      await link.run(deliveries.restore(memberId, this.#held))
      return true
    } catch (thrown) {
      if (!isPassing(thrown)) host.logger.error({ group: this.wanted.group, problem: errorText(thrown) }, 'a window could not be written again')
      this.#isDoubtful = true
      return false
    }
  }

  /** False where the database could not be used. */
  async #claim(membership: PgMembership, count: number): Promise<boolean> {
    const { link, locks, deliveries, leaseMs, onPutOut, host } = this.#backing
    const { groupId, memberId, instanceId, isOrdered } = membership
    const wakes = this.#wakes
    const retriesMax = Math.ceil(count / 2)
    const order = { groupId, memberId, instanceId, leaseMs, held: this.#held, count, retriesMax }
    try {
      const answers = await link.transact([locks.claim(groupId, isOrdered), deliveries.claim(order)])
      const { claims, isMember, nextDueMs } = claimedFrom(answers[1] ?? [])
      // Put out and entered again while the answer was on its way: what it holds is free again.
      if (this.#membership !== membership) return true
      if (!isMember) {
        onPutOut(instanceId)
        return true
      }
      this.#isHungry = claims.length >= retriesMax || this.#wakes !== wakes
      this.#await(nextDueMs)
      if (claims.length > 0) this.#backing.onClaimed()
      this.#handOut(claims, membership)
      return true
    } catch (thrown) {
      if (!isPassing(thrown)) host.logger.error({ group: this.wanted.group, problem: errorText(thrown) }, 'deliveries could not be claimed')
      return false
    }
  }

  #handOut(claims: readonly PgClaim[], { groupId, instanceId }: PgMembership): void {
    const backing = { settler: this.#backing.settler, groupId, instanceId, onSettled: this.#onSettled, onMoved: this.#onMoved, onDelayed: this.#onDelayed }
    const deliveries = claims.map((claim) => new PgDelivery(claim, backing))
    for (const { seq } of claims) this.#held.add(seq)
    for (const delivery of deliveries) this.#inFlight.add(delivery)
    for (const delivery of deliveries) {
      if (this.#isPaused || this.#isClosed) void delivery.release()
      else this.#give(delivery)
    }
  }

  #give(delivery: PgDelivery): void {
    try {
      this.#sink(delivery)
    } catch (thrown) {
      this.#backing.host.logger.error({ problem: errorText(thrown) }, 'a delivery sink threw')
      void delivery.release()
    }
  }

  readonly #onSettled = (delivery: PgDelivery): void => {
    this.#inFlight.delete(delivery)
    this.#schedule()
  }

  readonly #onMoved = (seq: string, isHeld: boolean): void => {
    if (isHeld) this.#held.add(seq)
    else this.#held.delete(seq)
  }

  readonly #onDelayed = (delayMs: number): void => this.#await(delayMs)

  /** Looks when the next delayed delivery is due. It is never early: the database's clock decides, the timer only asks it. */
  #await(dueInMs: number | undefined): void {
    if (dueInMs === undefined || this.#isClosed) return
    const { clock } = this.#backing.host
    const atMs = clock.monotonicMs() + Math.max(1, Math.ceil(dueInMs))
    if (atMs >= this.#dueAtMs) return
    this.#due?.cancel()
    this.#dueAtMs = atMs
    this.#due = clock.setTimer(atMs - clock.monotonicMs(), () => {
      this.#dueAtMs = Number.POSITIVE_INFINITY
      this.wake()
    }, { background: true })
  }

  pause(): Promise<void> {
    this.#isPaused = true
    return Promise.resolve()
  }

  resume(): Promise<void> {
    this.#isPaused = false
    this.wake()
    return Promise.resolve()
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#due?.cancel()
    const { host, onClosed } = this.#backing
    const waiting = new AbortController()
    // Whatever it does not do in time, others do when they notice that this instance has gone.
    await Promise.race([this.#leave(), sleep(host.clock, CLOSE_WAIT_MS, waiting.signal)])
    waiting.abort()
    onClosed(this)
  }

  async #leave(): Promise<void> {
    const { settler, link, deliveries } = this.#backing
    for (const delivery of this.#inFlight) void delivery.abandon()
    this.#inFlight.clear()
    await settler.flushed()
    const memberId = this.#membership?.memberId
    this.#membership = undefined
    if (memberId !== undefined) await link.run(deliveries.leave(memberId)).catch(() => undefined)
  }
}

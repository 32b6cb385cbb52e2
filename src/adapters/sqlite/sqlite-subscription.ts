import type { DeliverySink, Subscription, TransportSubscription } from '../../bus/port.ts'
import { type Timer, sleep } from '../../core/clock.ts'
import { errorText } from '../../core/errors.ts'
import type { SqliteCommitQueue } from './sqlite-commit-queue.ts'
import type { SqliteHost } from './sqlite-host.ts'
import type { SqliteTurn } from './sqlite-turn.ts'
import type { SqliteConnection } from './sqlite-connection.ts'
import { claim, hasReady, nextDueMs } from './sqlite-deliveries.ts'
import type { SqliteClaim } from './sqlite-deliveries.ts'
import { SqliteDelivery } from './sqlite-delivery.ts'
import { leaveGroup } from './sqlite-groups.ts'

/** Deliveries that one subscription claims in one transaction. */
const CLAIM_MAX = 256

/** Longest time that closing a subscription waits for a locked file. */
const CLOSE_WAIT_MS = 5_000

/** What a subscription needs of its transport. */
export interface SubscriptionBacking {
  readonly queue: SqliteCommitQueue
  readonly host: SqliteHost
  readonly address: string
  /** Forgets the subscription; true where it was this instance's last one of its group. */
  readonly onClosed: (subscription: SqliteSubscription) => boolean
}

/** The window of one subscription: claims what fits, hands it out, and knows when looking again makes sense. */
export class SqliteSubscription implements TransportSubscription {
  readonly groupId: number
  readonly #sink: DeliverySink
  readonly #inFlightMax: number
  readonly #backing: SubscriptionBacking
  readonly #inFlight = new Set<SqliteDelivery>()
  #isHungry = true
  #isPaused = false
  #isClosed = false
  #favoursRetries = false
  #claimed: { readonly claims: readonly SqliteClaim[]; readonly owner: number; readonly room: number } | undefined
  #dueAtMs: number | undefined
  #timer: Timer | undefined

  constructor(groupId: number, subscription: Subscription, sink: DeliverySink, backing: SubscriptionBacking) {
    this.groupId = groupId
    this.#sink = sink
    this.#inFlightMax = subscription.inFlightMax
    this.#backing = backing
  }

  /** Something may be there. */
  wake(): void {
    this.#isHungry = true
  }

  /** The pulse: a due time can pass unnoticed when the wall clock jumps. */
  check(): void {
    if (this.#dueAtMs !== undefined && this.#backing.host.clock.nowMs() >= this.#dueAtMs) this.#isHungry = true
  }

  /** True where there is something to claim and room for it. Reads only, so that idle instances take no lock. */
  wants(connection: SqliteConnection): boolean {
    if (!this.#isHungry || this.#room() === 0) return false
    const nowMs = this.#backing.host.clock.nowMs()
    if (hasReady(connection, this.groupId, nowMs)) return true
    this.#isHungry = false
    this.#await(nextDueMs(connection, this.groupId, nowMs))
    return false
  }

  /** Claims within the turn what there is room for. */
  claim(turn: SqliteTurn, owner: number): void {
    this.#claimed = undefined
    const room = this.#room()
    if (room === 0 || (!this.#isHungry && !turn.groups.has(this.groupId))) return
    // Delayed deliveries and new ones share the window by halves while there are enough of both.
    this.#favoursRetries = !this.#favoursRetries
    const retriesMax = (room + (this.#favoursRetries ? 1 : 0)) >> 1
    const claims = claim(turn.connection, { groupId: this.groupId, owner, nowMs: this.#backing.host.clock.nowMs(), count: room, retriesMax })
    this.#claimed = { claims, owner, room }
  }

  /** Hands out what the committed turn has claimed. */
  handOut(connection: SqliteConnection): void {
    const claimed = this.#claimed
    this.#claimed = undefined
    if (claimed === undefined) return
    this.#isHungry = claimed.claims.length === claimed.room
    if (!this.#isHungry) this.#awaitNext(connection)
    const deliveries = claimed.claims.map((each) => new SqliteDelivery(each, claimed.owner, { ...this.#backing, onSettled: this.#onSettled }))
    for (const delivery of deliveries) this.#inFlight.add(delivery)
    for (const delivery of deliveries) {
      if (this.#isPaused) void delivery.release()
      else if (!this.#isClosed) this.#give(delivery)
    }
    // A claim is smaller than a large window, so that no single transaction takes long.
    if (this.#isHungry && this.#room() > 0) this.#backing.queue.poke()
  }

  #give(delivery: SqliteDelivery): void {
    try {
      this.#sink(delivery)
    } catch (thrown) {
      this.#backing.host.logger.error({ problem: errorText(thrown) }, 'a delivery sink threw')
      void delivery.release()
    }
  }

  readonly #onSettled = (delivery: SqliteDelivery): void => {
    this.#inFlight.delete(delivery)
  }

  #room(): number {
    if (this.#isClosed || this.#isPaused) return 0
    return Math.min(CLAIM_MAX, Math.max(0, this.#inFlightMax - this.#inFlight.size))
  }

  #awaitNext(connection: SqliteConnection): void {
    try {
      this.#await(nextDueMs(connection, this.groupId, this.#backing.host.clock.nowMs()))
    } catch {
      // The file cannot be read right now; looking again once it can be costs nothing.
      this.#isHungry = true
    }
  }

  #await(dueAtMs: number | undefined): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#dueAtMs = dueAtMs
    if (dueAtMs === undefined) return
    const { clock } = this.#backing.host
    this.#timer = clock.setTimer(dueAtMs - clock.nowMs(), () => {
      this.#isHungry = true
      this.#backing.queue.poke()
    })
  }

  pause(): Promise<void> {
    this.#isPaused = true
    return Promise.resolve()
  }

  resume(): Promise<void> {
    this.#isPaused = false
    this.#isHungry = true
    this.#backing.queue.poke()
    return Promise.resolve()
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#timer?.cancel()
    const { queue, address, host, onClosed } = this.#backing
    const isLast = onClosed(this)
    const abandoned = [...this.#inFlight].map((delivery) => delivery.abandon())
    this.#inFlight.clear()
    // It is tried until it is written, or until the instance leaves and frees its claims, however long that
    // takes; whoever closes waits for a bounded time only.
    const handedBack = queue.call((turn) => {
      for (const abandon of abandoned) abandon(turn)
      if (isLast) leaveGroup(turn.connection, this.groupId, address)
    }, Number.POSITIVE_INFINITY)
    const waiting = new AbortController()
    await Promise.race([handedBack.catch(() => {}), sleep(host.clock, CLOSE_WAIT_MS, waiting.signal)])
    waiting.abort()
  }
}

import type { UnitHost } from '../bus/port.ts'
import type { Timer } from '../core/clock.ts'
import type { LeaseKeeper } from './lease-keeper.ts'
import type { OutboxStats, OutboxTable } from './port.ts'
import { shardLease } from './protocol/lease-names.ts'
import { RelayShard } from './relay-shard.ts'

/** What a relay needs. */
export interface RelayParts {
  readonly table: OutboxTable
  readonly host: UnitHost
  readonly leases: LeaseKeeper
  readonly pageMax: number
  readonly publishTimeoutMs: number
  /** What was made earlier is given up instead of published; undefined: nothing is. */
  readonly notBeforeMs: number | undefined
  /** True while commits of other processes are heard of. */
  readonly hearsOthers: () => boolean
}

/** Looks for rows that nobody told of: often after something happened, rarely when all is quiet. */
const LOOK_MIN_MS = 50
const LOOK_MAX_MS = 500
/** The same where commits of others are heard of; the look is then only the safety net. */
const LOOK_HEARD_MAX_MS = 10_000
/** A row that waits longer than this shows in the health. */
const LATE_MS = 10_000
const STUCK_MS = 60_000

/**
 * Publishes what was committed to the outbox. Each shard has one active relay at a time, by a lease with an epoch; the
 * others stand by. It is woken by commits and looks by itself as well, because a wake can be lost.
 */
export class Relay {
  readonly #parts: RelayParts
  readonly #shards: readonly RelayShard[]
  #look: Timer | undefined
  #lookMs = LOOK_MIN_MS
  #isStopped = true
  #published = 0
  #dead = 0
  #stats: OutboxStats = { waiting: 0, oldestAgeMs: 0, dead: 0 }
  #isLooking = false

  constructor(parts: RelayParts) {
    this.#parts = parts
    const { table, host, leases, pageMax, publishTimeoutMs, notBeforeMs } = parts
    const shared = {
      table, clock: host.clock, random: host.random, logger: host.logger, service: host.service, instance: host.instance, pageMax, publishTimeoutMs, notBeforeMs,
      publish: host.publish,
      // While the link is down nothing is tried, and nothing counts as tried (promise 7).
      canPublish: () => host.linkState() !== 'down',
      epochOf: (shard: number) => leases.get(shardLease(shard))?.epoch,
      lost: (shard: number) => leases.lost(shardLease(shard)),
      count: (published: number, dead: number) => {
        this.#published += published
        this.#dead += dead
      },
    }
    this.#shards = Array.from({ length: table.shards }, (_, shard) => new RelayShard(shared, shard))
  }

  /** Messages published and given up by this relay. */
  get counts(): { readonly published: number; readonly dead: number } {
    return { published: this.#published, dead: this.#dead }
  }

  start(): void {
    this.#isStopped = false
    this.wakeAll()
    this.#plan(LOOK_MIN_MS)
  }

  /** Rows were committed to these shards. */
  wake(shards: readonly number[]): void {
    if (this.#isStopped) return
    for (const shard of shards) if (this.#isHeld(shard)) this.#shards[shard]?.wake()
    this.#plan(LOOK_MIN_MS)
  }

  /** Rows may have come anywhere. */
  wakeAll(): void {
    this.wake([...this.#shards.keys()])
  }

  /** Somebody else has committed something, to shards unknown. */
  heard(): void {
    if (!this.#isStopped) this.#plan(0)
  }

  #isHeld(shard: number): boolean {
    return this.#parts.leases.get(shardLease(shard)) !== undefined
  }

  #plan(lookMs: number): void {
    if (this.#isStopped) return
    this.#lookMs = Math.max(lookMs, LOOK_MIN_MS)
    this.#look?.cancel()
    this.#look = this.#parts.host.clock.setTimer(lookMs, () => void this.#lookRound(), { background: true })
  }

  async #lookRound(): Promise<void> {
    if (this.#isLooking) return
    this.#isLooking = true
    const held = [...this.#shards.keys()].filter((shard) => this.#isHeld(shard))
    let isQuiet = true
    const isDown = this.#parts.host.linkState() === 'down'
    try {
      if (held.length > 0 && !isDown) {
        const waiting = await this.#parts.table.waiting(held)
        isQuiet = waiting.length === 0
        for (const shard of waiting) this.#shards[shard]?.wake()
      }
      if (!isQuiet || this.#stats.waiting > 0) this.#stats = await this.#parts.table.stats()
    } catch (error) {
      this.#parts.host.logger.debug({ err: error }, 'the outbox could not be looked at; it is tried again')
    } finally {
      this.#isLooking = false
    }
    const mostMs = this.#parts.hearsOthers() ? LOOK_HEARD_MAX_MS : LOOK_MAX_MS
    // Nobody tells when the link is back, and as long as it is not, a look asks the database nothing.
    const nextMs = isQuiet && !isDown ? Math.min(this.#lookMs * 2, mostMs) : LOOK_MAX_MS
    this.#plan(nextMs * (0.8 + 0.4 * this.#parts.host.random.next()))
  }

  /** How far behind it is, as of the last look. */
  get stats(): OutboxStats {
    return this.#stats
  }

  health(): { readonly state: 'up' | 'degraded' | 'down'; readonly reasons: readonly string[] } {
    const { oldestAgeMs, waiting } = this.#stats
    if (oldestAgeMs <= LATE_MS) return { state: 'up', reasons: [] }
    const reasons = [`${waiting} messages wait in the outbox, the oldest for ${Math.round(oldestAgeMs / 1_000)} s`]
    return { state: oldestAgeMs > STUCK_MS ? 'down' : 'degraded', reasons }
  }

  /** Publishes what is there, for at most `flushMs`, and stops. */
  async stop(flushMs: number): Promise<void> {
    const { clock } = this.#parts.host
    if (this.#isStopped) return
    this.wakeAll()
    this.#isStopped = true
    this.#look?.cancel()
    const limit = new Promise<void>((resolve) => clock.setTimer(flushMs, resolve, { background: true }))
    await Promise.race([Promise.all(this.#shards.map((shard) => shard.idle())), limit])
    await Promise.race([Promise.all(this.#shards.map((shard) => shard.stop())), limit])
  }
}

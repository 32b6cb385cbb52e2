import type { Clock, Timer } from '../core/clock.ts'
import { backoffMs } from '../core/backoff.ts'
import type { Logger } from '../core/logger.ts'
import type { Random } from '../core/random.ts'
import type { Lease, LeaseTable } from '../store/port.ts'

/** What a keeper needs. */
export interface LeaseKeeperOptions {
  readonly table: LeaseTable
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly owner: string
  readonly names: readonly string[]
  /** Time after which a lease that was not renewed is free, by the database's clock. */
  readonly ttlMs: number
  /** Called when a lease was gained or is no longer held. */
  readonly onChange: () => void
}

/** Renewals within the time of a lease, so that one may fail. */
const RENEWALS = 2.5
/** Waits after a renewal that failed. */
const FAILED_BACKOFF = { initialMs: 200, factor: 2, maxMs: 5_000 } as const

/**
 * Holds leases for one process: one statement a renewal, whatever their number. Who holds none looks again once per lease time,
 * so that idle standbys cost next to nothing.
 */
export class LeaseKeeper {
  readonly #options: LeaseKeeperOptions
  readonly #held = new Map<string, Lease>()
  /** Until then they are ours by our own monotonic clock, counted from before the statement was sent. */
  #validUntilMs = 0
  #timer: Timer | undefined
  #failures = 0
  #isStopped = false
  #turn: Promise<void> | undefined

  constructor(options: LeaseKeeperOptions) {
    this.#options = options
  }

  /** Tries for the first time. A database that cannot be reached now is tried again later. */
  start(): Promise<void> {
    this.#turn = this.#renew()
    return this.#turn
  }

  /** The lease, while it is certain that nobody else has it. */
  get(name: string): Lease | undefined {
    return this.#options.clock.monotonicMs() < this.#validUntilMs ? this.#held.get(name) : undefined
  }

  /** Forgets a lease that another has taken over. */
  lost(name: string): void {
    if (this.#held.delete(name)) this.#options.onChange()
  }

  async #renew(): Promise<void> {
    const { table, clock, names, owner, ttlMs, onChange, logger, random } = this.#options
    const sentAtMs = clock.monotonicMs()
    let waitMs: number
    try {
      const leases = await table.hold(names, owner, ttlMs, names.length)
      // One that had run out, and is ours again, is news as well: work stood still meanwhile.
      const hadEnded = leases.length > 0 && clock.monotonicMs() >= this.#validUntilMs
      const isChanged = hadEnded || leases.length !== this.#held.size || leases.some(({ name, epoch }) => this.#held.get(name)?.epoch !== epoch)
      this.#held.clear()
      for (const lease of leases) this.#held.set(lease.name, lease)
      this.#validUntilMs = sentAtMs + ttlMs
      this.#failures = 0
      // Jitter, so that processes that started together do not look together for ever.
      waitMs = (leases.length > 0 ? ttlMs / RENEWALS : ttlMs) * (0.8 + 0.4 * random.next())
      if (isChanged) onChange()
    } catch (error) {
      if (this.#failures++ === 0) logger.warn({ err: error }, 'leases could not be renewed; their work goes on elsewhere when they end')
      waitMs = Math.min(backoffMs(FAILED_BACKOFF, this.#failures, random), ttlMs / RENEWALS)
    }
    if (this.#isStopped) return
    this.#timer = clock.setTimer(waitMs, () => {
      this.#turn = this.#renew()
    }, { background: true })
  }

  /** Lets others have them at once. It never rejects: what cannot be released ends by itself. */
  async stop(): Promise<void> {
    this.#isStopped = true
    this.#timer?.cancel()
    await this.#turn
    const names = [...this.#held.keys()]
    this.#held.clear()
    if (names.length === 0) return
    const { table, owner, logger } = this.#options
    try {
      await table.release(names, owner)
    } catch (error) {
      logger.warn({ err: error }, 'leases could not be released; they end by themselves')
    }
  }
}

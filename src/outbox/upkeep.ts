import type { UnitHost } from '../bus/port.ts'
import type { Timer } from '../core/clock.ts'
import type { LeaseKeeper } from './lease-keeper.ts'
import type { BodyTable, InboxTable } from './port.ts'

/** What upkeep needs. */
export interface UpkeepParts {
  readonly inbox: InboxTable
  readonly bodies: BodyTable
  readonly host: UnitHost
  readonly leases: LeaseKeeper
  readonly inboxRetentionMs: number
  readonly bodyRetentionMs: number
}

/** Name of the lease of who removes what is too old. */
export const UPKEEP_LEASE = 'upkeep'

/** Rows removed in one statement. */
const PRUNE_MAX = 5_000
/** Statements of one round; the rest is left for the next one. */
const ROUNDS_MAX = 200
/** Time between two rounds. */
const ROUND_MS = 600_000

/** Removes marks and bodies that nobody can need any more, a little at a time. */
export class Upkeep {
  readonly #parts: UpkeepParts
  #timer: Timer | undefined
  #isStopped = true
  #turn: Promise<void> = Promise.resolve()

  constructor(parts: UpkeepParts) {
    this.#parts = parts
  }

  start(): void {
    this.#isStopped = false
    this.#plan()
  }

  #plan(): void {
    const { clock, random } = this.#parts.host
    this.#timer = clock.setTimer(ROUND_MS * (0.8 + 0.4 * random.next()), () => {
      this.#turn = this.round()
    }, { background: true })
  }

  /** One round, now. It never rejects. */
  async round(): Promise<void> {
    const { inbox, bodies, host, leases, inboxRetentionMs, bodyRetentionMs } = this.#parts
    try {
      if (leases.get(UPKEEP_LEASE) !== undefined) {
        await this.#all((limit) => inbox.prune(inboxRetentionMs, limit))
        await this.#all((limit) => bodies.prune(bodyRetentionMs, limit))
      }
    } catch (error) {
      host.logger.warn({ err: error }, 'old marks and bodies could not be removed; it is tried again')
    }
    if (!this.#isStopped) this.#plan()
  }

  async #all(prune: (limit: number) => Promise<number>): Promise<void> {
    for (let round = 0; round < ROUNDS_MAX && !this.#isStopped; round++) if ((await prune(PRUNE_MAX)) < PRUNE_MAX) return
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    this.#timer?.cancel()
    await this.#turn
  }
}

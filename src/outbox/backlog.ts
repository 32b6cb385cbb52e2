import type { Clock, Timer } from '../core/clock.ts'
import { TrunklineError } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import type { OutboxTable } from './port.ts'

/** What a backlog needs. */
export interface BacklogOptions {
  readonly table: OutboxTable
  readonly clock: Clock
  readonly logger: Logger
  /** Messages that may wait before new ones are refused; undefined: any number, and nobody looks. */
  readonly waitingMax: number | undefined
}

/** Time between two looks: so long may more be written than the limit says. */
const LOOK_MS = 1_000

/** Refuses new messages while too many wait for the relay, so that an outbox that nobody empties does not fill the disk (O-07). */
export class Backlog {
  readonly #options: BacklogOptions
  #waiting = 0
  #timer: Timer | undefined
  #isStopped = true
  #turn: Promise<void> = Promise.resolve()

  constructor(options: BacklogOptions) {
    this.#options = options
  }

  /** Begins to look. */
  start(): void {
    if (this.#options.waitingMax === undefined) return
    this.#isStopped = false
    this.#turn = this.#look()
  }

  /** @throws `bus.overloaded` while more wait than may, as of the last look. */
  readonly check = (): void => {
    const { waitingMax } = this.#options
    if (waitingMax !== undefined && this.#waiting > waitingMax) throw new TrunklineError('bus.overloaded', { what: 'messages waiting in the outbox', limit: waitingMax })
  }

  async #look(): Promise<void> {
    const { table, clock, logger } = this.#options
    try {
      this.#waiting = (await table.stats()).waiting
    } catch (error) {
      logger.debug({ err: error }, 'how many messages wait in the outbox could not be found out')
    }
    if (this.#isStopped) return
    this.#timer = clock.setTimer(LOOK_MS, () => {
      this.#turn = this.#look()
    }, { background: true })
  }

  /** Ends it. */
  async stop(): Promise<void> {
    this.#isStopped = true
    this.#timer?.cancel()
    await this.#turn
  }
}

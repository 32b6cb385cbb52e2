import type { DeadLetterRecord, Delivery } from '../../bus/port.ts'
import type { WireMessage } from '../../core/envelope.ts'
import { errorText } from '../../core/errors.ts'
import { lost } from './sqlite-call-job.ts'
import type { SqliteCommitQueue } from './sqlite-commit-queue.ts'
import type { SqliteHost } from './sqlite-host.ts'
import type { SqliteJob, SqliteTurn } from './sqlite-turn.ts'
import { storeAck, storeBegun, storeDeadLetter, storeWaiting } from './sqlite-deliveries.ts'
import type { SqliteClaim } from './sqlite-deliveries.ts'
import type { SqliteFailure } from './sqlite-driver.ts'

/** What a delivery needs of its surroundings. */
export interface DeliveryBacking {
  readonly queue: SqliteCommitQueue
  readonly host: SqliteHost
  /** The window of the subscription has room again. */
  readonly onSettled: (delivery: SqliteDelivery) => void
}

/** Wait before a delivery comes again whose outcome could not be written. */
const UNWRITABLE_DELAY_MS = 1_000

/** A claimed delivery with the sink. */
export class SqliteDelivery implements Delivery {
  readonly message: WireMessage
  readonly attempt: number
  readonly isSuspect: boolean
  readonly isRedriven: boolean
  readonly #claim: SqliteClaim
  readonly #owner: number
  readonly #backing: DeliveryBacking
  #hasBegun = false
  #isSettled = false

  constructor(claim: SqliteClaim, owner: number, backing: DeliveryBacking) {
    this.message = claim.message
    this.attempt = claim.begun + 1
    this.isSuspect = claim.isSuspect
    this.isRedriven = claim.isRedriven
    this.#claim = claim
    this.#owner = owner
    this.#backing = backing
  }

  async begin(): Promise<number> {
    if (!this.#isSettled && !this.#hasBegun) {
      this.#hasBegun = true
      await this.#write((turn) => storeBegun(turn, this.#claim, this.#owner, this.attempt), 'must')
    }
    return this.attempt
  }

  ack(): Promise<void> {
    return this.#settle((turn) => storeAck(turn, this.#claim, this.#owner))
  }

  retry(delayMs: number): Promise<void> {
    // Never 0: a failed delivery goes among the delayed ones, behind those that are due already.
    const dueMs = Math.ceil(this.#backing.host.clock.nowMs() + Math.max(0, delayMs))
    return this.#settle((turn) => storeWaiting(turn, this.#claim, this.#owner, { begun: this.attempt, dueMs, isSuspect: false }))
  }

  deadLetter(record: DeadLetterRecord): Promise<void> {
    return this.#settle((turn) => storeDeadLetter(turn, this.#claim, this.#owner, this.message.type, record))
  }

  release(): Promise<void> {
    const next = { begun: this.attempt - 1, dueMs: 0, isSuspect: this.isSuspect }
    return this.#settle((turn) => storeWaiting(turn, this.#claim, this.#owner, next))
  }

  /** Ends the delivery here and gives the work that hands it to others: as a suspect, as in `freeClaims`. */
  abandon(): (turn: SqliteTurn) => void {
    this.#isSettled = true
    const begun = this.#hasBegun ? this.attempt : this.attempt - 1
    return (turn) => storeWaiting(turn, this.#claim, this.#owner, { begun, dueMs: 0, isSuspect: true })
  }

  #settle(work: (turn: SqliteTurn) => void): Promise<void> {
    if (this.#isSettled) return Promise.resolve()
    this.#isSettled = true
    this.#backing.onSettled(this)
    return this.#write(work, 'may')
  }

  #write(work: (turn: SqliteTurn) => void, mode: 'must' | 'may'): Promise<void> {
    return new Promise((resolve, reject) => {
      const onFailure = (failure: SqliteFailure, thrown: unknown): void => {
        if (failure === 'refused') this.#handBack(thrown)
        if (mode === 'must') reject(lost(failure, thrown))
        else resolve()
      }
      this.#backing.queue.add(new OutcomeJob(work, resolve, onFailure))
    })
  }

  /** An outcome that cannot be written at all must not keep the row claimed for ever. */
  #handBack(thrown: unknown): void {
    const { host, queue } = this.#backing
    host.logger.error(
      { id: this.message.id, type: this.message.type, problem: errorText(thrown) },
      'an outcome could not be written; the delivery comes again',
    )
    const dueMs = Math.ceil(host.clock.nowMs() + UNWRITABLE_DELAY_MS)
    const next = { begun: this.attempt, dueMs, isSuspect: true }
    queue.add(new OutcomeJob((turn) => storeWaiting(turn, this.#claim, this.#owner, next), () => {}, () => {}))
  }
}

/** An outcome. It is tried until it is written: giving it up would only mean to handle the message again. */
class OutcomeJob implements SqliteJob {
  readonly isUnit = false
  readonly bytes = 256
  readonly isCancelled = false
  readonly #work: (turn: SqliteTurn) => void
  readonly #onDone: () => void
  readonly #onFailure: (failure: SqliteFailure, thrown: unknown) => void

  constructor(work: (turn: SqliteTurn) => void, onDone: () => void, onFailure: (failure: SqliteFailure, thrown: unknown) => void) {
    this.#work = work
    this.#onDone = onDone
    this.#onFailure = onFailure
  }

  run(turn: SqliteTurn): void {
    this.#work(turn)
  }

  done(): void {
    this.#onDone()
  }

  isExpired(): boolean {
    return false
  }

  fail(failure: SqliteFailure, thrown: unknown): void {
    this.#onFailure(failure, thrown)
  }
}

import type { DeadLetterRecord, Delivery } from '../../bus/port.ts'
import type { WireMessage } from '../../core/envelope.ts'
import { messageOf, type EsdbEvent } from './eventstoredb-event.ts'

/** What is known of a message in hand. */
export interface Holding {
  readonly event: EsdbEvent
  /** Attempts that are known to have begun. */
  readonly begun: number
  readonly isSuspect: boolean
  readonly isRedriven: boolean
  /** The count of begun attempts has a stream of its own. */
  readonly hasRecord: boolean
}

/** Where the outcomes of deliveries go. */
export interface Outcomes {
  /** Resolves when it is stored that the delivery's attempt begins. */
  recordBegun(delivery: EsdbDelivery): Promise<void>
  ack(delivery: EsdbDelivery): void
  /** Stores the message for later with `attempts` begun, then acks it. */
  retry(delivery: EsdbDelivery, attempts: number, delayMs: number): Promise<void>
  /** Gives it back as it was. */
  release(delivery: EsdbDelivery, attempts: number): Promise<void>
  /** Stores the dead letter, then acks the message. */
  deadLetter(delivery: EsdbDelivery, record: DeadLetterRecord): Promise<void>
}

/** One message in hand. */
export class EsdbDelivery implements Delivery {
  readonly event: EsdbEvent
  readonly message: WireMessage
  readonly attempt: number
  readonly isSuspect: boolean
  readonly isRedriven: boolean
  hasRecord: boolean
  readonly #outcomes: Outcomes
  #hasBegun = false
  #isSettled = false

  constructor(outcomes: Outcomes, { event, begun, isSuspect, isRedriven, hasRecord }: Holding) {
    this.event = event
    this.message = messageOf(event)
    this.attempt = begun + 1
    this.isSuspect = isSuspect
    this.isRedriven = isRedriven
    this.hasRecord = hasRecord
    this.#outcomes = outcomes
  }

  async begin(): Promise<number> {
    this.#hasBegun = true
    this.hasRecord = true
    await this.#outcomes.recordBegun(this)
    return this.attempt
  }

  ack(): undefined {
    if (this.#settle()) this.#outcomes.ack(this)
    return undefined
  }

  async retry(delayMs: number): Promise<void> {
    if (this.#settle()) await this.#outcomes.retry(this, this.attempt, delayMs)
  }

  async deadLetter(record: DeadLetterRecord): Promise<void> {
    if (this.#settle()) await this.#outcomes.deadLetter(this, record)
  }

  async release(): Promise<void> {
    // An attempt that was recorded as begun stays spent: whether its handler ran, nobody knows.
    if (this.#settle()) await this.#outcomes.release(this, this.#hasBegun ? this.attempt : this.attempt - 1)
  }

  #settle(): boolean {
    if (this.#isSettled) return false
    this.#isSettled = true
    return true
  }
}

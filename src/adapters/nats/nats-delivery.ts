import type { DeadLetterRecord, Delivery } from '../../bus/port.ts'
import type { WireMessage } from '../../core/envelope.ts'

const DONE: Promise<void> = Promise.resolve()

/** What a feed knows of one message in hand. */
export interface Holding {
  readonly message: WireMessage
  /** Header block as it came, for copies of the message. */
  readonly text: string
  readonly streamSeq: number
  /** Attempts that are known to have begun. */
  readonly begun: number
  readonly isSuspect: boolean
  readonly isRedriven: boolean
  /** The count of begun attempts has a record of its own. */
  readonly hasRecord: boolean
}

/** Where the outcomes of deliveries go. */
export interface Outcomes {
  /** Resolves when it is stored that the delivery's attempt begins. */
  recordBegun(delivery: NatsDelivery): Promise<void>
  ack(delivery: NatsDelivery): void
  /** Stores the delivery for later with `attempts` begun, then acks it. */
  retry(delivery: NatsDelivery, attempts: number, delayMs: number): Promise<void>
  /** Stores the dead letter, then acks the delivery. */
  deadLetter(delivery: NatsDelivery, record: DeadLetterRecord): Promise<void>
}

/** One message in hand. The newest reply subject counts: after a redelivery to this process the older one may be stale. */
export class NatsDelivery implements Delivery {
  readonly message: WireMessage
  readonly attempt: number
  readonly isSuspect: boolean
  readonly isRedriven: boolean
  readonly text: string
  readonly streamSeq: number
  reply: string
  /** Beats since the server last heard that the message is being worked on. */
  beats = 0
  /** An attempt is recorded, by this process or an earlier one; the record must go when the message is settled. */
  hasRecord: boolean
  readonly #outcomes: Outcomes
  #hasBegun = false
  #isSettled = false

  constructor(outcomes: Outcomes, holding: Holding, reply: string) {
    this.message = holding.message
    this.attempt = holding.begun + 1
    this.isSuspect = holding.isSuspect
    this.isRedriven = holding.isRedriven
    this.text = holding.text
    this.streamSeq = holding.streamSeq
    this.reply = reply
    this.hasRecord = holding.hasRecord
    this.#outcomes = outcomes
  }

  async begin(): Promise<number> {
    this.#hasBegun = true
    this.hasRecord = true
    await this.#outcomes.recordBegun(this)
    return this.attempt
  }

  ack(): Promise<void> {
    if (this.#settle()) this.#outcomes.ack(this)
    return DONE
  }

  async retry(delayMs: number): Promise<void> {
    if (this.#settle()) await this.#outcomes.retry(this, this.attempt, delayMs)
  }

  async deadLetter(record: DeadLetterRecord): Promise<void> {
    if (this.#settle()) await this.#outcomes.deadLetter(this, record)
  }

  async release(): Promise<void> {
    // An attempt that was recorded as begun stays spent: whether its handler ran, nobody knows.
    if (this.#settle()) await this.#outcomes.retry(this, this.#hasBegun ? this.attempt : this.attempt - 1, 0)
  }

  #settle(): boolean {
    if (this.#isSettled) return false
    this.#isSettled = true
    return true
  }
}

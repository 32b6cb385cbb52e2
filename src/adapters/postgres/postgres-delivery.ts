import type { DeadLetterRecord, Delivery } from '../../bus/port.ts'
import type { WireMessage } from '../../core/envelope.ts'
import type { PgClaim, PgReturn } from './postgres-deliveries.ts'
import type { PgOutcome, PgSettler } from './postgres-settler.ts'

/** What a delivery needs of its subscription. */
export interface PgDeliveryBacking {
  readonly settler: PgSettler
  readonly groupId: number
  readonly instanceId: string
  /** The bus is done with it: the window has room again. */
  readonly onSettled: (delivery: PgDelivery) => void
  /** Its row is no longer this instance's, or is again. */
  readonly onMoved: (seq: string, isHeld: boolean) => void
  /** It was written that it is due again after this time, in milliseconds. */
  readonly onDelayed: (delayMs: number) => void
}

/** Wait before a delivery comes again whose outcome could not be written. */
const UNWRITABLE_DELAY_MS = 1_000

/** A claimed delivery with the sink. */
export class PgDelivery implements Delivery {
  readonly message: WireMessage
  readonly attempt: number
  readonly isSuspect: boolean
  readonly isRedriven: boolean
  readonly #claim: PgClaim
  readonly #backing: PgDeliveryBacking
  #hasBegun = false
  #isSettled = false

  constructor(claim: PgClaim, backing: PgDeliveryBacking) {
    this.message = claim.message
    this.attempt = claim.begun + 1
    this.isSuspect = claim.isSuspect
    this.isRedriven = claim.isRedriven
    this.#claim = claim
    this.#backing = backing
  }

  async begin(): Promise<number> {
    if (!this.#isSettled && !this.#hasBegun) {
      this.#hasBegun = true
      await new Promise<void>((resolve, reject) => {
        this.#add(this.#back('begin', this.attempt, undefined, true), resolve, reject)
      })
    }
    return this.attempt
  }

  ack(): Promise<void> {
    return this.#settle(undefined)
  }

  retry(delayMs: number): Promise<void> {
    // Also without delay: a failed delivery goes among the delayed ones, behind those that are due already.
    return this.#settle(this.#back('wait', this.attempt, Math.max(0, delayMs), false))
  }

  deadLetter(record: DeadLetterRecord): Promise<void> {
    const letter = { type: this.message.type, reason: record.reason, record: JSON.stringify(record) }
    return this.#settle({ ...this.#back('dead', record.attempts, undefined, false), letter })
  }

  release(): Promise<void> {
    return this.#settle(this.#back('wait', this.attempt - 1, undefined, this.isSuspect))
  }

  /** Ends the delivery here and hands it to others: as a suspect, since its handler may have begun. */
  abandon(): Promise<void> {
    return this.#settle(this.#back('wait', this.#hasBegun ? this.attempt : this.attempt - 1, undefined, true))
  }

  #settle(back: PgReturn | undefined): Promise<void> {
    if (this.#isSettled) return Promise.resolve()
    this.#isSettled = true
    this.#backing.onSettled(this)
    return new Promise((resolve) => {
      this.#add(back, resolve, () => {
        this.#add(this.#back('wait', this.attempt, UNWRITABLE_DELAY_MS, true), resolve, () => resolve())
      })
    })
  }

  #back(kind: PgReturn['kind'], begun: number, delayMs: number | undefined, isSuspect: boolean): PgReturn {
    return { seq: this.#claim.seq, kind, begun, delayMs, isSuspect, letter: undefined }
  }

  #add(back: PgReturn | undefined, done: () => void, refused: (thrown: unknown) => void): void {
    const { seq, isOrdered } = this.#claim
    const { settler, groupId, instanceId, onMoved, onDelayed } = this.#backing
    const isLeaving = back !== undefined && back.kind !== 'begin'
    const outcome: PgOutcome = {
      seq, groupId, instanceId, isOrdered, back,
      key: this.message.key,
      // A claim that is sent after it must not take the row back into the window.
      sent: () => {
        if (isLeaving) onMoved(seq, false)
      },
      unsent: () => {
        if (isLeaving) onMoved(seq, true)
      },
      done: () => {
        if (back?.kind !== 'begin') onMoved(seq, false)
        if (back?.delayMs !== undefined) onDelayed(back.delayMs)
        done()
      },
      refused,
    }
    settler.add(outcome)
  }
}

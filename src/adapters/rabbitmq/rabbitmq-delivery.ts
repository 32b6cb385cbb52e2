import type { WireMessage } from '../../core/envelope.ts'
import type { DeadLetterRecord, Delivery } from '../../bus/port.ts'
import type { RabbitIntake } from './rabbitmq-intake.ts'
import { ATTEMPTS_HEADER, REDRIVEN_HEADER } from './rabbitmq-message.ts'
import type { Moved, RabbitMover } from './rabbitmq-mover.ts'
import type { RabbitMessage, RabbitTable } from './rabbitmq-client.ts'
import type { Kind } from './rabbitmq-topology.ts'

/** What the deliveries of one queue share. */
export interface DeliveryDesk {
  readonly kind: Kind
  readonly group: string
  readonly queue: string
  readonly mover: RabbitMover
  readonly repair: () => Promise<void>
  /** Deliveries that are not settled. */
  readonly open: Set<RabbitDelivery>
}

const DONE = Promise.resolve()

/** One message of an unordered group. */
export class RabbitDelivery implements Delivery, Moved {
  readonly message: WireMessage
  readonly attempt: number
  readonly isSuspect: boolean
  readonly isRedriven: boolean
  readonly raw: RabbitMessage
  readonly intake: RabbitIntake
  readonly #desk: DeliveryDesk
  #isSettled = false

  constructor(desk: DeliveryDesk, intake: RabbitIntake, raw: RabbitMessage, message: WireMessage, state: { readonly attempt: number; readonly isSuspect: boolean; readonly isRedriven: boolean }) {
    this.#desk = desk
    this.intake = intake
    this.raw = raw
    this.message = message
    this.attempt = state.attempt
    this.isSuspect = state.isSuspect
    this.isRedriven = state.isRedriven
    desk.open.add(this)
  }

  get queue(): string {
    return this.#desk.queue
  }

  get repair(): () => Promise<void> {
    return this.#desk.repair
  }

  /** The broker counts a suspect's attempts itself, since it gives out one suspect at a time. */
  begin(): Promise<number> {
    return Promise.resolve(this.attempt)
  }

  /** The broker has it, or brings the message again, as soon as the ack is on its way. */
  ack(): undefined {
    if (this.#claim()) this.intake.ack(this.raw)
  }

  retry(delayMs: number): Promise<void> {
    if (!this.#claim()) return DONE
    return this.#desk.mover.later(this, delayMs, this.#headers(this.attempt))
  }

  deadLetter(record: DeadLetterRecord): Promise<void> {
    if (!this.#claim()) return DONE
    return this.#desk.mover.bury(this, this.#desk.kind, this.#desk.group, record)
  }

  /**
   * Sends a copy with the same count to the end of the queue. Putting the message itself back (`nack`) would
   * mark it as delivered before, and on 3.10 also count it, as though an attempt had begun.
   */
  release(): Promise<void> {
    if (!this.#claim()) return DONE
    return this.#desk.mover.toQueue(this, this.#desk.queue, this.#headers(this.attempt - 1))
  }

  /**
   * Leaves it to others although its handler may still run: the attempt counts. Settling it afterwards does nothing.
   */
  abandon(): Promise<void> {
    if (!this.#claim()) return DONE
    return this.#desk.mover.toQueue(this, this.#desk.queue, this.#headers(this.attempt))
  }

  #claim(): boolean {
    if (this.#isSettled) return false
    this.#isSettled = true
    this.#desk.open.delete(this)
    return true
  }

  #headers(attempts: number): RabbitTable {
    return { [ATTEMPTS_HEADER]: `${attempts}`, ...(this.isRedriven ? { [REDRIVEN_HEADER]: '1' } : {}) }
  }
}

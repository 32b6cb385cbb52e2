import type { WireMessage } from '../core/envelope.ts'
import type { DeadLetterRecord, Delivery } from './port.ts'

/** A delivery whose message was changed on its way in; it is settled as what came. */
export class OpenedDelivery implements Delivery {
  readonly message: WireMessage
  readonly #delivery: Delivery

  constructor(delivery: Delivery, message: WireMessage) {
    this.#delivery = delivery
    this.message = message
  }

  get attempt(): number {
    return this.#delivery.attempt
  }

  get isSuspect(): boolean {
    return this.#delivery.isSuspect
  }

  get isRedriven(): boolean {
    return this.#delivery.isRedriven
  }

  begin(): Promise<number> {
    return this.#delivery.begin()
  }

  ack(): Promise<void> | undefined {
    return this.#delivery.ack()
  }

  retry(delayMs: number): Promise<void> {
    return this.#delivery.retry(delayMs)
  }

  deadLetter(record: DeadLetterRecord): Promise<void> {
    return this.#delivery.deadLetter(record)
  }

  release(): Promise<void> {
    return this.#delivery.release()
  }
}

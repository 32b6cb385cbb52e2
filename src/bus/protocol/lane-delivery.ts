import type { WireMessage } from '../../core/envelope.ts'
import type { DeadLetterRecord, Delivery } from '../port.ts'
import type { KeyQueue, LaneMessage } from './key-queue.ts'

/** How a delivery ended. */
export type Outcome =
  | { readonly kind: 'ack' }
  | { readonly kind: 'retry'; readonly delayMs: number }
  | { readonly kind: 'dead'; readonly record: DeadLetterRecord }
  | { readonly kind: 'release' }

/** What a delivery needs from its lane. */
export interface Settles {
  /** Records durably that the attempt begins. */
  begin(delivery: LaneDelivery): Promise<void>
  /** Called once per delivery. */
  settle(delivery: LaneDelivery, outcome: Outcome): Promise<void>
}

/** The front of a key, handed to the sink. */
export class LaneDelivery implements Delivery {
  readonly message: WireMessage
  readonly attempt: number
  readonly isSuspect: boolean
  readonly isRedriven: boolean
  readonly queue: KeyQueue
  readonly item: LaneMessage
  readonly #lane: Settles
  #begun: Promise<void> | undefined
  #settled: Promise<void> | undefined

  constructor(lane: Settles, queue: KeyQueue, item: LaneMessage) {
    this.message = item.message
    this.attempt = item.attempt + 1
    this.isSuspect = item.isSuspect
    this.isRedriven = item.isRedriven
    this.queue = queue
    this.item = item
    this.#lane = lane
  }

  /** True once the attempt was recorded, or is being recorded. */
  get isBegun(): boolean {
    return this.#begun !== undefined
  }

  /** @throws `bus.connection_lost` when the beginning cannot be recorded; the handler must not run then. */
  async begin(): Promise<number> {
    this.#begun ??= this.#lane.begin(this)
    await this.#begun
    return this.attempt
  }

  ack(): Promise<void> {
    return this.#settle({ kind: 'ack' })
  }

  retry(delayMs: number): Promise<void> {
    return this.#settle({ kind: 'retry', delayMs })
  }

  deadLetter(record: DeadLetterRecord): Promise<void> {
    return this.#settle({ kind: 'dead', record })
  }

  release(): Promise<void> {
    return this.#settle({ kind: 'release' })
  }

  /** The first outcome counts; later calls share its promise. */
  #settle(outcome: Outcome): Promise<void> {
    this.#settled ??= this.#lane.settle(this, outcome)
    return this.#settled
  }
}

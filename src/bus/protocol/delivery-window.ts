import type { Delivery, DeliverySink } from '../port.ts'
import type { KeyQueue } from './key-queue.ts'

/** Makes the delivery of a key's front when its turn has come. */
export interface Dispenser {
  handOut(queue: KeyQueue): Delivery
}

/**
 * The deliveries that all lanes of a group may have with the sink at the same time. Keys that are ready take turns in the
 * order in which they became ready, whatever lane they are of.
 */
export class DeliveryWindow {
  readonly #inFlightMax: number
  readonly #sink: DeliverySink
  readonly #ready = new Map<KeyQueue, Dispenser>()
  #inFlight = 0
  #isPaused = false
  #isPumping = false

  constructor(inFlightMax: number, sink: DeliverySink) {
    this.#inFlightMax = inFlightMax
    this.#sink = sink
  }

  /** True where a delivery could be handed out, if there were one. */
  get hasRoom(): boolean {
    return !this.#isPaused && this.#inFlight < this.#inFlightMax
  }

  /** Hands the key's front out as soon as there is room. */
  offer(queue: KeyQueue, dispenser: Dispenser): void {
    this.#ready.set(queue, dispenser)
    this.#pump()
  }

  /** Takes an offer back; nothing where there was none. */
  withdraw(queue: KeyQueue): void {
    this.#ready.delete(queue)
  }

  /** A delivery was settled. */
  settled(): void {
    this.#inFlight--
    this.#pump()
  }

  pause(): void {
    this.#isPaused = true
  }

  resume(): void {
    this.#isPaused = false
    this.#pump()
  }

  #pump(): void {
    // A sink may settle at once, which would recurse as deep as there are messages.
    if (this.#isPumping) return
    this.#isPumping = true
    try {
      for (const [queue, dispenser] of this.#ready) {
        if (!this.hasRoom) return
        this.#ready.delete(queue)
        this.#inFlight++
        this.#sink(dispenser.handOut(queue))
      }
    } finally {
      this.#isPumping = false
    }
  }
}

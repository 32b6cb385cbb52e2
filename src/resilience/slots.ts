/** Something that waits for a slot. */
export interface SlotWaiter {
  /** It has the slot now. */
  admitted(): void
}

/** A bounded number of slots and a bounded line of waiters, first come, first served; without a clock. */
export class Slots {
  readonly inFlightMax: number
  readonly waitingMax: number
  readonly #waiting = new Set<SlotWaiter>()
  #inFlight = 0

  constructor(inFlightMax: number, waitingMax: number) {
    this.inFlightMax = inFlightMax
    this.waitingMax = waitingMax
  }

  get inFlight(): number {
    return this.#inFlight
  }

  get waiting(): number {
    return this.#waiting.size
  }

  /** Takes a free slot. */
  take(): boolean {
    if (this.#inFlight >= this.inFlightMax) return false
    this.#inFlight++
    return true
  }

  /** Puts a waiter at the end of the line, where there is room. */
  wait(waiter: SlotWaiter): boolean {
    if (this.#waiting.size >= this.waitingMax) return false
    this.#waiting.add(waiter)
    return true
  }

  /** Takes a waiter out of the line; false where it is not in it (any more). */
  leave(waiter: SlotWaiter): boolean {
    return this.#waiting.delete(waiter)
  }

  /** Gives a slot back: it goes to the first waiter, so that nobody who comes now can take it before. */
  release(): void {
    for (const first of this.#waiting) {
      this.#waiting.delete(first)
      first.admitted()
      return
    }
    this.#inFlight--
  }
}

import type { Clock, Timer } from './clock.ts'

/** One of the times: what is looked at when its timer fires, and what was noted since that was set. */
interface Slot<T> {
  readonly delayMs: number
  timer: Timer | undefined
  now: Set<T>
  later: Set<T>
}

/**
 * Looks at what was noted, some set times later each. There is one timer for each time, however much is noted: what is noted while it runs is
 * looked at when it has run once more, so between one and two times the delay later.
 */
export class LaterLooks<T> {
  readonly #clock: Clock
  readonly #slots: readonly Slot<T>[]
  readonly #look: (noted: ReadonlySet<T>, delayMs: number) => void

  /**
   * @param delaysMs the times, in milliseconds.
   * @param look must not throw.
   */
  constructor(clock: Clock, delaysMs: readonly number[], look: (noted: ReadonlySet<T>, delayMs: number) => void) {
    this.#clock = clock
    this.#look = look
    this.#slots = delaysMs.map((delayMs) => ({ delayMs, timer: undefined, now: new Set(), later: new Set() }))
  }

  note(items: Iterable<T>): void {
    for (const slot of this.#slots) {
      const noted = slot.timer === undefined ? slot.now : slot.later
      for (const item of items) noted.add(item)
      if (slot.timer === undefined) this.#arm(slot)
    }
  }

  /** Forgets what was noted. */
  close(): void {
    for (const slot of this.#slots) {
      slot.timer?.cancel()
      slot.timer = undefined
      slot.now.clear()
      slot.later.clear()
    }
  }

  #arm(slot: Slot<T>): void {
    slot.timer = this.#clock.setTimer(slot.delayMs, () => {
      const { now } = slot
      slot.timer = undefined
      slot.now = slot.later
      slot.later = new Set()
      if (slot.now.size > 0) this.#arm(slot)
      this.#look(now, slot.delayMs)
    }, { background: true })
  }
}

import type { Clock, Timer } from '../../core/clock.ts'

const BEAT_MAX_MS = 1_000
const BEAT_MIN_MS = 50

/** Something that has to be done again and again while it lives. */
export interface Beating {
  onBeat(): void
}

/**
 * One timer for all that a transport does periodically: signs of life for deliveries in hand, watching for consumers
 * that fell silent. A timer per message or per subscription would cost more than the work.
 */
export class NatsPulse {
  /** Milliseconds from beat to beat. */
  readonly beatMs: number
  readonly #clock: Clock
  readonly #members = new Set<Beating>()
  #timer: Timer | undefined

  /** @param periodMs shortest period that anything here needs; beats come at half of it. */
  constructor(clock: Clock, periodMs: number) {
    this.#clock = clock
    this.beatMs = Math.max(BEAT_MIN_MS, Math.min(BEAT_MAX_MS, Math.floor(periodMs / 2)))
  }

  /** Beats that cover a time, at least one. */
  beatsIn(timeMs: number): number {
    return Math.max(1, Math.floor(timeMs / this.beatMs))
  }

  add(member: Beating): void {
    this.#members.add(member)
    this.#timer ??= this.#arm()
  }

  remove(member: Beating): void {
    this.#members.delete(member)
    if (this.#members.size > 0) return
    this.#timer?.cancel()
    this.#timer = undefined
  }

  #arm(): Timer {
    return this.#clock.setTimer(
      this.beatMs,
      () => {
        this.#timer = this.#members.size === 0 ? undefined : this.#arm()
        for (const member of this.#members) member.onBeat()
      },
      { background: true },
    )
  }
}

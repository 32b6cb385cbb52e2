import type { Clock, Timer } from '../../core/clock.ts'
import { LANE_STALL_MS } from '../../core/limits.ts'
import type { KeyQueue } from './key-queue.ts'
import type { LiveItem } from './lane-port.ts'

/** What a lane's window of live messages needs. */
export interface LiveWindowSettings {
  readonly clock: Clock
  /** Live items that the broker leaves unacked at most. */
  readonly liveMax: number
  /** True where a message of another key could be handed out if it were here. */
  readonly hasRoom: () => boolean
  /** Messages have blocked more than half of the window for a while. */
  readonly onStalled: () => void
}

/**
 * The live messages of a lane that are not acked. The broker sends no others while there are `liveMax` of them, so that
 * messages behind a few busy keys could keep all other keys waiting. A window that turns over by half within
 * `LANE_STALL_MS` is not stalled: a key with much to do would otherwise pay for the hold list without need.
 */
export class LiveWindow {
  readonly #settings: LiveWindowSettings
  #unacked = 0
  #acked = 0
  #timer: Timer | undefined
  #isClosed = false

  constructor(settings: LiveWindowSettings) {
    this.#settings = settings
  }

  /** A live message came. */
  took(): void {
    this.#unacked++
    this.#watch()
  }

  /** Acks a live message. It never rejects: a message whose ack is lost comes again and is recognised. */
  async ack(live: LiveItem): Promise<void> {
    this.#unacked--
    this.#acked++
    try {
      await live.ack()
    } catch {
      // As above; the link's own state is the adapter's to report.
    }
  }

  /** Keys whose messages should leave the window, those with most of them first, so that half of it becomes free. */
  blockers(queues: Iterable<KeyQueue>): readonly KeyQueue[] {
    const waiting = [...queues]
      .map((queue) => ({ queue, count: queue.looseBehindFront }))
      .filter(({ count }) => count > 0)
      .toSorted((one, other) => other.count - one.count)
    let blocked = waiting.reduce((sum, { count }) => sum + count, 0)
    const blockers: KeyQueue[] = []
    for (const { queue, count } of waiting) {
      if (blocked * 2 <= this.#settings.liveMax) break
      blockers.push(queue)
      blocked -= count
    }
    return blockers
  }

  /** Stops watching for good. */
  close(): void {
    this.#isClosed = true
    this.#timer?.cancel()
  }

  #watch(): void {
    const { clock, liveMax, hasRoom, onStalled } = this.#settings
    if (this.#isClosed || this.#timer !== undefined || this.#unacked * 2 <= liveMax) return
    const ackedBefore = this.#acked
    this.#timer = clock.setTimer(LANE_STALL_MS, () => {
      this.#timer = undefined
      const isMoving = (this.#acked - ackedBefore) * 2 >= liveMax
      if (!isMoving && hasRoom()) onStalled()
      this.#watch()
    })
  }
}

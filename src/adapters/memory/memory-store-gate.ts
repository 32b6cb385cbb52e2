import type { Clock } from '../../core/clock.ts'
import { TrunklineError } from '../../core/errors.ts'

/** How long, and for how long at most, a transaction waits for its turn. */
export interface GateWait {
  readonly clock: Clock
  readonly timeoutMs: number
  readonly signal: AbortSignal | undefined
}

const WAITING_MAX = 100_000

/** Lets one transaction in at a time, in the order in which they came. What is inside it leaves with `leave`. */
export class MemoryGate {
  #isTaken = false
  readonly #waiting = new Set<() => void>()

  /**
   * Resolves when it is the caller's turn.
   *
   * @throws `store.conflict` where its turn did not come in time: perhaps the one inside waits for this one.
   * @throws `bus.overloaded` where too many wait; the signal's reason where it aborts.
   */
  async enter({ clock, timeoutMs, signal }: GateWait): Promise<void> {
    signal?.throwIfAborted()
    if (!this.#isTaken) {
      this.#isTaken = true
      return
    }
    if (this.#waiting.size >= WAITING_MAX) throw new TrunklineError('bus.overloaded', { what: 'units of work that wait', limit: WAITING_MAX })
    const turn = Promise.withResolvers<void>()
    const giveUp = (): void => {
      this.#waiting.delete(turn.resolve)
      turn.reject(signal?.aborted === true ? signal.reason : waitedTooLong(timeoutMs))
    }
    this.#waiting.add(turn.resolve)
    const timer = clock.setTimer(timeoutMs, giveUp)
    signal?.addEventListener('abort', giveUp, { once: true })
    try {
      await turn.promise
    } finally {
      timer.cancel()
      signal?.removeEventListener('abort', giveUp)
    }
  }

  /** Lets the next one in. */
  leave(): void {
    const [next] = this.#waiting
    if (next === undefined) {
      this.#isTaken = false
      return
    }
    this.#waiting.delete(next)
    next()
  }
}

function waitedTooLong(timeoutMs: number): TrunklineError {
  return new TrunklineError('store.conflict', { store: 'memory', problem: `another unit of work did not end within ${timeoutMs} ms` })
}

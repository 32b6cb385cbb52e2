import type { LoadState } from '../bus/call-policy.ts'

/** How long something may wait. */
export interface DelayRule {
  /** Milliseconds that something may wait while the queue does not empty. */
  readonly targetDelayMs: number
  /** Milliseconds that something may wait else; also how long the queue must have been standing to count as overload. */
  readonly intervalMs: number
  /** Entries at most. */
  readonly waitingMax: number
}

interface Entry<T> {
  readonly item: T
  readonly sinceMs: number
}

/**
 * A queue that sheds by delay and not by length, without a clock. A queue that has not been empty for `intervalMs` is no burst but an overload: then nothing
 * may wait longer than `targetDelayMs`, and the newest goes first, because who came first has the least time left. The rule is the one of B. Maurer, "Fail at
 * Scale" (ACM Queue 13/8, 2015: controlled delay and adaptive LIFO), after CoDel of K. Nichols and V. Jacobson (RFC 8289). All times are monotonic milliseconds.
 */
export class DelayQueue<T> {
  #rule: DelayRule
  /** Oldest first. */
  readonly #entries: Entry<T>[] = []
  #emptyAtMs = -Infinity

  constructor(rule: DelayRule) {
    this.#rule = rule
  }

  get size(): number {
    return this.#entries.length
  }

  /** Another rule from now on. */
  change(rule: DelayRule): void {
    this.#rule = rule
  }

  /** `shedding` where the queue has been standing for `intervalMs`. */
  state(nowMs: number): LoadState {
    return this.#entries.length > 0 && nowMs - this.#emptyAtMs >= this.#rule.intervalMs ? 'shedding' : 'normal'
  }

  /** True where no more may wait. */
  get isFull(): boolean {
    return this.#entries.length >= this.#rule.waitingMax
  }

  /** Adds one at the end. */
  push(item: T, nowMs: number): void {
    if (this.#entries.length === 0) this.#emptyAtMs = nowMs
    this.#entries.push({ item, sinceMs: nowMs })
  }

  /** Takes the one whose turn it is. Call `expired` before. */
  pop(nowMs: number): T | undefined {
    const entry = this.state(nowMs) === 'shedding' ? this.#entries.pop() : this.#entries.shift()
    return entry?.item
  }

  /** Takes out those that waited too long, oldest first, each with how long it waited. */
  expired(nowMs: number): readonly { readonly item: T; readonly waitedMs: number }[] {
    const found: { item: T; waitedMs: number }[] = []
    for (let oldest = this.#entries[0]; oldest !== undefined && nowMs - oldest.sinceMs >= this.#limitMs(nowMs); oldest = this.#entries[0]) {
      this.#entries.shift()
      found.push({ item: oldest.item, waitedMs: nowMs - oldest.sinceMs })
    }
    return found
  }

  /** Milliseconds until the oldest one has waited too long; undefined where none waits. */
  nextExpiryInMs(nowMs: number): number | undefined {
    const oldest = this.#entries[0]
    if (oldest === undefined) return undefined
    // The queue may count as standing before the longer time of its oldest is over.
    const standsInMs = Math.max(0, this.#emptyAtMs + this.#rule.intervalMs - nowMs)
    const waitedMs = nowMs - oldest.sinceMs
    return Math.max(0, Math.min(this.#rule.intervalMs - waitedMs, Math.max(standsInMs, this.#rule.targetDelayMs - waitedMs)))
  }

  /** Takes out one that is not wanted any more; false where it is not in it. */
  remove(item: T): boolean {
    const index = this.#entries.findIndex((entry) => entry.item === item)
    if (index >= 0) this.#entries.splice(index, 1)
    return index >= 0
  }

  #limitMs(nowMs: number): number {
    return this.state(nowMs) === 'shedding' ? this.#rule.targetDelayMs : this.#rule.intervalMs
  }
}

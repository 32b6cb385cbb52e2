/** Taken items that are kept in front before the array is cut. */
const SLACK_MAX = 1_024

/** First in, first out, without moving the rest on every step. */
export class Fifo<T> {
  #items: T[] = []
  #head = 0

  get length(): number {
    return this.#items.length - this.#head
  }

  push(item: T): void {
    this.#items.push(item)
  }

  /** The oldest item, taken out. */
  shift(): T | undefined {
    if (this.#head >= this.#items.length) return undefined
    const item = this.#items[this.#head++]
    if (this.#head === this.#items.length || (this.#head > SLACK_MAX && this.#head * 2 > this.#items.length)) {
      this.#items = this.#items.slice(this.#head)
      this.#head = 0
    }
    return item
  }

  /** Puts items in front, the first of them foremost. */
  prepend(items: readonly T[]): void {
    if (items.length === 0) return
    this.#items = [...items, ...this.#items.slice(this.#head)]
    this.#head = 0
  }

  /** Takes out all items that match, oldest first. */
  removeWhere(matches: (item: T) => boolean): readonly T[] {
    const all = this.#items.slice(this.#head)
    const removed = all.filter(matches)
    if (removed.length > 0) {
      this.#items = all.filter((item) => !matches(item))
      this.#head = 0
    }
    return removed
  }
}

/** The last ids that were added, as many as `sizeMax`. */
export class RecentIds {
  readonly #sizeMax: number
  readonly #ids = new Set<string>()

  constructor(sizeMax: number) {
    this.#sizeMax = sizeMax
  }

  has(id: string): boolean {
    return this.#ids.has(id)
  }

  /** Adds an id; the oldest one is forgotten where there would be too many. */
  add(id: string): void {
    this.#ids.add(id)
    if (this.#ids.size <= this.#sizeMax) return
    for (const oldest of this.#ids) {
      this.#ids.delete(oldest)
      return
    }
  }
}

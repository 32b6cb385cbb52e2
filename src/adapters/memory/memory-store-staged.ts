/** A table as one transaction sees it: what it has changed itself, over what is committed. */
export class StagedTable<K, V> {
  readonly #base: Map<K, V>
  readonly #changes = new Map<K, V | undefined>()

  constructor(base: Map<K, V>) {
    this.#base = base
  }

  get isChanged(): boolean {
    return this.#changes.size > 0
  }

  get(key: K): V | undefined {
    return this.#changes.has(key) ? this.#changes.get(key) : this.#base.get(key)
  }

  set(key: K, value: V): void {
    this.#changes.set(key, value)
  }

  /** False where there was none. */
  delete(key: K): boolean {
    const was = this.get(key)
    if (was !== undefined) this.#changes.set(key, undefined)
    return was !== undefined
  }

  /** What is there, the committed rows first. */
  entries(): readonly (readonly [K, V])[] {
    const seen: (readonly [K, V])[] = []
    for (const [key, value] of this.#base) if (!this.#changes.has(key)) seen.push([key, value])
    for (const [key, value] of this.#changes) if (value !== undefined) seen.push([key, value])
    return seen
  }

  /** Writes the changes down. */
  commit(): void {
    for (const [key, value] of this.#changes) {
      if (value === undefined) this.#base.delete(key)
      else this.#base.set(key, value)
    }
  }
}

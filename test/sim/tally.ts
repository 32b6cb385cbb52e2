/** Whole numbers from 0, counted by value, so that millions of them cost nothing. */
export class Tally {
  readonly #counts = new Map<number, number>()
  #sum = 0
  count = 0

  add(value: number): void {
    const whole = Math.round(value)
    this.#counts.set(whole, (this.#counts.get(whole) ?? 0) + 1)
    this.#sum += whole
    this.count++
  }

  /** The smallest value that is not exceeded by this share of all; undefined where there are none. */
  quantile(share: number): number | undefined {
    let left = Math.max(1, Math.ceil(share * this.count))
    for (const [value, count] of [...this.#counts].toSorted(([one], [other]) => one - other)) {
      left -= count
      if (left <= 0) return value
    }
    return undefined
  }

  get max(): number | undefined {
    return this.quantile(1)
  }

  get mean(): number | undefined {
    return this.count === 0 ? undefined : this.#sum / this.count
  }
}

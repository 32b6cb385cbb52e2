/**
 * Lets suspects run one at a time per process. A suspect is a delivery that began before and was never
 * settled, perhaps because it kills its process: alone, it raises its own count and not its neighbours'.
 */
export class SuspectGate {
  readonly #waiting: (() => void)[] = []
  #isBusy = false

  /** Resolves when it is the caller's turn; call `leave` afterwards, whatever happens. */
  enter(): Promise<void> {
    if (!this.#isBusy) {
      this.#isBusy = true
      return Promise.resolve()
    }
    return new Promise((resolve) => {
      this.#waiting.push(resolve)
    })
  }

  leave(): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#isBusy = false
    else next()
  }
}

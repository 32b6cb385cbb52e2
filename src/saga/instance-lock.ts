/** Lets one at a time work on an instance within this process, in the order of asking, so that conflicts come only from other processes. */
export class InstanceLock {
  readonly #tails = new Map<string, Promise<void>>()

  /** Instances that are worked on now. */
  get size(): number {
    return this.#tails.size
  }

  /** Runs `work` when everybody who asked before has ended. */
  async run<T>(name: string, work: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(name)
    const turn = Promise.withResolvers<void>()
    this.#tails.set(name, turn.promise)
    try {
      if (before !== undefined) await before
      return await work()
    } finally {
      if (this.#tails.get(name) === turn.promise) this.#tails.delete(name)
      turn.resolve()
    }
  }
}

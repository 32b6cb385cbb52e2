/** Things that wait for one statement to do them all. */
export class PgFlight<In, Out> {
  readonly #waiting: { readonly item: In; readonly settled: PromiseWithResolvers<Out> }[] = []
  readonly #run: (items: readonly In[]) => Promise<readonly (Out | Error)[]>

  /** @param run does several at once; an error stands for one of them that failed, and whoever waits for it is told. */
  constructor(run: (items: readonly In[]) => Promise<readonly (Out | Error)[]>) {
    this.#run = run
  }

  /** True where nothing waits. */
  get isEmpty(): boolean {
    return this.#waiting.length === 0
  }

  /** Waits for the next statement; resolves with what it gives for the item. */
  add(item: In): Promise<Out> {
    const settled = Promise.withResolvers<Out>()
    this.#waiting.push({ item, settled })
    return settled.promise
  }

  /** Sends it. Whoever waits hears what became of it. */
  async leave(): Promise<void> {
    const waiting = this.#waiting.splice(0)
    if (waiting.length === 0) return
    try {
      const results = await this.#run(waiting.map(({ item }) => item))
      for (const [at, { settled }] of waiting.entries()) {
        const result = results[at]
        if (result === undefined || result instanceof Error) settled.reject(result)
        else settled.resolve(result)
      }
    } catch (error) {
      for (const { settled } of waiting) settled.reject(error)
    }
  }
}

/** How a call to the broker ended; `lost` where the lane was lost before it ended. */
export type CallResult<T> =
  | { readonly kind: 'done'; readonly value: T }
  | { readonly kind: 'refused'; readonly problem: unknown }
  | { readonly kind: 'lost' }

const LOST: CallResult<never> = { kind: 'lost' }

/**
 * Calls to the broker that end at the latest when the lane is lost, although the client's promise may stay pending for
 * ever: whoever awaits a settling method must not wait for a link that is gone.
 */
export class BrokerCalls {
  readonly #pending = new Set<() => void>()
  #isOver = false

  /** Starts a call. The promise never rejects; after `abandon` nothing is started any more. */
  run<T>(start: () => Promise<T>): Promise<CallResult<T>> {
    if (this.#isOver) return Promise.resolve(LOST)
    return new Promise((resolve) => {
      const abandon = (): void => {
        resolve(LOST)
      }
      this.#pending.add(abandon)
      const finish = (result: CallResult<T>): void => {
        this.#pending.delete(abandon)
        resolve(result)
      }
      invoke(start).then(
        (value) => {
          finish({ kind: 'done', value })
        },
        (problem: unknown) => {
          finish({ kind: 'refused', problem })
        },
      )
    })
  }

  /** Ends every pending call with `lost`, and every later one at once. */
  abandon(): void {
    this.#isOver = true
    for (const abandon of this.#pending) abandon()
    this.#pending.clear()
  }
}

/** Turns what an adapter throws at once into a rejection. */
async function invoke<T>(start: () => Promise<T>): Promise<T> {
  return await start()
}

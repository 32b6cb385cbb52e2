/** How long to look, how often, and what to say when it did not come true. */
export interface UntilOptions {
  /** Time after which the wait fails; 10 s where it is not given. */
  readonly deadlineMs?: number
  /** Pause between two looks; 10 ms where it is not given. */
  readonly everyMs?: number
  /** What is awaited, for the error. */
  readonly what?: string
}

/**
 * Polls a condition until it gives something truthy, and resolves with that. A condition that throws
 * counts as not yet true; its last error becomes the cause of the failure.
 */
export async function until<T>(condition: () => T | Promise<T>, options: UntilOptions = {}): Promise<T> {
  const { deadlineMs = 10_000, everyMs = 10, what = 'the condition' } = options
  const end = performance.now() + deadlineMs
  let cause: unknown
  for (;;) {
    try {
      const value = await condition()
      if (value) return value
      cause = undefined
    } catch (error) {
      cause = error
    }
    if (performance.now() >= end) throw new Error(`${what} did not come true within ${deadlineMs} ms`, { cause })
    await pause(everyMs)
  }
}

/** Resolves after a time. For polling loops only: a test that needs it to be right is wrong. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

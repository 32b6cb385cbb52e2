import { fail } from 'node:assert/strict'
import { sleep, systemClock } from '../core/clock.ts'
import { isTrunklineError } from '../core/errors.ts'

/** Longest wait for something that must happen. Generous: it is only ever reached by a failure. */
export const WAIT_MS_MAX = 20_000
const LOOK_EVERY_MS = 2

/**
 * Resolves when the condition holds; rejects when it does not in time. An error that it throws counts as "not yet",
 * `bus.unsupported` apart, which no time can change.
 */
export async function comesTrue(what: string, holds: () => boolean | Promise<boolean>, waitMsMax: number): Promise<void> {
  const endMs = systemClock.monotonicMs() + waitMsMax
  let lastError: unknown
  for (;;) {
    try {
      if (await holds()) return
      lastError = undefined
    } catch (error) {
      if (isTrunklineError(error, 'bus.unsupported')) throw error
      lastError = error
    }
    if (systemClock.monotonicMs() > endMs) {
      const because = lastError === undefined ? '' : `: ${lastError instanceof Error ? lastError.message : typeof lastError}`
      fail(`within ${waitMsMax} ms it did not come true that ${what}${because}`)
    }
    await sleep(systemClock, LOOK_EVERY_MS)
  }
}

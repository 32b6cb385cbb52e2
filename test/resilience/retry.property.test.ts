import { ExponentialBackoff, handleAll, noJitterGenerator, retry as cockatielRetry } from 'cockatiel'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { retry, retryBudget } from '../../src/index.ts'
import { TwoClocks, Watched, broken } from './policy-rig.ts'

// The oracle is cockatiel. Different on purpose, and not compared: our waits are jittered (here the random source gives the longest ones), a budget bounds
// the retries of all calls together, a wait ends when its caller gives up, and none is begun that ends after the caller's deadline.

test('tries as often, and waits as long between, as cockatiel does', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 7 }), fc.integer({ min: 100, max: 400 }), fc.integer({ min: 400, max: 3_000 }), fc.integer({ min: 0, max: 8 }),
      async (attemptsMax, initialMs, maxMs, failures) => {
        using clocks = new TwoClocks(1 - Number.EPSILON)
        const seen: { mine: number[]; other: number[] } = { mine: [], other: [] }
        const work = (times: number[], nowMs: () => number) => (): Promise<number> => {
          times.push(nowMs())
          return times.length <= failures ? Promise.reject(broken()) : Promise.resolve(times.length)
        }
        const ours = retry({ attemptsMax, initialMs, factor: 2, maxMs, budget: retryBudget({ perSecondMin: 1_000 }) })
        // It makes attempts beside the first one, and its first backoff is a first delay.
        const theirs = cockatielRetry(handleAll, { maxAttempts: attemptsMax - 1, backoff: new ExponentialBackoff({ generator: noJitterGenerator, initialDelay: initialMs, exponent: 2, maxDelay: maxMs }) })
        const mine = new Watched(ours.run(work(seen.mine, () => clocks.clock.monotonicMs()), { host: clocks.host }))
        const other = new Watched(theirs.execute(work(seen.other, () => Date.now() - 1_000_000)))
        for (let at = 0; at < 30; at++) await clocks.advance(1_000)
        expect(mine.outcome).toEqual(other.outcome)
        expect(seen.mine).toEqual(seen.other)
      },
    ),
    { numRuns: 60 },
  )
}, 120_000)

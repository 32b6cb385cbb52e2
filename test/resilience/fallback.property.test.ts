import { circuitBreaker as cockatielBreaker, ConsecutiveBreaker, fallback as cockatielFallback, handleAll, retry as cockatielRetry, ConstantBackoff, wrap } from 'cockatiel'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { circuitBreaker, compose, fallback, retry, retryBudget } from '../../src/index.ts'
import { TwoClocks, broken } from './policy-rig.ts'

test('stands in, round a retry and a breaker, where cockatiel does', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.boolean(), { maxLength: 40 }), fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 4 }), async (fails, attemptsMax, failuresMax) => {
      using clocks = new TwoClocks()
      const ours = compose(
        fallback({ value: 'instead' }),
        circuitBreaker({ trip: { consecutive: failuresMax }, openMs: 1_000, openMaxMs: 1_000 }),
        retry({ attemptsMax, initialMs: 0, budget: retryBudget({ perSecondMin: 1_000_000, savedMax: 1_000_000 }) }),
      )
      const theirs = wrap(
        cockatielFallback(handleAll, 'instead'),
        cockatielBreaker(handleAll, { halfOpenAfter: 1_000, breaker: new ConsecutiveBreaker(failuresMax) }),
        cockatielRetry(handleAll, { maxAttempts: attemptsMax - 1, backoff: new ConstantBackoff(0) }),
      )
      const counts = { mine: 0, other: 0 }
      const work = (whose: 'mine' | 'other') => (): Promise<string> => (fails[counts[whose]++ % fails.length] === true ? Promise.reject(broken()) : Promise.resolve('done'))
      for (let at = 0; at < 10; at++) {
        const results = Promise.all([ours.run(work('mine'), { host: clocks.host }), theirs.execute(work('other'))])
        await clocks.advance(300)
        const [mine, other] = await results
        expect([mine, counts.mine]).toEqual([other, counts.other])
      }
    }),
    { numRuns: 60 },
  )
}, 120_000)

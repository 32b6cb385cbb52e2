import { TaskCancelledError, TimeoutStrategy, timeout as cockatielTimeout } from 'cockatiel'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { timeout } from '../../src/index.ts'
import { sleep } from '../../src/core/clock.ts'
import { OpenCall, TwoClocks, Watched } from './policy-rig.ts'

// The oracle is cockatiel with its aggressive strategy. Different on purpose, and not compared: it aborts the signal also after a call that ended in time.

test('gives up at the same instant as cockatiel does, and aborts the work', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 500 }), fc.integer({ min: 0, max: 700 }), fc.boolean(), async (timeoutMs, takesMs, fails) => {
      using clocks = new TwoClocks()
      const [mine, other] = [new OpenCall(), new OpenCall()]
      const mineSeen = new Watched(timeout(timeoutMs).run(mine.work, { host: clocks.host }))
      const otherSeen = new Watched(
        cockatielTimeout(timeoutMs, TimeoutStrategy.Aggressive).execute(({ signal }) => other.work(signal))
          .catch((error: unknown) => Promise.reject(error instanceof TaskCancelledError ? new Error('resilience.timeout') : error)),
      )
      void sleep(clocks.clock, takesMs).then(() => (fails ? mine.reject(new Error('failed')) : mine.resolve('done')))
      setTimeout(() => (fails ? other.reject(new Error('failed')) : other.resolve('done')), takesMs)
      // Where both come due at once it is a matter of which timer was set first: the limit's.
      for (let at = 0; at < 8; at++) {
        await clocks.advance(100)
        expect(mineSeen.outcome).toEqual(otherSeen.outcome)
      }
      expect(mine.signal?.aborted).toBe(mineSeen.outcome === 'resilience.timeout')
    }),
    { numRuns: 60 },
  )
}, 120_000)

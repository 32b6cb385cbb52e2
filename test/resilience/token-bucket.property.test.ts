import fc from 'fast-check'
import { expect, test } from 'vitest'
import { TokenBucket } from '../../src/resilience/token-bucket.ts'

// cockatiel has no rate limit; the oracle is the bucket as it is drawn: a number of permits that grows with time up to a bound.

test('grants what a bucket of permits grants', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 50 }), fc.integer({ min: 1, max: 20 }), fc.array(fc.integer({ min: 0, max: 300 }), { maxLength: 100 }), (permitsPerSecond, burstMax, gapsMs) => {
      const bucket = new TokenBucket(permitsPerSecond, burstMax)
      let [permits, nowMs] = [burstMax, 0]
      for (const gapMs of gapsMs) {
        nowMs += gapMs
        permits = Math.min(burstMax, permits + (gapMs * permitsPerSecond) / 1_000)
        const isGranted = permits >= 1 - 1e-6
        if (isGranted) permits -= 1
        const permit = bucket.take(nowMs, 0)
        expect(permit.kind).toBe(isGranted ? 'granted' : 'refused')
        if (permit.kind === 'refused') expect(Math.abs(permit.retryAfterMs - ((1 - permits) * 1_000) / permitsPerSecond)).toBeLessThanOrEqual(1.001)
      }
    }),
  )
})

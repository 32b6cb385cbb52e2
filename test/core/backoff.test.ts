import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Backoff, backoffMs } from '../../src/core/backoff.ts'
import type { Random } from '../../src/core/random.ts'

const drawing = (value: number): Random => ({ next: () => value, id: () => '' })

const backoffs: fc.Arbitrary<Backoff> = fc.record({
  initialMs: fc.integer({ min: 0, max: 86_400_000 }),
  factor: fc.double({ min: 1, max: 100, noNaN: true }),
  maxMs: fc.integer({ min: 0, max: 86_400_000 }),
})
const draws = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
const retries = fc.integer({ min: -3, max: 1_000_000 })

describe('backoffMs', () => {
  test('stays between the least wait and every bound, for any retry however late', () => {
    fc.assert(
      fc.property(backoffs, draws, retries, (backoff, draw, retry) => {
        const delayMs = backoffMs(backoff, retry, drawing(draw))
        expect(Number.isSafeInteger(delayMs)).toBe(true)
        expect(delayMs).toBeLessThanOrEqual(backoff.maxMs)
        expect(delayMs).toBeGreaterThanOrEqual(Math.min(100, backoff.initialMs, backoff.maxMs))
      }),
    )
  })

  test('never falls from one retry to the next for the same draw', () => {
    fc.assert(
      fc.property(backoffs, draws, fc.integer({ min: 1, max: 400 }), (backoff, draw, retry) => {
        expect(backoffMs(backoff, retry + 1, drawing(draw))).toBeGreaterThanOrEqual(backoffMs(backoff, retry, drawing(draw)))
      }),
    )
  })

  test('doubles its bound from 500 ms to five minutes by default figures', () => {
    const bounds = [1, 2, 3, 4, 10, 11, 30].map((retry) => backoffMs({ initialMs: 500, factor: 2, maxMs: 300_000 }, retry, drawing(0.999_999_999)))
    expect(bounds).toEqual([500, 1_000, 2_000, 4_000, 256_000, 300_000, 300_000])
  })

  test('draws over the whole bound, and never below 100 ms unless that was asked for', () => {
    const backoff = { initialMs: 1_000, factor: 2, maxMs: 60_000 }
    expect(backoffMs(backoff, 1, drawing(0))).toBe(100)
    expect(backoffMs(backoff, 1, drawing(0.5))).toBe(500)
    expect(backoffMs({ ...backoff, initialMs: 20 }, 1, drawing(0))).toBe(20)
    expect(backoffMs({ ...backoff, maxMs: 30 }, 1, drawing(0))).toBe(30)
  })

  test('waits for nothing where the first wait is 0, also when the growth overflows (B45)', () => {
    expect(backoffMs({ initialMs: 0, factor: 100, maxMs: 1_000 }, 100_000, drawing(0.5))).toBe(0)
  })
})

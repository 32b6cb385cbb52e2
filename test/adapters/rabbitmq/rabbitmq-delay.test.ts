import fc from 'fast-check'
import { expect, test } from 'vitest'
import { DELAY_HELD_MAX_MS, delayOf, levelMs } from '../../../src/adapters/rabbitmq/rabbitmq-delay.ts'

const DAY_MS = 86_400_000

test('a delay is waited out in full, in one queue where it fits', () => {
  fc.assert(
    fc.property(fc.double({ min: 0.1, max: DAY_MS, noNaN: true }), (delayMs) => {
      const { heldMs, leftMs } = delayOf(delayMs)
      expect(heldMs + leftMs).toBe(delayMs)
      expect(leftMs).toBe(Math.max(0, delayMs - DELAY_HELD_MAX_MS))
    }),
  )
})

test('messages of one level wait at most twice as long as each other, and never longer than the level says', () => {
  fc.assert(
    fc.property(fc.oneof(fc.double({ min: 0.1, max: DAY_MS, noNaN: true }), fc.integer({ min: 0, max: 10 }).map(levelMs)), (delayMs) => {
      const { level, heldMs } = delayOf(delayMs)
      expect(heldMs).toBeLessThanOrEqual(levelMs(level))
      if (level > 0) expect(heldMs).toBeGreaterThan(levelMs(level - 1))
    }),
  )
  expect([1, 250, 251, 500, DELAY_HELD_MAX_MS, DAY_MS].map((delayMs) => delayOf(delayMs).level)).toEqual([0, 0, 1, 1, 10, 10])
})

test('no message waits unacked for as long as the shortest wait that brokers are set to', () => {
  expect(DELAY_HELD_MAX_MS).toBeLessThan(300_000)
})

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { DELAY_TRIP_MAX_MS, DELAY_UNIT_MS, delayRoute, duePattern } from '../../../src/adapters/rabbitmq/rabbitmq-delay.ts'

/** What the levels' queues add up to on the way down from the level of entry. */
function travelMs(routingKey: string, level: number): number {
  const bits = routingKey.split('.').slice(0, 14)
  let ms = 0
  for (let at = level; at >= 0; at--) if (bits[13 - at] === '1') ms += DELAY_UNIT_MS * 2 ** at
  return ms
}

test('a route takes the delay, never less, and less than a unit more', () => {
  fc.assert(
    fc.property(fc.double({ min: 0.5, max: DELAY_TRIP_MAX_MS, noNaN: true }), (delayMs) => {
      const { level, routingKey, leftMs } = delayRoute(delayMs, 'q')
      const ms = travelMs(routingKey, level)
      expect(ms).toBeGreaterThanOrEqual(delayMs)
      expect(ms - delayMs).toBeLessThan(DELAY_UNIT_MS)
      expect(leftMs).toBe(0)
    }),
  )
})

test('a delay beyond the ladder goes round again with what is left', () => {
  const day = 86_400_000
  let left = day
  let total = 0
  let rounds = 0
  while (left > 0) {
    const { level, routingKey, leftMs } = delayRoute(left, 'q')
    total += travelMs(routingKey, level)
    left = leftMs
    rounds++
  }
  expect(total).toBeGreaterThanOrEqual(day)
  expect(total - day).toBeLessThan(DELAY_UNIT_MS)
  expect(rounds).toBe(Math.ceil(day / DELAY_TRIP_MAX_MS))
})

test('the foot of the ladder knows the queue by the words behind the levels', () => {
  expect(delayRoute(75, 'ns.shop.billing.a.b').routingKey).toBe('0.0.0.0.0.0.0.0.0.0.0.0.1.0.ns.shop.billing.a.b')
  expect(duePattern('ns.q')).toBe('*.*.*.*.*.*.*.*.*.*.*.*.*.*.ns.q')
})

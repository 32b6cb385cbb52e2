import { expect, test } from 'vitest'
import { TimeWindow } from '../../src/resilience/failure-window.ts'

test('a window of time forgets what is older than it, also after a pause without calls', () => {
  const window = new TimeWindow(0.5, 1_000, 2)
  window.record(true, 0)
  window.record(true, 10)
  expect(window.isBroken(999)).toBe(true)
  expect(window.isBroken(1_000)).toBe(false)
  window.record(true, 60_000)
  // One of one is more than half; two are the least that count.
  expect(window.isBroken(60_000)).toBe(false)
  window.record(true, 60_001)
  expect(window.isBroken(60_001)).toBe(true)
})

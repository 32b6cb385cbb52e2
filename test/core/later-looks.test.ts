import { expect, test } from 'vitest'
import { LaterLooks } from '../../src/core/later-looks.ts'
import { virtualClock } from '../../src/testing/virtual-clock.ts'

test('looks at what was noted at each of its times, with one timer for each, and never early', async () => {
  const clock = virtualClock({ startMs: 0 })
  const looks: [atMs: number, delayMs: number, noted: readonly string[]][] = []
  const later = new LaterLooks<string>(clock, [10, 100], (noted, delayMs) => looks.push([clock.nowMs(), delayMs, [...noted]]))
  later.note(['a'])
  await clock.advance(4)
  for (let n = 0; n < 1_000; n++) later.note(['b', 'c'])
  expect(clock.timerCount).toBe(2)
  await clock.advance(200)
  expect(looks).toEqual([
    [10, 10, ['a']],
    [20, 10, ['b', 'c']],
    [100, 100, ['a']],
    [200, 100, ['b', 'c']],
  ])
  expect(clock.timerCount).toBe(0)
})

test('goes on after it was quiet, and ends when it is closed', async () => {
  const clock = virtualClock()
  const looks: string[] = []
  const later = new LaterLooks<string>(clock, [10], (noted) => looks.push(...noted))
  later.note(['a'])
  await clock.advance(50)
  later.note(['b'])
  await clock.advance(10)
  expect(looks).toEqual(['a', 'b'])
  later.note(['c'])
  later.note(['d'])
  later.close()
  await clock.advance(50)
  expect(looks).toEqual(['a', 'b'])
  expect(clock.timerCount).toBe(0)
})

import { beforeEach, expect, test } from 'vitest'
import { SqlitePulse } from '../../../src/adapters/sqlite/sqlite-pulse.ts'
import { virtualClock } from '../../../src/testing/index.ts'
import type { VirtualClock } from '../../../src/testing/index.ts'

let clock: VirtualClock
let isTold: boolean
let hasWork: boolean
let looks: number
let duties: number
let pulse: SqlitePulse

beforeEach(() => {
  clock = virtualClock()
  isTold = false
  hasWork = false
  looks = 0
  duties = 0
  pulse = new SqlitePulse({
    clock,
    restMs: 500,
    isToldByOthers: () => isTold,
    look: () => {
      looks++
      return hasWork
    },
    duties: () => {
      duties++
    },
  })
})

/** Lets a time go by and gives the looks and duties in it. */
async function during(ms: number): Promise<readonly [looks: number, duties: number]> {
  const before = [looks, duties] as const
  await clock.advance(ms)
  return [looks - before[0], duties - before[1]]
}

test('beats twice a second while nothing happens, with and without wake-ups', async () => {
  pulse.start()
  expect(await during(10_000)).toStrictEqual([20, 20])
  isTold = true
  await clock.advance(500)
  expect(await during(10_000)).toStrictEqual([20, 20])
  pulse.close()
  expect(clock.timerCount).toBe(0)
})

test('looks often while it finds something that nobody told, and rarely again after a second without', async () => {
  pulse.start()
  hasWork = true
  await clock.advance(500)
  expect(await during(1_000)).toStrictEqual([100, 2])
  hasWork = false
  await clock.advance(3_000)
  expect(await during(10_000)).toStrictEqual([20, 20])
})

test('looks often after something was left for others, at once and not at the end of the rest', async () => {
  pulse.start()
  await clock.advance(100)
  pulse.stir()
  expect((await during(100))[0]).toBe(10)
  await clock.advance(5_000)
  expect((await during(10_000))[0]).toBe(20)
})

test('needs no looks beyond its rest while others tell, whatever is done', async () => {
  isTold = true
  hasWork = true
  pulse.start()
  pulse.stir()
  expect(await during(10_000)).toStrictEqual([20, 20])
})

test('goes on looking often when the wake-ups end during traffic', async () => {
  isTold = true
  pulse.start()
  await clock.advance(100)
  isTold = false
  pulse.stir()
  expect((await during(500))[0]).toBe(50)
})

test('does nothing after it was closed, also when that happens within a beat', async () => {
  hasWork = true
  pulse.start()
  pulse.close()
  pulse.stir()
  expect(await during(10_000)).toStrictEqual([0, 0])
  expect(clock.timerCount).toBe(0)
})

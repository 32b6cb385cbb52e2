import { describe, expect, test } from 'vitest'
import { isTrunklineError } from '../../src/core/errors.ts'
import { virtualClock } from '../../src/testing/virtual-clock.ts'

describe('virtualClock', () => {
  test('stands still until it is advanced, and then moves both times', async () => {
    const clock = virtualClock({ startMs: 1_000 })
    expect([clock.nowMs(), clock.monotonicMs()]).toEqual([1_000, 0])
    await clock.advance(250.5)
    expect([clock.nowMs(), clock.monotonicMs()]).toEqual([1_250, 250.5])
  })

  test('fires timers by instant, then in the order they were set, each at its own instant', async () => {
    const clock = virtualClock()
    const seen: [string, number][] = []
    const note = (name: string) => () => {
      seen.push([name, clock.monotonicMs()])
    }
    clock.setTimer(20, note('late'))
    clock.setTimer(10, note('first of 10'))
    clock.setTimer(10, note('second of 10'))
    clock.setTimer(Number.NaN, note('not a number'))
    clock.setTimer(-5, note('negative'))
    clock.setTimer(21, note('beyond'))
    await clock.advance(20)
    expect(seen).toEqual([['not a number', 0], ['negative', 0], ['first of 10', 10], ['second of 10', 10], ['late', 20]])
    expect(clock.timerCount).toBe(1)
    expect(clock.nextTimerInMs).toBe(1)
  })

  test('fires the timers that timers set, also through promises', async () => {
    const clock = virtualClock()
    const seen: number[] = []
    const again = async (): Promise<void> => {
      await Promise.resolve()
      seen.push(clock.monotonicMs())
      clock.setTimer(10, () => void again())
    }
    clock.setTimer(10, () => void again())
    await clock.advance(35)
    expect(seen).toEqual([10, 20, 30])
  })

  test('does not fire a cancelled timer, and cancelling twice or late does nothing', async () => {
    const clock = virtualClock()
    const seen: string[] = []
    const cancelled = clock.setTimer(5, () => seen.push('cancelled'))
    const fired = clock.setTimer(5, () => seen.push('fired'))
    cancelled.cancel()
    cancelled.cancel()
    await clock.advance(5)
    fired.cancel()
    expect(seen).toEqual(['fired'])
    expect(clock.nextTimerInMs).toBeUndefined()
  })

  test('settles deferred work without moving time', async () => {
    const clock = virtualClock()
    const seen: string[] = []
    clock.defer(() => {
      seen.push('first')
      clock.defer(() => seen.push('third'))
      void Promise.resolve().then(() => seen.push('between'))
    })
    clock.defer(() => seen.push('second'))
    await clock.settle()
    expect(seen).toEqual(['first', 'between', 'second', 'third'])
    expect(clock.monotonicMs()).toBe(0)
  })

  test('steps the wall clock back while durations go on', async () => {
    const clock = virtualClock({ startMs: 10_000 })
    await clock.advance(100)
    clock.stepWallClock(-5_000)
    expect([clock.nowMs(), clock.monotonicMs()]).toEqual([5_100, 100])
  })

  test('notices work that never ends, and time that is to go back', async () => {
    const clock = virtualClock({ callbacksMax: 50 })
    const again = (): void => {
      clock.setTimer(0, again)
    }
    again()
    const endless: unknown = await clock.advance(1).catch((thrown: unknown) => thrown)
    expect(isTrunklineError(endless, 'core.invariant_broken')).toBe(true)
    const loop = virtualClock({ callbacksMax: 50 })
    const deferAgain = (): void => loop.defer(deferAgain)
    deferAgain()
    const endlessDefer: unknown = await loop.settle().catch((thrown: unknown) => thrown)
    expect(isTrunklineError(endlessDefer, 'core.invariant_broken')).toBe(true)
    const backwards: unknown = await clock.advance(-1).catch((thrown: unknown) => thrown)
    expect(isTrunklineError(backwards, 'core.invariant_broken')).toBe(true)
  })

  test('hands on what a callback throws', async () => {
    const clock = virtualClock()
    clock.setTimer(1, () => {
      throw new TypeError('from a timer')
    })
    await expect(clock.advance(1)).rejects.toThrow('from a timer')
  })
})

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { instantMs, instantText, sleep, systemClock } from '../../src/core/clock.ts'
import { virtualClock } from '../../src/testing/virtual-clock.ts'

describe('systemClock', () => {
  beforeEach(() => {
    vi.useFakeTimers()
  })
  afterEach(() => {
    vi.restoreAllMocks()
    vi.useRealTimers()
  })

  const DAY_MS = 86_400_000

  test('fires once, after the delay', () => {
    const callback = vi.fn<() => void>()
    systemClock.setTimer(50, callback)
    vi.advanceTimersByTime(49)
    expect(callback).not.toHaveBeenCalled()
    vi.advanceTimersByTime(10 * DAY_MS)
    expect(callback).toHaveBeenCalledOnce()
  })

  test('honours delays that the platform would cut to a millisecond', () => {
    const callback = vi.fn<() => void>()
    systemClock.setTimer(40 * DAY_MS, callback)
    vi.advanceTimersByTime(40 * DAY_MS - 1)
    expect(callback).not.toHaveBeenCalled()
    vi.advanceTimersByTime(1)
    expect(callback).toHaveBeenCalledOnce()
  })

  test('can cancel a delay of many days in any of its pieces', () => {
    const callback = vi.fn<() => void>()
    const timer = systemClock.setTimer(40 * DAY_MS, callback)
    vi.advanceTimersByTime(20 * DAY_MS)
    timer.cancel()
    timer.cancel()
    vi.advanceTimersByTime(40 * DAY_MS)
    expect(callback).not.toHaveBeenCalled()
    expect(vi.getTimerCount()).toBe(0)
  })

  test.each([-1, 0, Number.NaN, Number.NEGATIVE_INFINITY])('takes %d for no delay at all', (delayMs) => {
    const callback = vi.fn<() => void>()
    systemClock.setTimer(delayMs, callback)
    vi.advanceTimersByTime(1)
    expect(callback).toHaveBeenCalledOnce()
  })

  test('is never early: the platform cuts fractions off, so they are rounded up', () => {
    const setTimeoutSpy = vi.spyOn(globalThis, 'setTimeout')
    systemClock.setTimer(1.2, () => {})
    expect(setTimeoutSpy.mock.calls.at(-1)?.[1]).toBe(2)
  })

  test('keeps the process alive unless the timer is in the background', () => {
    const unref = vi.fn<() => void>()
    const original = globalThis.setTimeout
    vi.spyOn(globalThis, 'setTimeout').mockImplementation((callback, delay) => Object.assign(original(callback, delay), { unref }))
    systemClock.setTimer(10, () => {}).cancel()
    expect(unref).not.toHaveBeenCalled()
    systemClock.setTimer(10, () => {}, { background: true }).cancel()
    expect(unref).toHaveBeenCalledOnce()
  })
})

describe('sleep', () => {
  test('ends after its time and leaves no timer and no listener', async () => {
    const clock = virtualClock()
    const controller = new AbortController()
    let isOver = false
    const slept = sleep(clock, 100, controller.signal).then(() => {
      isOver = true
    })
    await clock.advance(99)
    expect(isOver).toBe(false)
    await clock.advance(1)
    await slept
    expect(clock.timerCount).toBe(0)
    controller.abort()
  })

  test('ends at once when it is aborted, before or while it lasts, and does not reject', async () => {
    const clock = virtualClock()
    await sleep(clock, 1_000, AbortSignal.abort())
    const controller = new AbortController()
    const slept = sleep(clock, 1_000, controller.signal)
    controller.abort(new Error('reason'))
    await slept
    expect(clock.timerCount).toBe(0)
  })
})

describe('instants', () => {
  test('are written in UTC with milliseconds and read back', () => {
    expect(instantText(0)).toBe('1970-01-01T00:00:00.000Z')
    expect(instantMs('1970-01-01T00:00:00.000Z')).toBe(0)
    expect(instantMs(instantText(1_700_000_000_123))).toBe(1_700_000_000_123)
  })

  test.each<[string, number]>([
    ['1970-01-01T00:00:01Z', 1_000],
    ['1970-01-01T01:00:00+01:00', 0],
    ['1969-12-31T19:00:00.5-05:00', 500],
    ['1970-01-01T00:00:00.123456789Z', 123],
    ['1970-01-01T00:00:00z', 0],
  ])('%s is read', (text, atMs) => {
    expect(instantMs(text)).toBe(atMs)
  })

  test.each([
    undefined, '', 'yesterday', '0', '1700000000000', '2024-01-01', '2024-13-01T00:00:00Z', '2024-01-01T25:00:00Z', '+275760-09-13T00:00:00.001Z',
    '2024-01-01T00:00:00Z and more', ' 2024-01-01T00:00:00Z', `2024-01-01T00:00:00.${'0'.repeat(60)}Z`,
    // Without an offset the instant would depend on the reader's time zone.
    '2024-01-01T00:00:00', '2024-01-01T00:00',
  ])('%s is no instant', (text) => {
    expect(instantMs(text)).toBeUndefined()
  })
})

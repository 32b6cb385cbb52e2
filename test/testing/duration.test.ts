import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isTrunklineError } from '../../src/core/errors.ts'
import { type Duration, durationMs, durationText } from '../../src/testing/duration.ts'

describe('a duration', () => {
  test.each<[Duration | number, number]>([
    ['250ms', 250], ['30s', 30_000], ['5m', 300_000], ['2h', 7_200_000], ['30d', 2_592_000_000], ['2w', 1_209_600_000], ['1.5h', 5_400_000], ['0.0001ms', 1], ['0s', 0], [1_500, 1_500], [0.5, 1],
  ])('%s is %i milliseconds', (duration, ms) => {
    expect(durationMs(duration)).toBe(ms)
  })

  test.each(['', '30', 'd', '30 d', '30D', '30dd', '-1d', '+1d', '1e3d', '1,5h', '.5h', '5.h', '1h30m', '0x10s', 'Infinityms', 'NaNd', '101w1', '5300w', '1y', '٣d', '30d\n', -1, Number.NaN, Infinity, null, undefined, {}])('%o is refused', (duration) => {
    const attempt = (): number => durationMs(duration as Duration)
    expect(attempt).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
  })

  test('of any text is a time or a typed error', () => {
    fc.assert(fc.property(fc.string(), (text) => {
      try {
        return durationMs(text as Duration) >= 0
      } catch (error) {
        return isTrunklineError(error, 'core.option_invalid')
      }
    }))
  })

  test('is written in the largest unit that fits, and read back', () => {
    expect([0, 1, 999, 1_000, 90_000, 3_600_000, 86_400_000, 1_209_600_000, 1_001].map(durationText)).toEqual(['0ms', '1ms', '999ms', '1s', '90s', '1h', '1d', '2w', '1001ms'])
    fc.assert(fc.property(fc.nat(3_155_760_000_000), (ms) => durationMs(durationText(ms) as Duration) === ms))
  })
})

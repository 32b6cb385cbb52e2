import { expect, test } from 'vitest'
import { FailureSwitch } from '../../src/resilience/failure-switch.ts'

const rule = { ratio: 0.5, windowMs: 1_000, attemptsMin: 4, pauseMs: 100, pauseMaxMs: 300 } as const

test('trips where enough attempts failed, pauses longer each time that it trips again soon, and begins anew later', () => {
  const one = new FailureSwitch(rule)
  const fail = (times: number, nowMs: number): readonly (number | undefined)[] => Array.from({ length: times }, () => one.record(true, nowMs))
  expect(fail(3, 0)).toEqual([undefined, undefined, undefined])
  // By now those before are forgotten.
  expect(fail(4, 1_000)).toEqual([undefined, undefined, undefined, 100])
  expect(fail(2, 1_010)).toEqual([undefined, undefined])
  one.resumed(1_100)
  expect(fail(4, 1_200).at(-1)).toBe(200)
  one.resumed(1_400)
  expect(fail(4, 1_500).at(-1)).toBe(300)
  one.resumed(1_800)
  expect(fail(4, 3_000).at(-1)).toBe(100)
})

test('does not trip while enough succeed', () => {
  const one = new FailureSwitch(rule)
  for (let at = 0; at < 100; at++) expect(one.record(at % 3 === 2, at * 10)).toBeUndefined()
})

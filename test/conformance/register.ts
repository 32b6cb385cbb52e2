import { expect, test } from 'vitest'
import type { RegisterCase } from '../../src/testing/index.ts'

/** Cases at the same time: the suite's own register for vitest. What is not promised is a test whose name says why. */
export const concurrently: RegisterCase = (name, run, untested) => {
  if (untested === undefined) test.concurrent(name, run)
  else notPromised(name, untested)
}

/** Cases one after the other, for those that break the broker. */
export const oneByOne: RegisterCase = (name, run, untested) => {
  if (untested === undefined) test(name, { timeout: 300_000 }, run)
  else notPromised(name, untested)
}

function notPromised(name: string, reason: string): void {
  test(`${name} (not promised: ${reason})`, () => {
    expect(reason).not.toBe('')
  })
}

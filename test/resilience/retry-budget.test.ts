import { expect, test } from 'vitest'
import { retryBudget } from '../../src/index.ts'

test('a budget fills up with time to no more than it can hold', () => {
  const budget = retryBudget({ ratio: 0, perSecondMin: 2, savedMax: 3 })
  const withdrawn = (nowMs: number): number => [1, 2, 3, 4, 5].filter(() => budget.withdraw(nowMs)).length
  expect([withdrawn(0), withdrawn(499), withdrawn(500), withdrawn(100_000)]).toEqual([2, 0, 1, 3])
})

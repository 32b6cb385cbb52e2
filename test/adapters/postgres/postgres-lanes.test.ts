import { expect, test } from 'vitest'
import { PgLanes } from '../../../src/adapters/postgres/postgres-lanes.ts'

test('gives a key the same number in every process, and other keys other numbers', () => {
  const lanes = new PgLanes()
  expect(lanes.of('order-1')).toBe(new PgLanes().of('order-1'))
  expect(lanes.of('order-1')).toBe('842140288160000396')
  const numbers = new Set(Array.from({ length: 20_000 }, (_each, index) => lanes.of(`key-${index}`)))
  expect(numbers.size).toBe(20_000)
  for (const number of [lanes.of(''), lanes.of('\u0000'), lanes.of('ü'.repeat(255))]) expect(BigInt.asIntN(64, BigInt(number))).toBe(BigInt(number))
})

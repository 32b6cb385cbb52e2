import { expect, test } from 'vitest'
import { keyLocks } from '../../../src/adapters/postgres/postgres-locks.ts'

test('locks of keys are sorted, each once, and the same for the same keys in any order', () => {
  const keys = Array.from({ length: 500 }, (_key, index) => `order-${index}`)
  const locks = keyLocks('trunkline', keys)
  expect(locks).toEqual([...new Set(locks)].toSorted((left, right) => left - right))
  expect(keyLocks('trunkline', keys.toReversed())).toEqual(locks)
  expect(locks.every((lock) => Number.isInteger(lock) && lock >= -(2 ** 31) && lock < 2 ** 31)).toBe(true)
})

test('any number of keys needs no more than 1,024 locks, spread over all of them', () => {
  const locks = keyLocks('trunkline', Array.from({ length: 20_000 }, (_key, index) => `key ${index}`))
  expect(locks.length).toBeLessThanOrEqual(1_024)
  expect(locks.length).toBeGreaterThan(1_000)
})

test('two schemas have locks of their own', () => {
  expect(keyLocks('one', ['a'])).not.toEqual(keyLocks('two', ['a']))
})

test('the lock of a key never changes: releases that run side by side agree on it', () => {
  expect(keyLocks('trunkline', ['order-1', 'größe', '\u{1f600}'])).toMatchInlineSnapshot(`
    [
      -1017281318,
      -1017281088,
      -1017280620,
    ]
  `)
})

import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { builtinDriver, failureOf } from '../../../src/adapters/sqlite/sqlite-driver.ts'

/** What `node:sqlite` throws. */
function nodeError(errcode: number, message = 'text'): Error {
  return Object.assign(new Error(message), { code: 'ERR_SQLITE_ERROR', errcode })
}

/** What `better-sqlite3` throws. */
function betterError(code: string, message = 'text'): Error {
  return Object.assign(new Error(message), { code })
}

test.each([
  [nodeError(5), 'busy'], [nodeError(517), 'busy'], [nodeError(6), 'busy'],
  [betterError('SQLITE_BUSY'), 'busy'], [betterError('SQLITE_BUSY_SNAPSHOT'), 'busy'], [betterError('SQLITE_LOCKED_SHAREDCACHE'), 'busy'],
  [nodeError(1, 'cannot start a transaction within a transaction'), 'busy'],
  [betterError('SQLITE_ERROR', 'cannot start a transaction within a transaction'), 'busy'],
  [nodeError(13), 'down'], [nodeError(8), 'down'], [nodeError(10), 'down'], [nodeError(778), 'down'], [nodeError(11), 'down'], [nodeError(14), 'down'],
  [betterError('SQLITE_FULL'), 'down'], [betterError('SQLITE_READONLY'), 'down'], [betterError('SQLITE_IOERR_WRITE'), 'down'],
  [betterError('ERR_INVALID_STATE', 'database is not open'), 'down'], [new Error('anything'), 'down'], ['a text', 'down'], [undefined, 'down'],
  [nodeError(19), 'refused'], [nodeError(1299), 'refused'], [nodeError(18), 'refused'],
  [betterError('SQLITE_CONSTRAINT_NOTNULL'), 'refused'], [betterError('SQLITE_TOOBIG'), 'refused'], [new TypeError('cannot be bound'), 'refused'],
] as const)('%o means %s', (thrown, failure) => {
  expect(failureOf(thrown)).toBe(failure)
})

test('the driver of Node is there', () => {
  expect(builtinDriver()).toBe(DatabaseSync)
})

import { expect, test } from 'vitest'
import { failureOf, problemOf, storeError } from '../../../src/adapters/postgres/postgres-errors.ts'
import { TrunklineError } from '../../../src/core/errors.ts'

function databaseError(code: string, message = 'it said so', parts: object = {}): Error {
  return Object.assign(new Error(message), { severity: 'ERROR', code, ...parts })
}

test.each([
  ['40001', 'conflict'], ['40P01', 'conflict'], ['55P03', 'conflict'],
  ['08006', 'down'], ['57P01', 'down'], ['57P03', 'down'], ['53100', 'down'], ['53300', 'down'], ['25006', 'down'], ['57014', 'down'], ['58P01', 'down'],
  ['XX001', 'down'], ['25P03', 'down'],
  ['23505', 'refused'], ['22P02', 'refused'], ['42501', 'refused'], ['42P01', 'refused'], ['28P01', 'refused'], ['3D000', 'refused'],
])('takes SQLSTATE %s for %s', (code, failure) => {
  expect(failureOf(databaseError(code))).toBe(failure)
  expect(storeError(databaseError(code)).code).toBe(`store.${failure}`)
})

test('takes what carries no SQLSTATE for a broken link, and mistakes in values for refused ones', () => {
  expect(failureOf(Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' }))).toBe('down')
  expect(failureOf(new Error('Query read timeout'))).toBe('down')
  // Five characters in capitals that are no SQLSTATE.
  expect(failureOf(Object.assign(new Error('broken pipe'), { code: 'EPIPE' }))).toBe('down')
  expect(failureOf(new TypeError('cannot be serialised'))).toBe('refused')
})

test('repeats no value of the caller\'s, and says where it was refused', () => {
  const error = databaseError('23505', 'duplicate key (id)=(secret)', { schema: 'public', table: 'account', constraint: 'account_pkey' })
  expect(problemOf(error)).toBe('a value breaks a rule of the table (SQLSTATE 23505, schema public, table account, constraint account_pkey)')
  expect(storeError(error).cause).toBe(error)
  expect(storeError(databaseError('22P02', 'invalid input: "secret"')).message).not.toContain('secret')
})

test('lets errors of the library pass', () => {
  const error = new TrunklineError('store.lease_lost', { store: 'postgres', lease: 'a' })
  expect(storeError(error)).toBe(error)
})

import { expect, test } from 'vitest'
import { failureOf } from '../../../src/adapters/eventstoredb/eventstoredb-failure.ts'

const typed = (type: string, more: object = {}): unknown => Object.assign(new Error(type), { type, ...more })

test.each([
  ['a timeout', typed('timeout'), 'unknown'],
  ['a cancelled call', typed('cancelled', { code: 1 }), 'unknown'],
  ['a broken stream of the client', typed('unknown'), 'unknown'],
  ['a server that is away, raw', Object.assign(new Error('14 UNAVAILABLE'), { code: 14 }), 'unknown'],
  ['a stream of Node that broke off', Object.assign(new Error('Premature close'), { code: 'ERR_STREAM_PREMATURE_CLOSE' }), 'unknown'],
  ['a discovery that failed', new Error('Failed to discover after 10 attempts.'), 'poisoned'],
  ['server features that were refused, raw', Object.assign(new Error('7 PERMISSION_DENIED'), { code: 7 }), 'poisoned'],
  ['another leader', typed('not-leader'), 'not-leader'],
  ['a denied access', typed('access-denied'), 'refused'],
  ['an append that is too large', typed('maximum-append-size-exceeded'), 'refused'],
  ['a deleted stream', typed('stream-deleted'), 'stream-deleted'],
  ['nothing at all', undefined, 'poisoned'],
])('%s is %3$s', (_what, thrown, kind) => {
  expect(failureOf(thrown).kind).toBe(kind)
})

test('a wrong revision says the actual one, as a bigint', () => {
  expect(failureOf(typed('wrong-expected-version', { actualVersion: 9_007_199_254_740_993n }))).toMatchObject({ kind: 'wrong-revision', actual: 9_007_199_254_740_993n })
  expect(failureOf(typed('wrong-expected-version', { actualVersion: 'no_stream' })).actual).toBeUndefined()
})

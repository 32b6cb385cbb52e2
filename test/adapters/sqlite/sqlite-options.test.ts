import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { sqlite } from '../../../src/adapters/sqlite/index.ts'
import { settingsFrom } from '../../../src/adapters/sqlite/sqlite-options.ts'

test('everything but the file has a default', () => {
  expect(settingsFrom({ file: 'app.db' })).toStrictEqual({
    source: { file: 'app.db', driver: undefined, isExclusive: false, isNetworkAllowed: false },
    synchronous: 'full', lockWaitMs: 5_000, openTimeoutMs: 10_000, unitHoldMsMax: 1_000, leaseMs: 15_000, pollMs: 500, isWatching: true,
  })
})

test.each([
  [{ file: '' }, 'file'],
  [{ file: ':memory:' }, 'file'],
  [{ file: 'file:app.db?mode=memory' }, 'file'],
  [{ file: 'a.db', pollMs: 100 }, 'pollMs'],
  [{ file: 'a.db', leaseMs: Number.NaN }, 'leaseMs'],
  [{ file: 'a.db', leaseMs: 1_000, pollMs: 500 }, 'leaseMs'],
  [{ file: 'a.db', lockWaitMs: -1 }, 'lockWaitMs'],
  [{ file: 'a.db', openTimeoutMs: Number.POSITIVE_INFINITY }, 'openTimeoutMs'],
] as const)('refuses %j at once', (options, option) => {
  expect(() => sqlite(options)).toThrow(expect.objectContaining({ code: 'core.option_invalid', details: expect.objectContaining({ option }) }))
})

test('refuses words it does not know, from callers without types', () => {
  const options: object = { file: 'a.db', synchronous: 'off' }
  expect(() => Reflect.apply(sqlite, undefined, [options])).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
  expect(() => Reflect.apply(sqlite, undefined, [{}])).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
})

test('refuses a file and a database together', () => {
  const database = new DatabaseSync(':memory:')
  expect(() => Reflect.apply(sqlite, undefined, [{ file: 'a.db', database }])).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
  database.close()
})

test('refuses a name that means nothing, and what is no object, from callers without types', () => {
  expect(() => Reflect.apply(sqlite, undefined, [{ path: 'a.db' }])).toThrow(expect.objectContaining({ code: 'core.option_unknown', details: expect.objectContaining({ place: 'sqlite()', option: 'path' }) }))
  expect(() => Reflect.apply(sqlite, undefined, [{ file: 'a.db', pollms: 500 }])).toThrow(expect.objectContaining({ code: 'core.option_unknown', details: expect.objectContaining({ nearest: 'pollMs' }) }))
  for (const given of ['a.db', undefined, null]) {
    expect(() => Reflect.apply(sqlite, undefined, [given])).toThrow(expect.objectContaining({ code: 'core.option_invalid', details: expect.objectContaining({ option: 'given to sqlite()' }) }))
  }
})

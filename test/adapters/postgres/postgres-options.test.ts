import { describe, expect, test } from 'vitest'
import { type PostgresOptions, settingsFrom } from '../../../src/adapters/postgres/postgres-options.ts'
import type { PgPool } from '../../../src/adapters/postgres/postgres-client.ts'

const URL_TEXT = 'postgres://me:secret@db/orders'

const pool: PgPool = {
  connect: () => Promise.reject(new Error('not here')),
  query: () => Promise.reject(new Error('not here')),
  on: () => undefined,
  off: () => undefined,
  end: () => Promise.resolve(),
}

describe('settings of PostgreSQL', () => {
  test('limit every wait by default', () => {
    expect(settingsFrom({ connectionString: URL_TEXT })).toMatchObject({
      schema: 'trunkline', isMigrating: true, isPreparing: true, limitsTravel: false, shards: 16,
      connectTimeoutMs: 5_000, statementTimeoutMs: 25_000, queryTimeoutMs: 30_000, lockTimeoutMs: 10_000, idleInTransactionTimeoutMs: 60_000,
      listenAddress: { connectionString: URL_TEXT },
    })
  })

  test('use nothing of a session behind a pooler', () => {
    expect(settingsFrom({ connectionString: URL_TEXT, pooler: 'transaction' })).toMatchObject({ limitsTravel: true, isPreparing: false, listenAddress: undefined })
    const direct = 'postgres://db:5433/orders'
    expect(settingsFrom({ connectionString: URL_TEXT, pooler: 'transaction', listenConnectionString: direct }).listenAddress).toEqual({ connectionString: direct })
  })

  test('listen nowhere over a pool of the caller\'s, whose connections are not theirs', () => {
    expect(settingsFrom({ pool })).toMatchObject({ limitsTravel: true, isPreparing: true, listenAddress: undefined })
  })

  test.each<[string, object]>([
    ['schema', { schema: 'Robert"; DROP' }], ['schema', { schema: '' }], ['schema', { schema: 'pg_mine' }], ['schema', { schema: 'x'.repeat(42) }],
    ['shards', { shards: 0 }], ['shards', { shards: 1.5 }], ['poolMax', { poolMax: 1 }], ['statementTimeoutMs', { statementTimeoutMs: Number.NaN }],
    ['queryTimeoutMs', { queryTimeoutMs: 25_000 }], ['lockTimeoutMs', { lockTimeoutMs: 0 }], ['pooler', { pooler: 'session' }], ['migrations', { migrations: 'no' }],
    ['connectionString', { connectionString: 'mysql://db' }], ['connection', { connection: {} }], ['pool', { pool }],
    ['listen', { pooler: 'transaction', listen: true }],
  ])('refuse %s as in %j', (option, parts) => {
    expect(() => settingsFrom({ connectionString: URL_TEXT, ...parts })).toThrow(expect.objectContaining({ code: 'core.option_invalid', details: expect.objectContaining({ option }) }))
  })

  test('refuse names that mean nothing', () => {
    const misspelt: object = { connectionString: URL_TEXT, conectTimeoutMs: 1 }
    expect(() => settingsFrom(misspelt)).toThrow(expect.objectContaining({ code: 'core.option_unknown' }))
    const options: PostgresOptions = { connection: Object.assign({ host: 'db' }, { hots: 'db' }) }
    expect(() => settingsFrom(options)).toThrow(expect.objectContaining({ code: 'core.option_unknown' }))
  })

  test('never say an address, which can hold a password', () => {
    for (const parts of [{ connectionString: 'mysql://me:secret@db' }, { connectionString: URL_TEXT, connection: { password: 'secret' } }]) {
      expect(() => settingsFrom(parts)).toThrow(expect.not.objectContaining({ message: expect.stringContaining('secret') }))
    }
  })
})

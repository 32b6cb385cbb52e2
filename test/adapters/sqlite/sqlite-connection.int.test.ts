import type { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { SqliteConnection, configure } from '../../../src/adapters/sqlite/sqlite-connection.ts'
import { Workplace } from './sqlite-rig.ts'

let place: Workplace
beforeEach(() => {
  place = new Workplace()
})
afterEach(async () => {
  vi.restoreAllMocks()
  await place.clean()
})

function pragma(database: DatabaseSync, name: string): unknown {
  return Object.values(database.prepare(`PRAGMA ${name}`).get() ?? {})[0]
}

test.each([['darwin', 1], ['linux', 0]] as const)('L-03: on %s the flushes that a Mac needs are %d', (platform, expected) => {
  vi.spyOn(process, 'platform', 'get').mockReturnValue(platform)
  const database = place.database()
  configure(new SqliteConnection(database), 'full', false)
  expect([pragma(database, 'fullfsync'), pragma(database, 'checkpoint_fullfsync')]).toStrictEqual([expected, expected])
})

test('L-04: a transaction has the write lock before it reads, so that what it read is never stale when it writes', () => {
  const first = new SqliteConnection(place.database())
  const second = new SqliteConnection(place.database())
  for (const connection of [first, second]) configure(connection, 'full', false)
  first.exec('CREATE TABLE counter (value INTEGER NOT NULL) STRICT; INSERT INTO counter VALUES (0)')
  first.transaction(() => {
    const row = first.row('SELECT value FROM counter')
    expect(() => second.transaction(() => second.run('UPDATE counter SET value = 100'))).toThrow(/locked/)
    first.run('UPDATE counter SET value = ?', Number(row?.['value']) + 1)
  })
  second.transaction(() => second.run('UPDATE counter SET value = value + 1'))
  expect(first.row('SELECT value FROM counter')).toMatchObject({ value: 2 })
})

test('L-09: a driver that maps the file into memory is told not to', () => {
  const database = place.database()
  database.exec('PRAGMA mmap_size = 1048576')
  expect(pragma(database, 'mmap_size')).toBe(1_048_576)
  configure(new SqliteConnection(database), 'full', false)
  expect(pragma(database, 'mmap_size')).toBe(0)
})

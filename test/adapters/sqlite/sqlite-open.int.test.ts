import { statSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { sqlite } from '../../../src/adapters/sqlite/index.ts'
import { Inbox, TestHost, Workplace, event, group, publish } from './sqlite-rig.ts'

let place: Workplace
beforeEach(() => {
  place = new Workplace()
})
afterEach(() => place.clean())

/** Remembers what it opened, and how. */
class WitnessDatabase extends DatabaseSync {
  static readonly all: WitnessDatabase[] = []

  constructor(file: string) {
    super(file)
    WitnessDatabase.all.push(this)
  }

  pragma(name: string): unknown {
    return Object.values(this.prepare(`PRAGMA ${name}`).get() ?? {})[0]
  }
}

test('sets every pragma on both connections and flushes each publish', async () => {
  WitnessDatabase.all.length = 0
  await place.transport({ driver: WitnessDatabase })
  const names = ['journal_mode', 'busy_timeout', 'foreign_keys', 'trusted_schema', 'wal_autocheckpoint', 'journal_size_limit']
  for (const database of WitnessDatabase.all) expect(names.map((name) => database.pragma(name))).toStrictEqual(['wal', 25, 1, 0, 1000, 67_108_864])
  expect(WitnessDatabase.all.map((database) => database.pragma('synchronous'))).toStrictEqual([2, 1])
})

test('makes the files for their owner alone', async () => {
  const file = join(place.directory, 'new', 'deep', 'app.db')
  await place.transport({ file })
  for (const end of ['', '-wal', '-shm', '-wake']) expect(statSync(`${file}${end}`).mode & 0o777).toBe(0o600)
  expect(statSync(join(place.directory, 'new')).mode & 0o777).toBe(0o700)
})

test('gives up after its time when the file cannot be opened, and leaves nothing open', async () => {
  await expect(place.transport({ file: place.directory, openTimeoutMs: 100 })).rejects.toMatchObject({ code: 'bus.connection_lost' })
})

test('one process alone locks all others out through a single connection', async () => {
  const transport = await place.transport({ processes: 'one' })
  const inbox = new Inbox()
  await transport.subscribe(group(), inbox.sink)
  await publish(transport, event())
  await (await inbox.next()).ack()
  await expect(place.transport({ openTimeoutMs: 200 })).rejects.toMatchObject({ code: 'bus.connection_lost' })
})

describe('a database that the caller has opened', () => {
  test('works and stays open', async () => {
    const database = new DatabaseSync(place.file)
    const store = sqlite({ database })
    await store.transport.open(new TestHost())
    const inbox = new Inbox()
    await store.transport.subscribe(group(), inbox.sink)
    await publish(store.transport, event())
    await (await inbox.next()).ack()
    await store.close()
    await store.close()
    expect(database.isOpen).toBe(true)
    database.close()
  })

  test('shares its file with transports of their own', async () => {
    const database = new DatabaseSync(place.file)
    const store = sqlite({ database })
    await store.transport.open(new TestHost())
    const other = await place.transport({ pollMs: 600_000, leaseMs: 3_600_000 })
    const inbox = new Inbox()
    await other.subscribe(group(), inbox.sink)
    await publish(store.transport, event({ id: 'through the given one' }))
    expect((await inbox.next()).message.id).toBe('through the given one')
    await store.close()
    database.close()
  })

  test('is refused in memory, where there is no WAL', async () => {
    const database = new DatabaseSync(':memory:')
    const { transport } = sqlite({ database })
    await expect(transport.open(new TestHost())).rejects.toMatchObject({ code: 'core.option_invalid', details: { option: 'PRAGMA journal_mode' } })
    database.close()
  })
})

test('refuses a SQLite that can lose commits of several connections', async () => {
  class OldDatabase extends DatabaseSync {
    override prepare(sql: string): ReturnType<DatabaseSync['prepare']> {
      return super.prepare(sql.replace('sqlite_version()', "'3.50.4'"))
    }
  }
  await expect(place.transport({ driver: OldDatabase })).rejects.toMatchObject({ code: 'bus.unsupported', details: { needed: expect.stringContaining('3.51.3') } })
  await place.transport({ driver: OldDatabase, processes: 'one' })
})

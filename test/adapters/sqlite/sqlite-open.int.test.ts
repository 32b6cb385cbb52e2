import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { sqlite } from '../../../src/adapters/sqlite/index.ts'
import type { SqliteDatabase, SqliteStatement, SqliteValue } from '../../../src/adapters/sqlite/index.ts'
import { Inbox, TestHost, Workplace, event, group, publish, until } from './sqlite-rig.ts'

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

test('gives up after its time when the file stays locked, and names the file', async () => {
  const other = new DatabaseSync(place.file)
  other.exec('PRAGMA journal_mode = wal; BEGIN EXCLUSIVE')
  await expect(place.transport({ openTimeoutMs: 100 })).rejects.toMatchObject({ code: 'bus.connection_lost', details: { problem: expect.stringContaining(place.file) } })
  other.close()
})

describe('what will never be a database is given up at once, with its path and the reason', () => {
  // Long enough for the test to time out where it is waited for.
  const patient = { openTimeoutMs: 3_600_000 }

  test('a file that holds something else', async () => {
    const file = join(place.directory, 'notes.txt')
    writeFileSync(file, 'Buy milk. '.repeat(500))
    await expect(place.transport({ file, ...patient })).rejects.toMatchObject({ code: 'bus.connection_lost', details: { problem: expect.stringMatching(/notes\.txt: .*not a database/) } })
    expect(readFileSync(file, 'utf8')).toContain('Buy milk')
  })

  test('a directory, and a path through a file', async () => {
    writeFileSync(join(place.directory, 'file'), '')
    for (const file of [place.directory, join(place.directory, 'file', 'app.db'), join(place.directory, 'file', 'deep', 'app.db')]) {
      await expect(place.transport({ file, ...patient })).rejects.toMatchObject({ code: 'bus.connection_lost', details: { problem: expect.stringContaining(`${file}: E`) } })
    }
  })

  test('a path where nothing can be made', async () => {
    await expect(place.transport({ file: '/proc/nowhere/deep/app.db', ...patient })).rejects.toMatchObject({
      code: 'bus.connection_lost', details: { problem: expect.stringMatching(/^\/proc\/nowhere\/deep\/app\.db: E[A-Z]+/) },
    })
  })
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
    await store.transport.close()
    await store.transport.close()
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
    await store.transport.close()
    database.close()
  })

  test('is refused in memory, where there is no WAL', async () => {
    const database = new DatabaseSync(':memory:')
    const { transport } = sqlite({ database })
    await expect(transport.open(new TestHost())).rejects.toMatchObject({ code: 'core.option_invalid', details: { option: 'PRAGMA journal_mode' } })
    database.close()
  })
})

/** A database with the manners of `better-sqlite3` 13: its defaults, its error codes, no numbered parameters, buffers for blobs. */
class BetterDouble implements SqliteDatabase {
  readonly #database: DatabaseSync

  constructor(file: string) {
    this.#database = new DatabaseSync(file)
    this.#database.exec('PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 5000')
  }

  exec(sql: string): this {
    better(() => this.#database.exec(sql))
    return this
  }

  prepare(sql: string): SqliteStatement {
    const statement = this.#database.prepare(sql)
    const check = (values: readonly SqliteValue[]): void => {
      if (/\?[0-9]/.test(sql) && values.length > 0) throw new RangeError('Too many parameter values were provided')
    }
    return {
      run: (...values) => better(() => (check(values), statement.run(...values))),
      get: (...values) => better(() => (check(values), buffered(statement.get(...values)))),
      all: (...values) => better(() => (check(values), statement.all(...values).map(buffered))),
    }
  }

  close(): this {
    this.#database.close()
    return this
  }
}

function buffered(row: Record<string, unknown> | undefined): unknown {
  if (row === undefined) return undefined
  return Object.fromEntries(Object.entries(row).map(([name, value]) => [name, value instanceof Uint8Array ? Buffer.from(value) : value]))
}

function better<T>(work: () => T): T {
  try {
    return work()
  } catch (thrown) {
    if (!(thrown instanceof Error) || !('errcode' in thrown)) throw thrown
    throw Object.assign(new Error(thrown.message), { name: 'SqliteError', code: Number(thrown.errcode) === 5 ? 'SQLITE_BUSY' : 'SQLITE_ERROR' })
  }
}

test('a driver with the manners of better-sqlite3 does the same', async () => {
  const host = new TestHost()
  const transport = await place.transport({ driver: BetterDouble }, host)
  const inbox = new Inbox()
  await transport.subscribe(group({ order: 'key' }), inbox.sink)
  await publish(transport, event({ id: 'a1', key: 'a' }), event({ id: 'a2', key: 'a' }))
  await (await inbox.next()).retry(10)
  const again = await inbox.next()
  expect([again.message.id, again.attempt]).toStrictEqual(['a1', 2])
  await again.deadLetter({ reason: 'bus.handler_failed', errors: [], attempts: 2, handler: '', service: '', instance: '', at: '' })
  const page = await transport.deadLetters?.list({ group: 'tests.group' }, { limit: 5 })
  expect(await transport.deadLetters?.remove(page?.items[0]?.id ?? '')).toBe(true)
  expect((await inbox.next()).message.id).toBe('a2')
  const database = place.database()
  database.exec('BEGIN IMMEDIATE')
  const published = publish(transport, event({ id: 'waited' }))
  setTimeout(() => database.exec('ROLLBACK'), 100)
  await published
  expect((await inbox.next()).message.id).toBe('waited')
  expect(host.state).toBe('up')
})

test('neither the database nor its WAL grows with what was handled', async () => {
  const transport = await place.transport()
  let handled = 0
  await transport.subscribe(group({ inFlightMax: 100 }), (delivery) => {
    handled++
    void delivery.ack()
  })
  const body = Buffer.alloc(4_096, 'x')
  for (let round = 1; round <= 40; round++) {
    await publish(transport, ...Array.from({ length: 200 }, () => event({ body })))
    await until(() => handled === round * 200)
  }
  // 32 MB went through; a checkpoint comes every 4 MB.
  expect(statSync(place.file).size).toBeLessThan(8_000_000)
  expect(statSync(`${place.file}-wal`).size).toBeLessThan(16_000_000)
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

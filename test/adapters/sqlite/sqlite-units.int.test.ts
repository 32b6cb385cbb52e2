import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { sqliteBackend } from '../../../src/adapters/sqlite/index.ts'
import type { SqliteBackend, SqliteHandle, SqliteHandleStatement, SqliteOptions } from '../../../src/adapters/sqlite/index.ts'
import { Inbox, TestHost, Workplace, command, event, group, publish, until } from './sqlite-rig.ts'

let place: Workplace
const opened: SqliteBackend[] = []
beforeEach(() => {
  place = new Workplace()
})
afterEach(async () => {
  await Promise.all(opened.splice(0).map((backend) => backend.close()))
  await place.clean()
})

async function open(options: Partial<SqliteOptions> = {}, isOwnTransport = false): Promise<SqliteBackend> {
  // Either a file or a database is among them.
  const backend = sqliteBackend({ ...(options.database === undefined ? { file: place.file } : {}), ...options } as SqliteOptions)
  const { clock, random, logger, service, instance, report } = new TestHost()
  await backend.open({ clock, random, logger, service, instance, report, isOwnTransport })
  opened.push(backend)
  return backend
}

function tables(): DatabaseSync {
  const database = place.database()
  database.exec(`CREATE TABLE account (id INTEGER PRIMARY KEY, value TEXT) STRICT;
    CREATE TABLE child (id INTEGER PRIMARY KEY, account INTEGER REFERENCES account (id) DEFERRABLE INITIALLY DEFERRED) STRICT`)
  return database
}

function ids(): readonly unknown[] {
  return place.database().prepare('SELECT id FROM account ORDER BY id').all().map((row) => row['id'])
}

const INSERT = 'INSERT INTO account VALUES (?, ?)'

/** A promise that the test settles. */
function gate(): { readonly opened: Promise<void>; readonly open: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>()
  return { opened: promise, open: () => resolve() }
}

/** A database of the test whose commits are counted. */
class CountingDatabase extends DatabaseSync {
  commits = 0

  override prepare(sql: string): ReturnType<DatabaseSync['prepare']> {
    const statement = super.prepare(sql)
    if (sql === 'COMMIT') {
      const run = statement.run.bind(statement)
      statement.run = () => {
        this.commits++
        return run()
      }
    }
    return statement
  }
}

/** Counts how often somebody waited in vain for the lock, on the thread. */
class WaitingDatabase extends DatabaseSync {
  static blocked = 0

  override prepare(sql: string): ReturnType<DatabaseSync['prepare']> {
    const statement = super.prepare(sql)
    if (sql === 'BEGIN IMMEDIATE') {
      const run = statement.run.bind(statement)
      statement.run = () => {
        try {
          return run()
        } catch (error) {
          WaitingDatabase.blocked++
          throw error
        }
      }
    }
    return statement
  }
}

describe('units at the same time', () => {
  test('64 of them share a few commits', async () => {
    tables()
    const database = new CountingDatabase(place.file)
    const backend = await open({ database })
    const before = database.commits
    await Promise.all(Array.from({ length: 64 }, (_, id) => backend.transact((tx) => Promise.resolve(tx.handle.prepare(INSERT).run(id, 'x')))))
    // A heartbeat may have come between.
    expect(database.commits - before).toBeLessThanOrEqual(4)
    expect(ids()).toHaveLength(64)
    await backend.close()
    database.close()
  })

  test('one that throws fails alone, and no other one runs again', async () => {
    tables()
    const backend = await open()
    const runs: number[] = []
    const outcomes = await Promise.allSettled(
      Array.from({ length: 64 }, (_, id) =>
        backend.transact((tx) => {
          runs.push(id)
          tx.handle.prepare(INSERT).run(id, 'x')
          return id === 20 ? Promise.reject(new RangeError('on purpose')) : Promise.resolve(id)
        }),
      ),
    )
    expect(outcomes[20]).toMatchObject({ status: 'rejected', reason: { message: 'on purpose' } })
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(63)
    expect(runs).toStrictEqual(Array.from({ length: 64 }, (_, id) => id))
    expect(ids()).toStrictEqual(runs.filter((id) => id !== 20))
  })

  test('one whose foreign key the commit refuses fails alone, whoever shared the commit', async () => {
    tables()
    const backend = await open()
    let runs = 0
    const outcomes = await Promise.allSettled(
      Array.from({ length: 10 }, (_, id) =>
        backend.transact((tx) => {
          runs++
          tx.handle.prepare(INSERT).run(id, 'x')
          if (id === 4) tx.handle.exec('INSERT INTO child VALUES (1, 99)')
          return Promise.resolve()
        }),
      ),
    )
    expect(outcomes[4]).toMatchObject({ status: 'rejected', reason: { code: 'store.refused', cause: { errcode: 787 } } })
    expect(ids()).toStrictEqual([0, 1, 2, 3, 5, 6, 7, 8, 9])
    // Together, and then one by one.
    expect(runs).toBeLessThanOrEqual(20)
  })

  test.each(['swallows it', 'throws it on'])('one that ends the transaction with INSERT OR ROLLBACK and %s fails alone', async (mode) => {
    tables().exec("INSERT INTO account VALUES (4, 'there')")
    const backend = await open()
    const outcomes = await Promise.allSettled(
      Array.from({ length: 10 }, (_, at) =>
        backend.transact(async (tx) => {
          const id = at === 4 ? 100 : at
          await tx.append(`account-${at}`, 'noStream', [])
          tx.handle.prepare(INSERT).run(id, 'x')
          if (at !== 4) return
          try {
            tx.handle.exec("INSERT OR ROLLBACK INTO account VALUES (4, 'again')")
          } catch (error) {
            if (mode === 'throws it on') throw error
          }
          expect(() => tx.handle.exec("INSERT INTO account VALUES (101, 'by itself')")).toThrow(expect.objectContaining({ errcode: 1555 }))
        }),
      ),
    )
    expect(outcomes[4]).toMatchObject({ status: 'rejected', reason: { errcode: 1555 } })
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(9)
    expect(ids()).toStrictEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  })

  test('units, appends and publishes share a transaction, and a publish that is refused takes nobody along', async () => {
    tables()
    const backend = await open()
    await backend.transport.open(new TestHost())
    await (await backend.transport.subscribe(group(), () => {})).close()
    place.database().exec(`CREATE TRIGGER refuse BEFORE INSERT ON trunkline_message WHEN NEW.attributes LIKE '%"bad"%' BEGIN SELECT RAISE(ABORT, 'not this one'); END`)
    let runs = 0
    const outcomes = await Promise.allSettled([
      publish(backend.transport, event()),
      backend.transact((tx) => {
        runs++
        return Promise.resolve(tx.handle.prepare(INSERT).run(1, 'x'))
      }),
      publish(backend.transport, event({ id: 'bad' })),
      backend.log.append('order-1', 'noStream', [{ message: event().message, isPublic: false }]),
      publish(backend.transport, event()),
    ])
    expect(outcomes.map(({ status }) => status)).toStrictEqual(['fulfilled', 'fulfilled', 'rejected', 'fulfilled', 'fulfilled'])
    expect(runs).toBe(1)
    expect([ids(), place.count('SELECT count(*) FROM trunkline_message'), place.count('SELECT count(*) FROM trunkline_event')]).toStrictEqual([[1], 2, 1])
    await backend.transport.close()
  })
})

test('a command whose group was made by a unit that failed reaches the group that comes', async () => {
  const backend = await open({}, true)
  await backend.transport.open(new TestHost())
  const row = { ...command(), shard: 0 }
  const failing = backend.transact((tx) => tx.write([{ ...command(), shard: 0 }]).then(() => Promise.reject(new RangeError('on purpose'))))
  const working = backend.transact((tx) => tx.write([row]))
  await expect(failing).rejects.toThrow('on purpose')
  await working
  const inbox = new Inbox()
  // It would get the number of the group that was undone.
  await backend.transport.subscribe(group(), () => {})
  await backend.transport.subscribe(group({ kind: 'command', group: 'tests.do-thing', types: ['tests.do-thing'] }), inbox.sink)
  expect((await inbox.next()).message.id).toBe(row.message.id)
  expect(place.count('SELECT count(*) FROM trunkline_delivery')).toBe(1)
  await backend.transport.close()
})

test('tells of what others commit, and not of its own commits', async () => {
  const [one, other] = [await open(), await open()]
  const heard = { one: 0, other: 0 }
  one.onCommitted(() => heard.one++)
  other.onCommitted(() => heard.other++)
  const append = (backend: SqliteBackend, stream: string): Promise<unknown> => backend.log.append(stream, 'noStream', [{ message: event().message, isPublic: false }])
  await append(one, 'order-1')
  await until(() => heard.other === 1)
  const failing = one.transact((tx) => tx.append('order-2', 'noStream', [{ message: event().message, isPublic: false }]).then(() => Promise.reject(new RangeError('on purpose'))))
  await Promise.allSettled([failing, append(one, 'order-3')])
  await until(() => heard.other === 2)
  expect(heard.one).toBe(0)
  await append(other, 'order-4')
  await until(() => heard.one === 1)
})

describe('the handle of a unit', () => {
  test.each([
    'COMMIT', 'rollback', ' /* now */ END', '-- so\nBEGIN', 'SAVEPOINT mine', 'RELEASE trunkline_unit', "INSERT INTO account VALUES (9, ';'); COMMIT",
  ])('refuses %j', async (sql) => {
    tables()
    const backend = await open()
    for (const use of [(handle: SqliteHandle) => handle.exec(sql), (handle: SqliteHandle) => handle.prepare(sql)]) {
      await expect(backend.transact((tx) => Promise.resolve(use(tx.handle)))).rejects.toMatchObject({ code: 'store.refused' })
    }
    expect(ids()).toStrictEqual([])
  })

  test('reads and writes as a database does, with every kind of parameter', async () => {
    tables()
    const backend = await open()
    const seen = await backend.transact((tx) => {
      const { handle } = tx
      expect(handle.prepare(INSERT).run(1, 'one')).toStrictEqual({ changes: 1, lastInsertRowid: 1 })
      handle.prepare('INSERT INTO account VALUES ($id, $value)').run({ id: 2, value: 'two' })
      handle.exec("CREATE TRIGGER tidy AFTER DELETE ON account BEGIN UPDATE account SET value = CASE WHEN 1 THEN 'x' END; DELETE FROM child; END; INSERT INTO account VALUES (3, 'three')")
      const walked = [...handle.prepare('SELECT id FROM account ORDER BY id').iterate()].map((row) => row['id'])
      const big = handle.prepare('SELECT max(id) AS id FROM account')
      big.setReadBigInts(true)
      return Promise.resolve([walked, big.get()?.['id'], handle.prepare('SELECT max(id) AS id FROM account').get()?.['id'], handle.prepare('SELECT value FROM account WHERE id = ?').all(2)])
    })
    expect(seen).toStrictEqual([[1, 2, 3], 3n, 3, [expect.objectContaining({ value: 'two' })]])
  })

  test('ends with its unit: handle, statements and rows that were being read', async () => {
    tables().exec("INSERT INTO account VALUES (1, 'x'), (2, 'x'), (3, 'x')")
    const backend = await open()
    let kept: { handle: SqliteHandle; statement: SqliteHandleStatement; rows: IterableIterator<unknown> } | undefined
    await backend.transact((tx) => {
      const rows = tx.handle.prepare('SELECT id FROM account').iterate()
      rows.next()
      kept = { handle: tx.handle, statement: tx.handle.prepare('DELETE FROM account'), rows }
      return Promise.resolve()
    })
    // No reader keeps the connection on an old state of the file.
    place.database().exec("INSERT INTO account VALUES (4, 'by another connection')")
    await backend.transact((tx) => Promise.resolve(tx.handle.prepare(INSERT).run(5, 'x')))
    expect(ids()).toStrictEqual([1, 2, 3, 4, 5])
    const over = expect.objectContaining({ code: 'outbox.unit_over' })
    expect(() => kept?.handle.exec('DELETE FROM account')).toThrow(over)
    expect(() => kept?.statement.run()).toThrow(over)
    expect(() => kept?.rows.next()).toThrow(over)
  })
})

describe('a unit that waits', () => {
  test('is undone at the hold limit, its neighbours commit, and what it does later is refused', async () => {
    tables()
    const backend = await open({ unitHoldMsMax: 100 })
    const hangs = gate()
    let late: unknown
    const hung = backend.transact(async (tx) => {
      tx.handle.prepare(INSERT).run(1, 'x')
      await hangs.opened
      try {
        tx.handle.prepare(INSERT).run(2, 'x')
      } catch (error) {
        late = error
      }
    })
    const neighbours = [backend.transact((tx) => Promise.resolve(tx.handle.prepare(INSERT).run(3, 'x'))), backend.transact((tx) => Promise.resolve(tx.handle.prepare(INSERT).run(4, 'x')))]
    await expect(hung).rejects.toMatchObject({ code: 'outbox.unit_too_long', details: { limitMs: 100 } })
    await Promise.all(neighbours)
    hangs.open()
    await until(() => late !== undefined)
    expect(late).toMatchObject({ code: 'outbox.unit_over' })
    expect(ids()).toStrictEqual([3, 4])
  })

  test('keeps deliveries waiting without blocking the thread on its lock, and other processes write after it', async () => {
    tables()
    const backend = await open({ driver: WaitingDatabase })
    await backend.transport.open(new TestHost())
    const taken: string[] = []
    await backend.transport.subscribe(group(), (delivery) => {
      taken.push(delivery.message.id)
    })
    const [begins, holds] = [gate(), gate()]
    const unit = backend.transact(async (tx) => {
      tx.handle.prepare(INSERT).run(1, 'x')
      begins.open()
      await holds.opened
    })
    await begins.opened
    const published = publish(backend.transport, event({ id: 'meanwhile' }))
    const held = backend.leases.hold(['work'], 'one', 60_000, 1)
    let ticks = 0
    await until(() => ++ticks > 20)
    expect([taken, WaitingDatabase.blocked]).toStrictEqual([[], 0])
    holds.open()
    await Promise.all([unit, published, held])
    await until(() => taken.length === 1)
    place.database().exec("INSERT INTO account VALUES (2, 'x')")
    expect(ids()).toStrictEqual([1, 2])
    await backend.transport.close()
  })

  test('shows nobody what it has not committed, also where all share one connection', async () => {
    tables()
    const database = new DatabaseSync(place.file)
    const backend = await open({ database })
    const written = gate()
    const unit = backend.transact(async (tx) => {
      await tx.append('order-1', 'noStream', [{ message: event().message, isPublic: false }])
      written.open()
      await new Promise<void>((resolve) => {
        setImmediate(() => resolve())
      })
      throw new RangeError('on purpose')
    })
    await written.opened
    const page = backend.log.read({ selection: { kind: 'all' }, direction: 'forwards', after: undefined, limit: 10 })
    await expect(unit).rejects.toThrow('on purpose')
    expect((await page).events).toStrictEqual([])
    await backend.close()
    database.close()
  })
})

test('a full disk undoes the units of a turn and runs them again when there is room', async () => {
  tables()
  const database = new DatabaseSync(place.file)
  const backend = await open({ database })
  const pages = Number(Object.values(database.prepare('PRAGMA page_count').get() ?? {})[0])
  database.exec(`PRAGMA max_page_count = ${pages}`)
  let runs = 0
  const units = [1, 2].map((id) =>
    backend.transact((tx) => {
      runs++
      tx.handle.prepare(INSERT).run(id, 'x'.repeat(100_000))
      return Promise.resolve()
    }),
  )
  await until(() => runs >= 1)
  database.exec('PRAGMA max_page_count = 1073741823')
  await Promise.all(units)
  expect(ids()).toStrictEqual([1, 2])
  await backend.close()
  database.close()
})

test('a lock that another process keeps is a conflict, and the store goes on afterwards', async () => {
  const database = tables()
  const backend = await open({ lockWaitMs: 200 })
  database.exec('BEGIN IMMEDIATE')
  await expect(backend.transact(() => Promise.resolve())).rejects.toMatchObject({ code: 'store.conflict' })
  await expect(backend.log.append('order-1', 'noStream', [{ message: event().message, isPublic: false }])).rejects.toMatchObject({ code: 'store.conflict' })
  database.exec('ROLLBACK')
  await backend.transact((tx) => Promise.resolve(tx.handle.prepare(INSERT).run(1, 'x')))
  expect(ids()).toStrictEqual([1])
})

test('a hold limit above a quarter of the lock wait is refused', () => {
  expect(() => sqliteBackend({ file: place.file, lockWaitMs: 1_000, unitHoldMsMax: 251 })).toThrow(expect.objectContaining({ code: 'core.option_invalid', details: expect.objectContaining({ option: 'unitHoldMsMax' }) }))
})

describe('the file of a store', () => {
  test('never uses a position or the number of a waiting message twice', async () => {
    const store = await open()
    const append = (stream: string): Promise<unknown> => store.transact(async (tx) => {
      await tx.append(stream, 'noStream', [{ message: event().message, isPublic: false }])
      await tx.write([{ ...event(), shard: 0 }])
    })
    const numbers = (): readonly unknown[] => ['SELECT max(position) FROM trunkline_event', 'SELECT max(id) FROM trunkline_outbox'].map((sql) => place.count(sql))
    await append('a-1')
    expect(numbers()).toEqual([1, 1])
    // Whoever has read them knows the highest numbers; then their rows are gone.
    const database = place.database()
    database.exec('DELETE FROM trunkline_event; DELETE FROM trunkline_outbox')
    database.close()
    await append('b-1')
    expect(numbers()).toEqual([2, 2])
  })

  test('stays open for the transport when the store closes, and the other way round', async () => {
    const backend = await open()
    await backend.transport.open(new TestHost())
    await backend.close()
    await publish(backend.transport, event())
    await expect(backend.log.head()).rejects.toMatchObject({ code: 'store.down' })
    const { clock, random, logger, service, instance, report } = new TestHost()
    await backend.open({ clock, random, logger, service, instance, report, isOwnTransport: true })
    const taken: string[] = []
    await backend.transport.subscribe(group(), ({ message }) => taken.push(message.id))
    await backend.transport.close()
    expect(place.count('SELECT count(*) FROM trunkline_member')).toBe(0)
    await backend.log.append('order-1', 'noStream', [{ message: event().message, isPublic: false }])
    await backend.transport.open(new TestHost())
    await backend.transport.subscribe(group(), ({ message }) => taken.push(message.id))
    await publish(backend.transport, event({ id: 'after' }))
    await until(() => taken.includes('after'))
    await backend.transport.close()
    expect(await backend.log.head()).toBe(1n)
  })

  test('a store that opens frees the leases of a process that died', async () => {
    const child = place.child('lease')
    await child.says('holds')
    await child.kill()
    const backend = await open()
    expect(await backend.leases.hold(['work'], 'next', 60_000, 1)).toStrictEqual([{ name: 'work', epoch: 2n }])
  })

  test('a lease from a future that was set back is over', async () => {
    const backend = await open()
    await backend.leases.hold(['work'], 'one', 60_000, 1)
    place.database().exec('UPDATE trunkline_lease SET ends_ms = ends_ms + 3600000')
    expect(await backend.leases.hold(['work'], 'two', 60_000, 1)).toStrictEqual([{ name: 'work', epoch: 2n }])
  })
})

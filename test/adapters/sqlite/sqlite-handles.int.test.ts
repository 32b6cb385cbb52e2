import { DatabaseSync } from 'node:sqlite'
import BetterSqlite3 from 'better-sqlite3'
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/better-sqlite3'
import knex from 'knex'
import { Kysely, SqliteDialect } from 'kysely'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { memory } from '../../../src/adapters/memory/index.ts'
import { sqlite } from '../../../src/adapters/sqlite/index.ts'
import { type Bus, createBus, event, silentLogger } from '../../../src/index.ts'
import { draft } from '../../../src/outbox/outbox.ts'
import type { Store } from '../../../src/outbox/store.ts'
import { until, Workplace } from './sqlite-rig.ts'

const Placed = event('sales.order-placed', { schema: z.object({ orderId: z.string(), at: z.int() }), key: (order) => order.orderId })

interface Handle {
  readonly name: string
  readonly driver: typeof DatabaseSync | typeof BetterSqlite3
  readonly open: (file: string) => OpenHandle
}

interface OpenHandle {
  /** What `outbox.in` is given within a transaction. */
  readonly transaction: (work: (handle: unknown) => Promise<unknown>) => Promise<unknown>
  /** The same outside one. */
  readonly outside: unknown
  readonly close: () => unknown
}

/** For connections whose own transactions cannot wait for anything. */
async function byHand(database: { exec(text: string): unknown }, work: () => Promise<unknown>): Promise<unknown> {
  database.exec('BEGIN IMMEDIATE')
  try {
    const value = await work()
    database.exec('COMMIT')
    return value
  } catch (error) {
    database.exec('ROLLBACK')
    throw error
  }
}

const handles: readonly Handle[] = [
  {
    name: 'node:sqlite', driver: DatabaseSync,
    open: (file) => {
      const database = new DatabaseSync(file)
      return { transaction: (work) => byHand(database, () => work(database)), outside: database, close: () => database.close() }
    },
  },
  {
    name: 'better-sqlite3', driver: BetterSqlite3,
    open: (file) => {
      const database = new BetterSqlite3(file)
      return { transaction: (work) => byHand(database, () => work(database)), outside: database, close: () => database.close() }
    },
  },
  {
    name: 'Drizzle', driver: BetterSqlite3,
    open: (file) => {
      const database = new BetterSqlite3(file)
      const db = drizzle(database)
      return { transaction: (work) => byHand({ exec: (text) => db.run(sql.raw(text)) }, () => work(db)), outside: db, close: () => database.close() }
    },
  },
  {
    name: 'the database of Kysely', driver: BetterSqlite3,
    open: (file) => {
      const database = new BetterSqlite3(file)
      const db = new Kysely<object>({ dialect: new SqliteDialect({ database }) })
      return { transaction: (work) => db.transaction().execute(() => work(database)), outside: database, close: () => db.destroy() }
    },
  },
  {
    name: 'Knex', driver: BetterSqlite3,
    open: (file) => {
      const db = knex({ client: 'better-sqlite3', connection: { filename: file }, useNullAsDefault: true })
      return { transaction: (work) => db.transaction((trx) => work(trx)), outside: db, close: () => db.destroy() }
    },
  },
]

let place: Workplace
let store: Store<unknown>
let bus: Bus
let seen: string[]

beforeEach(() => {
  place = new Workplace()
  seen = []
})
afterEach(async () => {
  await bus.stop()
  await place.clean()
})

async function start(driver: Handle['driver']): Promise<void> {
  store = sqlite({ file: place.file, driver })
  bus = createBus({ service: { name: 'shop' }, logger: silentLogger, transport: memory(), outbox: store.outbox })
  bus.on(Placed, { group: 'watch', order: 'key' }, ({ data }) => void seen.push(`${data.orderId} ${data.at}`))
  await bus.start()
}

describe.each(handles)('on a transaction of $name', ({ driver, open }) => {
  test('publishes what commits, in order, and nothing else', async () => {
    await start(driver)
    const user = open(place.file)
    await expect(user.transaction(async (handle) => {
      await store.outbox.in(handle).publish(Placed, { orderId: 'o1', at: 0 })
      throw new TypeError('undone')
    })).rejects.toThrow('undone')
    await user.transaction(async (handle) => {
      await store.outbox.in(handle).publish(Placed, { orderId: 'o1', at: 1 })
      await store.outbox.in(handle).publishAll([2, 3, 4].map((at) => draft(Placed, { orderId: 'o1', at })))
    })
    await until(() => seen.length >= 4, 'what was published')
    expect(seen).toEqual(['o1 1', 'o1 2', 'o1 3', 'o1 4'])
    await user.close()
  })

  test('refuses it outside a transaction, and after its end', async () => {
    await start(driver)
    const user = open(place.file)
    let kept: unknown
    await user.transaction((handle) => {
      kept = handle
      return Promise.resolve()
    })
    for (const handle of [user.outside, kept]) {
      await expect(store.outbox.in(handle).publish(Placed, { orderId: 'o1', at: 1 })).rejects.toMatchObject({ code: 'outbox.transaction_missing' })
    }
    expect((await store.outbox.stats()).waiting).toBe(0)
    await user.close()
  })
})

test('a transaction that can wait for nothing has ended before anything is written: refused', async () => {
  await start(BetterSqlite3)
  const database = new BetterSqlite3(place.file)
  let published: Promise<void> | undefined
  drizzle(database).transaction((tx) => {
    published = store.outbox.in(tx).publish(Placed, { orderId: 'o1', at: 1 })
  })
  await expect(published).rejects.toMatchObject({ code: 'outbox.transaction_missing' })
  database.close()
})

test('a handle of Kysely is refused with what to give instead', async () => {
  await start(BetterSqlite3)
  const db = new Kysely<object>({ dialect: new SqliteDialect({ database: new BetterSqlite3(place.file) }) })
  await db.transaction().execute(async (trx) => {
    await expect(store.outbox.in(trx).publish(Placed, { orderId: 'o1', at: 1 })).rejects.toThrow('the database that Kysely works on')
  })
  await db.destroy()
})

test('a client of Prisma is refused with what to give instead', async () => {
  await start(DatabaseSync)
  // What its clients and transactions have, over every database.
  const tx = { $queryRawUnsafe: () => Promise.resolve([]), $executeRawUnsafe: () => Promise.resolve(0) }
  await expect(store.outbox.in(tx).publish(Placed, { orderId: 'o1', at: 1 })).rejects.toThrow('since Prisma gives the one that it works on to nobody')
})

test('a unit of the store on the connection of Drizzle takes what Drizzle writes along', async () => {
  const database = new BetterSqlite3(place.file)
  const db = drizzle(database)
  store = sqlite({ database })
  bus = createBus({ service: { name: 'shop' }, logger: silentLogger, transport: memory(), outbox: store.outbox })
  bus.on(Placed, { group: 'watch' }, ({ data }) => void seen.push(data.orderId))
  await bus.start()
  db.run(sql`CREATE TABLE theirs (id TEXT)`)
  const write = (id: string): unknown => db.run(sql`INSERT INTO theirs VALUES (${id})`)
  await expect(store.transaction(({ publish }) => {
    write('lost')
    publish(Placed, { orderId: 'lost', at: 1 })
    throw new TypeError('undone')
  })).rejects.toThrow('undone')
  await store.transaction(({ publish }) => {
    write('kept')
    publish(Placed, { orderId: 'kept', at: 1 })
  })
  await until(() => seen.length >= 1, 'what was published')
  expect(seen).toEqual(['kept'])
  expect(db.all(sql`SELECT id FROM theirs`)).toEqual([{ id: 'kept' }])
  await bus.stop()
  database.close()
})

import { z } from 'zod'
import { Client, type Pool } from 'pg'
import { expect, test } from 'vitest'
import { postgres } from '../../../src/adapters/postgres/index.ts'
import type { PgHandle } from '../../../src/adapters/postgres/postgres-handle.ts'
import { memory, memoryStore } from '../../../src/adapters/memory/index.ts'
import { createBus, draft, event, type Store } from '../../../src/index.ts'
import { outboxRow, openStore, postgresRig } from './postgres-rig.ts'

const rig = postgresRig()
const Sold = event('shop.sold', { schema: z.object({ id: z.int(), shop: z.string() }), key: ({ shop }) => shop })
const Counted = event('shop.counted', { schema: z.object({ id: z.int() }) })

interface Opened {
  readonly pool: Pool
  readonly store: Store<PgHandle>
  readonly sales: () => Promise<readonly number[]>
  readonly waiting: () => Promise<number>
}

/** A store whose relay does not run, and a table of the business in the same database. */
async function opened(): Promise<Opened> {
  const url = await rig.database()
  const pool = rig.pool(url, 4)
  await pool.query('CREATE TABLE sale (id int PRIMARY KEY)')
  const store = postgres({ connectionString: url })
  await store.open({ service: 'shop' })
  const sales = async (): Promise<readonly number[]> => (await pool.query<{ id: number }>('SELECT id FROM sale ORDER BY id')).rows.map(({ id }) => id)
  return { pool, store, sales, waiting: async () => (await store.outbox.stats()).waiting }
}

const INSERT = 'INSERT INTO sale VALUES ($1)'

test('rows and messages are committed with one another, by the last statement of a transaction of the caller\'s', async () => {
  const { pool, store, sales, waiting } = await opened()
  const client = await pool.connect()
  for (const messages of [[], [draft(Counted, { id: 1 })], [draft(Sold, { id: 1, shop: 'a' })], [draft(Sold, { id: 1, shop: 'a' }), draft(Counted, { id: 1 })]]) {
    await client.query('BEGIN')
    await client.query(INSERT, [messages.length === 0 ? 0 : (await sales()).length])
    await store.outbox.in(client).commit(messages)
    // The next statement is outside: the transaction has ended.
    expect((await client.query<{ alone: boolean }>('SELECT now() = statement_timestamp() AS alone')).rows).toEqual([{ alone: true }])
  }
  expect(await sales()).toEqual([0, 1, 2, 3])
  expect(await waiting()).toBe(4)
  client.release()
  await store.close()
  await pool.end()
})

test('a commit with messages that the database refuses commits nothing, and leaves the transaction to be rolled back', async () => {
  const { pool, store, sales, waiting } = await opened()
  await pool.query('ALTER TABLE trunkline.outbox ADD CONSTRAINT closed CHECK (false) NOT VALID')
  const client = await pool.connect()
  await client.query('BEGIN')
  await client.query(INSERT, [1])
  await expect(store.outbox.in(client).commit([draft(Counted, { id: 1 })])).rejects.toMatchObject({ code: 'store.refused' })
  await client.query('ROLLBACK')
  client.release()
  expect(await sales()).toEqual([])
  expect(await waiting()).toBe(0)
  await store.close()
  await pool.end()
})

test('a commit that cannot be done is refused with the reason', async () => {
  const { pool, store } = await opened()
  const client = await pool.connect()
  await expect(store.outbox.in(client).commit([draft(Counted, { id: 1 })])).rejects.toMatchObject({ code: 'outbox.transaction_missing' })
  await client.query('BEGIN')
  await client.query('SELECT * FROM nowhere').catch(() => undefined)
  await expect(store.outbox.in(client).commit([])).rejects.toMatchObject({ code: 'outbox.transaction_missing' })
  await client.query('ROLLBACK')
  client.release()
  await store.transaction(async (unit) => {
    await expect(store.outbox.in(unit.tx).commit([])).rejects.toMatchObject({ code: 'bus.unsupported' })
  })
  await store.close()
  await pool.end()
  const memoryOnly = memoryStore()
  await memoryOnly.open({ service: 'shop' })
  await expect(memoryOnly.outbox.in({}).commit([])).rejects.toMatchObject({ code: 'bus.unsupported' })
  expect(() => memoryOnly.outbox.statement({ text: INSERT }, [])).toThrow(expect.objectContaining({ code: 'bus.unsupported' }))
  await memoryOnly.close()
})

const one = draft(Counted, { id: 7 })
const keyed = draft(Sold, { id: 7, shop: 'é' })

test.each([
  ['no message', [], 0], ['one message', [one], 1], ['one with a key', [keyed], 1], ['several', [one, keyed, keyed], 3],
] as const)('a statement with %s beside it keeps its own result, and writes both', async (_name, messages, count) => {
  const { pool, store, sales, waiting } = await opened()
  const plain = await pool.query(store.outbox.statement({ text: `${INSERT} RETURNING id`, values: [1] }, messages))
  expect(plain).toMatchObject({ rowCount: 1, rows: [{ id: 1 }] })
  const named = store.outbox.statement({ name: 'sell', text: `WITH given AS (SELECT $1::int AS id) INSERT INTO sale SELECT id FROM given`, values: [2] }, messages)
  await pool.query(named)
  await pool.query(store.outbox.statement({ text: 'with recursive n (id) AS (SELECT 3 UNION ALL SELECT id + 1 FROM n WHERE id < 4) INSERT INTO sale SELECT id FROM n' }, messages))
  expect(await sales()).toEqual([1, 2, 3, 4])
  expect(await waiting()).toBe(3 * count)
  await store.close()
  await pool.end()
})

test('a statement that fails writes no message, and messages that fail write no row', async () => {
  const { pool, store, sales, waiting } = await opened()
  await pool.query(INSERT, [1])
  await expect(pool.query(store.outbox.statement({ text: INSERT, values: [1] }, [keyed]))).rejects.toMatchObject({ code: '23505' })
  expect(await waiting()).toBe(0)
  await pool.query('ALTER TABLE trunkline.outbox ADD CONSTRAINT closed CHECK (false) NOT VALID')
  await expect(pool.query(store.outbox.statement({ text: INSERT, values: [2] }, [keyed]))).rejects.toMatchObject({ code: '23514' })
  expect(await sales()).toEqual([1])
  await store.close()
  await pool.end()
})

test('a statement waits for the lock of its message\'s key, so that rows of a key stand in commit order', async () => {
  const { pool, store } = await opened()
  const client = await pool.connect()
  await client.query('BEGIN')
  await store.outbox.in(client).publish(Sold, { id: 1, shop: 'a' })
  const order: string[] = []
  const second = pool.query(store.outbox.statement({ text: INSERT, values: [2] }, [draft(Sold, { id: 2, shop: 'a' })])).then(() => order.push('second'))
  await pool.query(store.outbox.statement({ text: INSERT, values: [3] }, [draft(Sold, { id: 3, shop: 'other' })])).then(() => order.push('other key'))
  order.push('commit')
  await client.query('COMMIT')
  await second
  expect(order).toEqual(['other key', 'commit', 'second'])
  client.release()
  await store.close()
  await pool.end()
})

test('messages that were written beside a statement or with a commit are relayed', async () => {
  const url = await rig.database()
  const store = postgres({ connectionString: url })
  const bus = createBus({ service: { name: 'shop' }, transport: memory(), outbox: store.outbox })
  const heard: number[] = []
  let done = (): void => undefined
  const both = new Promise<void>((resolve) => {
    done = resolve
  })
  bus.on(Counted, { group: 'counter' }, ({ data }) => {
    heard.push(data.id)
    if (heard.length === 2) done()
  })
  await bus.start()
  const client = new Client({ connectionString: url })
  await client.connect()
  await client.query(store.outbox.statement({ text: 'SELECT 1' }, [draft(Counted, { id: 1 })]))
  await client.query('BEGIN')
  await store.outbox.in(client).commit([draft(Counted, { id: 2 })])
  await both
  expect(heard.toSorted((left, right) => left - right)).toEqual([1, 2])
  await client.end()
  await bus.stop()
})

test('over the store\'s own transport a commit writes its messages there, and a statement is refused', async () => {
  const url = await rig.database()
  const store = postgres({ connectionString: url })
  const bus = createBus({ service: { name: 'shop' }, transport: store.transport, outbox: store.outbox })
  let done = (): void => undefined
  const heard = new Promise<void>((resolve) => {
    done = resolve
  })
  bus.on(Counted, { group: 'counter' }, () => done())
  await bus.start()
  const client = new Client({ connectionString: url })
  await client.connect()
  await client.query('BEGIN')
  await store.outbox.in(client).commit([draft(Counted, { id: 1 })])
  await heard
  expect(() => store.outbox.statement({ text: 'SELECT 1' }, [one])).toThrow(expect.objectContaining({ code: 'bus.unsupported' }))
  await client.end()
  await bus.stop()
})

test('a backend without messages for a statement gives it back as it is', async () => {
  const store = await openStore({ connectionString: await rig.database() })
  const statement = { text: INSERT, values: [1] }
  expect(store.statementWith(statement, [])).toBe(statement)
  expect(store.statementWith(statement, [outboxRow()]).values).toHaveLength(5)
  await store.close()
})

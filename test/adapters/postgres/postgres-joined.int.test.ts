import { type Client, Pool, type PoolClient } from 'pg'
import { expect, test } from 'vitest'
import { joined } from '../../../src/adapters/postgres/postgres-joined.ts'
import { openStore, outboxRow, postgresRig } from './postgres-rig.ts'

const rig = postgresRig()

/** The part of a connection on which every round trip shows. */
interface Wire {
  bind(portal: { readonly values?: readonly unknown[] }): void
  sync(): void
  query(text: string): void
}

/** A database with a table of the business, a pool over it, and how many round trips its connections have made. */
async function opened(): Promise<{ readonly pool: Pool; readonly rows: () => Promise<number>; readonly trips: () => number }> {
  const pool = new Pool({ connectionString: await rig.database(), max: 1 })
  pool.on('error', () => undefined)
  await pool.query('CREATE TABLE sale (id int PRIMARY KEY)')
  const client = await pool.connect()
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the client does not show its connection in its types
  const wire = (client as unknown as { readonly connection: Wire }).connection
  let trips = 0
  const [bind, sync, query] = [wire.bind.bind(wire), wire.sync.bind(wire), wire.query.bind(wire)]
  wire.bind = (portal) => {
    // What other processes are told of is a statement of its own, now and then.
    if (portal.values?.[0] === 'trunkline trunkline') trips--
    bind(portal)
  }
  wire.sync = () => {
    trips++
    sync()
  }
  wire.query = (text) => {
    trips++
    query(text)
  }
  client.release()
  const rows = async (): Promise<number> => Number((await pool.query<{ count: string }>('SELECT count(*) AS count FROM sale')).rows[0]?.count)
  return { pool, rows, trips: () => trips }
}

const INSERT = 'INSERT INTO sale VALUES ($1)'

test('a unit takes two round trips: one begins it with its first statement, one commits it with its messages', async () => {
  const { pool, rows, trips } = await opened()
  const store = await openStore({ pool, listen: false })
  const unit = (id: number): Promise<unknown> => store.transact(async (tx) => {
    expect(await tx.handle.query(`${INSERT} RETURNING id`, [id])).toMatchObject({ command: 'INSERT', rowCount: 1, rows: [{ id }] })
    await tx.write([outboxRow()])
  })
  await unit(1)
  const before = trips()
  await unit(2)
  expect(trips() - before).toBe(2)
  await store.transact((tx) => tx.write([outboxRow()]))
  expect(trips() - before).toBe(3)
  expect(await rows()).toBe(2)
  expect((await store.outbox.stats()).waiting).toBe(3)
  await store.close()
  await pool.end()
})

test('a named statement is prepared as the client prepares it, and travels with the beginning from then on', async () => {
  const { pool, rows, trips } = await opened()
  const store = await openStore({ pool, listen: false })
  const costs: number[] = []
  for (let id = 1; id <= 3; id++) {
    const before = trips()
    await store.transact((tx) => tx.handle.query({ name: 'sale', text: INSERT, values: [id] }))
    costs.push(trips() - before)
  }
  expect(costs).toEqual([3, 2, 2])
  expect(await rows()).toBe(3)
  await store.close()
  await pool.end()
})

test('a first statement that fails leaves nothing, whatever came after it, and the connection is as good as before', async () => {
  const { pool, rows } = await opened()
  const store = await openStore({ pool, listen: false })
  await pool.query('INSERT INTO sale VALUES (1)')
  const failing = store.transact(async (tx) => {
    await tx.handle.query(INSERT, [1]).catch(() => undefined)
    await tx.write([outboxRow()])
  })
  await expect(failing).rejects.toMatchObject({ code: 'store.rolled_back' })
  await expect(store.transact((tx) => tx.handle.query(INSERT, [1]))).rejects.toMatchObject({ code: '23505', stack: expect.stringContaining('postgres-joined.int') })
  await store.transact((tx) => tx.handle.query(INSERT, [2]))
  expect(await rows()).toBe(2)
  expect((await store.outbox.stats()).waiting).toBe(0)
  await store.close()
  await pool.end()
})

test('where the client cannot write a value of the first statement, what follows is inside the transaction all the same', async () => {
  const { pool, rows } = await opened()
  const store = await openStore({ pool, listen: false })
  const unwritable = { toPostgres: () => { throw new Error('no text') } }
  const thrown = new Error('given up')
  const unit = store.transact(async (tx) => {
    await expect(tx.handle.query(INSERT, [unwritable])).rejects.toThrow('no text')
    await tx.handle.query(INSERT, [1])
    throw thrown
  })
  await expect(unit).rejects.toBe(thrown)
  expect(await rows()).toBe(0)
  await store.close()
  await pool.end()
})

test('messages that the database refuses take the rows of the unit with them', async () => {
  const { pool, rows } = await opened()
  const store = await openStore({ pool, listen: false })
  const selling = (id: number): Promise<unknown> => store.transact(async (tx) => {
    await tx.handle.query(INSERT, [id])
    await tx.write([outboxRow()])
  })
  await pool.query('ALTER TABLE trunkline.outbox ADD CONSTRAINT closed CHECK (false) NOT VALID')
  await expect(selling(1)).rejects.toMatchObject({ code: 'store.refused' })
  await expect(selling(2)).rejects.toMatchObject({ code: 'store.refused' })
  await pool.query('ALTER TABLE trunkline.outbox DROP CONSTRAINT closed')
  await selling(3)
  expect(await rows()).toBe(1)
  await store.close()
  await pool.end()
})

test('a statement is not run where the transaction cannot begin', async () => {
  const { pool, rows } = await opened()
  const client = await pool.connect()
  await expect(client.query('BEGIN; SELECT * FROM nowhere')).rejects.toThrow('nowhere')
  const sent = join(client, [1])
  await expect(sent?.results).rejects.toMatchObject({ code: '25P02' })
  expect(sent?.hasBegun()).toBe(false)
  await client.query('ROLLBACK')
  client.release()
  expect(await rows()).toBe(0)
  await pool.end()
})

test('what cannot travel with the beginning is left to the client', async () => {
  const { pool } = await opened()
  const client = await pool.connect()
  const options = { beginning: [], isCommitting: false, isPreparing: true }
  expect(joined(client, options, 'SELECT 1; SELECT 2')).toBeUndefined()
  expect(joined(client, options, { text: INSERT, values: [] })).toBeUndefined()
  expect(joined(client, options, { name: 'new', text: INSERT, values: [1] })).toBeUndefined()
  expect(joined(client, options, { text: INSERT, values: [1], submit: () => undefined })).toBeUndefined()
  expect(joined(Object.create(null, { query: { value: () => Promise.reject(new Error('never')) } }), options, INSERT, [1])).toBeUndefined()
  client.release()
  await pool.end()
})

function join(client: Client | PoolClient, values: readonly unknown[]): ReturnType<typeof joined> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a client of a pool, with more than the adapter needs
  return joined(client as PoolClient, { beginning: [], isCommitting: false, isPreparing: true }, INSERT, values)
}

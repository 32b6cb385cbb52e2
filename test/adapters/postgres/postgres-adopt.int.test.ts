import { expect, test } from 'vitest'
import { newEvent, openStore, outboxRow, postgresRig, readAll } from './postgres-rig.ts'

const rig = postgresRig()

test('writes on a transaction of the caller\'s client, which commits it or not', async () => {
  const url = await rig.database()
  const store = await openStore({ connectionString: url })
  const pool = rig.pool(url, 2)
  const client = await pool.connect()
  for (const end of ['ROLLBACK', 'COMMIT']) {
    await client.query('BEGIN')
    const unit = await store.adopt(client)
    expect(unit.handle).toBe(client)
    await unit.append('order-1', 'noStream', [newEvent(), newEvent()])
    await unit.write([outboxRow({ key: 'a' }), outboxRow()])
    await client.query(end)
  }
  client.release()
  expect(await readAll(store.log)).toHaveLength(2)
  expect((await store.outbox.stats()).waiting).toBe(2)
  await pool.end()
  await store.close()
})

test('refuses a client outside a transaction, a pool, a transaction that has failed, and what is no client', async () => {
  const url = await rig.database()
  const store = await openStore({ connectionString: url })
  const pool = rig.pool(url, 2)
  const client = await rig.client(url)
  await expect(store.adopt(client)).rejects.toMatchObject({ code: 'outbox.transaction_missing' })
  await expect(store.adopt(pool)).rejects.toMatchObject({ code: 'outbox.transaction_missing' })
  await client.query('BEGIN')
  await client.query('SELECT * FROM nowhere').catch(() => undefined)
  await expect(store.adopt(client)).rejects.toMatchObject({ code: 'outbox.transaction_missing' })
  await client.query('ROLLBACK')
  for (const stranger of [undefined, null, 1, 'BEGIN', {}, { query: () => undefined }]) {
    await expect(store.adopt(stranger)).rejects.toMatchObject({ code: 'core.option_invalid' })
  }
  await client.end()
  await pool.end()
  await store.close()
})

test('takes the handle of a unit of its own', async () => {
  const store = await openStore({ connectionString: await rig.database() })
  await store.transact(async (tx) => {
    const unit = await store.adopt(tx.handle)
    await unit.append('order-1', 'noStream', [newEvent()])
  })
  expect(await readAll(store.log)).toHaveLength(1)
  await store.close()
})

test('works on a pool of the caller\'s, which stays open', async () => {
  const url = await rig.database()
  const pool = rig.pool(url, 4)
  const store = await openStore({ pool })
  await store.log.append('order-1', 'noStream', [newEvent()])
  await store.transact((tx) => tx.append('order-1', 0n, [newEvent()]))
  expect(await readAll(store.log)).toHaveLength(2)
  await store.close()
  expect((await pool.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
  expect(pool.listenerCount('error')).toBe(1)
  await pool.end()
})

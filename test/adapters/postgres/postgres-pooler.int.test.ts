import { expect, test } from 'vitest'
import { TransactionPooler } from '../../servers/transaction-pooler.ts'
import { until } from '../../servers/until.ts'
import { newEvent, openStore, outboxRow, postgresRig, readAll } from './postgres-rig.ts'

// Behind a pooler that gives every transaction another session: no state of a session, no locks of a session, no LISTEN (P-16).

const rig = postgresRig()

test('does everything behind a pooler in transaction mode', async () => {
  const url = await rig.database()
  await using pooler = await TransactionPooler.start(url, 3)
  const [store, other] = [
    await openStore({ connectionString: pooler.url, pooler: 'transaction' }), await openStore({ connectionString: pooler.url, pooler: 'transaction', idlePollMs: 50 }),
  ]
  expect(store.hearsOthers).toBe(false)
  const abort = new AbortController()
  const seen: string[] = []
  const following = (async () => {
    for await (const page of other.log.follow({ kind: 'category', category: 'order' }, undefined, { pageMax: 10, signal: abort.signal })) {
      seen.push(...page.events.map(({ stream, revision }) => `${stream}@${revision}`))
    }
  })()
  await Promise.all(Array.from({ length: 20 }, async (_each, index) => {
    await store.log.append(`order-${index}`, 'noStream', [newEvent()])
    await store.transact(async (tx) => {
      await tx.enter({ group: 'g', source: '/s', id: `m-${index}`, digest: Buffer.alloc(32) })
      await tx.append(`order-${index}`, 0n, [newEvent(), newEvent()])
      await tx.write([outboxRow({ key: `k-${index % 3}` })])
    })
  }))
  await until(() => seen.length === 60)
  expect(await readAll(other.log)).toHaveLength(60)
  expect((await store.outbox.read(0, { limit: 100, after: undefined, withoutKeys: [] })).length).toBe(20)
  const [lease] = await store.leases.hold(['outbox/0'], 'me', 10_000, 1)
  await store.outbox.settle(0, lease?.epoch ?? 0n, { published: (await store.outbox.read(0, { limit: 100, after: undefined, withoutKeys: [] })).map(({ id }) => id), dead: [] })
  expect((await store.outbox.stats()).waiting).toBe(0)
  expect(pooler.lentCount).toBeGreaterThan(60)
  abort.abort()
  await following
  await Promise.all([store.close(), other.close()])
})

test('sends its time limits with each transaction there, and leaves none behind', async () => {
  const url = await rig.database()
  await using pooler = await TransactionPooler.start(url, 1)
  const store = await openStore({ connectionString: pooler.url, pooler: 'transaction', statementTimeoutMs: 7_000, lockTimeoutMs: 6_000, idleInTransactionTimeoutMs: 5_000 })
  const limits = await store.transact(async (tx) => {
    const { rows } = await tx.handle.query<Record<string, string>>(`SELECT current_setting('statement_timeout') AS statement, current_setting('lock_timeout') AS lock,
      current_setting('idle_in_transaction_session_timeout') AS idle`)
    return rows[0]
  })
  expect(limits).toEqual({ statement: '7s', lock: '6s', idle: '5s' })
  const client = await rig.client(pooler.url)
  expect((await client.query('SHOW statement_timeout')).rows).toEqual([{ statement_timeout: '0' }])
  await client.end()
  await store.close()
})

test('hears of others past the pooler, where it is given an address to listen at', async () => {
  const url = await rig.database()
  await using pooler = await TransactionPooler.start(url, 2)
  const store = await openStore({ connectionString: pooler.url, pooler: 'transaction', listenConnectionString: url })
  const other = await openStore({ connectionString: pooler.url, pooler: 'transaction' })
  await until(() => store.hearsOthers)
  let heard = 0
  store.onCommitted(() => heard++)
  await other.log.append('order-1', 'noStream', [newEvent()])
  await until(() => heard > 0)
  await Promise.all([store.close(), other.close()])
})

test('would not work there as if it were a server, which is what the pooler of these tests is for', async () => {
  const url = await rig.database()
  await using pooler = await TransactionPooler.start(url, 2)
  await expect(openStore({ connectionString: pooler.url, listen: false, openTimeoutMs: 200 })).rejects.toMatchObject({ code: 'store.down', message: expect.stringContaining('startup parameter') })
  const store = await openStore({ connectionString: pooler.url, pooler: 'transaction', prepare: true })
  const appends = Promise.all(Array.from({ length: 20 }, (_each, index) => store.log.append(`order-${index}`, 'noStream', [newEvent()])))
  await expect(appends).rejects.toMatchObject({ code: 'store.refused' })
  await store.close()
})

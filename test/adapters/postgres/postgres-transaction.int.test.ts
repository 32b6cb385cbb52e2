import { expect, test } from 'vitest'
import { tcpProxy } from '../../servers/tcp-proxy.ts'
import { until } from '../../servers/until.ts'
import { Gate, newEvent, openStore, outboxRow, postgresRig, readAll, storeHost, type StateReport } from './postgres-rig.ts'

const rig = postgresRig()

test('says so where a commit answers a rollback, because the error of a statement was swallowed', async () => {
  const url = await rig.database()
  const store = await openStore({ connectionString: url, poolMax: 2 })
  const committed = store.transact(async (tx) => {
    await tx.append('order-1', 'noStream', [newEvent()])
    await tx.handle.query('SELECT * FROM nowhere').catch(() => undefined)
  })
  await expect(committed).rejects.toMatchObject({ code: 'store.rolled_back' })
  expect(await readAll(store.log)).toEqual([])
  await store.transact((tx) => tx.append('order-1', 'noStream', [newEvent()]))
  expect(await readAll(store.log)).toHaveLength(1)
  await store.close()
})

test('gives the errors of the caller\'s statements to the caller as the client made them', async () => {
  const url = await rig.database()
  const store = await openStore({ connectionString: url })
  const client = await rig.client(url)
  await client.query('CREATE TABLE account (id text PRIMARY KEY)')
  await client.end()
  const twice = store.transact(async (tx) => {
    for (let time = 0; time < 2; time++) await tx.handle.query('INSERT INTO account VALUES ($1)', ['a'])
  })
  await expect(twice).rejects.toMatchObject({ code: '23505', constraint: 'account_pkey' })
  await store.close()
})

test('calls a deadlock and a lock that is not to be had a conflict, under whatever wraps them', async () => {
  const url = await rig.database()
  const store = await openStore({ connectionString: url, lockTimeoutMs: 500 })
  const client = await rig.client(url)
  await client.query("CREATE TABLE account (id text PRIMARY KEY, cents int NOT NULL); INSERT INTO account VALUES ('a', 0), ('b', 0)")
  const pay = (first: string, second: string, gate: Gate, other: Gate): Promise<void> => store.transact(async (tx) => {
    await tx.handle.query("SET LOCAL lock_timeout = '10s'")
    await tx.handle.query('UPDATE account SET cents = cents + 1 WHERE id = $1', [first])
    gate.open()
    await other.opened
    try {
      await tx.handle.query('UPDATE account SET cents = cents + 1 WHERE id = $1', [second])
    } catch (error) {
      throw new Error('the library over the client says it in its own words', { cause: error })
    }
  })
  const [one, two] = [new Gate(), new Gate()]
  const outcomes = await Promise.allSettled([pay('a', 'b', one, two), pay('b', 'a', two, one)])
  expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  expect(outcomes.find(({ status }) => status === 'rejected')).toMatchObject({ reason: { code: 'store.conflict' } })
  await client.query("BEGIN; UPDATE account SET cents = 0 WHERE id = 'a'")
  await expect(store.transact((tx) => tx.handle.query("UPDATE account SET cents = 1 WHERE id = 'a'"))).rejects.toMatchObject({ code: 'store.conflict' })
  await client.end()
  await store.close()
})

test('does not know the outcome where the link breaks during the commit, and finds it by repeating', async () => {
  const url = await rig.database()
  await using proxy = await tcpProxy(url)
  const store = await openStore({ connectionString: proxy.url, listen: false, statementTimeoutMs: 400, queryTimeoutMs: 500 })
  const event = newEvent()
  const client = await rig.client(url)
  // The commit waits for a lock that a deferred trigger wants, so that the link can be cut while it is under way.
  await client.query(`CREATE TABLE slow (id int); CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(77); RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()`)
  await client.query('BEGIN; SELECT pg_advisory_xact_lock(77)')
  const committed = store.transact(async (tx) => {
    await tx.handle.query("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; INSERT INTO slow VALUES (1)")
    await tx.append('order-1', 'noStream', [event])
  })
  const observer = await rig.client(url)
  await until(async () => (await observer.query("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")).rows.length === 1)
  const outcome = committed.catch((error: unknown) => error)
  proxy.halfOpen()
  expect(await outcome).toMatchObject({ code: 'store.down' })
  await client.query('COMMIT')
  proxy.heal()
  await until(async () => (await observer.query('SELECT 1 FROM slow')).rows.length === 1)
  expect(await store.log.append('order-1', 'noStream', [event])).toMatchObject({ revision: 0n, isRepeated: true })
  await Promise.all([client.end(), observer.end()])
  await store.close()
})

test('waits for no database that is silent, and works again when it answers', async () => {
  const url = await rig.database()
  await using proxy = await tcpProxy(url)
  const reports: StateReport[] = []
  const store = await openStore({ connectionString: proxy.url, listen: false, statementTimeoutMs: 200, queryTimeoutMs: 300, connectTimeoutMs: 300 }, storeHost({ reports }))
  proxy.halfOpen()
  await expect(store.transact((tx) => tx.handle.query('SELECT 1'))).rejects.toMatchObject({ code: 'store.down' })
  await expect(store.log.head()).rejects.toMatchObject({ code: 'store.down' })
  expect(reports.at(-1)).toMatchObject({ state: 'down' })
  proxy.heal()
  await until(() => reports.at(-1)?.state !== 'down', { what: 'the report that it works again' })
  await store.transact((tx) => tx.handle.query('SELECT 1'))
  await store.close()
})

test('survives the end of its idle connections, the one that listens included', async () => {
  const url = await rig.database()
  const reports: StateReport[] = []
  const store = await openStore({ connectionString: url }, storeHost({ reports }))
  await until(() => store.hearsOthers)
  const client = await rig.client(url)
  await client.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()')
  await until(() => reports.some(({ state }) => state === 'down') && reports.at(-1)?.state !== 'down')
  await until(() => store.hearsOthers)
  await store.log.append('order-1', 'noStream', [newEvent()])
  await client.end()
  await store.close()
})

test('says that the server can lose commits, where its settings let it', async () => {
  const reports: StateReport[] = []
  const store = await openStore({ connectionString: await rig.database() }, storeHost({ reports }))
  // The server of these tests runs without fsync.
  expect(reports).toEqual([{ state: 'degraded', reason: expect.stringContaining('fsync') }])
  await store.close()
})

test('runs statements that were started side by side one after the other, and none after the end', async () => {
  const store = await openStore({ connectionString: await rig.database() })
  let late: (() => Promise<unknown>) | undefined
  await store.transact(async (tx) => {
    late = () => tx.handle.query('SELECT 1')
    const answers = await Promise.all([
      tx.handle.query<{ n: number }>('SELECT 1 AS n'), tx.append('order-1', 'noStream', [newEvent()]),
      tx.handle.query<{ n: number }>({ text: 'SELECT $1::int AS n', values: [2] }), tx.append('order-2', 'noStream', [newEvent()]),
    ])
    expect([answers[0].rows, answers[2].rows]).toEqual([[{ n: 1 }], [{ n: 2 }]])
  })
  expect(await readAll(store.log)).toHaveLength(2)
  await expect(late?.()).rejects.toMatchObject({ code: 'outbox.unit_over' })
  await store.close()
})

test('commits what was started and not awaited, or nothing', async () => {
  const url = await rig.database()
  const store = await openStore({ connectionString: url })
  const client = await rig.client(url)
  await client.query('CREATE TABLE account (id int)')
  await store.transact((tx) => {
    void tx.handle.query('INSERT INTO account SELECT 1 FROM pg_sleep(0.05)')
    return Promise.resolve()
  })
  expect((await client.query('SELECT * FROM account')).rows).toHaveLength(1)
  await client.end()
  await store.close()
})

test('takes the numbers of a key after its lock, so that they stand in commit order', async () => {
  const url = await rig.database()
  const store = await openStore({ connectionString: url })
  const observer = await rig.client(url)
  const lastId = async (): Promise<unknown> => (await observer.query('SELECT last_value FROM trunkline.outbox_id')).rows[0].last_value
  // A unit of our own writes together with its commit: what stays open between the two is a transaction of somebody else.
  const holder = await rig.client(url)
  await holder.query('BEGIN')
  await (await store.adopt(holder)).write([outboxRow({ key: 'a' }), outboxRow({ key: 'b' })])
  const before = await lastId()
  const second = [
    store.transact((tx) => tx.write([outboxRow({ key: 'b' })])),
    store.transact((tx) => tx.write([outboxRow({ key: 'c' }), outboxRow({ key: 'a' })])),
  ]
  await until(async () => (await observer.query("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")).rows.length === 2)
  expect(await lastId()).toBe(before)
  await holder.query('COMMIT')
  await Promise.all(second)
  const rows = await store.outbox.read(0, { limit: 10, after: undefined, withoutKeys: [] })
  expect(rows.slice(0, 2).map(({ message }) => message.key)).toEqual(['a', 'b'])
  expect(rows).toHaveLength(5)
  await Promise.all([observer.end(), holder.end()])
  await store.close()
})

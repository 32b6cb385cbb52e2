import type { Client } from 'pg'
import { execFileSync } from 'node:child_process'
import { cpSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { memory } from '../../../src/adapters/memory/index.ts'
import { postgres } from '../../../src/adapters/postgres/index.ts'
import { createBus, event, fact, silentLogger } from '../../../src/index.ts'
import { postgresServer } from '../../servers/postgres-server.ts'
import { until } from '../../servers/until.ts'
import { Gate, openStore, outboxRow, postgresRig, storeHost } from './postgres-rig.ts'

// What docs/pitfalls.md says of PostgreSQL and no other file shows.

const rig = postgresRig()
const Noted = event('tests.noted', { schema: z.object({ n: z.int() }) })
const Keyed = event('tests.keyed', { schema: z.object({ n: z.int() }), key: () => 'one' })

test('P-07: a store whose outbox takes numbers in advance is refused: its keys would leave out of order', async () => {
  const url = await rig.database()
  await (await openStore({ connectionString: url })).close()
  const client = await rig.client(url)
  await client.query('ALTER SEQUENCE trunkline.outbox_id CACHE 20')
  await expect(openStore({ connectionString: url })).rejects.toMatchObject({ code: 'store.refused', message: expect.stringContaining('outbox_id') })
  await client.end()
})

test('P-10: one of ten has the effect of a message also where the database would isolate more than that', async () => {
  const url = await rig.database()
  const client = await rig.client(url)
  await client.query(`CREATE TABLE effect (n int); ALTER DATABASE ${new URL(url).pathname.slice(1)} SET default_transaction_isolation = 'repeatable read'`)
  const store = await openStore({ connectionString: url })
  const entry = { group: 'g', source: '/s', id: 'm-1', digest: Buffer.alloc(32) }
  const verdicts = await Promise.all(Array.from({ length: 10 }, () => store.transact(async (tx) => {
    // Its snapshot, where it has one, is older than the mark of whoever is first.
    await tx.handle.query('SELECT count(*) FROM effect')
    const { kind } = await tx.enter(entry)
    if (kind === 'new') await tx.handle.query('INSERT INTO effect VALUES (1)')
    return kind
  })))
  expect(verdicts.toSorted()).toEqual(['new', ...Array.from({ length: 9 }, () => 'seen')])
  expect((await client.query('SELECT * FROM effect')).rows).toHaveLength(1)
  await client.end()
  await store.close()
})

test('P-10: a transaction with a snapshot of its own is refused where messages go straight into the tables of the transport', async () => {
  const url = await rig.database()
  const store = postgres({ connectionString: url })
  const bus = createBus({ service: { name: 'shop' }, transport: store.transport, outbox: store.outbox, logger: silentLogger })
  const seen: number[] = []
  bus.on(Keyed, { group: 'watch', order: 'key' }, ({ data }) => void seen.push(data.n))
  await bus.start()
  const client = await rig.client(url)
  for (const isolation of ['REPEATABLE READ', 'SERIALIZABLE']) {
    await client.query(`BEGIN ISOLATION LEVEL ${isolation}; SELECT 1 FROM pg_class LIMIT 1`)
    await expect(store.outbox.in(client).publish(Keyed, { n: 1 })).rejects.toMatchObject({ code: 'outbox.transaction_missing', message: expect.stringContaining(isolation) })
    await client.query('ROLLBACK')
  }
  await client.query('BEGIN')
  await store.outbox.in(client).publish(Keyed, { n: 2 })
  await client.query('COMMIT')
  await until(() => seen.length === 1)
  expect(seen).toEqual([2])
  await client.end()
  await bus.stop()
})

test('P-12: no transaction is open while a message is on its way to the broker', async () => {
  const url = await rig.database()
  const store = postgres({ connectionString: url })
  const transport = memory()
  const publish = transport.publish.bind(transport)
  const [asked, confirm] = [new Gate(), new Gate()]
  transport.publish = (outbound, signal) => {
    asked.open()
    return confirm.opened.then(() => publish(outbound, signal))
  }
  const bus = createBus({ service: { name: 'shop' }, transport, outbox: store.outbox, logger: silentLogger })
  await bus.start()
  await store.transaction((unit) => unit.publish(Noted, { n: 1 }))
  await asked.opened
  const observer = await rig.client(url)
  const open = (): Promise<{ rows: unknown[] }> => observer.query(`SELECT query FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND (state LIKE 'idle in transaction%' OR backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)`)
  // A look or a renewal may be running at this very moment; a transaction that waits for the broker stays.
  await until(async () => (await open()).rows.length === 0, { deadlineMs: 5_000, what: 'a moment without an open transaction' })
  expect((await store.outbox.stats()).waiting).toBe(1)
  confirm.open()
  await until(async () => (await store.outbox.stats()).waiting === 0)
  await observer.end()
  await bus.stop()
})

test('P-17: rows of the outbox are written once and deleted once, and tables that are emptied all the time are cleaned by count', async () => {
  const url = await rig.database()
  const store = postgres({ connectionString: url })
  const bus = createBus({ service: { name: 'shop' }, transport: memory(), outbox: store.outbox, logger: silentLogger })
  await bus.start()
  for (let n = 0; n < 50; n++) await store.transaction((unit) => unit.publish(Noted, { n }))
  await until(async () => (await store.outbox.stats()).waiting === 0)
  await bus.stop()
  const client = await rig.client(url)
  const changes = (): Promise<{ rows: unknown[] }> => client.query("SELECT n_tup_ins::int AS ins, n_tup_upd::int AS upd, n_tup_del::int AS del FROM pg_stat_user_tables WHERE schemaname = 'trunkline' AND relname = 'outbox'")
  // Each session tells the statistics when it ends.
  await until(async () => /"ins":50,.*"del":50\b/.test(JSON.stringify((await changes()).rows)))
  expect((await changes()).rows).toEqual([{ ins: 50, upd: 0, del: 50 }])
  const busy = await client.query(`SELECT relname FROM pg_class WHERE relnamespace = 'trunkline'::regnamespace AND relkind = 'r'
    AND reloptions @> '{autovacuum_vacuum_scale_factor=0,autovacuum_vacuum_threshold=1000,autovacuum_vacuum_cost_delay=0}' ORDER BY relname`)
  expect(busy.rows.map(({ relname }) => relname as string)).toEqual(expect.arrayContaining(['inbox', 'outbox', 'timer']))
  await client.end()
})

/** A server that starts again, and a link that is made again, take their time on a busy machine. */
const PATIENT = { deadlineMs: 60_000 }

/** A copy of the folder of a server, which belongs to the account that the server runs under. */
function copied(from: string, to: string): void {
  rmSync(to, { recursive: true, force: true })
  cpSync(from, to, { recursive: true, preserveTimestamps: true })
  execFileSync('chown', ['-R', `--reference=${from}`, to])
  execFileSync('chmod', ['700', to])
}

test('P-19: a subscription goes on in a database that went back in time behind its back, and skips nothing of what comes there', { timeout: 240_000 }, async () => {
  await using server = await postgresServer({ config: ['fsync = off'] })
  await server.start()
  const store = postgres({ connectionString: server.url, poolMax: 4 })
  const seen: number[] = []
  const subscription = store.events.subscribe({ name: 'follow', contracts: [Noted] }, ({ data }) => void seen.push(data.n))
  await store.open({ service: 'shop', logger: silentLogger })
  // Repeated where its outcome is unknown, and there once.
  const append = (n: number): Promise<unknown> => store.events.append(`note-${n}`, 'noStream', [fact(Noted, { n }, { id: `note-${n}` })])
  await append(1)
  // Not before its checkpoint is there: what the stop rolls back is handled again.
  await until(() => subscription.handled === 1)
  await server.stop()
  const [data, copy] = [join(server.dir, 'data'), join(server.dir, 'copy')]
  copied(data, copy)
  await server.start()
  for (let n = 2; n <= 100; n++) await until(() => append(n).then(() => true, () => false), PATIENT)
  await until(() => subscription.handled >= 100, PATIENT)
  await server.stop()
  copied(copy, data)
  await server.start()
  for (const n of [201, 202]) await until(() => append(n).then(() => true, () => false), PATIENT)
  await until(() => seen.includes(202), { ...PATIENT, what: 'what was appended after the restore' })
  expect(seen.filter((n) => n > 100)).toEqual([201, 202])
  await until(() => subscription.state === 'live')
  await store.close()
})

/** True where a commit waits for a standby. It is broken off then; the row is there all the same. */
async function commitsWait(url: string, observer: Client): Promise<boolean> {
  const client = await rig.client(url)
  let isOver = false
  const written = client.query('INSERT INTO probe VALUES (1)').finally(() => {
    isOver = true
  })
  let isWaiting = false
  while (!isOver && !isWaiting) {
    isWaiting = (await observer.query("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '%probe%'")).rows.length > 0
  }
  await written
  await client.end()
  return isWaiting
}

test('P-20: a commit that waits for a standby is not broken off by who gives its unit up', async () => {
  const url = await rig.database()
  const store = await openStore({ connectionString: url, listen: false })
  const observer = await rig.client(url)
  await observer.query('CREATE TABLE effect (n int); CREATE TABLE probe (n int)')
  const outbox = outboxRow()
  await observer.query("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
  await observer.query('SELECT pg_reload_conf()')
  const abort = new AbortController()
  try {
    await until(() => commitsWait(url, observer), { what: 'the server waits for its standby' })
    let isOver = false
    const unit = store.transact(async (tx) => {
      await tx.handle.query('INSERT INTO effect VALUES (1)')
      await tx.write([outbox])
      return 'done'
    }, { signal: abort.signal, timeoutMs: 1_500 }).finally(() => {
      isOver = true
    })
    await until(async () => (await observer.query("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'")).rows.length > 0, { what: 'a commit that waits' })
    abort.abort()
    // Longer than the time of the unit, which is not that of its commit.
    await observer.query('SELECT pg_sleep(1.8)')
    expect(isOver).toBe(false)
    await observer.query('ALTER SYSTEM RESET synchronous_standby_names')
    await observer.query('SELECT pg_reload_conf()')
    expect(await unit).toBe('done')
  } finally {
    await observer.query('ALTER SYSTEM RESET synchronous_standby_names')
    await observer.query('SELECT pg_reload_conf()')
  }
  expect((await observer.query('SELECT * FROM effect')).rows).toHaveLength(1)
  await observer.end()
  await store.close()
})

test('P-25: nothing in the schema needs a procedural language', async () => {
  const url = await rig.database()
  const store = await openStore({ connectionString: url })
  const transport = store.transport
  await transport?.open(storeHost())
  const client = await rig.client(url)
  const found = await client.query(`SELECT proname AS name FROM pg_proc WHERE pronamespace = 'trunkline'::regnamespace
    UNION ALL SELECT tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relnamespace = 'trunkline'::regnamespace AND NOT tgisinternal`)
  expect(found.rows).toEqual([])
  expect((await client.query("SELECT 1 FROM pg_class WHERE relnamespace = 'trunkline'::regnamespace AND relname IN ('event', 'bus_delivery')")).rows).toHaveLength(2)
  await client.end()
  await transport?.close()
  await store.close()
})

import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { LOG_LOCK } from '../../../src/adapters/postgres/postgres-locks.ts'
import type { StoredEvent } from '../../../src/store/port.ts'
import { postgresServer } from '../../servers/postgres-server.ts'
import { requireBinary } from '../../servers/server-binary.ts'
import { pause, until } from '../../servers/until.ts'
import { Gate, newEvent, openStore, postgresRig, readAll } from './postgres-rig.ts'

const run = promisify(execFile)
const rig = postgresRig()
const LOCK_NUMBER = "'trunkline.event_position'::regclass::oid::integer"

function streamsOf(events: readonly StoredEvent[]): readonly string[] {
  return events.map(({ stream, revision }) => `${stream}@${revision}`)
}

test('takes a position after the lock that says so, also for rows that someone inserts by hand', async () => {
  const url = await rig.database()
  const store = await openStore({ connectionString: url })
  await store.log.append('order-1', 'noStream', [newEvent()])
  const [holder, writer, observer] = [await rig.client(url), await rig.client(url), await rig.client(url)]
  const lastPosition = async (): Promise<unknown> => (await observer.query('SELECT last_value FROM trunkline.event_position')).rows[0].last_value
  const columns = '(stream_id, revision, category, attributes, body)'
  const ways: readonly (() => Promise<unknown>)[] = [
    () => store.log.append('order-2', 'noStream', [newEvent(), newEvent()]),
    () => store.log.append('order-3', 'any', [newEvent()]),
    () => store.log.append('order-1', 0n, [newEvent()]),
    () => store.transact((tx) => tx.append('order-4', 'noStream', [newEvent()])),
    () => writer.query(`INSERT INTO trunkline.event ${columns} VALUES (1, 7, 'order', '[]', ''), (1, 8, 'order', '[]', '')`),
    () => writer.query(`INSERT INTO trunkline.event ${columns} SELECT 1, 9 + n, 'order', '[]', '' FROM generate_series(1, 3) n`),
  ]
  for (const way of ways) {
    const before = await lastPosition()
    await holder.query(`BEGIN; SELECT pg_advisory_xact_lock(${LOG_LOCK}, ${LOCK_NUMBER})`)
    const written = way()
    await until(async () => (await observer.query("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")).rows.length === 1, { what: 'a writer that waits' })
    expect(await lastPosition()).toBe(before)
    await holder.query('COMMIT')
    await written
    expect(await lastPosition()).not.toBe(before)
  }
  await Promise.all([holder, writer, observer].map((client) => client.end()))
  await store.close()
})

test('gives nothing behind a gap whose transaction is open, and everything when it has ended', async () => {
  const store = await openStore({ connectionString: await rig.database() })
  for (const isCommitted of [true, false]) {
    const [appended, goOn] = [new Gate(), new Gate()]
    const name = `slow-${isCommitted}`
    const slow = store.transact(async (tx) => {
      await tx.append(name, 'noStream', [newEvent()])
      appended.open()
      await goOn.opened
      if (!isCommitted) throw new Error('given up')
    }).catch(() => undefined)
    await appended.opened
    await store.log.append(`fast-${isCommitted}`, 'noStream', [newEvent()])
    const before = streamsOf(await readAll(store.log))
    expect(before).not.toContain(`fast-${isCommitted}@0`)
    goOn.open()
    await slow
    const after = streamsOf(await readAll(store.log)).slice(before.length)
    expect(after).toEqual(isCommitted ? [`${name}@0`, `fast-${isCommitted}@0`] : [`fast-${isCommitted}@0`])
  }
  await store.close()
})

test.each([true, false])('waits for those who may fill the gap and not for those who came later (filled: %s)', async (isFilled) => {
  const store = await openStore({ connectionString: await rig.database() })
  const gates = { early: new Gate(), late: new Gate() }
  const open = async (stream: string, gate: Gate, isCommitted: boolean): Promise<{ readonly done: Promise<unknown> }> => {
    const appended = new Gate()
    const done = store.transact(async (tx) => {
      await tx.append(stream, 'noStream', [newEvent()])
      appended.open()
      await gate.opened
      if (!isCommitted) throw new Error('given up')
    }).catch(() => undefined)
    await appended.opened
    return { done }
  }
  const early = await open('early-1', gates.early, isFilled)
  await store.log.append('middle-1', 'noStream', [newEvent()])
  expect(streamsOf(await readAll(store.log))).toEqual([])
  const late = await open('late-1', gates.late, true)
  gates.early.open()
  await early.done
  expect(streamsOf(await readAll(store.log))).toEqual(isFilled ? ['early-1@0', 'middle-1@0'] : ['middle-1@0'])
  gates.late.open()
  await late.done
  expect(streamsOf(await readAll(store.log)).at(-1)).toBe('late-1@0')
  await store.close()
})

test('is held up by no transaction that appends nothing, in this database or another one', async () => {
  const url = await rig.database()
  const store = await openStore({ connectionString: url })
  const strangers = [await rig.client(url), await rig.client(await rig.database())]
  for (const client of strangers) await client.query('BEGIN; CREATE TABLE mine (id int); INSERT INTO mine VALUES (1)')
  // Another store's appends, with a lock of the same kind.
  const other = await openStore({ connectionString: url, schema: 'other' })
  const [appended, goOn] = [new Gate(), new Gate()]
  const open = other.transact(async (tx) => {
    await tx.append('order-1', 'noStream', [newEvent()])
    appended.open()
    await goOn.opened
  })
  await appended.opened
  await store.transact(async (tx) => {
    await tx.append('order-1', 'noStream', [newEvent()])
    throw new Error('leaves a gap')
  }).catch(() => undefined)
  await store.log.append('order-1', 'noStream', [newEvent()])
  expect(streamsOf(await readAll(store.log))).toEqual(['order-1@0'])
  goOn.open()
  await open
  for (const client of strangers) await client.end()
  await Promise.all([store.close(), other.close()])
})

test('goes on after it was dumped and restored into another server', async () => {
  const url = await rig.database()
  const store = await openStore({ connectionString: url })
  const first = newEvent({ body: Buffer.from([0, 255, 1]) })
  await store.log.append('order-1', 'noStream', [first, newEvent()])
  await store.transact(async (tx) => {
    await tx.append('order-2', 'noStream', [newEvent()])
    throw new Error('leaves a gap')
  }).catch(() => undefined)
  await store.log.append('order-1', 1n, [newEvent()])
  const before = await readAll(store.log)
  await store.close()
  const { stdout } = await run(requireBinary('pg_dump', 'postgresql-client'), ['--no-owner', url], { timeout: 20_000 })

  await using fresh = await postgresServer({ config: ['fsync = off'] })
  await fresh.start()
  const file = join(fresh.dir, 'dump.sql')
  writeFileSync(file, stdout)
  await run(requireBinary('psql', 'postgresql-client'), [fresh.url, '-v', 'ON_ERROR_STOP=1', '-q', '-f', file], { timeout: 20_000 })
  const restored = await openStore({ connectionString: fresh.url })
  expect(await readAll(restored.log)).toEqual(before)
  const { position } = await restored.log.append('order-1', 2n, [newEvent()])
  expect(position).toBeGreaterThan(before.at(-1)?.position ?? 0n)
  expect(streamsOf(await readAll(restored.log))).toEqual([...streamsOf(before), 'order-1@3'])
  const [appended, goOn] = [new Gate(), new Gate()]
  const open = restored.transact(async (tx) => {
    await tx.append('order-3', 'noStream', [newEvent()])
    appended.open()
    await goOn.opened
  })
  await appended.opened
  await restored.log.append('order-4', 'noStream', [newEvent()])
  expect(streamsOf(await readAll(restored.log))).not.toContain('order-4@0')
  goOn.open()
  await open
  await restored.close()
})

test('survives the renaming of its schema', async () => {
  const url = await rig.database()
  const store = await openStore({ connectionString: url })
  await store.log.append('order-1', 'noStream', [newEvent()])
  await store.close()
  const client = await rig.client(url)
  await client.query('ALTER SCHEMA trunkline RENAME TO renamed')
  await client.end()
  const renamed = await openStore({ connectionString: url, schema: 'renamed' })
  await renamed.log.append('order-1', 0n, [newEvent()])
  expect(streamsOf(await readAll(renamed.log))).toEqual(['order-1@0', 'order-1@1'])
  await renamed.close()
})

test('refuses to open where sessions take numbers in advance, or where the lock was taken away', async () => {
  const url = await rig.database()
  await (await openStore({ connectionString: url })).close()
  const client = await rig.client(url)
  await client.query('ALTER SEQUENCE trunkline.event_position CACHE 10')
  await expect(openStore({ connectionString: url })).rejects.toMatchObject({ code: 'store.refused', message: expect.stringContaining('CACHE 1') })
  await client.query("ALTER SEQUENCE trunkline.event_position CACHE 1; ALTER TABLE trunkline.event ALTER position SET DEFAULT nextval('trunkline.event_position')")
  await expect(openStore({ connectionString: url })).rejects.toMatchObject({ code: 'store.refused' })
  await client.end()
})

test('reads from the primary alone', async () => {
  const url = await rig.database()
  const client = await rig.client(url)
  await client.query(`ALTER DATABASE ${new URL(url).pathname.slice(1)} SET default_transaction_read_only = on`)
  await expect(openStore({ connectionString: url, openTimeoutMs: 300 })).rejects.toMatchObject({ code: 'store.down', message: expect.stringContaining('read-only') })
  await client.end()
})

test('ends a page early where events are large, and gives one however large it is', async () => {
  const store = await openStore({ connectionString: await rig.database() })
  const body = Buffer.alloc(3_000_000, 'x')
  await store.log.append('big-1', 'noStream', [newEvent({ body }), newEvent({ body }), newEvent({ body: Buffer.alloc(5_000_000, 'y') }), newEvent()])
  for (const selection of [{ kind: 'stream', stream: 'big-1' }, { kind: 'category', category: 'big' }, { kind: 'all' }] as const) {
    const sizes: number[] = []
    for (let after: bigint | undefined; ; ) {
      const page = await store.log.read({ selection, direction: 'forwards', after, limit: 100 })
      sizes.push(page.events.length)
      after = page.cursor
      if (page.isEnd) break
    }
    expect(sizes).toEqual([2, 1, 1])
  }
  await store.close()
})

test('removes what a stream has no more use for', async () => {
  const url = await rig.database()
  const store = await openStore({ connectionString: url })
  await store.log.append('order-1', 'noStream', Array.from({ length: 10 }, () => newEvent()))
  await store.log.setMetadata('order-1', { truncateBefore: 8n })
  const client = await rig.client(url)
  await until(async () => (await client.query('SELECT 1 FROM trunkline.event')).rows.length === 2)
  await client.end()
  expect(await store.log.append('order-1', 9n, [newEvent()])).toMatchObject({ revision: 10n })
  await store.close()
})

test('hears of the appends of another process without listening, by polling', async () => {
  const url = await rig.database()
  const [writer, reader] = [await openStore({ connectionString: url }), await openStore({ connectionString: url, listen: false, idlePollMs: 50 })]
  expect(reader.hearsOthers).toBe(false)
  const abort = new AbortController()
  const seen: string[] = []
  const following = (async () => {
    for await (const page of reader.log.follow({ kind: 'all' }, undefined, { pageMax: 10, signal: abort.signal })) seen.push(...streamsOf(page.events))
  })()
  await writer.log.append('order-1', 'noStream', [newEvent()])
  await until(() => seen.length === 1)
  await writer.log.append('order-1', 0n, [newEvent()])
  await until(() => seen.length === 2)
  abort.abort()
  await following
  await Promise.all([writer.close(), reader.close()])
})

test.each(['append', 'unit'] as const)('a repeated %s wakes readers, because whoever was first may have died before it told them', async (way) => {
  const url = await rig.database()
  const [writer, reader] = [await openStore({ connectionString: url }), await openStore({ connectionString: url })]
  const abort = new AbortController()
  const caughtUp = new Gate()
  const seen: string[] = []
  const following = (async () => {
    for await (const page of reader.log.follow({ kind: 'all' }, undefined, { pageMax: 10, signal: abort.signal })) {
      if (page.isEnd) caughtUp.open()
      seen.push(...streamsOf(page.events))
    }
  })()
  await caughtUp.opened
  const event = newEvent()
  // As a process leaves it that ends right after its commit.
  const client = await rig.client(url)
  await client.query('BEGIN')
  await (await writer.adopt(client)).append('order-1', 'noStream', [event])
  await client.query('COMMIT')
  if (way === 'append') expect(await writer.log.append('order-1', 'noStream', [event])).toMatchObject({ isRepeated: true })
  else await writer.transact((tx) => tx.append('order-1', 'noStream', [event]))
  await until(() => seen.length > 0, { what: 'the reader hears' })
  expect(seen).toEqual(['order-1@0'])
  abort.abort()
  await following
  await client.end()
  await Promise.all([writer.close(), reader.close()])
})

test('ten idle stores that follow and listen cause at most one statement a second together', async () => {
  const url = await rig.database()
  const client = await rig.client(url)
  await client.query(`ALTER DATABASE ${new URL(url).pathname.slice(1)} SET log_statement = 'all'`)
  const stores = await Promise.all(Array.from({ length: 10 }, () => openStore({ connectionString: url, poolMax: 2 })))
  const abort = new AbortController()
  let caughtUp = 0
  const following = stores.map(async (store) => {
    for await (const page of store.log.follow({ kind: 'all' }, undefined, { pageMax: 10, signal: abort.signal })) if (page.isEnd) caughtUp++
  })
  await until(() => caughtUp === 10 && stores.every((store) => store.hearsOthers))
  const statements = (): number => [...readFileSync(join(rig.server.dir, 'server.log'), 'utf8').matchAll(/LOG: {2}(?:statement|execute)/g)].length
  expect(statements()).toBeGreaterThan(10)
  const windowMs = 5_000
  // What listening has woken is over soon after; then a window of time has to pass for anything to show.
  await pause(500)
  const before = statements()
  await pause(windowMs)
  expect(statements() - before).toBeLessThanOrEqual(windowMs / 1_000)
  abort.abort()
  await Promise.all(following)
  await Promise.all(stores.map((store) => store.close()))
  await client.end()
})

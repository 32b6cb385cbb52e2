import { z } from 'zod'
import { describe, expect, test } from 'vitest'
import { memory } from '../../../src/adapters/memory/index.ts'
import { postgres } from '../../../src/adapters/postgres/index.ts'
import { type Bus, createBus, event, isTrunklineError, silentLogger, type TrunklineError } from '../../../src/index.ts'
import { draft } from '../../../src/outbox/outbox.ts'
import type { OutboxRow } from '../../../src/outbox/port.ts'
import { until } from '../../servers/until.ts'
import { handleLibraries } from './postgres-handle-libraries.ts'
import { Gate, newEvent, openStore, outboxRow, postgresRig, readAll, storeHost } from './postgres-rig.ts'

const rig = postgresRig()
const Placed = event('sales.order-placed', { schema: z.object({ orderId: z.string(), at: z.int() }), key: (order) => order.orderId })

/** Everything that a byte can be, twice, so that no text encoding passes it. */
const EVERY_BYTE = Uint8Array.from({ length: 512 }, (_none, index) => index % 256)
const AWKWARD = 'a "b" \\c {d,NULL} \'e\' $1 ? \u{1F600} \n'

class Undone extends Error {}

async function problemOf(work: Promise<unknown>): Promise<TrunklineError> {
  const error: unknown = await work.then(() => undefined, (thrown: unknown) => thrown)
  if (!isTrunklineError(error)) throw new Error('no error of the library', { cause: error })
  return error
}

function bodiesOf(rows: readonly OutboxRow[]): readonly string[] {
  return rows.map(({ message }) => Buffer.from(message.body).toString('hex'))
}

/** A bus that keeps what arrives, in order. */
async function listening(store: ReturnType<typeof postgres>, isOwnTransport: boolean): Promise<{ readonly bus: Bus; readonly seen: string[] }> {
  const bus = createBus({ service: { name: 'shop' }, logger: silentLogger, transport: isOwnTransport ? store.transport : memory(), outbox: store.outbox })
  const seen: string[] = []
  bus.on(Placed, { group: 'watch', order: 'key' }, ({ data }) => void seen.push(`${data.orderId} ${data.at}`))
  await bus.start()
  return { bus, seen }
}

describe.each(handleLibraries)('on a transaction of $name', ({ library, open }) => {
  test.each([['a broker', false], ['the tables of the same database', true]] as const)('publishes what commits and nothing else, over %s', async (_name, isOwnTransport) => {
    const url = await rig.database()
    const store = postgres({ connectionString: url })
    const { bus, seen } = await listening(store, isOwnTransport)
    const user = await open(url)
    await expect(user.transaction(async (tx) => {
      await store.outbox.in(tx).publish(Placed, { orderId: 'o1', at: 0 })
      throw new Undone()
    })).rejects.toThrow(Undone)
    await user.transaction(async (tx) => {
      const outbox = store.outbox.in(tx)
      await outbox.publish(Placed, { orderId: 'o1', at: 1 })
      await outbox.publish(Placed, { orderId: 'o1', at: 2 })
      await outbox.publishAll([draft(Placed, { orderId: 'o1', at: 3 }), draft(Placed, { orderId: 'o2', at: 1 }), draft(Placed, { orderId: 'o1', at: 4 })])
    })
    await until(() => seen.length >= 5)
    expect(seen.filter((one) => one.startsWith('o1'))).toEqual(['o1 1', 'o1 2', 'o1 3', 'o1 4'])
    expect(seen).toHaveLength(5)
    await user.close()
    await bus.stop()
  })

  test('keeps bytes, texts and order, of one message and of thousands', async () => {
    const url = await rig.database()
    const store = await openStore({ connectionString: url })
    const user = await open(url)
    const rows = Array.from({ length: 3_000 }, (_none, index) => {
      const key = index % 3 === 0 ? {} : { key: `${AWKWARD} ${index % 7}` }
      return outboxRow({ body: index === 1 ? new Uint8Array(0) : EVERY_BYTE.subarray(index % 256), tenant: AWKWARD, ...key })
    })
    const [first, ...others] = rows
    if (first === undefined) throw new Error('no rows')
    await user.transaction(async (tx) => {
      await (await store.adopt(tx)).write([first])
      await (await store.adopt(tx)).write(others)
      await (await store.adopt(tx)).append('order-1', 'noStream', [newEvent({ body: EVERY_BYTE }), newEvent()])
    })
    const written = await store.outbox.read(0, { limit: 5_000, after: undefined, withoutKeys: [] })
    expect(bodiesOf(written)).toEqual(rows.map(({ message }) => Buffer.from(message.body).toString('hex')))
    expect(written.map(({ message: { id, key, tenant } }) => ({ id, key, tenant }))).toEqual(rows.map(({ message: { id, key, tenant } }) => ({ id, key, tenant })))
    const [event] = await readAll(store.log)
    expect(Buffer.from(event?.message.body ?? [])).toEqual(Buffer.from(EVERY_BYTE))
    await user.close()
    await store.close()
  })

  test('makes the next writer of a key wait for its commit', async () => {
    const url = await rig.database()
    const store = await openStore({ connectionString: url })
    const user = await open(url)
    const [hasWritten, mayCommit] = [new Gate(), new Gate()]
    const early = user.transaction(async (tx) => {
      await (await store.adopt(tx)).write([outboxRow({ id: 'early', key: 'a' })])
      hasWritten.open()
      await mayCommit.opened
    })
    await hasWritten.opened
    const late = store.transact((tx) => tx.write([outboxRow({ id: 'late', key: 'a' })]))
    const observer = await rig.client(url)
    await until(async () => (await observer.query("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")).rows.length === 1)
    mayCommit.open()
    await Promise.all([early, late])
    const written = await store.outbox.read(0, { limit: 10, after: undefined, withoutKeys: [] })
    expect(written.map(({ message }) => message.id)).toEqual(['early', 'late'])
    await observer.end()
    await user.close()
    await store.close()
  })

  test('refuses what is no transaction, or one that has failed or ended, and says what to give', async () => {
    const url = await rig.database()
    const store = await openStore({ connectionString: url }, storeHost())
    const user = await open(url)
    for (const handle of user.outside) {
      const { code, details, message } = await problemOf(store.adopt(handle))
      expect({ code, library: (details as { library: string }).library }).toEqual({ code: 'outbox.transaction_missing', library })
      expect(message).toContain('give ')
    }
    let kept: unknown
    const observer = await rig.client(url)
    await user.transaction(async (tx) => {
      kept = tx
      await expect((await store.adopt(tx)).append('order-1', 1n, [newEvent()])).rejects.toMatchObject({ code: 'store.wrong_revision' })
      await (await store.adopt(tx)).write([outboxRow({ key: 'a' })])
    })
    expect(await problemOf(store.adopt(kept))).toMatchObject({ code: 'outbox.transaction_missing', details: { library } })
    expect((await store.outbox.stats()).waiting).toBe(1)
    await observer.query('ALTER TABLE trunkline.outbox RENAME TO elsewhere')
    const secret = 'not-for-logs'
    await user.transaction(async (tx) => {
      const refused = await problemOf((await store.adopt(tx)).write([outboxRow({ key: secret, tenant: secret })]))
      expect(refused).toMatchObject({ code: 'store.refused' })
      expect(refused.message).toContain('42P01')
      expect(refused.message).toContain('relation')
      expect(refused.message).not.toContain(secret)
      const failed = await problemOf(store.adopt(tx))
      expect(failed).toMatchObject({ code: 'outbox.transaction_missing', details: { library } })
      expect(failed.message).toContain('rolled back')
      throw new Undone()
    }).catch(() => undefined)
    await observer.end()
    await user.close()
    await store.close()
  })
})

test('a handle of no known library is refused with the list of those that are', async () => {
  const store = await openStore({ connectionString: await rig.database() })
  for (const stranger of [undefined, null, 1, 'BEGIN', {}, [], () => undefined, { query: () => undefined }, new Map()]) {
    const error = await problemOf(store.adopt(stranger))
    expect(error.code).toBe('core.option_invalid')
    for (const library of ['pg', 'postgres.js', 'Kysely', 'Drizzle', 'Prisma', 'Knex']) expect(error.message).toContain(library)
  }
  await store.close()
})

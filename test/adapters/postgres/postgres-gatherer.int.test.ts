import { Pool } from 'pg'
import { expect, test } from 'vitest'
import type { InboxEntry, UnitTransaction } from '../../../src/outbox/port.ts'
import { shardLease } from '../../../src/outbox/protocol/lease-names.ts'
import { wireMessage } from '../wire-messages.ts'
import { newEvent, openStore, outboxRow, postgresRig } from './postgres-rig.ts'

const rig = postgresRig()

function entries(...ids: readonly string[]): readonly InboxEntry[] {
  return ids.map((id) => ({ group: 'g', source: '/test', id, digest: Buffer.from(id) }))
}

/** A store over one connection, on which statements are counted. */
async function opened() {
  const pool = new Pool({ connectionString: await rig.database(), max: 1 })
  pool.on('error', () => undefined)
  const client = await pool.connect()
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the client does not show its connection in its types
  const wire = (client as unknown as { readonly connection: { sync(): void } }).connection
  let statements = 0
  const sync = wire.sync.bind(wire)
  wire.sync = () => {
    statements++
    sync()
  }
  client.release()
  const store = await openStore({ pool, listen: false })
  const close = async (): Promise<void> => {
    await store.close()
    await pool.end()
  }
  return { store, close, statements: () => statements }
}

/** A timer for an hour from now. */
function timer(id: string): Parameters<UnitTransaction<unknown>['putTimer']>[0] {
  return { id, due: { afterMs: 3_600_000 }, kind: 'command', message: wireMessage(), recurrence: undefined }
}

test('units that share a transaction read, append and set timers with one statement of each kind', async () => {
  const { store, close, statements } = await opened()
  await store.log.append('thing-old', 'noStream', [newEvent()])
  const [made, old] = [[newEvent(), newEvent()], [newEvent()]]
  let before = 0
  const appended = await store.transact(async (tx) => {
    await tx.enterMany(entries('1', '2'))
    before = statements()
    const pages = await Promise.all(['thing-old', 'thing-a', 'thing-b'].map((stream) => tx.readStream(stream, { direction: 'forwards', after: undefined, limit: 10 })))
    expect(pages.map(({ events, isEnd }) => [events.length, isEnd])).toEqual([[1, true], [0, true], [0, true]])
    expect(statements() - before).toBe(1)
    return await Promise.all([
      tx.append('thing-b', 'noStream', made), tx.append('thing-old', 0n, old), tx.append('thing-a', 'noStream', [newEvent()]),
      tx.putTimer(timer('t1')), tx.putTimer({ ...timer('t2'), due: { atMs: 4_000_000_000_000 } }), tx.cancelTimer('t3'), tx.cancelTimer('t4'),
    ])
  })
  // One for the reads, two for the appends (old streams and new ones), one for the timers set and one for those taken back, the commit is no statement.
  expect(statements() - before).toBe(5)
  expect(appended.slice(0, 3)).toMatchObject([{ revision: 1n, isRepeated: false }, { revision: 1n, isRepeated: false }, { revision: 0n, isRepeated: false }])
  expect(appended.slice(5)).toEqual([false, false])
  const page = await store.log.read({ selection: { kind: 'stream', stream: 'thing-b' }, direction: 'forwards', after: undefined, limit: 10 })
  expect(page.events.map(({ revision, message }) => [revision, message.id])).toEqual(made.map(({ message }, at) => [BigInt(at), message.id]))
  expect(page.events[0]?.position).toBeLessThan(page.events[1]?.position ?? 0n)
  expect((await store.timers.list(10, undefined)).map(({ id }) => id)).toEqual(['t1', 't2'])
  expect((await store.timers.read('t2'))?.dueAtMs).toBe(4_000_000_000_000)
  await close()
})

test('a wrong revision is told to the one whose it is, and a repetition is recognised', async () => {
  const { store, close } = await opened()
  const first = [newEvent(), newEvent()]
  await store.log.append('thing-1', 'noStream', first)
  await store.transact(async (tx) => {
    await tx.enterMany(entries('1', '2'))
    const told = await Promise.allSettled([tx.append('thing-1', 'noStream', first), tx.append('thing-2', 5n, [newEvent()]), tx.append('thing-3', 'noStream', [newEvent()])])
    expect(told).toMatchObject([
      { status: 'fulfilled', value: { revision: 1n, isRepeated: true } }, { status: 'rejected', reason: { code: 'store.wrong_revision' } }, { status: 'fulfilled', value: { revision: 0n, isRepeated: false } },
    ])
  })
  await close()
})

test('nothing overtakes anything of its stream or timer, and what nobody awaits is part of the transaction', async () => {
  const { store, close } = await opened()
  await store.transact(async (tx) => {
    await tx.enterMany(entries('1', '2'))
    void tx.append('thing-1', 'noStream', [newEvent()])
    void tx.append('thing-1', 0n, [newEvent()])
    void tx.append('thing-1', 'any', [newEvent()])
    void tx.putTimer(timer('kept'))
    void tx.putTimer(timer('gone'))
    void tx.cancelTimer('gone')
  })
  const page = await store.log.read({ selection: { kind: 'stream', stream: 'thing-1' }, direction: 'forwards', after: undefined, limit: 10 })
  expect(page.events.map(({ revision }) => revision)).toEqual([0n, 1n, 2n])
  expect((await store.timers.list(10, undefined)).map(({ id }) => id)).toEqual(['kept'])
  await close()
})

test('shards are read and cleaned up together, and one that was lost keeps its rows', async () => {
  const { store, close, statements } = await opened()
  const [mine, lost] = [3, 5]
  await store.transact((tx) => tx.write([{ ...outboxRow(), shard: mine }, { ...outboxRow(), shard: lost }, { ...outboxRow(), shard: mine }]))
  const [lease] = await store.leases.hold([shardLease(mine)], 'me', 60_000, 1)
  const [other] = await store.leases.hold([shardLease(lost)], 'other', 60_000, 1)
  const before = statements()
  const read = (): Promise<readonly (readonly bigint[])[]> => Promise.all([mine, lost].map(async (shard) => (await store.outbox.read(shard, { limit: 10, after: undefined, withoutKeys: [] })).map(({ id }) => id)))
  const [first = [], second = []] = await read()
  expect([first.length, second.length]).toEqual([2, 1])
  const settled = await Promise.allSettled([
    store.outbox.settle(mine, lease?.epoch ?? 0n, { published: first, dead: [] }),
    store.outbox.settle(lost, (other?.epoch ?? 0n) + 1n, { published: second, dead: [] }),
  ])
  expect(settled).toMatchObject([{ status: 'fulfilled' }, { status: 'rejected', reason: { code: 'store.lease_lost' } }])
  expect(statements() - before).toBe(2)
  expect(await read()).toEqual([[], second])
  await close()
})

import { describe, expect, test } from 'vitest'
import { MemoryBackend, MemoryTransaction, memoryBroker, memoryDatabase } from '../../../src/adapters/memory/index.ts'
import { silentLogger } from '../../../src/core/logger.ts'
import { seededRandom } from '../../../src/core/random.ts'
import type { StoreHost, UnitTransaction } from '../../../src/outbox/port.ts'
import { virtualClock } from '../../../src/testing/index.ts'
import { wireMessage } from '../wire-messages.ts'

interface Account {
  readonly cents: number
}

function hostWith(parts: Partial<StoreHost> = {}): StoreHost {
  return { clock: virtualClock(), random: seededRandom(1), logger: silentLogger, service: 'shop', instance: 'i-1', isOwnTransport: false, report: () => {}, ...parts }
}

const event = (n: number, shard = 0): { kind: 'event'; message: ReturnType<typeof wireMessage>; shard: number } => ({ kind: 'event', message: wireMessage({ id: `m-${n}`, type: 'shop.sold' }), shard })
const appended = (n: number): { message: ReturnType<typeof wireMessage>; isPublic: boolean } => ({ message: wireMessage({ id: `m-${n}` }), isPublic: false })

describe('a memory store', () => {
  test('is opened once at a time, and says that it is not open', async () => {
    const backend = new MemoryBackend()
    await expect(backend.log.head()).rejects.toMatchObject({ code: 'store.down' })
    await expect(backend.transact(() => Promise.resolve())).rejects.toMatchObject({ code: 'store.down' })
    const states: string[] = []
    await backend.open(hostWith({ report: (state) => states.push(state) }))
    await expect(backend.open(hostWith())).rejects.toMatchObject({ code: 'core.invariant_broken' })
    await backend.close()
    await backend.open(hostWith())
    expect(states).toEqual(['up'])
  })

  test('refuses options that it does not know', () => {
    const misspelt: object = { shard: 3 }
    expect(() => memoryDatabase(misspelt)).toThrow(expect.objectContaining({ code: 'core.option_unknown' }))
  })

  test('ends those who follow when it is closed', async () => {
    const backend = new MemoryBackend()
    await backend.open(hostWith())
    const pages = backend.log.follow({ kind: 'all' }, undefined, { pageMax: 10, signal: new AbortController().signal })[Symbol.asyncIterator]()
    expect((await pages.next()).value).toMatchObject({ events: [], isEnd: true })
    const next = pages.next()
    await backend.close()
    await expect(next).rejects.toMatchObject({ code: 'store.down' })
  })

  test('runs no second unit while one is running, by the clock that it was given', async () => {
    const clock = virtualClock()
    const backend = new MemoryBackend()
    await backend.open(hostWith({ clock }))
    const first = backend.transact(() => new Promise(() => {}), { timeoutMs: 2_000 })
    const second = backend.transact((tx) => tx.append('order-1', 'noStream', [appended(1)]), { timeoutMs: 5_000 })
    const third = backend.transact(() => Promise.resolve(), { timeoutMs: 1_000 })
    const given = Promise.allSettled([first, third])
    await clock.advance(1_999)
    expect(await backend.log.head()).toBeUndefined()
    await clock.advance(1)
    expect(await given).toMatchObject([
      { status: 'rejected', reason: { code: 'outbox.unit_too_long', details: { limitMs: 2_000 } } },
      { status: 'rejected', reason: { code: 'store.conflict' } },
    ])
    expect((await second).revision).toBe(0n)
    expect(clock.timerCount).toBe(0)
  })

  test('tells other stores of the database what was committed, and not the one that did it', async () => {
    const [database, clock] = [memoryDatabase(), virtualClock()]
    const [one, other] = [new MemoryBackend(database), new MemoryBackend(database)]
    await Promise.all([one.open(hostWith({ clock })), other.open(hostWith({ clock }))])
    const heard: string[] = []
    one.onCommitted(() => heard.push('one'))
    const stop = other.onCommitted(() => heard.push('other'))
    await one.transact((tx) => tx.write([event(1)]))
    await one.log.append('order-1', 'noStream', [appended(1)])
    await one.transact((tx) => tx.saveCheckpoint('reader', 1n, undefined))
    await clock.settle()
    expect(heard).toEqual(['other', 'other'])
    stop()
    await one.close()
    await other.transact((tx) => tx.write([event(2)]))
    await clock.settle()
    expect(heard).toHaveLength(2)
  })
})

describe('rows of a memory store', () => {
  test('are seen by their own unit, and by others after the commit', async () => {
    const database = memoryDatabase()
    const backend = new MemoryBackend(database)
    await backend.open(hostWith())
    await backend.transact(async ({ handle }) => {
      const accounts = handle.table<Account>('accounts')
      accounts.set('a', { cents: 1 })
      accounts.set('b', { cents: 2 })
      expect([accounts.get('a'), accounts.delete('b'), accounts.delete('b'), accounts.get('b')]).toEqual([{ cents: 1 }, true, false, undefined])
      expect(database.rows('accounts').size).toBe(0)
      await Promise.resolve()
    })
    expect([...database.rows<Account>('accounts')]).toEqual([['a', { cents: 1 }]])
    await backend.transact(async ({ handle }) => {
      const accounts = handle.table<Account>('accounts')
      accounts.set('c', { cents: 3 })
      accounts.set('a', { cents: 10 })
      expect(accounts.entries()).toEqual([['c', { cents: 3 }], ['a', { cents: 10 }]])
      await Promise.resolve()
    })
    expect(database.rows<Account>('accounts').get('a')).toEqual({ cents: 10 })
  })

  test('cannot be changed but by setting others', async () => {
    const database = memoryDatabase()
    const backend = new MemoryBackend(database)
    await backend.open(hostWith())
    const failing = backend.transact(async ({ handle }) => {
      const account = { cents: 1 }
      handle.table<Account>('accounts').set('a', account)
      handle.table<Uint8Array>('bytes').set('a', new Uint8Array(2))
      account.cents = 2
      await Promise.resolve()
    })
    await expect(failing).rejects.toThrow(TypeError)
    expect(database.rows('accounts').size).toBe(0)
  })

  test('are out of reach after the unit', async () => {
    const backend = new MemoryBackend()
    await backend.open(hostWith())
    const handle = await backend.transact((tx) => Promise.resolve(tx.handle))
    const table = handle.table<Account>('accounts')
    for (const late of [() => table.get('a'), () => table.set('a', { cents: 1 }), () => table.delete('a'), () => table.entries()]) {
      expect(late).toThrow(expect.objectContaining({ code: 'outbox.unit_over' }))
    }
  })
})

describe("a caller's own transaction", () => {
  test('commits rows, events and messages together', async () => {
    const [database, clock] = [memoryDatabase(), virtualClock()]
    const backend = new MemoryBackend(database)
    await backend.open(hostWith({ clock }))
    const transaction = await database.begin()
    transaction.table<Account>('accounts').set('a', { cents: 1 })
    const unit: UnitTransaction<unknown> = await backend.adopt(transaction)
    await unit.append('order-1', 'noStream', [appended(1)])
    await unit.write([event(1)])
    expect([database.rows('accounts').size, (await backend.outbox.stats()).waiting]).toEqual([0, 0])
    await transaction.commit()
    expect([database.rows('accounts').size, (await backend.outbox.stats()).waiting, await backend.log.head()]).toEqual([1, 1, 1n])
    await expect(transaction.commit()).rejects.toMatchObject({ code: 'outbox.unit_over' })
    await expect(backend.adopt(transaction)).rejects.toMatchObject({ code: 'outbox.transaction_missing' })
    expect(clock.timerCount).toBe(0)
  })

  test('leaves nothing when it is rolled back, also by the time limit', async () => {
    const [database, clock] = [memoryDatabase(), virtualClock()]
    const backend = new MemoryBackend(database)
    await backend.open(hostWith({ clock }))
    const given = await database.begin()
    await (await backend.adopt(given)).write([event(1)])
    await given.rollback()
    await given.rollback()
    const forgotten = await database.begin()
    await (await backend.adopt(forgotten)).write([event(2)])
    const waiting = backend.transact((tx) => tx.write([event(3)]), { timeoutMs: 60_000 })
    await clock.advance(30_000)
    await waiting
    await expect(forgotten.commit()).rejects.toMatchObject({ code: 'outbox.unit_over' })
    const rows = await backend.outbox.read(0, { limit: 10, after: undefined, withoutKeys: [] })
    expect(rows.map(({ message }) => message.id)).toEqual(['m-3'])
  })

  test('of another database is refused', async () => {
    const backend = new MemoryBackend()
    await backend.open(hostWith())
    await expect(backend.adopt(await memoryDatabase().begin())).rejects.toMatchObject({ code: 'core.option_invalid' })
    const own = backend.transact((tx) => backend.adopt(tx.handle).then(() => tx.handle instanceof MemoryTransaction))
    expect(await own).toBe(true)
  })
})

describe('the transport of a memory store', () => {
  test('takes all messages of a unit or, where it is full, none and nothing else either', async () => {
    const database = memoryDatabase({ broker: memoryBroker({ messagesMax: 2 }) })
    const backend = new MemoryBackend(database)
    await backend.open(hostWith({ isOwnTransport: true }))
    await backend.transport.open({ ...hostWith() })
    await backend.transport.subscribe({ group: 'shop.sales', kind: 'event', types: ['shop.sold'], order: 'none', from: 'new', inFlightMax: 1, handlerTimeoutMs: 1 }, () => {})
    const failing = backend.transact(async (tx) => {
      await tx.append('order-1', 'noStream', [appended(1)])
      await tx.write([event(1), event(2), event(3)])
    })
    await expect(failing).rejects.toMatchObject({ code: 'bus.publish_refused' })
    expect([database.broker.size, await backend.log.head()]).toEqual([0, undefined])
    await backend.transact((tx) => tx.write([event(1), event(2)]))
    expect([database.broker.size, (await backend.outbox.stats()).waiting]).toEqual([2, 0])
    await backend.transport.close()
  })
})

describe('the leases of a memory store', () => {
  test('stop a unit at its commit that has been overtaken meanwhile', async () => {
    const [database, clock] = [memoryDatabase(), virtualClock()]
    const backend = new MemoryBackend(database)
    await backend.open(hostWith({ clock }))
    const [lease] = await backend.leases.hold(['reader'], 'one', 1_000, 1)
    const failing = backend.transact(async (tx) => {
      await tx.saveCheckpoint('reader', 1n, lease?.epoch)
      await clock.advance(1_000)
      await backend.leases.hold(['reader'], 'other', 1_000, 1)
    })
    await expect(failing).rejects.toMatchObject({ code: 'store.lease_lost' })
    expect(await backend.checkpoints.load('reader')).toBeUndefined()
  })
})

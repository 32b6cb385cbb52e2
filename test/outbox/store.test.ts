import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { memory } from '../../src/adapters/memory/index.ts'
import { command, event, fact } from '../../src/index.ts'
import { Moved, Placed, Reserve, rejection } from '../bus/bus-rig.ts'
import { StoreRig } from './store-rig.ts'

const Ship = command('shipping.ship-order', { schema: z.object({ orderId: z.string() }), key: (order) => order.orderId })
const Opened = event('bank.account-opened', { schema: z.object({ owner: z.string() }), visibility: 'public', key: (data) => data.owner })
const Noted = event('bank.account-noted', { schema: z.object({ text: z.string() }) })

describe('a handler within a store', () => {
  test('commits rows, events and messages together, and its message counts once', async () => {
    await using rig = new StoreRig()
    const store = rig.store()
    const bus = rig.bus({ service: { name: 'shipping' } })
    const seen: string[] = []
    bus.handle(Ship, { within: store }, async ({ data }, { tx, publish, append, attempt }) => {
      tx.table<{ attempt: number }>('shipments').set(data.orderId, { attempt })
      publish(Placed, { orderId: data.orderId, total: 7 })
      await append(`account-${data.orderId}`, 'noStream', [fact(Opened, { owner: data.orderId }), fact(Noted, { text: 'hello' })])
    })
    bus.on([Placed, Opened], { group: 'watch' }, ({ type }) => void seen.push(type))
    await bus.start()
    await bus.send(Ship, { orderId: 'o1' }, { id: 'm1' })
    await rig.clock.advance(1_000)
    expect(rig.database.rows('shipments').get('o1')).toEqual({ attempt: 1 })
    expect(seen.toSorted()).toEqual(['bank.account-opened', 'sales.order-placed'])
    await bus.send(Ship, { orderId: 'o1' }, { id: 'm1' })
    await rig.clock.advance(1_000)
    expect(seen).toHaveLength(2)
    expect(bus.stats()).toMatchObject({ handled: 4, repeated: 1, retried: 0, deadLettered: 0 })
  })

  test('that fails leaves nothing behind, and is tried again', async () => {
    await using rig = new StoreRig()
    const store = rig.store()
    const bus = rig.bus()
    const seen: string[] = []
    bus.on(Placed, { group: 'book', within: store, retry: { initialMs: 100 } }, async ({ data }, { tx, publish, attempt }) => {
      tx.table<number>('booked').set(`${data.orderId}/${attempt}`, attempt)
      publish(Moved, { orderId: `${data.orderId}/${attempt}` })
      await Promise.resolve()
      if (attempt < 3) throw new TypeError('not yet')
    })
    bus.on(Moved, { group: 'watch' }, ({ data }) => void seen.push(data.orderId))
    await bus.start()
    await bus.publish(Placed, { orderId: 'o1' })
    await rig.clock.advance(10_000)
    expect([...rig.database.rows('booked').keys()]).toEqual(['o1/3'])
    expect(seen).toEqual(['o1/3'])
  })

  test('that has given a message up handles it when it is redriven after the mistake was mended, once, with the id that it always had', async () => {
    await using rig = new StoreRig()
    const bus = rig.bus()
    const ids: string[] = []
    let isMended = false
    bus.on(Placed, { group: 'book', within: rig.store(), retry: { attemptsMax: 2, initialMs: 10 } }, async ({ id, data }, { tx }) => {
      ids.push(id)
      const booked = tx.table<number>('booked')
      booked.set(data.orderId, (booked.get(data.orderId) ?? 0) + 1)
      await Promise.resolve()
      if (!isMended) throw new TypeError('a mistake')
    })
    await bus.start()
    await bus.publish(Placed, { orderId: 'o1' }, { id: 'm1' })
    await rig.clock.advance(10_000)
    expect(rig.database.rows('booked').size).toBe(0)
    isMended = true
    for (let time = 0; time < 2; time++) {
      const [letter] = (await bus.deadLetters.list()).items
      if (letter !== undefined) await bus.deadLetters.redrive(letter.id)
      await rig.clock.advance(1_000)
    }
    await bus.publish(Placed, { orderId: 'o1' }, { id: 'm1' })
    await rig.clock.advance(1_000)
    expect(rig.database.rows('booked').get('o1')).toBe(1)
    expect(ids).toEqual(['m1', 'm1', 'm1'])
    expect(bus.stats()).toMatchObject({ repeated: 1 })
  })

  test('of two groups handles a message once in each, and one that fails leaves the other alone', async () => {
    await using rig = new StoreRig()
    const [store, bus] = [rig.store(), rig.bus()]
    const attempts: string[] = []
    for (const group of ['book', 'bill']) {
      bus.on(Placed, { group, within: store, retry: { initialMs: 10 } }, ({ data }, { tx, attempt }) => {
        tx.table<number>(group).set(data.orderId, attempt)
        attempts.push(`${group} ${attempt}`)
        if (group === 'bill' && attempt < 3) throw new TypeError('not yet')
      })
    }
    await bus.start()
    await bus.publish(Placed, { orderId: 'o1' })
    await rig.clock.advance(10_000)
    expect(attempts.toSorted()).toEqual(['bill 1', 'bill 2', 'bill 3', 'book 1'])
    expect([rig.database.rows('book').get('o1'), rig.database.rows('bill').get('o1')]).toEqual([1, 3])
  })

  test('answers an asked command again as it did, without doing it again', async () => {
    await using rig = new StoreRig()
    const store = rig.store()
    const bus = rig.bus()
    let runs = 0
    bus.handle(Reserve, { within: store }, () => ({ left: 10 - ++runs }))
    await bus.start()
    const first = bus.ask(Reserve, { sku: 'a' }, { id: 'ask-1' })
    await rig.clock.advance(100)
    const second = bus.ask(Reserve, { sku: 'a' }, { id: 'ask-1' })
    await rig.clock.advance(100)
    expect(await first).toEqual({ left: 9 })
    expect(await second).toEqual({ left: 9 })
    expect(runs).toBe(1)
  })

  test('gives an id that comes with another body to the dead letters', async () => {
    await using rig = new StoreRig()
    const bus = rig.bus()
    bus.on(Placed, { group: 'book', within: rig.store() }, () => {})
    await bus.start()
    await bus.publish(Placed, { orderId: 'o1' }, { id: 'same' })
    await rig.clock.advance(100)
    await bus.publish(Placed, { orderId: 'o2' }, { id: 'same' })
    await rig.clock.advance(100)
    expect((await bus.deadLetters.list()).items.map(({ record }) => record.reason)).toEqual(['outbox.id_collision'])
  })

  test('refuses what would outlive a rollback or wait for the transaction, unless told so', async () => {
    await using rig = new StoreRig()
    const store = rig.store()
    const bus = rig.bus()
    const codes: unknown[] = []
    bus.on(Placed, { group: 'book', within: store }, async ({ data }) => {
      for (const work of [
        () => bus.publish(Moved, data), () => bus.send(Ship, data), () => bus.ask(Reserve, { sku: 'a' }), () => bus.broadcast(Moved, data),
        () => store.transaction(() => {}), () => bus.schedule(Moved, data, { afterMs: 1 }),
      ]) codes.push(await rejection(work()))
      await bus.publish(Moved, data, { immediately: true })
    })
    await bus.start()
    await bus.publish(Placed, { orderId: 'o1' })
    await rig.clock.advance(100)
    expect(codes.map((thrown) => (thrown instanceof Error && 'code' in thrown ? thrown.code : thrown))).toEqual([
      'outbox.unit_nested', 'outbox.unit_nested', 'outbox.unit_nested', 'outbox.unit_nested', 'outbox.unit_nested', 'outbox.unit_nested',
    ])
    expect(bus.stats().handled).toBe(1)
  })

  test('refuses an append beside its own, which would outlive a rollback', async () => {
    await using rig = new StoreRig()
    const store = rig.store()
    const bus = rig.bus({ outbox: store.outbox })
    await bus.start()
    for (const contract of [Opened, Noted]) {
      const facts = [contract === Opened ? fact(Opened, { owner: 'ann' }) : fact(Noted, { text: 'hello' })]
      expect(await rejection(store.transaction(() => store.events.append('account-1', 'noStream', facts)))).toMatchObject({ code: 'outbox.unit_nested', details: { operation: 'events.append' } })
    }
  })

  test('refuses settings of streams and work on dead rows, which would outlive a rollback as well', async () => {
    await using rig = new StoreRig()
    const store = rig.store()
    const bus = rig.bus({ outbox: store.outbox })
    await bus.start()
    for (const [operation, work] of [
      ['events.setMetadata', () => store.events.setMetadata('account-1', { truncateBefore: 1n })], ['outbox.redrive', () => store.outbox.redrive(1n)], ['outbox.remove', () => store.outbox.remove(1n)],
    ] as const) {
      expect(await rejection(store.transaction<unknown>(work))).toMatchObject({ code: 'outbox.unit_nested', details: { operation } })
      await work()
    }
  })

  test('gives the bus its scheduler where it is the only store; of two, the outbox has to tell which', async () => {
    await using rig = new StoreRig()
    const bus = rig.bus()
    bus.on(Moved, { group: 'one', within: rig.store() }, () => {})
    const seen: string[] = []
    bus.on(Placed, { group: 'watch' }, ({ data }) => void seen.push(data.orderId))
    await bus.start()
    await bus.schedule(Placed, { orderId: 'later' }, { afterMs: 1_000 })
    await rig.clock.advance(3_000)
    expect(seen).toEqual(['later'])
    const [first, second] = [rig.store(), rig.store()]
    for (const outbox of [undefined, second.outbox]) {
      const other = rig.bus({ service: { name: 'other' }, ...(outbox === undefined ? {} : { outbox }) })
      other.on(Placed, { group: 'a', within: outbox === undefined ? first : rig.store() }, () => {}).on(Moved, { group: 'b', within: outbox === undefined ? rig.store() : second }, () => {})
      await other.start()
      const scheduled = other.schedule(Placed, { orderId: 'x' }, { afterMs: 1_000, id: 'x' })
      if (outbox === undefined) expect(await rejection(scheduled)).toMatchObject({ code: 'core.option_invalid', details: { option: 'outbox' } })
      else expect(await scheduled).toBe('x')
    }
  })

  test('is told apart from its outbox, and misspelt options of stores and subscriptions are refused', async () => {
    await using rig = new StoreRig()
    const store = rig.store()
    expect(() => rig.bus({ outbox: store as never })).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
    expect(() => rig.bus().on(Placed, { group: 'book', within: store.outbox as never }, () => {})).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
    expect(() => rig.store({ leaseMS: 1 } as never)).toThrow(expect.objectContaining({ code: 'core.option_unknown' }))
    expect(() => store.events.subscribe({ name: 'all', contracts: [Noted], form: 1 } as never, () => {})).toThrow(expect.objectContaining({ code: 'core.option_unknown' }))
    const bus = rig.bus({ outbox: store.outbox })
    await bus.start()
    expect(await rejection(store.events.append('account-1', 'noStream', []))).toMatchObject({ code: 'core.option_invalid', details: { option: 'facts' } })
  })

  test('gets what was prepared before the transaction', async () => {
    await using rig = new StoreRig()
    const bus = rig.bus()
    const seen: number[] = []
    bus.on(Placed, { group: 'book', within: rig.store(), prepare: ({ data }) => Promise.resolve(data.total * 2) }, (_message, { prepared }) => void seen.push(prepared))
    await bus.start()
    await bus.publish(Placed, { orderId: 'o1', total: 21 })
    await rig.clock.advance(100)
    expect(seen).toEqual([42])
  })

  test('cannot write through a unit that is over', async () => {
    await using rig = new StoreRig()
    const store = rig.store()
    const bus = rig.bus({ outbox: store.outbox })
    await bus.start()
    let late: (() => void) | undefined
    await store.transaction((unit) => {
      late = () => unit.publish(Placed, { orderId: 'o1' })
    })
    expect(() => late?.()).toThrow(expect.objectContaining({ code: 'outbox.unit_over' }))
  })
})

test('a store that forgets handled messages while they may still come again is refused at start', async () => {
  await using rig = new StoreRig()
  const bus = rig.bus()
  bus.on(Placed, { group: 'book', within: rig.store({ inboxRetentionMs: 86_400_000 }) }, () => {})
  expect(await rejection(bus.start())).toMatchObject({ code: 'outbox.retention_too_short', details: { retentionMs: 86_400_000 } })
})

describe('units that share a transaction', () => {
  test('fail alone: the others of the batch commit, and the one is tried again', async () => {
    await using rig = new StoreRig()
    const store = rig.store()
    const bus = rig.bus()
    const runs = new Map<string, number>()
    bus.on(Placed, { group: 'book', within: store, batch: { sizeMax: 10 }, retry: { attemptsMax: 2, initialMs: 100 } }, async ({ data }, { tx, publish }) => {
      runs.set(data.orderId, (runs.get(data.orderId) ?? 0) + 1)
      tx.table<number>('booked').set(data.orderId, 1)
      publish(Moved, { orderId: data.orderId })
      await Promise.resolve()
      if (data.orderId === 'o5') throw new TypeError('poison')
    })
    const moved: string[] = []
    bus.on(Moved, { group: 'watch' }, ({ data }) => void moved.push(data.orderId))
    await bus.start()
    for (let index = 0; index < 10; index++) await bus.publish(Placed, { orderId: `o${index}` })
    await rig.clock.advance(10_000)
    const healthy = [...Array(10).keys()].filter((index) => index !== 5).map((index) => `o${index}`)
    expect([...rig.database.rows('booked').keys()].toSorted()).toEqual(healthy)
    expect(moved.toSorted()).toEqual(healthy)
    expect(runs.get('o5')).toBeGreaterThanOrEqual(2)
    expect((await bus.deadLetters.list()).items.map(({ message }) => message.key)).toEqual(['o5'])
  })
})

describe('a transaction outside handlers', () => {
  test('publishes with its commit and not otherwise, in the order of each key', async () => {
    await using rig = new StoreRig()
    const store = rig.store()
    const bus = rig.bus({ outbox: store.outbox })
    const seen: string[] = []
    bus.on(Placed, { group: 'watch', order: 'key' }, ({ data }) => void seen.push(`${data.orderId}${data.total}`))
    await bus.start()
    await Promise.all([...Array(20).keys()].map((index) => store.transaction((unit) => {
      unit.publish(Placed, { orderId: index % 2 === 0 ? 'a' : 'b', total: index })
    })))
    await rejection(store.transaction((unit) => {
      unit.publish(Placed, { orderId: 'never' })
      throw new TypeError('no')
    }))
    await rig.clock.advance(1_000)
    expect(seen.filter((one) => one.startsWith('a'))).toEqual([0, 2, 4, 6, 8, 10, 12, 14, 16, 18].map((index) => `a${index}`))
    expect(seen).toHaveLength(20)
    expect(await store.outbox.stats()).toMatchObject({ waiting: 0, dead: 0 })
  })

  test('of a store that no bus has is refused', async () => {
    await using rig = new StoreRig()
    const store = rig.store()
    expect(await rejection(store.transaction(() => {}))).toMatchObject({ code: 'outbox.not_attached' })
    rig.bus({ outbox: store.outbox })
    expect(() => rig.bus({ outbox: store.outbox })).toThrow(expect.objectContaining({ code: 'outbox.attached_twice' }))
  })

  test('works without a bus; another process publishes', async () => {
    await using rig = new StoreRig()
    const [writer, relay] = [rig.store(), rig.store()]
    await writer.open({ service: 'importer', clock: rig.clock })
    await writer.transaction((unit) => unit.publish(Placed, { orderId: 'o1' }))
    await writer.close()
    const bus = rig.bus({ outbox: relay.outbox })
    const seen: string[] = []
    bus.on(Placed, { group: 'watch' }, ({ source }) => void seen.push(source))
    await bus.start()
    await rig.clock.advance(60_000)
    expect(seen).toEqual(['/importer'])
  })

  test("over the store's own transport goes straight into it", async () => {
    await using rig = new StoreRig()
    const store = rig.store()
    const bus = rig.bus({ transport: store.transport, outbox: store.outbox })
    const seen: string[] = []
    bus.on(Placed, { group: 'watch', within: store }, ({ data }) => void seen.push(data.orderId))
    await bus.start()
    await store.transaction((unit) => unit.publish(Placed, { orderId: 'o1' }))
    await rig.clock.advance(1_000)
    expect(seen).toEqual(['o1'])
  })
})

describe('what is scheduled', () => {
  test('fires at its time and not before, once, however often it was scheduled under its id', async () => {
    await using rig = new StoreRig()
    const store = rig.store()
    const bus = rig.bus({ outbox: store.outbox })
    const seen: number[] = []
    const startMs = rig.clock.nowMs()
    bus.on(Placed, { group: 'watch' }, ({ data }) => void seen.push(data.total))
    await bus.start()
    await bus.schedule(Placed, { orderId: 'a', total: 1 }, { id: 'x', afterMs: 5_000 })
    await bus.schedule(Placed, { orderId: 'a', total: 2 }, { id: 'x', afterMs: 6_000 })
    await bus.schedule(Placed, { orderId: 'a', total: 3 }, { id: 'y', at: startMs + 3_000 })
    await bus.schedule(Placed, { orderId: 'a', total: 4 }, { id: 'z', afterMs: 3_000 })
    expect(await bus.cancelSchedule('z')).toBe(true)
    expect(await bus.cancelSchedule('z')).toBe(false)
    await rig.clock.advance(2_999)
    expect(seen).toEqual([])
    await rig.clock.advance(600)
    expect(seen).toEqual([3])
    await rig.clock.advance(10_000)
    expect(seen).toEqual([3, 2])
    expect(await store.scheduler.list()).toEqual([])
  })

  test('can be moved, and by a unit of work only with its commit', async () => {
    await using rig = new StoreRig()
    const store = rig.store()
    const bus = rig.bus({ outbox: store.outbox })
    const seen: number[] = []
    bus.on(Placed, { group: 'watch' }, ({ data }) => void seen.push(data.total))
    await bus.start()
    await store.transaction((unit) => unit.schedule(Placed, { orderId: 'a', total: 1 }, { id: 'x', afterMs: 1_000 }))
    await rejection(store.transaction(async (unit) => {
      await unit.schedule(Placed, { orderId: 'a', total: 2 }, { afterMs: 1_000 })
      throw new TypeError('no')
    }))
    expect(await store.scheduler.reschedule('x', { afterMs: 100_000 })).toBe(true)
    await rig.clock.advance(50_000)
    expect(seen).toEqual([])
    await rig.clock.advance(60_000)
    expect(seen).toEqual([1])
    expect(await store.scheduler.reschedule('x', { afterMs: 1 })).toBe(false)
  })

  test('again and again fires in its time zone until it is cancelled, each time with an id of its own', async () => {
    await using rig = new StoreRig()
    const store = rig.store()
    const bus = rig.bus({ outbox: store.outbox })
    const ids: string[] = []
    const times: string[] = []
    bus.on(Placed, { group: 'watch' }, ({ id, time }) => {
      ids.push(id)
      times.push(time)
    })
    await bus.start()
    await bus.schedule(Placed, { orderId: 'a' }, { id: 'daily', cron: '30 9 * * *', timeZone: 'Europe/London' })
    await rig.clock.advance(3 * 86_400_000)
    expect(new Set(ids).size).toBe(3)
    expect(times.map((time) => time.slice(11, 16))).toEqual(['09:30', '09:30', '09:30'])
    await bus.cancelSchedule('daily')
    await rig.clock.advance(2 * 86_400_000)
    expect(ids).toHaveLength(3)
  })

  test.each([
    [{}], [{ at: 1, afterMs: 1 }], [{ afterMs: -1 }], [{ afterMs: Number.NaN }], [{ at: new Date('x') }], [{ cron: 'now and then' }], [{ cron: '* * * * *', timeZone: 'Moon/Sea' }],
    [{ cron: '0 0 31 2 *' }], [{ afterMs: 1, timeZone: 'UTC' }], [{ afterMs: 1, id: '' }],
  ])('with %j is refused', async (options) => {
    await using rig = new StoreRig()
    const store = rig.store()
    const bus = rig.bus({ outbox: store.outbox })
    await bus.start()
    expect(await rejection(bus.schedule(Placed, { orderId: 'a' }, options))).toMatchObject({ code: 'outbox.timer_invalid' })
  })
})

describe('the relay', () => {
  test('publishes what a process left behind that died between commit and publish', async () => {
    await using rig = new StoreRig()
    const first = rig.store({ relay: false })
    await first.open({ service: 'shop', clock: rig.clock })
    for (let index = 0; index < 500; index++) await first.transaction((unit) => unit.publish(Placed, { orderId: `o${index % 7}`, total: index }))
    const bus = rig.bus({ outbox: rig.store().outbox, service: { name: 'relay' } })
    const seen = new Map<string, number[]>()
    bus.on(Placed, { group: 'watch', order: 'key' }, ({ data }) => {
      const list = seen.get(data.orderId) ?? []
      seen.set(data.orderId, [...list, data.total])
    })
    await bus.start()
    await rig.clock.advance(60_000)
    expect([...seen.values()].flat()).toHaveLength(500)
    for (const list of seen.values()) expect(list).toEqual(list.toSorted((left, right) => left - right))
    await first.close()
  })

  test('moves what the broker never takes to the dead rows, and its neighbours are not held up', async () => {
    await using rig = new StoreRig()
    const store = rig.store()
    const broken = memory({ broker: rig.broker })
    const publish = broken.publish.bind(broken)
    let isMended = false
    broken.publish = (outbound, signal) => {
      if (!isMended && outbound.message.key === 'bad') throw rig.refusal(outbound.message.id)
      return publish(outbound, signal)
    }
    const bus = rig.bus({ transport: broken, outbox: store.outbox })
    const seen: string[] = []
    bus.on(Placed, { group: 'watch' }, ({ data }) => void seen.push(data.orderId))
    await bus.start()
    for (const orderId of ['a', 'bad', 'b']) await store.transaction((unit) => unit.publish(Placed, { orderId }))
    await rig.clock.advance(500)
    expect(seen).toEqual(['a', 'b'])
    await rig.clock.advance(120_000)
    const [dead] = await store.outbox.dead()
    expect(dead).toMatchObject({ message: { key: 'bad' }, record: { reason: 'bus.publish_refused', attempts: 5 } })
    isMended = true
    expect(await store.outbox.redrive(dead?.id ?? 0n)).toBe(true)
    await rig.clock.advance(1_000)
    expect(seen).toEqual(['a', 'b', 'bad'])
  })

  test('is one of many: the others stand by, and take over when it is gone', async () => {
    await using rig = new StoreRig()
    const stores = [rig.store(), rig.store()] as const
    const buses = stores.map((store, index) => rig.bus({ outbox: store.outbox, service: { name: `s${index}` } }))
    const seen: string[] = []
    buses[1]?.on(Placed, { group: 'watch' }, ({ data }) => void seen.push(data.orderId))
    for (const bus of buses) await bus.start()
    await stores[0].transaction((unit) => unit.publish(Placed, { orderId: 'first' }))
    await rig.clock.advance(2_000)
    expect(seen).toEqual(['first'])
    const stopping = buses[0]?.stop()
    await rig.clock.advance(5_000)
    await stopping
    await stores[1].transaction((unit) => unit.publish(Placed, { orderId: 'second' }))
    await rig.clock.advance(60_000)
    expect(seen).toEqual(['first', 'second'])
  })
})

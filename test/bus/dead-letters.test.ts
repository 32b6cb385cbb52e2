import { describe, expect, test } from 'vitest'
import { reject } from '../../src/index.ts'
import { type Bus } from '../../src/index.ts'
import { BusRig, Moved, Placed, rejection } from './bus-rig.ts'
import { FakeTransport } from './fake-transport.ts'

/** A bus with two groups that give up every message as long as `isBroken`. */
async function broken(rig: BusRig, count: number, attemptsMax = 5): Promise<{ bus: Bus; state: { isBroken: boolean }; seen: string[] }> {
  const state = { isBroken: true }
  const seen: string[] = []
  const bus = rig.bus()
  for (const group of ['a', 'b']) {
    bus.on([Placed, Moved], { group, retry: { attemptsMax } }, ({ data, type }, { attempt, isRedriven }) => {
      if (state.isBroken) throw type === 'sales.order-moved' ? reject('moved') : new Error('x')
      seen.push(`${group} ${data.orderId} ${attempt} ${isRedriven}`)
    })
  }
  await bus.start()
  for (let order = 0; order < count; order++) await bus.publish(order % 2 === 0 ? Placed : Moved, { orderId: `${order}` })
  await rig.clock.advance(3_600_000)
  return { bus, state, seen }
}

describe('dead letters', () => {
  test('are listed oldest first, in pages, by group, type and reason, as often as one likes', async () => {
    await using rig = new BusRig()
    const { bus } = await broken(rig, 6)
    for (let times = 0; times < 100; times++) {
      const { items, next } = await bus.deadLetters.list()
      expect([items.length, next]).toEqual([12, undefined])
    }
    const { items } = await bus.deadLetters.list({ group: 'shop.a', type: 'sales.order-moved', reason: 'bus.rejected' })
    expect(items.map(({ message }) => JSON.parse(Buffer.from(message.body).toString()))).toEqual([{ orderId: '1' }, { orderId: '3' }, { orderId: '5' }])
    const pages: string[] = []
    let after: string | undefined
    do {
      const page = await bus.deadLetters.list({}, { limit: 5, ...(after === undefined ? {} : { after }) })
      pages.push(...page.items.map(({ id }) => id))
      after = page.next
    } while (after !== undefined)
    expect([pages.length, new Set(pages).size]).toEqual([12, 12])
    expect(await bus.deadLetters.list({ group: 'shop.none' })).toEqual({ items: [], next: undefined })
  })

  test('are all seen when each is redriven while they are read page by page', async () => {
    await using rig = new BusRig()
    const { bus, state, seen } = await broken(rig, 520, 1)
    state.isBroken = false
    let count = 0
    for await (const { id } of bus.deadLetters.all()) {
      await bus.deadLetters.redrive(id)
      count++
    }
    await rig.clock.settle()
    expect([count, seen.length]).toEqual([1_040, 1_040])
    expect((await bus.deadLetters.list()).items).toEqual([])
  })

  test('are read, redriven from attempt 1, skipped and purged', async () => {
    await using rig = new BusRig()
    const { bus, state, seen } = await broken(rig, 4)
    const [first, second] = (await bus.deadLetters.list()).items
    expect(await bus.deadLetters.read(first?.id ?? '')).toEqual(first)
    state.isBroken = false
    await bus.deadLetters.redrive(first?.id ?? '')
    await bus.deadLetters.skip(second?.id ?? '')
    await rig.clock.settle()
    expect(seen).toEqual(['a 0 1 true'])
    expect(await bus.deadLetters.redriveAll({ group: 'shop.b' })).toBe(3)
    expect(await bus.deadLetters.purge({ reason: 'bus.rejected' })).toBe(2)
    await rig.clock.settle()
    expect(seen.toSorted()).toEqual(['a 0 1 true', 'b 1 1 true', 'b 2 1 true', 'b 3 1 true'])
    expect((await bus.deadLetters.list()).items).toHaveLength(1)
    expect(rig.broker.size).toBe(1)
  })

  test('are never purged or redriven by a filter that says less than it seems to', async () => {
    await using rig = new BusRig()
    const { bus } = await broken(rig, 2)
    const { deadLetters } = bus
    // Misspelt, undefined and empty: what callers without types, or with an unset variable, give.
    for (const filter of [{ group: undefined } as never, {}]) {
      expect(await rejection(deadLetters.purge(filter))).toMatchObject({ code: 'core.option_invalid', details: { option: 'filter' } })
    }
    const misspelt = { grop: 'shop.a' } as never
    for (const act of [() => deadLetters.purge(misspelt), () => deadLetters.redriveAll(misspelt), () => deadLetters.list(misspelt), () => deadLetters.all(misspelt).next()]) {
      expect(await rejection(act())).toMatchObject({ code: 'core.option_unknown', details: { option: 'grop', nearest: 'group' } })
    }
    expect(await rejection(deadLetters.redriveAll({ type: undefined } as never))).toMatchObject({ code: 'core.option_invalid', details: { option: 'filter' } })
    expect((await deadLetters.list()).items).toHaveLength(4)
  })

  test('come in pages of 1 to 500, and a page that cannot be is refused', async () => {
    await using rig = new BusRig()
    const { bus } = await broken(rig, 2)
    const { deadLetters } = bus
    // The limit belongs into the second object.
    expect(await rejection(deadLetters.list({ limit: 5 } as never))).toMatchObject({ code: 'core.option_unknown', details: { option: 'limit' } })
    expect(await rejection(deadLetters.list({}, { limits: 5 } as never))).toMatchObject({ code: 'core.option_unknown', details: { option: 'limits', nearest: 'limit' } })
    for (const limit of [5_000, 0, 1.5]) expect(await rejection(deadLetters.list({}, { limit }))).toMatchObject({ code: 'core.option_invalid', details: { expected: 'a whole number from 1 to 500' } })
    expect((await deadLetters.list({}, { limit: 500 })).items).toHaveLength(4)
  })

  test('that fail again are dead letters again, once each', async () => {
    await using rig = new BusRig()
    const { bus } = await broken(rig, 2)
    expect(await bus.deadLetters.redriveAll({})).toBe(4)
    await rig.clock.advance(3_600_000)
    expect((await bus.deadLetters.list()).items.map(({ record }) => record.attempts)).toEqual([5, 5, 1, 1])
  })

  test('that are not there are missing, whatever is asked of them', async () => {
    await using rig = new BusRig()
    const { bus } = await broken(rig, 0)
    for (const id of ['', 'nothing', 'event:shop.a:999', 'x'.repeat(1_000)]) {
      for (const work of [bus.deadLetters.read(id), bus.deadLetters.redrive(id), bus.deadLetters.skip(id)]) {
        expect(await rejection(work)).toMatchObject({ code: 'bus.dead_letter_missing', disposition: 'reject', details: { id: id.slice(0, 200) } })
      }
    }
  })

  test('hold back only their key in an ordered group, until they are redriven or skipped', async () => {
    await using rig = new BusRig()
    const seen: string[] = []
    let isBroken = true
    const bus = rig.bus()
    bus.on(Placed, { group: 'g', order: 'key', retry: { attemptsMax: 1 } }, ({ data }) => {
      if (isBroken && data.orderId === 'a' && data.total === 1) throw new Error('x')
      seen.push(`${data.orderId}${data.total}`)
    })
    await bus.start()
    for (const [orderId, total] of [['a', 1], ['a', 2], ['b', 1], ['a', 3], ['b', 2]] as const) await bus.publish(Placed, { orderId, total })
    await rig.clock.settle()
    expect(seen).toEqual(['b1', 'b2'])
    const [letter] = (await bus.deadLetters.list()).items
    expect(letter?.holdsKey).toBe(true)
    isBroken = false
    await bus.deadLetters.redrive(letter?.id ?? '')
    await rig.clock.settle()
    expect(seen).toEqual(['b1', 'b2', 'a1', 'a2', 'a3'])
  })

  test('are refused where the bus does not run or the transport has none', async () => {
    await using rig = new BusRig()
    const bus = rig.bus({ transport: new FakeTransport({ canManageDeadLetters: false }) })
    expect(await rejection(bus.deadLetters.list())).toMatchObject({ code: 'bus.not_running' })
    await bus.start()
    expect(await rejection(bus.deadLetters.list())).toMatchObject({ code: 'bus.unsupported', details: { adapter: 'fake', capability: 'canManageDeadLetters' } })
  })
})

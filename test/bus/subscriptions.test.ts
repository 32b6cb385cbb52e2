import { describe, expect, test } from 'vitest'
import { BusRig, Moved, Placed, Quote, Reserve } from './bus-rig.ts'
import { event } from '../../src/index.ts'
import { z } from 'zod'
import { FakeTransport } from './fake-transport.ts'

const Keyless = event('sales.note-added', { schema: z.string() })
const conflict = (text: string): unknown => expect.objectContaining({ code: 'bus.subscription_conflict', details: expect.objectContaining({ problem: expect.stringContaining(text) }) })
const nothing = (): void => {}

describe('subscribing', () => {
  test('several times with one group makes one subscription of all its types', async () => {
    await using rig = new BusRig()
    const inner = new FakeTransport()
    const subscriptions: unknown[] = []
    inner.subscribeWith = (subscription) => {
      subscriptions.push(subscription)
      return Promise.resolve()
    }
    const bus = rig.bus({ transport: inner, defaults: { inFlightMax: 4, handlerTimeoutMs: 7_000 } })
    bus.on(Placed, { group: 'ledger' }, nothing).on([Moved, Keyless], { group: 'ledger' }, nothing)
    bus.handle(Reserve, { order: 'key' }, () => ({ left: 1 }))
    bus.on(Placed, { group: 'batched', batch: { sizeMax: 50 } }, nothing)
    await bus.start()
    expect(subscriptions).toEqual([
      { group: 'shop.ledger', kind: 'event', types: ['sales.note-added', 'sales.order-moved', 'sales.order-placed'], order: 'none', from: 'new', inFlightMax: 8, handlerTimeoutMs: 7_000 },
      { group: 'stock.reserve', kind: 'command', types: ['stock.reserve'], order: 'key', from: 'beginning', inFlightMax: 8, handlerTimeoutMs: 7_000 },
      { group: 'shop.batched', kind: 'event', types: ['sales.order-placed'], order: 'none', from: 'new', inFlightMax: 50, handlerTimeoutMs: 7_000 },
    ])
  })

  test('takes the order from the contracts unless it is told', async () => {
    await using rig = new BusRig()
    const Ordered = event('sales.order-paid', { schema: z.object({ id: z.string() }), key: ({ id }) => id, order: 'key' })
    const inner = new FakeTransport()
    const orders: string[] = []
    inner.subscribeWith = ({ group, order }) => {
      orders.push(`${group} ${order}`)
      return Promise.resolve()
    }
    const bus = rig.bus({ transport: inner })
    bus.on([Ordered, Placed], { group: 'a' }, nothing).on([Ordered, Placed], { group: 'b', order: 'none' }, nothing)
    await bus.start()
    expect(orders).toEqual(['shop.a key', 'shop.b none'])
  })

  test('refuses what contradicts itself', async () => {
    await using rig = new BusRig()
    const bus = rig.bus()
    bus.on(Placed, { group: 'g' }, nothing)
    expect(() => bus.on(Placed, { group: 'g' }, nothing)).toThrow(conflict('two handlers'))
    expect(() => bus.on([Moved, Moved], { group: 'h' }, nothing)).toThrow(conflict('two handlers'))
    expect(() => bus.on(Moved, { group: 'g', inFlightMax: 3 }, nothing)).toThrow(conflict('different options'))
    expect(() => bus.on(Moved, { group: 'g', decide: () => undefined }, nothing)).toThrow(conflict('different options'))
    expect(() => bus.on(Moved, { group: 'g', batch: {} }, nothing)).toThrow(conflict('different options'))
    expect(() => bus.on(Keyless, { group: 'k', order: 'key' }, nothing)).toThrow(conflict('no key'))
    expect(() => bus.on([], { group: 'n' }, nothing)).toThrow(conflict('no contract'))
    bus.handle(Reserve, () => ({ left: 1 }))
    expect(() => bus.handle(Reserve, () => ({ left: 2 }))).toThrow(conflict('two handlers'))
    bus.answer(Quote, () => ({ cents: 1 }))
    expect(() => bus.answer(Quote, () => ({ cents: 2 }))).toThrow(conflict('two handlers'))
  })

  test('refuses contracts of another kind, as callers without types can give them', async () => {
    await using rig = new BusRig()
    const bus = rig.bus()
    expect(() => Reflect.apply(bus.on.bind(bus), undefined, [Reserve, { group: 'g' }, nothing])).toThrow(conflict('on() takes events'))
    expect(() => Reflect.apply(bus.handle.bind(bus), undefined, [Placed, nothing])).toThrow(conflict('handle() takes a command'))
    expect(() => Reflect.apply(bus.on.bind(bus), undefined, [Reserve, { broadcast: true }, nothing])).toThrow(conflict('on() takes events'))
    expect(() => Reflect.apply(bus.answer.bind(bus), undefined, [Reserve, nothing])).toThrow(conflict('takes a query'))
  })

  test.each<readonly [string, Record<string, unknown>]>([
    ['group', { group: '' }], ['group', { group: 'a.b' }], ['group', { group: '*' }], ['group', {}],
    // B43 and B44
    ...[0, -1, 1.5, 1e9, '10', Number.NaN].map((inFlightMax): readonly [string, Record<string, unknown>] => ['inFlightMax', { group: 'g', inFlightMax }]),
    ...[0, -1, Number.NaN, 2 ** 31, 1e15].map((timeoutMs): readonly [string, Record<string, unknown>] => ['timeoutMs', { group: 'g', timeoutMs }]),
    ['retry.attemptsMax', { group: 'g', retry: { attemptsMax: 0 } }], ['batch.sizeMax', { group: 'g', batch: { sizeMax: 0 } }], ['batch.waitMs', { group: 'g', batch: { waitMs: -1 } }],
  ])('refuses the option %s of %j', async (option, options) => {
    await using rig = new BusRig()
    const bus = rig.bus()
    expect(() => Reflect.apply(bus.on.bind(bus), undefined, [Placed, options, nothing])).toThrow(
      expect.objectContaining({ code: 'core.option_invalid', details: expect.objectContaining({ option }) }),
    )
  })
})

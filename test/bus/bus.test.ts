import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import {
  type Bus, type BusExtension, type BusHealth, type Logger, type Schema, type TransportCapabilities, command, createBus, event, isTrunklineError, query, silentLogger,
} from '../../src/index.ts'
import { memory, memoryBroker } from '../../src/adapters/memory/index.ts'
import { systemClock } from '../../src/core/clock.ts'
import { TrunklineError } from '../../src/core/errors.ts'
import { BusRig, Gate, Placed, Quote as Price, Reserve as StockReserve, rejection } from './bus-rig.ts'
import { FakeTransport } from './fake-transport.ts'

const OrderPlaced = event('sales.order-placed', { schema: z.object({ orderId: z.string(), total: z.int() }), key: (order) => order.orderId })
const Reserve = command('stock.reserve', { schema: z.object({ sku: z.string() }), response: z.object({ left: z.int() }), errors: { soldOut: z.object({ sku: z.string() }) } })
const Quote = query('pricing.quote-price', { request: z.object({ sku: z.string() }), response: z.object({ cents: z.int() }), errors: { unknownSku: z.object({ sku: z.string() }) } })

test('carries events, commands, queries and declared errors', async () => {
  const seen: unknown[] = []
  await using bus = createBus({ service: { name: 'shop' }, transport: memory(), logger: silentLogger })
  bus.on(OrderPlaced, { group: 'ledger' }, async ({ data, type }, context) => {
    seen.push([type, data.total, context.attempt])
    if (context.attempt < 2) throw new Error('again')
    await bus.send(Reserve, { sku: 'a' })
  })
  bus.handle(Reserve, ({ data }) => {
    if (data.sku === 'gone') throw Reserve.error('soldOut', { sku: data.sku })
    return { left: 3 }
  })
  bus.answer(Quote, ({ data }) => {
    if (data.sku === 'x') throw Quote.error('unknownSku', { sku: 'x' })
    return { cents: 12 }
  })
  await bus.start()
  await bus.publish(OrderPlaced, { orderId: 'o1', total: 5 })
  expect(await bus.ask(Quote, { sku: 'a' })).toEqual({ cents: 12 })
  const error = await bus.ask(Quote, { sku: 'x' }).catch((thrown: unknown) => thrown)
  expect(Quote.errorIn(error)).toEqual({ type: 'pricing.quote-price', name: 'unknownSku', data: { sku: 'x' } })
  expect(await bus.ask(Reserve, { sku: 'b' })).toEqual({ left: 3 })
  expect(isTrunklineError(await bus.ask(Reserve, { sku: 'gone' }).catch((thrown: unknown) => thrown), 'contract.declared_error')).toBe(true)
  await expect.poll(() => seen).toEqual([['sales.order-placed', 5, 1], ['sales.order-placed', 5, 2]])
})

describe('making a bus', () => {
  test.each<readonly [string, Record<string, unknown>]>([
    ['service.name', { service: { name: 'Shop' } }], ['service.name', { service: { name: '../x' } }],
    ['defaults.handlerTimeoutMs', { defaults: { handlerTimeoutMs: 0 } }], ['defaults.publishTimeoutMs', { defaults: { publishTimeoutMs: -1 } }],
    ['defaults.askTimeoutMs', { defaults: { askTimeoutMs: 1e15 } }], ['defaults.drainTimeoutMs', { defaults: { drainTimeoutMs: Number.NaN } }],
    ['defaults.inFlightMax', { defaults: { inFlightMax: 1.5 } }], ['defaults.bodyBytesMax', { defaults: { bodyBytesMax: 17_000_000 } }],
  ])('refuses %s of %j', (option, options) => {
    expect(() => Reflect.apply(createBus, undefined, [{ service: { name: 'shop' }, transport: memory(), ...options }])).toThrow(
      expect.objectContaining({ code: 'core.option_invalid', details: expect.objectContaining({ option }) }),
    )
  })

  test('refuses two definitions of one type that differ (B51)', async () => {
    await using rig = new BusRig()
    const bus = rig.bus({ contracts: [Placed] })
    const other = event('sales.order-placed', { schema: z.object({ orderId: z.int() }) })
    expect(() => bus.on(other, { group: 'g' }, () => {})).toThrow(expect.objectContaining({ code: 'contract.definition_conflict' }))
    expect(() => rig.bus({ contracts: [Placed, other] })).toThrow(expect.objectContaining({ code: 'contract.definition_conflict' }))
    expect(bus.contracts).toEqual([Placed])
  })
})

describe('what a transport cannot do', () => {
  const nothing = (): void => {}

  test.each<readonly [keyof TransportCapabilities, (bus: Bus) => unknown]>([
    ['canStore', (bus) => bus.on(Placed, { group: 'g' }, nothing)],
    ['canStore', (bus) => bus.handle(StockReserve, () => ({ left: 1 }))],
    ['canOrderByKey', (bus) => bus.on(Placed, { group: 'g', order: 'key' }, nothing)],
    ['canReplay', (bus) => bus.on(Placed, { group: 'g', from: 'beginning' }, nothing)],
    ['canDelayRetry', (bus) => bus.on(Placed, { group: 'g' }, nothing)],
    ['canBroadcast', (bus) => bus.on(Placed, { broadcast: true }, nothing)],
    ['canRequest', (bus) => bus.answer(Price, () => ({ cents: 1 }))],
  ])('(%s) is refused when the bus starts, before anything is opened', async (capability, subscribe) => {
    await using rig = new BusRig()
    const inner = new FakeTransport({ canReplay: true, [capability]: false })
    const bus = rig.bus({ transport: inner })
    subscribe(bus)
    expect(await rejection(bus.start())).toMatchObject({ code: 'bus.unsupported', disposition: 'stop', details: { adapter: 'fake', capability } })
    expect([inner.calls, bus.state]).toEqual([[], 'stopped'])
  })

  test('is refused when it is called, too', async () => {
    await using rig = new BusRig()
    const inner = new FakeTransport({ canStore: false, canBroadcast: false, canRequest: false })
    const bus = rig.bus({ transport: inner })
    await bus.start()
    const refused = [
      [bus.publish(Placed, { orderId: 'o' }), 'canStore'], [bus.send(StockReserve, { sku: 'a' }), 'canStore'], [bus.broadcast(Placed, { orderId: 'o' }), 'canBroadcast'],
      [bus.ask(Price, { sku: 'a' }), 'canRequest'], [bus.ask(StockReserve, { sku: 'a' }), 'canRequest'],
    ] as const
    for (const [call, capability] of refused) expect(await rejection(call)).toMatchObject({ code: 'bus.unsupported', details: { adapter: 'fake', capability } })
    expect(inner.calls).toEqual(['open'])
  })

  test('is done without where it is not needed: retries that all follow at once need no delay', async () => {
    await using rig = new BusRig()
    const inner = new FakeTransport({ canDelayRetry: false, canOrderByKey: false, canBroadcast: false })
    const bus = rig.bus({ transport: inner, defaults: { retry: { attemptsMax: 3, immediateMax: 2 } } })
    bus.on(Placed, { group: 'g' }, nothing)
    await bus.start()
    expect(bus.state).toBe('running')
  })

  test('can come from a second transport for the light plane', async () => {
    await using rig = new BusRig()
    const durable = new FakeTransport({ canBroadcast: false, canRequest: false })
    const bus = rig.bus({ transport: durable, light: memory({ broker: rig.broker }) })
    bus.answer(Price, () => ({ cents: 3 }))
    await bus.start()
    const asked = bus.ask(Price, { sku: 'a' })
    await rig.clock.settle()
    expect(await asked).toEqual({ cents: 3 })
  })
})

describe('a group and a command of one name', () => {
  test('are two subscriptions: nothing of the one reaches the other', async () => {
    await using rig = new BusRig()
    const seen: string[] = []
    const bus = rig.bus({ service: { name: 'stock' } })
    bus.on(Placed, { group: 'reserve', retry: { attemptsMax: 1 } }, ({ data }) => {
      seen.push(`event ${data.orderId}`)
      if (data.orderId === 'bad') throw new Error('x')
    })
    bus.handle(StockReserve, { retry: { attemptsMax: 1 } }, ({ data }) => {
      seen.push(`command ${data.sku}`)
      if (data.sku === 'bad') throw new Error('x')
      return { left: 1 }
    })
    await bus.start()
    await bus.publish(Placed, { orderId: 'o' })
    await bus.send(StockReserve, { sku: 'a' })
    await rig.clock.settle()
    expect(seen).toEqual(['event o', 'command a'])
    await bus.publish(Placed, { orderId: 'bad' })
    await bus.send(StockReserve, { sku: 'bad' })
    await rig.clock.settle()
    const { items } = await bus.deadLetters.list({ group: 'stock.reserve' })
    expect(items.map(({ kind }) => kind).toSorted()).toEqual(['command', 'event'])
    expect(new Set(items.map(({ id }) => id)).size).toBe(2)
  })
})

describe('calls with the wrong contract', () => {
  test('are refused before anything is sent', async () => {
    await using rig = new BusRig()
    const inner = new FakeTransport()
    const bus = rig.bus({ transport: inner, light: memory({ broker: rig.broker }) })
    await bus.start()
    const call = (name: 'publish' | 'send' | 'broadcast' | 'ask', contract: unknown, data: unknown): Promise<unknown> =>
      // A caller without types can give anything.
      Reflect.apply(bus[name].bind(bus), undefined, [contract, data])
    for (const [name, contract, data] of [
      ['publish', StockReserve, { sku: 'a' }], ['send', Placed, { orderId: 'o' }], ['broadcast', StockReserve, { sku: 'a' }], ['broadcast', Price, { sku: 'a' }], ['ask', Placed, { orderId: 'o' }],
    ] as const) expect(await rejection(call(name, contract, data))).toMatchObject({ code: 'contract.definition_invalid' })
    expect(await rejection(call('publish', Placed, { orderId: 5 }))).toMatchObject({ code: 'contract.payload_invalid' })
    expect(await rejection(bus.publish(Placed, { orderId: 'o' }, { headers: { 'nats-rollup': 'all' } }))).toMatchObject({ code: 'contract.header_refused' })
    expect(await rejection(bus.publish(Placed, { orderId: 'o' }, { timeoutMs: 0 }))).toMatchObject({ code: 'core.option_invalid' })
    expect(await rejection(bus.publish(Placed, { orderId: 'o' }, { deadlineAtMs: Number.NaN }))).toMatchObject({ code: 'contract.attribute_invalid' })
    expect(await rejection(bus.ask(Price, { sku: 'a' }, { id: '' }))).toMatchObject({ code: 'contract.attribute_invalid' })
    expect(await rejection(bus.ask(Price, { sku: 'a' }, { timeoutMs: -1 }))).toMatchObject({ code: 'core.option_invalid' })
    expect(inner.calls).toEqual(['open'])
  })
})

describe('the time to store a message', () => {
  test('is the one that the publisher gives, longer or shorter than that of the bus', async () => {
    await using rig = new BusRig()
    const inner = new FakeTransport()
    inner.publishWith = () => new Promise(() => {})
    const bus = rig.bus({ transport: inner, defaults: { publishTimeoutMs: 1_000 } })
    await bus.start()
    const ended: string[] = []
    for (const timeoutMs of [undefined, 200, 5_000]) {
      bus.publish(Placed, { orderId: 'o' }, timeoutMs === undefined ? {} : { timeoutMs }).catch((error: unknown) => {
        ended.push(isTrunklineError(error, 'bus.publish_timeout') ? `${error.details.timeoutMs}` : 'something else')
      })
    }
    await rig.clock.advance(220)
    expect(ended).toEqual(['200'])
    await rig.clock.advance(800)
    expect(ended).toEqual(['200', '1000'])
    await rig.clock.advance(3_900)
    expect(ended).toHaveLength(2)
    await rig.clock.advance(120)
    expect(ended).toEqual(['200', '1000', '5000'])
  })
})

describe('the life of a bus', () => {
  test('goes from idle to stopped, says so, and takes calls only while it is open', async () => {
    await using rig = new BusRig()
    const bus = rig.bus()
    const closed = { code: 'bus.not_running' }
    expect(await rejection(bus.publish(Placed, { orderId: 'o' }))).toMatchObject(closed)
    expect(bus.health()).toMatchObject({ state: 'down', reasons: ['the bus is idle', expect.any(String)] })
    await Promise.all([bus.start(), bus.start()])
    expect(() => bus.on(Placed, { group: 'g' }, () => {})).toThrow(expect.objectContaining(closed))
    await bus.publish(Placed, { orderId: 'o' })
    await Promise.all([bus.stop(), bus.stop()])
    await bus.stop()
    for (const call of [bus.publish(Placed, { orderId: 'o' }), bus.send(StockReserve, { sku: 'a' }), bus.ask(Price, { sku: 'a' }), bus.broadcast(Placed, { orderId: 'o' })]) {
      expect(await rejection(call)).toMatchObject({ ...closed, details: { state: 'stopped' } })
    }
    expect(rig.kinds('state-changed').map(({ state }) => state)).toEqual(['starting', 'running', 'draining', 'stopped'])
  })

  test('can end before it began, and does not begin after its end', async () => {
    await using rig = new BusRig()
    const bus = rig.bus()
    await bus.stop()
    expect(await rejection(bus.start())).toMatchObject({ code: 'bus.not_running' })
    expect(bus.state).toBe('stopped')
  })

  test('that fails to start closes everything that was opened and gives the reason', async () => {
    await using rig = new BusRig()
    const inner = new FakeTransport()
    const order: string[] = []
    inner.subscribeWith = () => Promise.reject(new TypeError('no such stream'))
    const bus = rig.bus({ transport: inner, extensions: [extension('a', order), extension('b', order)] })
    bus.on(Placed, { group: 'g' }, () => {})
    expect(await rejection(bus.start())).toMatchObject({ code: 'bus.connection_lost', details: { adapter: 'fake', problem: 'no such stream' } })
    expect(inner.calls).toEqual(['open', 'subscribe event shop.g', 'close'])
    expect(order).toEqual(['a start', 'b start', 'a stop', 'b stop'])
    expect(bus.state).toBe('stopped')
    await bus.stop()
  })

  test('starts extensions before deliveries, and ends them after the handlers and before the link', async () => {
    await using rig = new BusRig()
    const inner = new FakeTransport()
    const { calls } = inner
    const bus = rig.bus({ transport: inner, extensions: [extension('x', calls)] })
    bus.on(Placed, { group: 'g' }, () => {})
    await bus.start()
    await bus.stop()
    expect(calls).toEqual(['open', 'x start', 'subscribe event shop.g', 'x drain', 'pause shop.g', 'x stop', 'unsubscribe shop.g', 'close'])
  })

  test('ends in order whatever fails on the way', async () => {
    await using rig = new BusRig()
    const inner = new FakeTransport()
    const { calls } = inner
    const failing: BusExtension = { name: 'failing', drain: () => Promise.reject(new Error('drain')), stop: () => { throw new Error('stop') } }
    inner.pauseWith = () => Promise.reject(new Error('pause'))
    inner.closeWith = () => Promise.reject(new Error('close'))
    const errors: unknown[] = []
    const logger: Logger = { ...silentLogger, error: (fields: unknown) => errors.push(fields), child: () => logger }
    const bus = rig.bus({ transport: inner, extensions: [failing, extension('x', calls)], logger })
    bus.on(Placed, { group: 'g' }, () => {})
    await bus.start()
    await bus.stop()
    expect(bus.state).toBe('stopped')
    expect(calls).toEqual(['open', 'x start', 'subscribe event shop.g', 'x drain', 'pause shop.g', 'x stop', 'unsubscribe shop.g', 'close'])
    expect(errors).toMatchObject(['failing', 'shop.g', 'failing', 'fake'].map((part) => ({ part, err: expect.any(Error) })))
  })

  test('waits for publishes that are on their way, and gives them up in time', async () => {
    await using rig = new BusRig()
    const inner = new FakeTransport()
    const stored = new Gate()
    inner.publishWith = () => stored.opened
    const bus = rig.bus({ transport: inner, defaults: { drainTimeoutMs: 1_000 } })
    await bus.start()
    const published = bus.publish(Placed, { orderId: 'o' })
    const stopped = bus.stop()
    await rig.clock.advance(500)
    expect(bus.state).toBe('draining')
    stored.open()
    await rig.clock.advance(10)
    await Promise.all([published, stopped])
    expect(bus.state).toBe('stopped')
  })
})

describe('health and observers', () => {
  test('follow the link, the halted subscriptions and the extensions', async () => {
    await using rig = new BusRig()
    const inner = new FakeTransport()
    let part: BusHealth = { state: 'up', reasons: [] }
    const bus = rig.bus({ transport: inner, extensions: [{ name: 'outbox', health: () => part }] })
    await bus.start()
    inner.host?.report('down', 'connection refused')
    inner.host?.report('degraded', 'slow')
    part = { state: 'degraded', reasons: ['lag'] }
    inner.host?.report('up', '')
    part = { state: 'up', reasons: [] }
    inner.host?.report('up', 'again')
    expect(rig.kinds('health-changed').map(({ health }) => health)).toEqual([
      { state: 'down', reasons: ['the bus is starting'] },
      { state: 'up', reasons: [] },
      { state: 'down', reasons: ['fake is down: connection refused'] },
      { state: 'degraded', reasons: ['fake is degraded: slow'] },
      { state: 'degraded', reasons: ['outbox: lag'] },
      { state: 'up', reasons: [] },
    ])
  })

  test('never let an exception reach the adapter that reports', async () => {
    await using rig = new BusRig()
    const inner = new FakeTransport()
    const bus = rig.bus({ transport: inner, extensions: [{ name: 'odd', health: () => { throw new TypeError('a\nb') } }] })
    const seen: string[] = []
    bus.observe(() => {
      throw new TypeError('in an observer')
    })
    const leave = bus.observe(({ kind }) => seen.push(kind))
    await bus.start()
    expect(() => inner.host?.report('down', 'gone')).not.toThrow()
    expect(bus.health().reasons).toContain('odd: its health check threw: a\\u000ab')
    expect(seen).toContain('health-changed')
    leave()
    const before = seen.length
    inner.host?.report('up', '')
    expect(seen).toHaveLength(before)
  })
})

test('a second adapter that opens the same value is refused while the first one has it', async () => {
  await using rig = new BusRig()
  const transport = memory({ broker: rig.broker })
  const [first, second] = [rig.bus({ transport }), rig.bus({ transport })]
  await first.start()
  expect(await rejection(second.start())).toMatchObject({ code: 'core.invariant_broken' })
  await first.publish(Placed, { orderId: 'o' })
  await first.stop()
  const third = rig.bus({ transport })
  await third.start()
  expect(third.state).toBe('running')
})

function extension(name: string, calls: string[]): BusExtension {
  const note = (call: string) => (): Promise<void> => {
    calls.push(`${name} ${call}`)
    return Promise.resolve()
  }
  return { name, start: note('start'), drain: note('drain'), stop: note('stop') }
}

test('lets the event loop turn before it says that a broadcast, a question or a message could not be taken, however fast it is tried again', async () => {
  const lost = (): Promise<void> => Promise.reject(new TrunklineError('bus.connection_lost', { adapter: 'fake', problem: 'the link is down' }))
  const inner = new FakeTransport()
  inner.light = { address: 'a', onReply: () => {}, broadcast: lost, request: lost, replyAddress: () => '', reply: lost, onBroadcast: () => Promise.reject(new TypeError()), onRequest: () => Promise.reject(new TypeError()) }
  inner.publishWith = lost
  const bus = createBus({ service: { name: 'shop' }, transport: inner, logger: silentLogger })
  await bus.start()
  for (const attempt of [() => bus.broadcast(Placed, { orderId: 'o' }), () => bus.ask(Price, { sku: 'a' }), () => bus.publish(Placed, { orderId: 'o' })]) {
    let hasTurned = false
    systemClock.defer(() => (hasTurned = true))
    let tried = 0
    for (; !hasTurned && tried < 10_000; tried++) expect(await rejection(attempt())).toMatchObject({ code: 'bus.connection_lost' })
    expect(tried).toBeLessThan(10)
  }
  await bus.stop()
})

test('refuses what is no transport, no logger and no handler before anything runs', async () => {
  const refused = (make: () => unknown): unknown => {
    try {
      return make()
    } catch (error) {
      return isTrunklineError(error, 'core.option_invalid') ? error.details.option : error
    }
  }
  const service = { name: 'shop' }
  // What callers without types do: a factory that was not called, a store instead of its transport.
  expect(refused(() => createBus({ service, transport: memory as never }))).toBe('transport')
  expect(refused(() => createBus({ service } as never))).toBe('transport')
  expect(refused(() => createBus({ service, transport: memory(), light: {} as never }))).toBe('light')
  expect(refused(() => createBus({ service, transport: memory(), logger: console as never }))).toBe('logger')
  await using bus = createBus({ service, transport: memory(), logger: silentLogger })
  expect(refused(() => bus.on(OrderPlaced, { group: 'ledger' }, undefined as never))).toBe('handler')
})

test('refuses an asynchronous schema at start where it always is one, else at its first use, naming the contract', async () => {
  const always = { '~standard': { version: 1, vendor: 'own', validate: (value: unknown) => Promise.resolve({ value }) } } satisfies Schema
  const problem = expect.stringContaining('asynchronous')
  for (const contract of [event('sales.waited', { schema: always }), query('sales.waited', { request: z.string(), response: always })]) {
    await using bus = createBus({ service: { name: 'shop' }, transport: memory(), logger: silentLogger, contracts: [contract] })
    await expect(bus.start()).rejects.toMatchObject({ code: 'contract.definition_invalid', details: { type: 'sales.waited', problem } })
    expect(bus.state).toBe('stopped')
  }
  const Checked = event('sales.checked', { schema: z.object({ id: z.string().refine(async (id) => await Promise.resolve(id !== '')) }) })
  // A reference to what the module defines later would throw when it is defined; when the bus starts, it is there.
  const Tree = event('sales.tree', { schema: z.object({ child: z.lazy(() => later).optional() }) })
  const later = z.string()
  await using bus = createBus({ service: { name: 'shop' }, transport: memory(), logger: silentLogger, contracts: [Checked, Tree] })
  await bus.start()
  await bus.publish(Tree, { child: 'a' })
  await expect(bus.publish(Checked, { id: 'a' })).rejects.toMatchObject({ code: 'contract.definition_invalid', details: { type: 'sales.checked', problem } })
})

describe('a stop inside a handler', () => {
  test('does not wait for that handler, which ends, is acknowledged, and lets the bus stop', async () => {
    await using rig = new BusRig()
    const lines: string[] = []
    const write = (fields: object | string, text?: string): void => void lines.push(typeof fields === 'string' ? fields : (text ?? ''))
    const logger: Logger = { ...silentLogger, warn: write, child: () => logger }
    const bus = rig.bus({ logger })
    const seen: string[] = []
    bus.on(Placed, { group: 'shutdown' }, async ({ data }) => {
      await Promise.resolve()
      await bus.stop()
      seen.push(`${data.orderId} ${bus.state}`)
    })
    await bus.start()
    await bus.publish(Placed, { orderId: '1' })
    // No time passes: the drain's limit is not what ends it.
    await rig.clock.settle()
    expect([seen, bus.state, rig.broker.size]).toEqual([['1 draining'], 'stopped', 0])
    expect(lines).toEqual([expect.stringContaining('stop() was called inside a handler')])
    await bus.stop()
  })

  test('also of a query, before its first await, and for all who call it', async () => {
    await using rig = new BusRig()
    const bus = rig.bus()
    const asking = rig.bus()
    bus.answer(Price, async () => {
      await Promise.all([bus.stop(), bus.stop()])
      return { cents: 5 }
    })
    await Promise.all([bus.start(), asking.start()])
    const answer = asking.ask(Price, { sku: 'a' })
    await rig.clock.settle()
    expect([await answer, bus.state]).toEqual([{ cents: 5 }, 'stopped'])
  })

  test('waits for other handlers, for another bus, and once its handler has ended', async () => {
    await using rig = new BusRig()
    const [bus, other] = [rig.bus(), rig.bus()]
    const gate = new Gate()
    const states: string[] = []
    const ended = new Gate()
    bus.on(Placed, { group: 'slow' }, async () => await gate.opened)
    other.on(Placed, { group: 'other' }, async () => {
      const late = ended.opened.then(() => other.stop()).then(() => void states.push(`other ${other.state}`))
      await bus.stop()
      states.push(`bus ${bus.state}`)
      void late
    })
    await Promise.all([bus.start(), other.start()])
    await bus.publish(Placed, { orderId: '1' })
    await rig.clock.settle()
    expect([states, bus.state]).toEqual([[], 'draining'])
    gate.open()
    await rig.clock.settle()
    expect(states).toEqual(['bus stopped'])
    // The scope of the handler flows on, although it has ended.
    ended.open()
    await rig.clock.settle()
    expect(states).toEqual(['bus stopped', 'other stopped'])
  })
})

test('takes a value that has a transport for one, so that changing the technology changes one line', async () => {
  const broker = memoryBroker()
  const store = { transport: memory({ broker }), events: {} }
  await using bus = createBus({ service: { name: 'shop' }, transport: store, light: store, logger: silentLogger })
  await bus.start()
  await bus.send(Reserve, { sku: 'a' })
  expect(broker.size).toBe(1)
  expect((await bus.deadLetters.list()).items).toEqual([])
  for (const transport of [{ transport: memory as never }, { transport: undefined as never }, {} as never, null as never]) {
    expect(() => createBus({ service: { name: 'shop' }, transport })).toThrow(expect.objectContaining({ code: 'core.option_invalid', details: expect.objectContaining({ option: 'transport' }) }))
  }
})

test('starts once: after a stop it says that a new bus is needed', async () => {
  const bus = createBus({ service: { name: 'shop' }, transport: memory(), logger: silentLogger })
  await bus.start()
  await bus.start()
  await bus.stop()
  await expect(bus.start()).rejects.toMatchObject({ code: 'bus.not_running', details: { state: 'stopped' } })
})

test('logs what failed, with the error and the ids of the message', async () => {
  const lines: [string, Record<string, unknown>][] = []
  const write = (level: string) => (fields: object | string) => void lines.push([level, Object(fields) as Record<string, unknown>])
  const logger: Logger = { trace: write('trace'), debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error'), child: () => logger }
  await using bus = createBus({ service: { name: 'shop' }, transport: memory(), logger })
  bus.on(OrderPlaced, { group: 'ledger', retry: { attemptsMax: 2, immediateMax: 1 } }, () => {
    throw new Error('card declined')
  })
  bus.answer(Quote, () => {
    throw new Error('no price')
  })
  await bus.start()
  await bus.publish(OrderPlaced, { orderId: 'o1', total: 5 }, { id: 'm1' })
  await expect(bus.ask(Quote, { sku: 'a' })).rejects.toMatchObject({ code: 'bus.answer_failed' })
  await expect.poll(() => bus.stats().deadLettered).toBe(1)
  const told = lines.filter(([, { err }]) => err instanceof Error).map(([level, { err, messageId, attempt }]) => `${level} ${String(err)} ${messageId === 'm1' ? 'm1' : 'asked'} ${String(attempt)}`)
  expect(told.toSorted()).toEqual([
    'error Error: card declined m1 2',
    'warn Error: card declined m1 1',
    'warn Error: no price asked undefined',
  ])
})

import { expect, test } from 'vitest'
import { memory } from '../../src/adapters/memory/index.ts'
import { type Bus, type BusOptions, type Middleware, createBus } from '../../src/index.ts'
import { type Directory, type DiscoveryOptions, InstanceAlive, InstanceStarted, discovery } from '../../src/discovery/index.ts'
import { BusRig, Placed, Quote, rejection } from '../bus/bus-rig.ts'
import { FakeTransport } from '../bus/fake-transport.ts'
import type { Transport } from '../../src/bus/port.ts'
import { laidOver } from '../conformance/bent-transport.ts'
import { MortalTransport } from './mortal-transport.ts'

interface Node {
  readonly bus: Bus
  readonly directory: Directory
}

function node(rig: BusRig, service: string, options: DiscoveryOptions = {}, more: Partial<BusOptions> = {}): Node {
  const directory = discovery(options)
  return { directory, bus: rig.bus({ service: { name: service, version: '1.2.0' }, discovery: directory, ...more }) }
}

/** Instances of a service as somebody sees them, as `state`s. */
function states({ directory }: Node, service: string): readonly string[] {
  return directory.all().filter((instance) => instance.service === service).map(({ state }) => state)
}

test('instances that start at the same time and later all find each other, and themselves', async () => {
  await using rig = new BusRig()
  const first = [node(rig, 'shop'), node(rig, 'stock'), node(rig, 'stock')]
  await Promise.all(first.map(({ bus }) => bus.start()))
  await rig.clock.advance(100)
  const late = node(rig, 'pricing')
  await late.bus.start()
  await rig.clock.advance(100)
  for (const one of [...first, late]) {
    expect(one.directory.instances('stock')).toHaveLength(2)
    expect(one.directory.instances('shop')).toHaveLength(1)
    expect(one.directory.instances('pricing')).toHaveLength(1)
    expect(one.directory.view).toEqual({ state: 'fresh', reason: '' })
  }
})

test('says of an instance what its service gave, and changes it while it runs', async () => {
  await using rig = new BusRig()
  const options = { instance: 'stock-0', zone: 'eu-1', weight: 2, tags: ['gpu'], addresses: { http: 'http://10.0.0.7' } }
  const stock = node(rig, 'stock', options)
  stock.bus.answer(Quote, () => ({ cents: 1 }))
  const shop = node(rig, 'shop', {}, { contracts: [Placed] })
  await Promise.all([stock.bus.start(), shop.bus.start()])
  await rig.clock.advance(100)
  const [seen] = shop.directory.instances('stock')
  expect(seen).toMatchObject({ instance: 'stock-0', version: '1.2.0', zone: 'eu-1', weight: 2, tags: ['gpu'], health: 'up', state: 'up' })
  expect(seen?.addresses).toMatchObject({ http: 'http://10.0.0.7', bus: expect.any(String) })
  expect(seen?.accepts).toEqual([{ type: Quote.type, kind: 'query', version: 1, fingerprint: Quote.fingerprint }])
  stock.directory.announce({ weight: 0, tags: [] })
  await rig.clock.advance(10)
  expect(shop.directory.instances('stock')[0]).toMatchObject({ weight: 0, tags: [], zone: 'eu-1' })
  expect(shop.directory.catalogue().contracts).toEqual([
    { type: Quote.type, kind: 'query', versions: { '1': ['stock'] }, publishers: [], consumers: ['stock'] },
    { type: Placed.type, kind: 'event', versions: { '1': ['shop'] }, publishers: ['shop'], consumers: [] },
  ])
})

test('announces what a bus sends once it has sent it', async () => {
  await using rig = new BusRig()
  const [shop, stock] = [node(rig, 'shop'), node(rig, 'stock')]
  await Promise.all([stock.bus.start(), shop.bus.start()])
  await shop.bus.publish(Placed, { orderId: '1' })
  await rig.clock.advance(1_100)
  expect(stock.directory.instances('shop')[0]?.sends.map(({ type }) => type)).toEqual([Placed.type])
})

test('a bus that stops says so at both ends of its drain', async () => {
  await using rig = new BusRig()
  const [shop, stock] = [node(rig, 'shop'), node(rig, 'stock')]
  await Promise.all([stock.bus.start(), shop.bus.start()])
  await rig.clock.advance(100)
  const told: string[] = []
  shop.directory.watch((event) => told.push(event.kind), 'stock')
  const stopping = stock.bus.stop()
  await rig.clock.advance(1_000)
  await stopping
  expect(told).toEqual(['instance-draining', 'instance-stopped'])
  expect(shop.directory.instances('stock')).toEqual([])
  expect(stock.directory.view.state).toBe('off')
})

test('an instance whose process dies is down without a false word about others', async () => {
  await using rig = new BusRig()
  const mortal = new MortalTransport(rig.broker)
  const [shop, stock, dying] = [node(rig, 'shop'), node(rig, 'stock'), node(rig, 'stock', {}, { transport: mortal.transport })]
  await Promise.all([stock.bus.start(), shop.bus.start(), dying.bus.start()])
  await rig.clock.advance(100)
  expect(shop.directory.instances('stock')).toHaveLength(2)
  await mortal.die()
  await rig.clock.advance(30_000)
  expect(states(shop, 'stock').toSorted()).toEqual(['down', 'up'])
  expect(states(stock, 'shop')).toEqual(['up'])
})

test('waitFor resolves when enough are there, and gives up in time', async () => {
  await using rig = new BusRig()
  const shop = node(rig, 'shop')
  await shop.bus.start()
  const waiting = shop.directory.waitFor('stock', 2)
  const impatient = rejection(shop.directory.waitFor('stock', 3, { timeoutMs: 500 }))
  await Promise.all([node(rig, 'stock').bus.start(), node(rig, 'stock').bus.start()])
  await rig.clock.advance(600)
  expect(await waiting).toHaveLength(2)
  expect(await impatient).toMatchObject({ code: 'discovery.wait_timeout', details: { service: 'stock', count: 3, seen: 2, timeoutMs: 500 } })
})

test('waitFor gives up when its signal aborts', async () => {
  await using rig = new BusRig()
  const shop = node(rig, 'shop')
  await shop.bus.start()
  const abort = new AbortController()
  const waiting = rejection(shop.directory.waitFor('stock', 1, { signal: abort.signal }))
  abort.abort()
  expect(await waiting).toMatchObject({ code: 'discovery.wait_timeout' })
})

test('a named instance that starts again after its clock was set back replaces its older life', async () => {
  await using rig = new BusRig()
  const shop = node(rig, 'shop')
  const mortal = new MortalTransport(rig.broker)
  const former = node(rig, 'stock', { instance: 'stock-0' }, { transport: mortal.transport })
  await Promise.all([shop.bus.start(), former.bus.start()])
  await rig.clock.advance(100)
  await mortal.die()
  rig.clock.stepWallClock(-3_600_000)
  const later = node(rig, 'stock', { instance: 'stock-0' }, { service: { name: 'stock', version: '2.0.0' } })
  await later.bus.start()
  await rig.clock.advance(5_000)
  expect(shop.directory.instances('stock').map(({ version }) => version)).toEqual(['2.0.0'])
})

test('a directory with an interest hears these services and its own alone, and those that it is asked about', async () => {
  await using rig = new BusRig()
  const shop = node(rig, 'shop', { interest: ['stock'] })
  const all = [shop, node(rig, 'stock', { interest: [] }), node(rig, 'pricing', { interest: [] }), node(rig, 'shop', { interest: [] })]
  for (const { bus } of all) await bus.start()
  await rig.clock.advance(10_000)
  expect(shop.directory.all().map(({ service }) => service).toSorted()).toEqual(['shop', 'shop', 'stock'])
  expect(shop.directory.instances('pricing')).toEqual([])
  await rig.clock.advance(100)
  expect(shop.directory.instances('pricing')).toHaveLength(1)
  await rig.clock.advance(60_000)
  expect(shop.directory.instances('pricing')).toHaveLength(1)
})

test('is off with the reason in health where the transport carries no announcements, and the service works', async () => {
  await using rig = new BusRig()
  const dumb = node(rig, 'shop', {}, { transport: new FakeTransport({ canBroadcast: false, canRequest: false }) })
  await dumb.bus.start()
  expect(dumb.directory.view).toEqual({ state: 'off', reason: 'the transport fake carries no broadcasts and requests; give createBus a second one as light' })
  expect(dumb.bus.health()).toEqual({ state: 'degraded', reasons: [`discovery: discovery is off: ${dumb.directory.view.reason}`] })
  expect(await rejection(dumb.directory.waitFor('stock'))).toMatchObject({ code: 'discovery.off' })
})

test('announces over the light transport where the other one has no light plane', async () => {
  await using rig = new BusRig()
  const durable = new FakeTransport({ canBroadcast: false, canRequest: false })
  const shop = node(rig, 'shop', {}, { transport: durable, light: memory({ broker: rig.broker }) })
  const stock = node(rig, 'stock')
  await Promise.all([shop.bus.start(), stock.bus.start()])
  await rig.clock.advance(100)
  expect(stock.directory.instances('shop')).toHaveLength(1)
  expect(shop.directory.instances('stock')).toHaveLength(1)
})

test('two processes with one instance name are shown in health', async () => {
  await using rig = new BusRig()
  const nodes = [node(rig, 'stock', { instance: 'stock-0' }), node(rig, 'stock', { instance: 'stock-0' })]
  for (const { bus } of nodes) await bus.start()
  await rig.clock.advance(10_000)
  expect(nodes.some(({ bus }) => bus.health().reasons.includes('discovery: another process uses the instance name stock-0'))).toBe(true)
})

test('announcements are beside the service: no middleware, no counts, and a service can subscribe to them', async () => {
  await using rig = new BusRig()
  const seen: string[] = []
  const spy: Middleware = {
    name: 'spy',
    publish: async (step, next) => {
      seen.push(step.message.type)
      await next(step.message)
    },
    handle: async (step, next) => {
      seen.push(step.message.type)
      return await next()
    },
  }
  const shop = node(rig, 'shop', {}, { middleware: [spy] })
  const started: string[] = []
  const watching = rig.bus({ service: { name: 'watching' } }).on(InstanceStarted, { broadcast: true }, ({ data }) => void started.push(data.service))
  await watching.start()
  await shop.bus.start()
  await rig.clock.advance(10_000)
  expect(seen).toEqual([])
  expect(shop.bus.stats()).toMatchObject({ asked: 0, answered: 0, broadcast: 0, broadcastFailed: 0 })
  expect(started).toEqual(['shop'])
})

test('what is no announcement, or too many of them, does no harm', async () => {
  await using rig = new BusRig()
  const shop = node(rig, 'shop')
  await shop.bus.start()
  const foe = rig.bus({ service: { name: 'foe' } })
  await foe.start()
  const [own] = shop.directory.all()
  for (let count = 0; count < 300; count++) {
    const forged = { service: 'ghost', instance: `ghost-${count}`, process: 'p', address: 'nowhere', incarnation: 1, seq: 1, beatMs: 4_000, phase: 'up', health: 'up', reasons: [], inFlight: 0, loopDelayMs: 0, infoRevision: 1, size: 1 } as const
    const { accepts, sends, startedAt, version, weight } = own ?? { accepts: [], sends: [], startedAt: '', version: '', weight: 1 }
    await foe.broadcast(InstanceStarted, { ...forged, info: { version, weight, accepts, sends, startedAt, addresses: {}, tags: [] } })
  }
  await rig.clock.advance(10)
  expect(shop.directory.instances('ghost').length).toBeLessThanOrEqual(100)
  expect(shop.directory.stats.dropped).toBeGreaterThanOrEqual(200)
})

/** A transport whose instance takes questions of this type and never answers, as one that stands still does. */
function deafTo(rig: BusRig, type: string): Transport {
  const inner = memory({ broker: rig.broker })
  return new Proxy(inner, {
    get(target, name) {
      const light = target.light
      if (name === 'light' && light !== undefined) return laidOver(light, { onRequest: (asked, sink) => light.onRequest(asked, asked === type ? () => undefined : sink) })
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

test.each([1, 2, 3])('a late joiner knows all within 2 s, also where %i of the instances that it asks never answer', async (silent) => {
  await using rig = new BusRig()
  // Announcements are too rare to help.
  const beatMs = 60_000
  const there = Array.from({ length: 4 }, (_, index) => node(rig, 'stock', { beatMs }, index < silent ? { transport: deafTo(rig, 'trunkline.show-roster') } : {}))
  for (const { bus } of there) await bus.start()
  await rig.clock.advance(30_000)
  const worst: number[] = []
  // One after the other, so that whoever is asked first is each of them once.
  for (let count = 0; count < 4; count++) {
    const joiner = node(rig, 'shop', { beatMs })
    const startedAtMs = rig.clock.monotonicMs()
    await joiner.bus.start()
    while (joiner.directory.instances('stock').length < 4 && rig.clock.monotonicMs() - startedAtMs < 10_000) await rig.clock.advance(50)
    worst.push(rig.clock.monotonicMs() - startedAtMs)
    const stopping = joiner.bus.stop()
    await rig.clock.advance(1_000)
    await stopping
  }
  expect(Math.max(...worst)).toBeLessThanOrEqual(2_000)
  // It is the lost instance that costs time: some joiner has asked one.
  expect(Math.max(...worst)).toBeGreaterThanOrEqual(400)
})

test('announces itself as soon as it said that it would, also where the cluster has grown meanwhile', async () => {
  await using rig = new BusRig()
  const shop = node(rig, 'shop')
  const heard: [number, number][] = []
  const watching = rig.bus({ service: { name: 'watching' } }).on(InstanceAlive, { broadcast: true }, ({ data }) => void (data.service === 'shop' && heard.push([rig.clock.monotonicMs(), data.beatMs])))
  await Promise.all([watching.start(), shop.bus.start()])
  await rig.clock.advance(9_000)
  const [seen] = shop.directory.all()
  const { accepts, sends, startedAt, version, weight } = seen ?? { accepts: [], sends: [], startedAt: '', version: '', weight: 1 }
  await watching.broadcast(InstanceStarted, {
    service: 'other', instance: 'other-0', process: 'p', address: 'nowhere', incarnation: 1, seq: 1, beatMs: 20_000, phase: 'up', health: 'up', reasons: [], inFlight: 0, loopDelayMs: 0, infoRevision: 1,
    size: 1_200, info: { version, weight, accepts, sends, startedAt, addresses: {}, tags: [] },
  })
  await rig.clock.advance(9_000)
  const gaps = heard.slice(1).map(([atMs], index) => atMs - (heard[index]?.[0] ?? 0))
  expect(Math.max(...gaps)).toBeLessThanOrEqual(4_001)
  expect(heard.at(-1)?.[1]).toBeGreaterThan(15_000)
})

test('asks for what it missed where so many announcements came that some were dropped', async () => {
  await using rig = new BusRig()
  const beatMs = 60_000
  const shop = node(rig, 'shop', { beatMs })
  await shop.bus.start()
  await rig.clock.advance(100)
  const foe = rig.bus({ service: { name: 'foe' } })
  await foe.start()
  const [own] = shop.directory.all()
  const { accepts, sends, startedAt, version, weight } = own ?? { accepts: [], sends: [], startedAt: '', version: '', weight: 1 }
  for (let count = 0; count < 200; count++) {
    const forged = { service: 'ghost', instance: 'ghost-0', process: 'p', address: 'nowhere', incarnation: 1, seq: count, beatMs, phase: 'up', health: 'up', reasons: [], inFlight: 0, loopDelayMs: 0, infoRevision: 1, size: 1 } as const
    await foe.broadcast(InstanceStarted, { ...forged, info: { version, weight, accepts, sends, startedAt, addresses: {}, tags: [] } })
  }
  const others = Array.from({ length: 5 }, () => node(rig, 'stock', { beatMs }))
  await Promise.all(others.map(({ bus }) => bus.start()))
  await rig.clock.settle()
  expect(shop.directory.instances('stock')).toEqual([])
  await rig.clock.advance(5_000)
  expect(shop.directory.instances('stock')).toHaveLength(5)
})

test('leaves no timer behind', async () => {
  const rig = new BusRig()
  const shop = node(rig, 'shop')
  await shop.bus.start()
  await rig.clock.advance(20_000)
  await rig[Symbol.asyncDispose]()
  expect(rig.clock.timerCount).toBe(0)
})

test('belongs to one bus', () => {
  const directory = discovery()
  const transport = memory()
  createBus({ service: { name: 'one' }, transport, discovery: directory })
  expect(() => createBus({ service: { name: 'two' }, transport, discovery: directory })).toThrow(expect.objectContaining({ code: 'discovery.attached_twice' }))
})

test.each([
  [{ weight: -1 }, 'core.option_invalid'],
  [{ instance: '' }, 'core.option_invalid'],
  [{ beatMs: 1 }, 'core.option_invalid'],
  [{ addresses: { bus: 'x' } }, 'core.option_invalid'],
  [{ interest: ['Not A Name'] }, 'core.option_invalid'],
  [{ zones: 'eu' }, 'core.option_unknown'],
])('refuses %j', (options, code) => {
  expect(() => discovery(options as DiscoveryOptions)).toThrow(expect.objectContaining({ code }))
})

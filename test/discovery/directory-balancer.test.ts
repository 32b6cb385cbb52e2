import { expect, test } from 'vitest'
import { type Bus, type BusOptions } from '../../src/index.ts'
import { type Directory, type DiscoveryOptions, discovery } from '../../src/discovery/index.ts'
import { TrunklineError } from '../../src/core/errors.ts'
import { blameOf } from '../../src/discovery/directory-balancer.ts'
import { BusRig, Gate, Quote, Reserve, rejection } from '../bus/bus-rig.ts'
import { MortalTransport } from './mortal-transport.ts'

/** What one instance of the pricing service does with a question. */
type Answer = (sku: string) => number | Promise<number>

interface Pricing {
  readonly bus: Bus
  readonly asked: string[]
}

function pricing(rig: BusRig, instance: string, answer: Answer, options: DiscoveryOptions = {}, more: Partial<BusOptions> = {}): Pricing {
  const asked: string[] = []
  const bus = rig.bus({ service: { name: 'pricing', version: '1.0.0' }, discovery: discovery({ instance, ...options }), ...more })
  bus.answer(Quote, async ({ data }) => {
    asked.push(data.sku)
    return { cents: await answer(data.sku) }
  })
  return { bus, asked }
}

async function shopWith(rig: BusRig, instances: readonly Pricing[], options: DiscoveryOptions = {}): Promise<{ readonly bus: Bus; readonly directory: Directory }> {
  const directory = discovery(options)
  const bus = rig.bus({ service: { name: 'shop' }, discovery: directory })
  await Promise.all([...instances.map((one) => one.bus.start()), bus.start()])
  await rig.clock.advance(100)
  return { bus, directory }
}

test('asks the instances in turn', async () => {
  await using rig = new BusRig()
  const instances = ['a', 'b'].map((instance, index) => pricing(rig, instance, () => index))
  const { bus } = await shopWith(rig, instances)
  const answers = Array.from({ length: 8 }, () => bus.ask(Quote, { sku: 'lamp' }, { balance: 'round-robin' }))
  await rig.clock.settle()
  expect((await Promise.all(answers)).map(({ cents }) => cents)).toHaveLength(8)
  expect(instances.map(({ asked }) => asked.length)).toEqual([4, 4])
})

test('a key stays with its instance', async () => {
  await using rig = new BusRig()
  const instances = ['a', 'b', 'c'].map((instance, index) => pricing(rig, instance, () => index))
  const { bus } = await shopWith(rig, instances)
  for (let count = 0; count < 5; count++) {
    for (const key of ['k1', 'k2', 'k3', 'k4']) {
      const asking = bus.ask(Quote, { sku: key }, { balance: { by: 'hash', key } })
      await rig.clock.settle()
      await asking
    }
  }
  for (const key of ['k1', 'k2', 'k3', 'k4']) expect(instances.filter(({ asked }) => asked.includes(key))).toHaveLength(1)
})

test('an instance that has died is followed by another one before anybody has noticed', async () => {
  await using rig = new BusRig()
  const mortal = new MortalTransport(rig.broker)
  const instances = [pricing(rig, 'a', () => 1, {}, { transport: mortal.transport }), pricing(rig, 'b', () => 2)]
  const { bus, directory } = await shopWith(rig, instances)
  await mortal.die()
  for (let count = 0; count < 10; count++) {
    const asking = bus.ask(Quote, { sku: 'lamp' }, { balance: 'round-robin' })
    await rig.clock.settle()
    expect(await asking).toEqual({ cents: 2 })
  }
  // It was believed to be there all the time.
  expect(directory.instances('pricing')).toHaveLength(2)
})

test('an instance that hangs gives its question to another one within the time limit', async () => {
  await using rig = new BusRig()
  const gate = new Gate<number>()
  const instances = [pricing(rig, 'a', () => gate.opened), pricing(rig, 'b', () => 2)]
  const { bus } = await shopWith(rig, instances)
  const asking = Promise.all([1, 2].map(() => bus.ask(Quote, { sku: 'lamp' }, { timeoutMs: 1_000, balance: 'round-robin' })))
  await rig.clock.advance(600)
  expect(await asking).toEqual([{ cents: 2 }, { cents: 2 }])
  gate.open(1)
})

test('where all hang the ask ends at its own time limit', async () => {
  await using rig = new BusRig()
  const gate = new Gate<number>()
  const instances = ['a', 'b', 'c', 'd'].map((instance) => pricing(rig, instance, () => gate.opened))
  const { bus } = await shopWith(rig, instances)
  const startedAtMs = rig.clock.monotonicMs()
  const asking = rejection(bus.ask(Quote, { sku: 'lamp' }, { timeoutMs: 1_000, balance: { attemptsMax: 3 } })).then((error) => [error, rig.clock.monotonicMs() - startedAtMs])
  await rig.clock.advance(2_000)
  expect(await asking).toMatchObject([{ code: 'bus.ask_timeout', details: { timeoutMs: 1_000 } }, expect.closeTo(1_000, -1)])
  expect(instances.filter(({ asked }) => asked.length === 1)).toHaveLength(3)
  gate.open(1)
})

test('a declared error, and a handler that fails, are answers: nobody else is asked', async () => {
  await using rig = new BusRig()
  const declared = (): number => {
    throw Quote.error('unknownSku', { sku: 'x' })
  }
  const broken = (): number => {
    throw new TypeError('broken')
  }
  let answer: Answer = declared
  const instances = ['a', 'b'].map((instance) => pricing(rig, instance, (sku) => answer(sku)))
  const { bus } = await shopWith(rig, instances)
  for (const [next, code] of [[declared, 'contract.declared_error'], [broken, 'bus.answer_failed']] as const) {
    answer = next
    const asking = rejection(bus.ask(Quote, { sku: 'x' }, { balance: 'random' }))
    await rig.clock.settle()
    expect(await asking).toMatchObject({ code })
  }
  expect(instances.reduce((sum, { asked }) => sum + asked.length, 0)).toBe(2)
})

test('a hedge asks a second instance when the first takes long, and the first answer counts', async () => {
  await using rig = new BusRig()
  const gate = new Gate<number>()
  const instances = [pricing(rig, 'a', () => gate.opened), pricing(rig, 'b', () => 2)]
  const { bus } = await shopWith(rig, instances)
  const asking = [1, 2].map(() => bus.ask(Quote, { sku: 'lamp' }, { balance: { by: 'round-robin', hedgeAfterMs: 50 } }))
  await rig.clock.advance(60)
  expect(await Promise.all(asking)).toEqual([{ cents: 2 }, { cents: 2 }])
  expect(instances.map(({ asked }) => asked.length)).toEqual([1, 2])
  gate.open(1)
})

test('an instance that fails again and again is left out for a while', async () => {
  await using rig = new BusRig()
  const instances = [pricing(rig, 'bad', () => Promise.reject(new TypeError('disk full'))), pricing(rig, 'b', () => 2), pricing(rig, 'c', () => 3)]
  const { bus } = await shopWith(rig, instances)
  const askTimes = async (times: number): Promise<void> => {
    for (let count = 0; count < times; count++) {
      const asking = bus.ask(Quote, { sku: 'lamp' }, { balance: 'round-robin' }).catch(() => undefined)
      await rig.clock.settle()
      await asking
    }
  }
  await askTimes(30)
  expect(instances[0]?.asked).toHaveLength(5)
  await rig.clock.advance(25_000)
  await askTimes(3)
  expect(instances[0]?.asked).toHaveLength(6)
})

test('an instance that is down by its own word is not asked', async () => {
  await using rig = new BusRig()
  const instances = [pricing(rig, 'ill', () => 1, {}, { extensions: [{ name: 'disk', health: () => ({ state: 'down', reasons: ['full'] }) }] }), pricing(rig, 'b', () => 2)]
  const { bus } = await shopWith(rig, instances)
  await rig.clock.advance(2_000)
  for (let count = 0; count < 4; count++) {
    const asking = bus.ask(Quote, { sku: 'lamp' }, { balance: 'round-robin' })
    await rig.clock.settle()
    expect(await asking).toEqual({ cents: 2 })
  }
})

test('second attempts are within a budget', async () => {
  await using rig = new BusRig()
  const gate = new Gate<number>()
  const instances = ['a', 'b', 'c'].map((instance) => pricing(rig, instance, () => gate.opened, {}))
  const { bus } = await shopWith(rig, instances)
  const asking = Array.from({ length: 200 }, () => rejection(bus.ask(Quote, { sku: 'lamp' }, { timeoutMs: 400, balance: 'random' })))
  await rig.clock.advance(1_000)
  await Promise.all(asking)
  const attempts = instances.reduce((sum, { asked }) => sum + asked.length, 0)
  expect(attempts).toBeGreaterThan(200)
  expect(attempts).toBeLessThan(260)
  gate.open(1)
})

test('says that nobody is there, and what cannot be balanced', async () => {
  await using rig = new BusRig()
  const { bus } = await shopWith(rig, [])
  expect(await rejection(bus.ask(Quote, { sku: 'x' }, { balance: 'random' }))).toMatchObject({ code: 'discovery.no_instance' })
  expect(await rejection(bus.ask(Reserve, { sku: 'x' }, { balance: 'random' }))).toMatchObject({ code: 'contract.definition_invalid' })
  expect(await rejection(bus.ask(Quote, { sku: 'x' }, { balance: { by: 'hash' } }))).toMatchObject({ code: 'core.option_invalid' })
  expect(await rejection(bus.ask(Quote, { sku: 'x' }, { balance: { version: 'no range' } }))).toMatchObject({ code: 'core.option_invalid' })
  expect(await rejection(bus.ask(Quote, { sku: 'x' }, { balance: { strategy: 'x' } as never }))).toMatchObject({ code: 'core.option_unknown' })
  const plain = rig.bus({ service: { name: 'plain' } })
  await plain.start()
  expect(await rejection(plain.ask(Quote, { sku: 'x' }, { balance: 'random' }))).toMatchObject({ code: 'core.option_invalid' })
})

test.each([
  [new TrunklineError('bus.ask_timeout', { type: 't', timeoutMs: 1 }), 'failed'],
  [new TrunklineError('bus.no_responder', { type: 't' }), 'failed'],
  [new TrunklineError('bus.answer_failed', { type: 't', code: 'bus.handler_failed', problem: '' }), 'failed'],
  [new TrunklineError('bus.answer_failed', { type: 't', code: 'contract.payload_invalid', problem: '' }), 'ok'],
  [new TrunklineError('contract.declared_error', { type: 't', name: 'n', data: {} }), 'ok'],
  [new TrunklineError('bus.ask_cancelled', { type: 't' }), 'abandoned'],
])('blames an instance for %s: %s', (error, blame) => {
  expect(blameOf(error)).toBe(blame)
})

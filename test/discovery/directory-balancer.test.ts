import { describe, expect, test } from 'vitest'
import { memoryStore } from '../../src/adapters/memory/index.ts'
import { type Bus, type BusOptions, command, resilience, retry } from '../../src/index.ts'
import { type Directory, type DiscoveryOptions, discovery } from '../../src/discovery/index.ts'
import { TrunklineError } from '../../src/core/errors.ts'
import { blameOf, mayGoElsewhere } from '../../src/discovery/directory-balancer.ts'
import { z } from 'zod'
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

test('an instance that others outran is known to be slow, although it never got to answer', async () => {
  await using rig = new BusRig()
  const gate = new Gate<number>()
  const instances = [pricing(rig, 'slow', () => gate.opened), pricing(rig, 'b', () => 2), pricing(rig, 'c', () => 3)]
  const { bus } = await shopWith(rig, instances)
  for (let count = 0; count < 30; count++) {
    const asking = bus.ask(Quote, { sku: 'lamp' }, { balance: { by: 'latency', hedgeAfterMs: 50 } })
    await rig.clock.advance(60)
    expect((await asking).cents).toBeGreaterThan(1)
  }
  expect(instances[0]?.asked.length).toBe(1)
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

test('an attempt that takes too long is waited for where the budget has no second one', async () => {
  await using rig = new BusRig()
  const slow = async (): Promise<number> => await new Promise((resolve) => rig.clock.setTimer(100, () => resolve(1)))
  const instances = ['a', 'b', 'c'].map((instance) => pricing(rig, instance, slow))
  const { bus } = await shopWith(rig, instances)
  const asking = Promise.all(Array.from({ length: 200 }, () => bus.ask(Quote, { sku: 'lamp' }, { timeoutMs: 2_000, balance: { by: 'random', attemptTimeoutMs: 20 } })))
  await rig.clock.advance(1_000)
  expect(await asking).toHaveLength(200)
  const attempts = instances.reduce((sum, { asked }) => sum + asked.length, 0)
  expect(attempts).toBeGreaterThan(200)
  expect(attempts).toBeLessThan(260)
})

test('an attempt that takes too long is waited for where no other instance will do', async () => {
  await using rig = new BusRig()
  const slow = async (): Promise<number> => await new Promise((resolve) => rig.clock.setTimer(700, () => resolve(1)))
  const instances = [pricing(rig, 'a', slow), pricing(rig, 'b', () => 2, {}, { service: { name: 'pricing', version: '2.0.0' } })]
  const { bus } = await shopWith(rig, instances)
  const asking = bus.ask(Quote, { sku: 'lamp' }, { timeoutMs: 1_000, balance: { version: '1.x' } })
  await rig.clock.advance(800)
  expect(await asking).toEqual({ cents: 1 })
})

test('says that nobody is there, and what cannot be balanced', async () => {
  await using rig = new BusRig()
  const { bus } = await shopWith(rig, [])
  expect(await rejection(bus.ask(Quote, { sku: 'x' }, { balance: 'random' }))).toMatchObject({ code: 'discovery.no_instance' })
  expect(await rejection(bus.ask(Reserve, { sku: 'x' }, { balance: 'random' }))).toMatchObject({ code: 'discovery.no_instance' })
  expect(await rejection(bus.ask(Ordered, { sku: 'x' }, { balance: 'random' }))).toMatchObject({ code: 'core.option_invalid' })
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
  [new TrunklineError('bus.callee_overloaded', { type: 't', problem: 'full', retryAfterMs: 100 }), 'abandoned'],
])('blames an instance for %s: %s', (error, blame) => {
  expect(blameOf(error)).toBe(blame)
})

describe('an instance that is overloaded', () => {
  const oneAtATime = (): Partial<BusOptions> => ({ resilience: resilience({ provider: { perCaller: { inFlightMax: 1, waitingMax: 0 } } }) })

  test('is followed by another one at once, and is spared for as long as it said', async () => {
    await using rig = new BusRig()
    const gate = new Gate<number>()
    const instances = [pricing(rig, 'full', () => gate.opened, {}, oneAtATime()), pricing(rig, 'b', () => 2)]
    const { bus } = await shopWith(rig, instances)
    // Two in turn: the first one fills its only place for this caller.
    const first = [1, 2].map(() => bus.ask(Quote, { sku: 'first' }, { balance: { by: 'round-robin', attemptsMax: 1 } }))
    await rig.clock.settle()
    const second = Promise.all([1, 2].map(() => bus.ask(Quote, { sku: 'second' }, { balance: 'round-robin' })))
    await rig.clock.settle()
    expect(await second).toEqual([{ cents: 2 }, { cents: 2 }])
    // It had asked to be left alone for 200 ms: no turn is its own until then, whatever the rule says.
    const spared = Promise.all(Array.from({ length: 6 }, () => bus.ask(Quote, { sku: 'spared' }, { balance: { by: (all) => all.find(({ pending }) => pending > 0) ?? all[0], attemptsMax: 1 } })))
    await rig.clock.settle()
    expect(await spared).toEqual(Array.from({ length: 6 }, () => ({ cents: 2 })))
    gate.open(1)
    await rig.clock.advance(250)
    await Promise.all(first)
    const later = Promise.all(Array.from({ length: 4 }, () => bus.ask(Quote, { sku: 'later' }, { balance: 'round-robin' })))
    await rig.clock.settle()
    expect(new Set((await later).map(({ cents }) => cents))).toEqual(new Set([1, 2]))
  })

  test('gives its own word where all are, and nobody is asked twice', async () => {
    await using rig = new BusRig()
    const gate = new Gate<number>()
    const instances = ['a', 'b'].map((instance) => pricing(rig, instance, () => gate.opened, {}, oneAtATime()))
    const { bus } = await shopWith(rig, instances)
    const first = [1, 2].map(() => bus.ask(Quote, { sku: 'first' }, { balance: { by: 'round-robin', attemptsMax: 1 } }))
    await rig.clock.settle()
    const refused = rejection(bus.ask(Quote, { sku: 'second' }, { balance: 'round-robin' }))
    await rig.clock.settle()
    expect(await refused).toMatchObject({ code: 'bus.callee_overloaded', details: { retryAfterMs: 200 } })
    expect(instances.map(({ asked }) => asked)).toEqual([['first'], ['first']])
    gate.open(1)
    await rig.clock.settle()
    await Promise.all(first)
  })
})

const Refund = command('payments.refund', { schema: z.object({ id: z.string() }), response: z.object({ by: z.string() }) })
const Ordered = command('payments.refund-in-order', { schema: z.object({ sku: z.string() }), key: ({ sku }) => sku, order: 'key', response: z.object({}) })

interface Payments {
  readonly bus: Bus
  /** Ids of the messages that its handler got. */
  readonly done: string[]
}

function payments(rig: BusRig, instance: string, work: () => unknown = () => undefined, more: Partial<BusOptions> = {}): Payments {
  const done: string[] = []
  const bus = rig.bus({ service: { name: 'payments' }, discovery: discovery({ instance }), ...more })
  bus.handle(Refund, { inFlightMax: 2 }, async ({ id }) => {
    done.push(id)
    await work()
    return { by: instance }
  })
  return { bus, done }
}

async function payingShop(rig: BusRig, instances: readonly Payments[]): Promise<Bus> {
  const bus = rig.bus({ service: { name: 'shop' }, discovery: discovery() })
  await Promise.all([...instances.map((one) => one.bus.start()), bus.start()])
  await rig.clock.advance(100)
  return bus
}

describe('a balanced command', () => {
  test('goes to one instance in turn, and back comes its answer', async () => {
    await using rig = new BusRig()
    const instances = ['a', 'b'].map((instance) => payments(rig, instance))
    const bus = await payingShop(rig, instances)
    const answers = Promise.all([1, 2, 3, 4].map((id) => bus.ask(Refund, { id: `${id}` }, { balance: 'round-robin' })))
    await rig.clock.settle()
    expect((await answers).map(({ by }) => by).toSorted()).toEqual(['a', 'a', 'b', 'b'])
    expect(instances.map(({ done }) => done.length)).toEqual([2, 2])
  })

  test('that may have been done is done once, and with isIdempotent again elsewhere with the same id', async () => {
    await using rig = new BusRig()
    const never = new Promise(() => {})
    const instances = [payments(rig, 'hangs', () => never), payments(rig, 'b')]
    const bus = await payingShop(rig, instances)
    const hanging = { by: (all: readonly [{ instance: string }, ...{ instance: string }[]]) => all.find(({ instance }) => instance === 'hangs') ?? all[0] } as never
    const once = rejection(bus.ask(Refund, { id: '1' }, { balance: hanging, timeoutMs: 1_000 }))
    await rig.clock.advance(1_100)
    expect(await once).toMatchObject({ code: 'bus.ask_timeout', details: { timeoutMs: 1_000 } })
    expect(instances.map(({ done }) => done.length)).toEqual([1, 0])
    const again = bus.ask(Refund, { id: '2' }, { balance: hanging, timeoutMs: 1_000, isIdempotent: true })
    await rig.clock.advance(600)
    expect(await again).toEqual({ by: 'b' })
    expect(instances[1]?.done).toEqual([instances[0]?.done[1]])
  })

  test('that nobody began goes on to another instance in any case', async () => {
    await using rig = new BusRig()
    const mortal = new MortalTransport(rig.broker)
    const instances = [payments(rig, 'dead', undefined, { transport: mortal.transport }), payments(rig, 'b')]
    const bus = await payingShop(rig, instances)
    await mortal.die()
    const answers = Promise.all([1, 2].map((id) => bus.ask(Refund, { id: `${id}` }, { balance: 'round-robin' })))
    await rig.clock.settle()
    expect(await answers).toEqual([{ by: 'b' }, { by: 'b' }])
  })

  test('finds room elsewhere where an instance has none', async () => {
    await using rig = new BusRig()
    const gate = new Gate()
    // Two run and eight wait.
    const instances = [payments(rig, 'full', () => gate.opened), payments(rig, 'b')]
    const bus = await payingShop(rig, instances)
    const toFull = { by: (all: readonly [{ instance: string }, ...{ instance: string }[]]) => all.find(({ instance }) => instance === 'full') ?? all[0], attemptsMax: 1 } as never
    const filling = Array.from({ length: 10 }, (_, id) => bus.ask(Refund, { id: `${id}` }, { balance: toFull }))
    await rig.clock.settle()
    const answers = Promise.all(Array.from({ length: 4 }, (_, id) => bus.ask(Refund, { id: `more-${id}` }, { balance: 'round-robin' })))
    await rig.clock.settle()
    expect(await answers).toEqual(Array.from({ length: 4 }, () => ({ by: 'b' })))
    gate.open()
    await rig.clock.settle()
    expect(await Promise.all(filling)).toHaveLength(10)
  })

  test('within a store is done once, however often it is asked, and is answered as the first time', async () => {
    await using rig = new BusRig()
    const store = memoryStore()
    const payer = rig.bus({ service: { name: 'payments' }, discovery: discovery({ instance: 'a' }) })
    let runs = 0
    payer.handle(Refund, { within: store }, () => ({ by: `run ${++runs}` }))
    const bus = await payingShop(rig, [{ bus: payer, done: [] }])
    for (let times = 0; times < 2; times++) {
      const asked = bus.ask(Refund, { id: '1' }, { balance: 'random', id: 'refund-1', isIdempotent: true })
      await rig.clock.advance(50)
      expect(await asked).toEqual({ by: 'run 1' })
    }
    expect(runs).toBe(1)
  })

  test('is repeated by a policy only where it is idempotent', async () => {
    await using rig = new BusRig()
    const instances = [payments(rig, 'a', () => Promise.reject(new TypeError('broken')))]
    const bus = await payingShop(rig, instances)
    for (const [isIdempotent, times] of [[false, 1], [true, 3]] as const) {
      if (instances[0] !== undefined) instances[0].done.length = 0
      const asked = rejection(bus.ask(Refund, { id: '1' }, { balance: 'random', isIdempotent, policy: retry({ attemptsMax: 3, initialMs: 1 }) }))
      await rig.clock.advance(100)
      expect(await asked).toMatchObject({ code: 'bus.answer_failed' })
      expect(instances[0]?.done).toHaveLength(times)
    }
  })

  test('without being idempotent is not hedged', async () => {
    await using rig = new BusRig()
    const bus = await payingShop(rig, [payments(rig, 'a')])
    expect(await rejection(bus.ask(Refund, { id: '1' }, { balance: { hedgeAfterMs: 5 } }))).toMatchObject({ code: 'core.option_invalid' })
  })
})

test('an instance that is left out, and one that comes back, is told as a circuit that opens and closes', async () => {
  await using rig = new BusRig()
  let isBroken = true
  const instances = [pricing(rig, 'bad', () => (isBroken ? Promise.reject(new TypeError('disk full')) : 1)), pricing(rig, 'b', () => 2)]
  const { bus } = await shopWith(rig, instances)
  const askTimes = async (times: number): Promise<void> => {
    for (let count = 0; count < times; count++) {
      const asking = bus.ask(Quote, { sku: 'lamp' }, { balance: 'round-robin' }).catch(() => undefined)
      await rig.clock.settle()
      await asking
    }
  }
  await askTimes(12)
  expect(rig.kinds('circuit-changed')).toEqual([{ kind: 'circuit-changed', name: expect.stringMatching(/^pricing at /), state: 'open', retryAfterMs: 10_000 }])
  isBroken = false
  await rig.clock.advance(25_000)
  await askTimes(4)
  expect(rig.kinds('circuit-changed').map(({ state }) => state)).toEqual(['open', 'half-open', 'closed'])
})

const overload = new TrunklineError('bus.callee_overloaded', { type: 't', problem: 'full', retryAfterMs: 100 })
const begunOverload = new TrunklineError('bus.callee_overloaded', { type: 't', problem: 'full', retryAfterMs: 100, hasBegun: true })
const answered = (code: string): TrunklineError => new TrunklineError('bus.answer_failed', { type: 't', code, problem: '' })

test.each([
  [overload, true, true],
  [begunOverload, false, true],
  [new TrunklineError('bus.no_responder', { type: 't' }), true, true],
  [new TrunklineError('bus.ask_timeout', { type: 't', timeoutMs: 1 }), false, true],
  [answered('bus.overloaded'), false, true],
  [answered('bus.handler_failed'), false, false],
  [new TrunklineError('contract.declared_error', { type: 't', name: 'n', data: {} }), false, false],
])('after %s another instance is asked: %s, and %s for what may be done twice', (error, once, twice) => {
  expect([mayGoElsewhere(error, false), mayGoElsewhere(error, true)]).toEqual([once, twice])
})

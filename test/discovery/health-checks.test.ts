import { expect, test } from 'vitest'
import { type BusOptions, reject } from '../../src/index.ts'
import { type HealthOptions, diskSpace, healthChecks } from '../../src/discovery/index.ts'
import { BusRig, Gate, Placed } from '../bus/bus-rig.ts'

const ROOMY = { residentBytes: 1, residentBytesMax: 100, heapBytes: 1, heapBytesMax: 100 }

function busWith(rig: BusRig, options: HealthOptions, more: Partial<BusOptions> = {}) {
  return rig.bus({ health: healthChecks({ memory: () => ROOMY, ...options }), ...more })
}

test('a process that is well has parts that are up', async () => {
  await using rig = new BusRig()
  const bus = busWith(rig, {})
  await bus.start()
  expect(bus.health()).toEqual({ state: 'up', reasons: [] })
  expect(bus.healthParts().map(({ name, state }) => `${name} ${state}`)).toEqual(['bus up', 'memory up', 'event loop up', 'memory up', 'dead letters up'])
})

test('a check of the user counts from the start, runs in its interval, and its last outcome stands meanwhile', async () => {
  await using rig = new BusRig()
  let runs = 0
  let isWell = true
  const payments = (): void => {
    runs++
    if (!isWell) throw new TypeError('payments are away')
  }
  const bus = busWith(rig, { checks: { payments: { run: payments, everyMs: 10_000 } } })
  const starting = bus.start()
  await starting
  await rig.clock.advance(1)
  expect([bus.health().state, runs]).toEqual(['up', 1])
  isWell = false
  await rig.clock.advance(9_000)
  expect([bus.health().state, runs]).toEqual(['up', 1])
  await rig.clock.advance(1_000)
  expect(bus.health()).toEqual({ state: 'down', reasons: ['payments: payments are away'] })
  isWell = true
  await rig.clock.advance(10_000)
  expect([bus.health().state, runs]).toEqual(['up', 3])
  expect(rig.kinds('health-changed').map(({ health }) => health.state).slice(-3)).toEqual(['up', 'down', 'up'])
})

test('a check that has not ended yet makes the service not ready, and one that never ends has failed', async () => {
  await using rig = new BusRig()
  const gate = new Gate()
  let signal: AbortSignal | undefined
  const bus = busWith(rig, { checks: { slow: { timeoutMs: 500, run: async (given) => {
    signal = given
    await gate.opened
  } } } })
  await bus.start()
  expect(bus.health()).toEqual({ state: 'down', reasons: ['slow: it has not been checked yet'] })
  await rig.clock.advance(600)
  expect(bus.health()).toEqual({ state: 'down', reasons: ['slow: it did not end within 500 ms'] })
  expect(signal?.aborted).toBe(true)
  gate.fail(new TypeError('too late to matter'))
  await rig.clock.advance(1)
})

test('a check that is not critical only degrades, and may say so itself', async () => {
  await using rig = new BusRig()
  const bus = busWith(rig, { checks: {
    cache: { isCritical: false, run: () => Promise.reject(new TypeError('cold')) },
    queue: () => ({ state: 'degraded', reasons: ['it is long'] }),
    odd: () => ({ state: 'fine' }) as never,
  } })
  await bus.start()
  await rig.clock.advance(1)
  expect(bus.health()).toEqual({ state: 'down', reasons: ['cache: cold', 'queue: it is long', 'odd: the check gave back neither nothing nor a state'] })
})

test('memory near its limit degrades, and at its limit is down', async () => {
  await using rig = new BusRig()
  const memory = { residentBytes: 50, residentBytesMax: 100, heapBytes: 50, heapBytesMax: 100 }
  const bus = busWith(rig, { memory: () => memory })
  await bus.start()
  memory.residentBytes = 91
  await rig.clock.advance(1_000)
  expect(bus.health()).toMatchObject({ state: 'degraded' })
  memory.heapBytes = 98
  await rig.clock.advance(1_000)
  expect(bus.health()).toMatchObject({ state: 'down' })
  expect(bus.health().reasons).toHaveLength(2)
})

test('an event loop that is late more than once degrades, and one hitch does not', async () => {
  await using rig = new BusRig()
  const bus = busWith(rig, { loopDelayMs: 100 })
  await bus.start()
  const real = rig.clock.setTimer.bind(rig.clock)
  let hitches = 1
  rig.clock.setTimer = (delayMs, callback) => real(delayMs === 1_000 && hitches-- > 0 ? delayMs + 400 : delayMs, callback)
  await rig.clock.advance(5_000)
  expect(bus.health().state).toBe('up')
  hitches = 2
  await rig.clock.advance(5_000)
  expect(bus.health()).toMatchObject({ state: 'degraded' })
  await rig.clock.advance(15_000)
  expect(bus.health().state).toBe('up')
})

test('many dead letters within minutes degrade, until they are long ago', async () => {
  await using rig = new BusRig()
  const bus = busWith(rig, { deadLettersMax: 2 }).on(Placed, { group: 'work' }, () => {
    throw reject('broken')
  })
  await bus.start()
  for (const orderId of ['1', '2']) await bus.publish(Placed, { orderId })
  await rig.clock.advance(2_000)
  expect(bus.health()).toEqual({ state: 'degraded', reasons: ['dead letters: 2 in five minutes'] })
  await rig.clock.advance(301_000)
  expect(bus.health().state).toBe('up')
})

test.each([
  [{ loopDelayMs: 0 }, 'core.option_invalid'],
  [{ memoryShare: 2 }, 'core.option_invalid'],
  [{ checks: { a: { run: () => undefined, everyMs: 1 } } }, 'core.option_invalid'],
  [{ checks: { a: { run: 'no' } } }, 'core.option_invalid'],
  [{ checks: { a: { check: () => undefined } } }, 'core.option_unknown'],
  [{ check: {} }, 'core.option_unknown'],
])('refuses %j', (options, code) => {
  expect(() => healthChecks(options as HealthOptions)).toThrow(expect.objectContaining({ code }))
})

test('belongs to one bus', async () => {
  await using rig = new BusRig()
  const checks = healthChecks()
  rig.bus({ health: checks })
  expect(() => rig.bus({ health: checks })).toThrow(expect.objectContaining({ code: 'discovery.attached_twice' }))
})

test('diskSpace makes a check', () => {
  expect(diskSpace({ path: '.' })).toBeTypeOf('function')
})

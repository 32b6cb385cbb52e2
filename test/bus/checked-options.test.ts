import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { memory, memoryBroker } from '../../src/adapters/memory/index.ts'
import { type Bus, command, createBus, event, isTrunklineError, query, silentLogger } from '../../src/index.ts'
import { BusRig, Placed, Quote, Reserve, rejection } from './bus-rig.ts'

/** Place, name and guess of a refusal. */
function told(error: unknown): string {
  if (!isTrunklineError(error, 'core.option_unknown')) return String(error)
  const { place, option, nearest } = error.details
  expect(error.message).toContain(`${place} has no option "${option}"`)
  return `${place}: ${option} → ${nearest ?? 'nothing'}`
}

function refusal(make: () => unknown): string {
  try {
    make()
  } catch (error) {
    return told(error)
  }
  return 'accepted'
}

/** A bus that has not started, for callers without types. */
function idle(use: (bus: Bus) => unknown): () => unknown {
  return () => use(createBus({ service: { name: 'shop' }, transport: memory(), logger: silentLogger }))
}

const schema = z.string()
const done = (): void => {}
const service = { name: 'shop' }
const rest = { service, transport: memory() }

describe('a name that means nothing is refused', () => {
  test.each<readonly [string, () => unknown]>([
    ['createBus: loger → logger', () => createBus({ ...rest, loger: 1 } as never)],
    ['service of createBus: nam → name', () => createBus({ ...rest, service: { ...service, nam: 'x' } } as never)],
    ['defaults of createBus: inflightMax → inFlightMax', () => createBus({ ...rest, defaults: { inflightMax: 3 } } as never)],
    ['defaults.retry of createBus: maxAttempts → attemptsMax', () => createBus({ ...rest, defaults: { retry: { maxAttempts: 3 } } } as never)],
    ['memory(): brokers → broker', () => memory({ brokers: 1 } as never)],
    ['memoryBroker(): maxMessages → messagesMax', () => memoryBroker({ maxMessages: 1 } as never)],
    ['event("a.b"): versoin → version', () => event('a.b', { schema, versoin: 2 } as never)],
    ['command("a.b"): reply → retry', () => command('a.b', { schema, reply: schema } as never)],
    ['query("a.b"): schema → nothing', () => query('a.b', { schema, request: schema, response: schema } as never)],
    ['retry of event("a.b"): maxAttempts → attemptsMax', () => event('a.b', { schema, retry: { maxAttempts: 3 } } as never)],
    ['bus.on: retires → retry', idle((bus) => bus.on(Placed, { group: 'g', retires: {} } as never, done))],
    ['retry of bus.on: maxAttempts → attemptsMax', idle((bus) => bus.on(Placed, { group: 'g', retry: { maxAttempts: 3 } } as never, done))],
    ['batch of bus.on: size → sizeMax', idle((bus) => bus.on(Placed, { group: 'g', batch: { size: 3 } } as never, done))],
    ['bus.on: group → nothing', idle((bus) => bus.on(Placed, { broadcast: true, group: 'g' } as never, done))],
    ['bus.handle: inflightMax → inFlightMax', idle((bus) => bus.handle(Reserve, { inflightMax: 3 } as never, () => ({ left: 1 })))],
    ['retry of bus.handle: initialMS → initialMs', idle((bus) => bus.handle(Reserve, { retry: { initialMS: 3 } } as never, () => ({ left: 1 })))],
    ['bus.answer: timeout → timeoutMs', idle((bus) => bus.answer(Quote, { timeout: 3 } as never, () => ({ cents: 1 })))],
  ])('%s', (expected, make) => {
    expect(refusal(make)).toBe(expected)
  })

  test('also by everything that is sent, before anything is', async () => {
    await using rig = new BusRig()
    const bus = rig.bus()
    await bus.start()
    const order = { orderId: '1' }
    expect(told(await rejection(bus.publish(Placed, order, { timeout: 5 } as never)))).toBe('bus.publish: timeout → timeoutMs')
    expect(told(await rejection(bus.send(Reserve, { sku: 'a' }, { header: {} } as never)))).toBe('bus.send: header → headers')
    expect(told(await rejection(bus.broadcast(Placed, order, { ids: '5' } as never)))).toBe('bus.broadcast: ids → id')
    expect(told(await rejection(bus.ask(Quote, { sku: 'a' }, { deadlineAtMs: 5 } as never)))).toBe('bus.ask: deadlineAtMs → nothing')
    expect(bus.stats()).toMatchObject({ published: 0, asked: 0 })
    await bus.publish(Placed, order, { id: 'known', timeoutMs: 5 })
    expect(bus.stats().published).toBe(1)
  })
})

test('what is no object of options is refused with what it must be', () => {
  const bad = (make: () => unknown): unknown => {
    try {
      make()
    } catch (error) {
      return isTrunklineError(error, 'core.option_invalid') ? `${error.details.option}: ${error.details.expected}` : error
    }
    return 'accepted'
  }
  expect(bad(() => Reflect.apply(createBus, undefined, []))).toBe('given to createBus: an object of options, such as { service: { name }, transport }')
  expect(bad(() => createBus({ transport: memory() } as never))).toBe('given to service of createBus: an object such as { name: "shop" }')
  expect(bad(() => memory('x' as never))).toBe('given to memory(): an object of options')
  expect(bad(() => Reflect.apply(event, undefined, ['a.b']))).toBe('given to event("a.b"): an object such as { schema }')
  expect(bad(idle((bus) => bus.on(Placed, done as never, done)))).toBe('given to bus.on: an object such as { group: "reserve-stock" } or { broadcast: true }')
  expect(bad(idle((bus) => bus.on(Placed, undefined as never, done)))).toBe('given to bus.on: an object such as { group: "reserve-stock" } or { broadcast: true }')
  expect(bad(idle((bus) => bus.handle(Reserve, 5 as never, () => ({ left: 1 }))))).toBe('given to bus.handle: an object of options')
})

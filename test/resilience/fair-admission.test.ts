import { describe, expect, test } from 'vitest'
import { memory, memoryBroker } from '../../src/adapters/memory/index.ts'
import { type Bus, type ProviderOptions, resilience } from '../../src/index.ts'
import type { BusResilience } from '../../src/bus/call-policy.ts'
import { virtualClock } from '../../src/testing/virtual-clock.ts'
import { BusRig, Gate, Reserve } from '../bus/bus-rig.ts'
import { Count, type Outcomes, Look, noted, trio } from './caller-load.ts'
import { Watched } from './policy-rig.ts'

/** Ten times as much as can be done from one service, and a tenth of it from another, for two seconds. */
async function underLoad(limits: ProviderOptions | undefined, what: typeof Look | typeof Count = Look): Promise<{ readonly quiet: Outcomes; readonly noisy: Outcomes; readonly told: readonly string[] }> {
  const clock = virtualClock()
  const broker = memoryBroker({ clock })
  const three = await trio({ transport: () => memory({ broker }), clock, takesMs: 10, inFlightMax: 4, ...(limits === undefined ? {} : { limits }) })
  const told: string[] = []
  three.provider.observe((event) => {
    if (event.kind === 'load-changed') told.push(`${event.name} ${event.state}`)
  })
  const [quiet, noisy] = [{ answeredMs: [], codes: [] }, { answeredMs: [], codes: [] }] as [Outcomes, Outcomes]
  // The provider can answer 400 a second.
  for (let at = 0; at < 2_000; at++) {
    for (let each = 0; each < 4; each++) void noted(three.noisy, noisy, clock, what)
    if (at % 25 === 0) void noted(three.quiet, quiet, clock, what)
    await clock.advance(1)
  }
  await clock.advance(5_000)
  const stopped = three[Symbol.asyncDispose]()
  await clock.advance(20_000)
  await stopped
  return { quiet, noisy, told }
}

describe('one service that asks ten times as much as can be answered', () => {
  test('starves another one where requests are taken as they come', async () => {
    const { quiet } = await underLoad(undefined)
    expect(quiet.codes.length).toBeGreaterThan(40)
  })

  test('takes nothing from another one where the provider is fair, and is told that there is too much', async () => {
    const { quiet, noisy, told } = await underLoad({})
    expect([quiet.codes, quiet.answeredMs.length]).toEqual([[], 80])
    // A slot becomes free within 10 ms, and it goes to who waits and has none.
    expect(Math.max(...quiet.answeredMs)).toBeLessThanOrEqual(20)
    expect(new Set(noisy.codes)).toEqual(new Set(['bus.callee_overloaded']))
    expect(noisy.answeredMs.length).toBeGreaterThan(500)
    // What is answered has waited a short time only, once the queue is known to stand.
    expect(noisy.answeredMs.toSorted((left, right) => left - right)[Math.floor(noisy.answeredMs.length * 0.7)]).toBeLessThanOrEqual(35)
    expect(told).toEqual(['stock.look shedding', 'stock.look normal'])
  })

  test('does the same with commands that it asks', async () => {
    const taken = await underLoad(undefined, Count)
    expect(taken.quiet.codes.length).toBeGreaterThan(40)
    const { quiet, noisy } = await underLoad({}, Count)
    expect([quiet.codes, quiet.answeredMs.length]).toEqual([[], 80])
    expect(new Set(noisy.codes)).toEqual(new Set(['bus.callee_overloaded']))
    expect(noisy.answeredMs.length).toBeGreaterThan(500)
  })
})

test('limits of single callers stand beside those of all, and can be changed while the bus runs', async () => {
  const clock = virtualClock()
  const broker = memoryBroker({ clock })
  const three = await trio({ transport: () => memory({ broker }), clock, takesMs: 1, inFlightMax: 4, limits: { perCaller: {}, callers: { noisy: { permitsPerSecond: 2, burstMax: 1 } } } })
  const ask = async (bus: typeof three.noisy): Promise<unknown> => {
    const asked = new Watched(bus.ask(Look, { sku: 'a' }))
    await clock.advance(5)
    return asked.outcome
  }
  expect([await ask(three.noisy), await ask(three.noisy), await ask(three.quiet), await ask(three.quiet)]).toEqual([{ left: 1 }, 'bus.callee_overloaded', { left: 1 }, { left: 1 }])
  const stopped = three[Symbol.asyncDispose]()
  await clock.advance(20_000)
  await stopped
  expect(clock.timerCount).toBe(0)
})

test('a command that is only sent is never refused, and one that was refused was not begun', async () => {
  await using rig = new BusRig()
  const provider = rig.bus({ service: { name: 'stock' }, resilience: resilience({ provider: { perCaller: { permitsPerSecond: 1, burstMax: 1 } } }) })
  const done: string[] = []
  provider.handle(Reserve, ({ data }) => {
    done.push(data.sku)
    return { left: 1 }
  })
  const shop = rig.bus()
  await provider.start()
  await shop.start()
  const asked = ['first', 'second'].map((sku) => new Watched(shop.ask(Reserve, { sku })))
  for (const sku of ['third', 'fourth']) await shop.send(Reserve, { sku })
  await rig.clock.advance(50)
  expect(asked.map(({ outcome }) => outcome)).toEqual([{ left: 1 }, 'bus.callee_overloaded'])
  expect(done).toEqual(['first', 'third', 'fourth'])
  expect(provider.stats()).toMatchObject({ handled: 3, retried: 0, deadLettered: 0 })
})

test('a bus that stops gives back what waits to be let in, and another instance does it', async () => {
  await using rig = new BusRig()
  const gate = new Gate()
  const guard = (): BusResilience => resilience({ provider: { perCaller: { inFlightMax: 1, intervalMs: 5_000 } } })
  const stock = (work: () => unknown): Bus => {
    const bus = rig.bus({ service: { name: 'stock' }, resilience: guard() })
    bus.handle(Reserve, async () => {
      await work()
      return { left: 1 }
    })
    return bus
  }
  const first = stock(() => gate.opened)
  const shop = rig.bus()
  await first.start()
  await shop.start()
  const asked = ['a', 'b'].map((sku) => new Watched(shop.ask(Reserve, { sku })))
  await rig.clock.advance(50)
  const stopped = first.stop()
  await stock(() => undefined).start()
  await rig.clock.advance(50)
  expect(asked.map(({ outcome }) => outcome)).toEqual(['pending', { left: 1 }])
  gate.open()
  await rig.clock.advance(50)
  await stopped
  expect(asked.map(({ outcome }) => outcome)).toEqual([{ left: 1 }, { left: 1 }])
})

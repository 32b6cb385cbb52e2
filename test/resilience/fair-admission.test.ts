import { describe, expect, test } from 'vitest'
import { memory, memoryBroker } from '../../src/adapters/memory/index.ts'
import type { ProviderOptions } from '../../src/index.ts'
import { virtualClock } from '../../src/testing/virtual-clock.ts'
import { type Outcomes, Look, noted, trio } from './caller-load.ts'
import { Watched } from './policy-rig.ts'

/** Ten times as much as can be done from one service, and a tenth of it from another, for two seconds. */
async function underLoad(limits: ProviderOptions | undefined): Promise<{ readonly quiet: Outcomes; readonly noisy: Outcomes; readonly told: readonly string[] }> {
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
    for (let each = 0; each < 4; each++) void noted(three.noisy, noisy, clock)
    if (at % 25 === 0) void noted(three.quiet, quiet, clock)
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

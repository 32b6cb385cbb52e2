import { expect, test } from 'vitest'
import { TrunklineError } from '../../src/index.ts'
import { Dated, Nothing, type Ways, overBus, overHttp, questions } from './both-ways.ts'
import { GatewayRig, requestTo } from './gateway-rig.ts'

const TIMEOUT_MS = 2_000

function waysOf(rig: GatewayRig): Ways {
  const passes = async (): Promise<void> => {
    await rig.settled()
    await rig.clock.advance(TIMEOUT_MS)
  }
  return { front: rig.front, timeoutMs: TIMEOUT_MS, gateway: (options) => rig.gateway(options), passes }
}

test.each(questions)('over HTTP and over the bus %s is the same', async (_what, contract, data, kind) => {
  await using rig = new GatewayRig()
  rig.service.handle(Nothing, (message) => rig.note(message, undefined))
  await rig.started()
  const [bus, http] = [await overBus(waysOf(rig), contract, data), await overHttp(waysOf(rig), contract, data)]
  expect(bus.kind).toBe(kind)
  expect(http).toEqual(bus)
  const [first, second] = rig.seen
  expect(second?.data).toEqual(first?.data)
})

test('an answer that changes types on the way goes out as it travels on the bus', async () => {
  await using rig = new GatewayRig()
  rig.service.answer(Dated, () => ({ at: '2026-01-02T03:04:05.000Z' }))
  await rig.started()
  expect(await rig.front.ask(Dated, { who: 'ann' })).toEqual({ at: new Date('2026-01-02T03:04:05.000Z'), note: 'none' })
  expect(await overHttp(waysOf(rig), Dated, { who: 'ann' })).toEqual({ kind: 'answer', value: { at: '2026-01-02T03:04:05.000Z' } })
})

test('an answer that is no JSON is the fault of the service', async () => {
  await using rig = await new GatewayRig().started()
  const { fetch } = rig.gateway({ bus: brokenBus(rig) })
  const response = await fetch(requestTo('/pricing/quote-price?sku=a'))
  expect([response.status, await response.json()]).toMatchObject([502, { code: 'bus.answer_failed' }])
})

/** A bus whose answers cannot be read. */
function brokenBus(rig: GatewayRig): GatewayRig['front'] {
  return new Proxy(rig.front, {
    get: (bus, name) => {
      if (name === 'ask') return () => Promise.reject(new TrunklineError('contract.body_malformed', { type: 'a.b', problem: 'not JSON' }))
      const value: unknown = Reflect.get(bus, name, bus)
      return typeof value === 'function' ? value.bind(bus) : value
    },
  })
}

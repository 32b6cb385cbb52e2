import { describe, expect, test } from 'vitest'
import { CircuitChanged, TrunklineError, circuitBreaker, compose, fallback, policyRule, resilience, retry, timeout } from '../../src/index.ts'
import { memoryStore } from '../../src/adapters/memory/index.ts'
import { BusRig, Placed, Quote, Reserve, rejection } from '../bus/bus-rig.ts'
import { Watched } from './policy-rig.ts'

describe('a bus with resilience', () => {
  test('asks under the policy of the contract, unless the ask has its own', async () => {
    await using rig = new BusRig()
    const bus = rig.bus({ resilience: resilience({ asks: [policyRule(Quote, fallback({ value: { cents: 0 } })), policyRule('*', () => circuitBreaker({ trip: { consecutive: 1 } }))] }) })
    await bus.start()
    const asked = [bus.ask(Quote, { sku: 'a' }), rejection(bus.ask(Quote, { sku: 'a' }, { policy: compose() })), rejection(bus.ask(Reserve, { sku: 'a' }, { timeoutMs: 10 }))]
    await rig.clock.advance(50)
    expect(await Promise.all(asked)).toMatchObject([{ cents: 0 }, { code: 'bus.no_responder' }, { code: 'bus.ask_timeout' }])
    expect(await rejection(bus.ask(Reserve, { sku: 'a' }))).toMatchObject({ code: 'resilience.circuit_open' })
  })

  test('runs handlers under their policy: each try has a signal of its own, and a unit of work is repeated whole', async () => {
    await using rig = new BusRig()
    const store = memoryStore()
    const bus = rig.bus({ resilience: resilience({ handlers: [policyRule('*', () => compose(retry({ attemptsMax: 3, initialMs: 0 }), timeout(100)))] }) })
    const tries: { attempt: number; wasAborted: boolean }[] = []
    bus.on(Placed, { group: 'slow' }, async (_message, { attempt, signal }) => {
      tries.push({ attempt, wasAborted: signal.aborted })
      if (tries.length < 3) await new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(new Error('aborted'))))
    })
    let runs = 0
    bus.handle(Reserve, { within: store }, () => {
      if (++runs < 3) throw new Error('not yet')
      return { left: runs }
    })
    await bus.start()
    await bus.publish(Placed, { orderId: 'o-1' })
    const asked = bus.ask(Reserve, { sku: 'a' })
    await rig.clock.advance(250)
    expect(tries).toEqual([{ attempt: 1, wasAborted: false }, { attempt: 1, wasAborted: false }, { attempt: 1, wasAborted: false }])
    expect(await asked).toEqual({ left: 3 })
    expect(bus.stats()).toMatchObject({ handled: 2, retried: 0 })
  })

  test('pauses a subscription whose handlers fail, shows it in its health, and goes on by itself', async () => {
    await using rig = new BusRig()
    const bus = rig.bus({ resilience: resilience({ killSwitch: { ratio: 0.5, attemptsMin: 4, pauseMs: 1_000 } }) })
    let isBroken = true
    const handled: string[] = []
    bus.on(Placed, { group: 'mail', inFlightMax: 1, retry: { attemptsMax: 100, initialMs: 100, maxMs: 100 } }, ({ data }) => {
      if (isBroken) throw new Error('no link')
      handled.push(data.orderId)
    })
    await bus.start()
    for (let at = 0; at < 20; at++) await bus.publish(Placed, { orderId: `o-${at}` })
    await rig.clock.advance(500)
    expect(bus.health()).toMatchObject({ state: 'degraded', reasons: [expect.stringContaining('the subscription shop.mail is paused')] })
    const before = bus.stats().retried
    await rig.clock.advance(400)
    expect(bus.stats().retried).toBe(before)
    isBroken = false
    await rig.clock.advance(2_000)
    expect([new Set(handled).size, bus.health().state, bus.stats().deadLettered]).toEqual([20, 'up', 0])
    expect(rig.kinds('subscription-paused')).toEqual([{ kind: 'subscription-paused', group: 'shop.mail', reason: expect.stringContaining('50 %'), resumeAfterMs: 1_000 }])
    expect(rig.kinds('subscription-resumed')).toHaveLength(1)
  })

  test('that announces lets others know, and one that listens knows who sheds', async () => {
    await using rig = new BusRig()
    const listening = resilience({ listens: true })
    const caller = rig.bus({ service: { name: 'shop' }, resilience: listening })
    const circuits: unknown[] = []
    caller.on(CircuitChanged, { broadcast: true }, ({ data }) => circuits.push(data))
    const provider = rig.bus({ service: { name: 'pricing' }, resilience: resilience({ announces: true, provider: { perCaller: { inFlightMax: 1, intervalMs: 50 } }, asks: [policyRule('*', circuitBreaker({ trip: { consecutive: 1 } }))] }) })
    provider.answer(Quote, () => new Promise(() => {}))
    await provider.start()
    await caller.start()
    const asked = [1, 2].map(() => new Watched(caller.ask(Quote, { sku: 'a' })))
    expect(listening.peers.isShedding('pricing.quote')).toBe(false)
    // One is handled, one waits for 50 ms, and one that came meanwhile keeps the queue standing.
    await rig.clock.advance(40)
    asked.push(new Watched(caller.ask(Quote, { sku: 'a' })))
    await rig.clock.advance(15)
    expect(asked.map(({ outcome }) => outcome)).toEqual(['pending', 'bus.callee_overloaded', 'pending'])
    expect(listening.peers.sheddingInstances('pricing.quote')).toBe(1)
    const own = rejection(provider.ask(Reserve, { sku: 'a' }, { timeoutMs: 5 }))
    await rig.clock.advance(20)
    expect(await own).toMatchObject({ code: 'bus.ask_timeout' })
    expect(circuits).toEqual([{ service: 'pricing', instance: provider.instance, name: 'stock.reserve', state: 'open', retryAfterMs: 5_000 }])
    await rig.clock.advance(500)
    expect(listening.peers.isShedding('pricing.quote')).toBe(false)
  })

  test('refuses names that mean nothing, values that cannot work, and a second bus', async () => {
    await using rig = new BusRig()
    // As a caller without types gives them.
    for (const options of [{ ask: [] }, { provider: { perCallers: {} } }, { provider: { callers: { shop: { rate: 5 } } } }, { killSwitch: { pause: 5 } }]) {
      expect(() => resilience(options as never)).toThrow(expect.objectContaining({ code: 'core.option_unknown' }))
    }
    for (const options of [{ provider: { perCaller: { burstMax: 5 } } }, { killSwitch: { ratio: 5 } }, { provider: { perCaller: { inFlightMax: 0 } } }]) {
      expect(() => resilience(options)).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
    }
    const one = resilience({})
    rig.bus({ resilience: one })
    expect(() => rig.bus({ resilience: one })).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
    expect(() => rig.bus({ resilience: {} as never })).toThrow(TrunklineError)
    expect(() => one.limit({})).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
  })
})


import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { query } from '../../src/index.ts'
import { BusRig, Gate, Placed, Quote, rejection } from './bus-rig.ts'

describe('a query', () => {
  test('is answered with data, a declared error, or a failure', async () => {
    await using rig = new BusRig()
    const bus = rig.bus()
    bus.answer(Quote, async ({ data }) => {
      await Promise.resolve()
      if (data.sku === 'unknown') throw Quote.error('unknownSku', { sku: data.sku })
      if (data.sku === 'broken') throw new TypeError('no price')
      return data.sku === 'odd' ? { cents: 0.5 } : { cents: 12 }
    })
    await bus.start()
    const asked = ['a', 'unknown', 'broken', 'odd'].map((sku) => bus.ask(Quote, { sku }).catch((thrown: unknown) => thrown))
    await rig.clock.settle()
    const [answer, unknown, broken, odd] = await Promise.all(asked)
    expect(answer).toEqual({ cents: 12 })
    expect(Quote.errorIn(unknown)).toEqual({ type: 'pricing.quote', name: 'unknownSku', data: { sku: 'unknown' } })
    expect(broken).toMatchObject({ code: 'bus.answer_failed', details: { code: 'bus.handler_failed', problem: 'no price' } })
    expect(odd).toMatchObject({ code: 'bus.answer_failed', details: { code: 'contract.payload_invalid' } })
    expect(bus.stats()).toMatchObject({ asked: 4, answered: 4, handled: 0, deadLettered: 0 })
  })

  test('whose declared error cannot be written is answered with a failure and not with silence', async () => {
    const Odd = query('pricing.odd', { request: z.null(), response: z.null(), errors: { odd: z.object({ value: z.any() }) } })
    await using rig = new BusRig()
    const bus = rig.bus()
    bus.answer(Odd, () => {
      throw Odd.error('odd', { value: 1n })
    })
    await bus.start()
    const asked = rejection(bus.ask(Odd, null))
    await rig.clock.settle()
    expect(await asked).toMatchObject({ code: 'bus.answer_failed', details: { code: 'contract.payload_unencodable' } })
  })

  test('has no responder where nobody answers it', async () => {
    await using rig = new BusRig()
    const bus = rig.bus()
    await bus.start()
    const asked = rejection(bus.ask(Quote, { sku: 'a' }))
    await rig.clock.settle()
    expect(await asked).toMatchObject({ code: 'bus.no_responder' })
  })

  test('ends with the time of its asker; the answerer is told, and what comes too late is dropped unseen', async () => {
    await using rig = new BusRig()
    const [asker, answerer] = [rig.bus({ service: { name: 'asker' } }), rig.bus()]
    const signals: AbortSignal[] = []
    answerer.answer(Quote, { inFlightMax: 1 }, ({ data }, { signal, deadlineAtMs }) => {
      signals.push(signal)
      expect(deadlineAtMs).toBe(rig.clock.nowMs() + 500)
      return new Promise(() => data)
    })
    await answerer.start()
    await asker.start()
    const asked = [rejection(asker.ask(Quote, { sku: 'a' }, { timeoutMs: 500 })), rejection(asker.ask(Quote, { sku: 'b' }, { timeoutMs: 400 }))]
    await rig.clock.advance(520)
    // Both sides end the first one in the same millisecond; the answerer keeps quiet, so that the asker's word counts.
    expect(await Promise.all(asked)).toMatchObject([{ code: 'bus.ask_timeout', details: { timeoutMs: 500 } }, { code: 'bus.ask_timeout', details: { timeoutMs: 400 } }])
    expect(signals.map(({ aborted }) => aborted)).toEqual([true])
    expect(answerer.stats().expiredRequests).toBe(2)
    expect(rig.kinds('request-expired')).toMatchObject([{ type: 'pricing.quote' }, { type: 'pricing.quote' }])
  })

  test('made inside a handler has no more time than the handler\'s own asker', async () => {
    const Outer = query('pricing.outer', { request: z.null(), response: z.string() })
    await using rig = new BusRig()
    const bus = rig.bus()
    bus.answer(Quote, () => new Promise(() => {}))
    const errors: unknown[] = []
    bus.answer(Outer, { timeoutMs: 60_000 }, async () => {
      errors.push(await rejection(bus.ask(Quote, { sku: 'a' }, { timeoutMs: 50_000 })))
      return 'late'
    })
    await bus.start()
    const asked = rejection(bus.ask(Outer, null, { timeoutMs: 300 }))
    await rig.clock.advance(320)
    expect(await asked).toMatchObject({ code: 'bus.ask_timeout' })
    expect(errors).toMatchObject([{ code: 'bus.ask_timeout', details: { timeoutMs: 300 } }])
  })

  test('beyond what runs and waits is refused at once, and the ones that wait are answered', async () => {
    await using rig = new BusRig()
    const gates: Gate[] = []
    const bus = rig.bus()
    bus.answer(Quote, { inFlightMax: 1 }, async () => {
      const gate = new Gate()
      gates.push(gate)
      await gate.opened
      return { cents: 1 }
    })
    await bus.start()
    const asked = Array.from({ length: 6 }, () => bus.ask(Quote, { sku: 'a' }).catch((thrown: unknown) => thrown))
    await rig.clock.settle()
    expect(await asked[5]).toMatchObject({ code: 'bus.answer_failed', details: { code: 'bus.overloaded' } })
    for (let served = 0; served < 5; served++) {
      gates[served]?.open()
      await rig.clock.settle()
    }
    expect(await Promise.all(asked.slice(0, 5))).toEqual(Array.from({ length: 5 }, () => ({ cents: 1 })))
  })

  test('that is not answered in time while the bus stops is aborted, and its asker told nothing false', async () => {
    await using rig = new BusRig()
    const [asker, answerer] = [rig.bus({ service: { name: 'asker' } }), rig.bus({ defaults: { drainTimeoutMs: 1_000 } })]
    const reasons: unknown[] = []
    answerer.answer(Quote, (_message, { signal }) => new Promise(() => {
      signal.addEventListener('abort', () => reasons.push(signal.reason))
    }))
    await answerer.start()
    await asker.start()
    const asked = rejection(asker.ask(Quote, { sku: 'a' }, { timeoutMs: 4_000 }))
    await rig.clock.settle()
    const stopped = answerer.stop()
    await rig.clock.advance(999)
    expect([reasons, answerer.state]).toEqual([[], 'draining'])
    await rig.clock.advance(1)
    await stopped
    expect(reasons).toMatchObject([{ code: 'bus.not_running' }])
    await rig.clock.advance(4_000)
    expect(await asked).toMatchObject({ code: 'bus.ask_timeout' })
  })

  test('is shared by the instances that answer it', async () => {
    await using rig = new BusRig()
    const counts = [0, 0]
    for (const index of counts.keys()) {
      const bus = rig.bus()
      bus.answer(Quote, () => ({ cents: (counts[index] = (counts[index] ?? 0) + 1) }))
      await bus.start()
    }
    const asker = rig.bus({ service: { name: 'asker' } })
    await asker.start()
    const asked = Array.from({ length: 10 }, () => asker.ask(Quote, { sku: 'a' }))
    await rig.clock.settle()
    await Promise.all(asked)
    expect(counts).toEqual([5, 5])
  })
})

describe('a broadcast', () => {
  test('reaches every instance, also when it was published durably, and is tried once', async () => {
    await using rig = new BusRig()
    const seen: string[] = []
    const buses = ['a', 'b'].map((name) => {
      const bus = rig.bus({ service: { name } })
      bus.on(Placed, { broadcast: true }, ({ data }, { attemptsMax }) => {
        seen.push(`${name} ${data.orderId} ${attemptsMax}`)
        if (data.orderId === 'poison') throw new Error('x')
      })
      return bus
    })
    for (const bus of buses) await bus.start()
    await buses[0]?.broadcast(Placed, { orderId: 'light' })
    await buses[0]?.publish(Placed, { orderId: 'durable' })
    await buses[0]?.broadcast(Placed, { orderId: 'poison' })
    await rig.clock.advance(600_000)
    expect(seen).toEqual(['a light 1', 'b light 1', 'a durable 1', 'b durable 1', 'a poison 1', 'b poison 1'])
    expect(buses.map((bus) => bus.stats())).toMatchObject([{ broadcast: 2, broadcastFailed: 1 }, { broadcast: 2, broadcastFailed: 1 }])
    expect(rig.kinds('broadcast-failed')).toHaveLength(2)
  })

  test('that causes itself ends as a loop', async () => {
    await using rig = new BusRig()
    const bus = rig.bus()
    let count = 0
    bus.on(Placed, { broadcast: true }, async ({ data }) => {
      count++
      await bus.broadcast(Placed, data)
    })
    await bus.start()
    await bus.broadcast(Placed, { orderId: 'o' })
    await rig.clock.settle()
    expect(count).toBe(33)
    expect(rig.kinds('broadcast-failed')).toMatchObject([{ code: 'bus.hops_exceeded' }])
  })
})

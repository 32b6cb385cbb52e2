import { describe, expect, test } from 'vitest'
import { type Clock, TrunklineError, bulkhead, circuitBreaker, compose, fallback, retry, retryAfterMsOf, timeout } from '../../src/index.ts'
import { BusRig, Quote, Reserve, rejection } from './bus-rig.ts'

const again = { attemptsMax: 3, initialMs: 100, maxMs: 100 } as const

describe('an ask under a policy', () => {
  test('tries again until it is answered, each time with a message of its own and the time that is left', async () => {
    await using rig = new BusRig()
    const bus = rig.bus()
    const seen: { id: string; deadlineAtMs: number | undefined }[] = []
    bus.answer(Quote, ({ id }, { deadlineAtMs }) => {
      seen.push({ id, deadlineAtMs })
      if (seen.length < 3) throw new Error('not yet')
      return { cents: 12 }
    })
    await bus.start()
    const startedAtMs = rig.clock.nowMs()
    const asked = bus.ask(Quote, { sku: 'a' }, { timeoutMs: 1_000, policy: compose(retry({ ...again, maxMs: 100 }), timeout(300)) })
    await rig.clock.advance(500)
    await expect(asked).resolves.toEqual({ cents: 12 })
    expect(new Set(seen.map(({ id }) => id)).size).toBe(3)
    for (const { deadlineAtMs } of seen) expect(deadlineAtMs).toBeLessThanOrEqual(startedAtMs + 500)
    expect(seen[0]?.deadlineAtMs).toBe(startedAtMs + 300)
  })

  test('ends with its own time, whatever the policy makes it wait for; a fallback still stands in', async () => {
    await using rig = new BusRig()
    const bus = rig.bus()
    bus.answer(Quote, () => new Promise(() => {}))
    await bus.start()
    const narrow = bulkhead({ inFlightMax: 1, waitingMax: 5 })
    const first = rejection(bus.ask(Quote, { sku: 'a' }, { timeoutMs: 400, policy: narrow }))
    const waiting = rejection(bus.ask(Quote, { sku: 'b' }, { timeoutMs: 100, policy: narrow }))
    const standing = bus.ask(Quote, { sku: 'c' }, { timeoutMs: 100, policy: compose(fallback({ value: 'none' }), narrow) })
    await rig.clock.advance(120)
    expect(await waiting).toMatchObject({ code: 'bus.ask_timeout', details: { timeoutMs: 100 } })
    expect(await standing).toBe('none')
    await rig.clock.advance(300)
    expect(await first).toMatchObject({ code: 'bus.ask_timeout', details: { timeoutMs: 400 } })
  })

  test('is given up by its caller, also while a policy waits', async () => {
    await using rig = new BusRig()
    const bus = rig.bus()
    await bus.start()
    const caller = new AbortController()
    const asked = rejection(bus.ask(Quote, { sku: 'a' }, { signal: caller.signal, policy: retry({ ...again, initialMs: 1_000, maxMs: 1_000 }) }))
    await rig.clock.settle()
    caller.abort()
    await rig.clock.settle()
    expect(await asked).toMatchObject({ code: 'resilience.cancelled' })
  })

  test('tells the bus what its breaker becomes', async () => {
    await using rig = new BusRig()
    const bus = rig.bus()
    await bus.start()
    const breaker = circuitBreaker({ trip: { consecutive: 2 } })
    const codes: unknown[] = []
    for (let call = 0; call < 3; call++) {
      const asked = rejection(bus.ask(Quote, { sku: 'a' }, { policy: breaker }))
      await rig.clock.settle()
      codes.push(await asked)
    }
    expect(codes).toMatchObject([{ code: 'bus.no_responder' }, { code: 'bus.no_responder' }, { code: 'resilience.circuit_open' }])
    expect(rig.kinds('circuit-changed')).toEqual([{ kind: 'circuit-changed', name: 'pricing.quote', state: 'open', retryAfterMs: 5_000 }])
  })

  test('of a command is not repeated where it may have been handled', async () => {
    await using rig = new BusRig()
    const bus = rig.bus()
    let handled = 0
    bus.handle(Reserve, { retry: { attemptsMax: 1 } }, () => {
      handled++
      throw new Error('failed')
    })
    await bus.start()
    const asked = rejection(bus.ask(Reserve, { sku: 'a' }, { policy: retry(again) }))
    await rig.clock.advance(2_000)
    expect(await asked).toMatchObject({ code: 'bus.answer_failed' })
    expect(handled).toBe(1)
  })

  test('refuses what is no policy', async () => {
    await using rig = new BusRig()
    const bus = rig.bus()
    await bus.start()
    // As a caller without types gives it.
    expect(await rejection(bus.ask(Quote, { sku: 'a' }, { policy: {} as never }))).toMatchObject({ code: 'core.option_invalid' })
  })
})

test('an overload of the one asked says when to ask again, and a handler that passes it on is retried no earlier', async () => {
  await using rig = new BusRig()
  const bus = rig.bus()
  bus.answer(Quote, () => {
    throw new TrunklineError('bus.callee_overloaded', { type: 'pricing.quote', problem: 'full', retryAfterMs: 7_000 })
  })
  bus.handle(Reserve, async ({ data }) => {
    await bus.ask(Quote, data)
    return { left: 1 }
  })
  await bus.start()
  const asked = rejection(bus.ask(Quote, { sku: 'a' }))
  await bus.send(Reserve, { sku: 'a' })
  await rig.clock.settle()
  const error = await asked
  expect(error).toMatchObject({ code: 'bus.callee_overloaded', details: { type: 'pricing.quote', problem: 'full', retryAfterMs: 7_000 } })
  expect(retryAfterMsOf(error)).toBe(7_000)
  expect(rig.kinds('delivery-retried')).toMatchObject([{ code: 'bus.callee_overloaded', delayMs: 7_000 }])
})

test('an ask inside a handler has the deadline of what is handled, to the millisecond, however long it took to be told', async () => {
  await using rig = new BusRig()
  let looks = 0
  const slow: Clock = {
    // Every look at the wall clock takes a millisecond.
    nowMs: () => rig.clock.nowMs() + looks++,
    monotonicMs: () => rig.clock.monotonicMs(),
    setTimer: (delayMs, callback) => rig.clock.setTimer(delayMs, callback),
    defer: (callback) => rig.clock.defer(callback),
  }
  const bus = rig.bus({ clock: slow })
  const deadlines: (number | undefined)[] = []
  bus.answer(Quote, async (_message, { deadlineAtMs }) => {
    deadlines.push(deadlineAtMs)
    if (deadlines.length < 3) await bus.ask(Quote, { sku: 'next' }, { timeoutMs: 60_000 })
    return { cents: 12 }
  })
  await bus.start()
  const asked = bus.ask(Quote, { sku: 'first' }, { timeoutMs: 1_000 })
  await rig.clock.settle()
  await asked
  expect(deadlines).toHaveLength(3)
  expect(new Set(deadlines).size).toBe(1)
})

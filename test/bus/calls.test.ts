import { describe, expect, test } from 'vitest'
import { BusCounters, type BusEvent } from '../../src/bus/bus-events.ts'
import { Calls, failureOf } from '../../src/bus/calls.ts'
import { defined } from '../../src/contract/contract.ts'
import { systemClock } from '../../src/core/clock.ts'
import { ASK_PENDING_MAX } from '../../src/core/limits.ts'
import { reject } from '../../src/index.ts'
import { type VirtualClock, virtualClock } from '../../src/testing/virtual-clock.ts'
import { Quote, Reserve, rejection } from './bus-rig.ts'
import { wireMessage } from './fake-transport.ts'

const contract = defined(Quote)
const answer = (data: unknown, outcome?: string): ReturnType<typeof wireMessage> => wireMessage({ data, outcome })

class Rig {
  readonly clock: VirtualClock = virtualClock()
  readonly counters = new BusCounters()
  readonly events: BusEvent[] = []
  readonly tokens: string[] = []
  readonly calls = new Calls({ clock: this.clock, counters: this.counters, bodyBytesMax: 1_000, emit: (event) => this.events.push(event) })

  open(signal?: AbortSignal, timeoutMs = 1_000): Promise<unknown> {
    return this.calls.open(contract, { timeoutMs, signal }, (token) => {
      this.tokens.push(token)
      return Promise.resolve()
    })
  }

  reply(token: number, message: ReturnType<typeof wireMessage>): void {
    this.calls.onReply(this.tokens[token] ?? '', { kind: 'reply', message })
  }
}

describe('an ask', () => {
  test('is matched with its answer by its token, in any order', async () => {
    const rig = new Rig()
    const [first, second] = [rig.open(), rig.open()]
    rig.reply(1, answer({ cents: 2 }))
    rig.reply(0, answer({ cents: 1 }, 'ok'))
    expect([await first, await second]).toEqual([{ cents: 1 }, { cents: 2 }])
    expect([rig.calls.size, new Set(rig.tokens).size]).toEqual([0, 2])
  })

  test.each<readonly [string, ReturnType<typeof wireMessage>, Record<string, unknown>]>([
    ['a declared error', answer({ sku: 'a' }, 'error.unknownSku'), { code: 'contract.declared_error', details: { type: 'pricing.quote', name: 'unknownSku', data: { sku: 'a' } } }],
    ['a declared error whose data does not fit', answer({}, 'error.unknownSku'), { code: 'contract.payload_invalid', details: { during: 'reply' } }],
    ['an undeclared error', answer({ code: 'x', problem: 'y' }, 'error.toString'), { code: 'bus.answer_failed', details: { code: 'x', problem: 'y' } }],
    ['a failure', answer({ code: 'bus.overloaded', problem: 'a\nb' }, 'failed'), { code: 'bus.answer_failed', disposition: 'retry', details: { code: 'bus.overloaded', problem: 'a\\u000ab' } }],
    ['a failure that says nothing', answer(null, 'failed'), { code: 'bus.answer_failed', details: { code: '', problem: '' } }],
    ['an outcome that nobody knows', answer([1], 'maybe'), { code: 'bus.answer_failed' }],
    ['data that does not fit', answer({ cents: 'x' }), { code: 'contract.payload_invalid', details: { during: 'reply' } }],
    ['what is no JSON', wireMessage({ body: Buffer.from('{') }), { code: 'contract.body_malformed' }],
    ['too many bytes', wireMessage({ body: Buffer.alloc(1_001) }), { code: 'contract.payload_too_large' }],
    ['what is no message of ours', wireMessage({ defect: 'no id' }), { code: 'contract.message_foreign' }],
  ])('that is answered with %s rejects so', async (_name, message, error) => {
    const rig = new Rig()
    const asked = rejection(rig.open())
    rig.reply(0, message)
    const thrown = await asked
    expect(thrown).toMatchObject(error)
    expect(Quote.errorIn(thrown) !== undefined).toBe(error['code'] === 'contract.declared_error')
    expect(Reserve.errorIn(thrown)).toBeUndefined()
  })

  test('ends after its time, and its late answer is dropped and counted', async () => {
    const rig = new Rig()
    const asked = rejection(rig.open())
    await rig.clock.advance(999)
    expect(rig.calls.size).toBe(1)
    await rig.clock.advance(1)
    expect(await asked).toMatchObject({ code: 'bus.ask_timeout', details: { type: 'pricing.quote', timeoutMs: 1_000 } })
    rig.reply(0, answer({ cents: 1 }))
    rig.calls.onReply('unknown\u001b[2J', { kind: 'reply', message: answer({ cents: 1 }) })
    rig.calls.onReply('unknown', { kind: 'no-responder' })
    expect(rig.counters.lateReplies).toBe(2)
    expect(rig.events).toEqual([{ kind: 'reply-late', token: rig.tokens[0] }, { kind: 'reply-late', token: 'unknown\\u001b[2J' }])
  })

  test('ends at once where nobody answers its type', async () => {
    const rig = new Rig()
    const asked = rejection(rig.open())
    rig.calls.onReply(rig.tokens[0] ?? '', { kind: 'no-responder' })
    expect(await asked).toMatchObject({ code: 'bus.no_responder', details: { type: 'pricing.quote' } })
  })

  test('ends at once when it is cancelled, and keeps no hold of the signal', async () => {
    const rig = new Rig()
    const controller = new AbortController()
    const reason = new Error('user left')
    const cancelled = rejection(rig.open(controller.signal))
    controller.abort(reason)
    expect(await cancelled).toMatchObject({ code: 'bus.ask_cancelled', cause: reason })
    expect(await rejection(rig.open(controller.signal))).toMatchObject({ code: 'bus.ask_cancelled', cause: reason })
    expect([rig.calls.size, rig.tokens.length]).toEqual([0, 1])

    const counting = new AbortController()
    let listeners = 0
    const { signal } = counting
    const add = signal.addEventListener.bind(signal)
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners++
      add(...args)
    }
    const remove = signal.removeEventListener.bind(signal)
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners--
      remove(...args)
    }
    const answered = rig.open(signal)
    expect(listeners).toBe(1)
    rig.reply(1, answer({ cents: 1 }))
    await answered
    expect(listeners).toBe(0)
    const late = rejection(rig.open(signal))
    await rig.clock.advance(1_000)
    await late
    expect(listeners).toBe(0)
  })

  test('that cannot be sent rejects with the reason and is forgotten, whether sending throws or rejects', async () => {
    const rig = new Rig()
    const cause = new Error('link')
    const limits = { timeoutMs: 1_000, signal: undefined }
    const rejected = rejection(rig.calls.open(contract, limits, () => Promise.reject(cause)))
    await rig.clock.settle()
    expect(await rejected).toBe(cause)
    expect(await rejection(rig.calls.open(contract, limits, () => { throw cause }))).toBe(cause)
    expect(rig.calls.size).toBe(0)
  })

  test('that cannot be sent lets the event loop turn before it says so, however fast it is asked again', async () => {
    const calls = new Calls({ clock: systemClock, counters: new BusCounters(), bodyBytesMax: 1_000, emit: () => {} })
    let hasTurned = false
    systemClock.defer(() => (hasTurned = true))
    let asked = 0
    for (; !hasTurned && asked < 10_000; asked++) await rejection(calls.open(contract, { timeoutMs: 1_000, signal: undefined }, () => Promise.reject(new Error('link'))))
    expect(asked).toBeLessThan(10)
  })

  test('is answered once, however often the answer comes', async () => {
    const rig = new Rig()
    const asked = rig.open()
    rig.reply(0, answer({ cents: 1 }))
    rig.reply(0, answer({ cents: 2 }))
    expect(await asked).toEqual({ cents: 1 })
    expect(rig.counters.lateReplies).toBe(1)
  })
})

describe('all asks of a bus', () => {
  test('have one timer, and are refused beyond their limit', async () => {
    const rig = new Rig()
    // They are left open: as many errors, each with its stack, would take most of the time of this file.
    for (let count = 0; count < ASK_PENDING_MAX; count++) void rig.open()
    expect(rig.clock.timerCount).toBe(1)
    expect(await rejection(rig.open())).toMatchObject({ code: 'bus.overloaded', details: { limit: ASK_PENDING_MAX } })
    rig.reply(0, answer({ cents: 1 }))
    expect(rig.calls.size).toBe(ASK_PENDING_MAX - 1)
  })

  test('are given up when the bus stops', async () => {
    const rig = new Rig()
    const asked = [rejection(rig.open()), rejection(rig.open())]
    rig.calls.close()
    expect(await Promise.all(asked)).toMatchObject([{ code: 'bus.ask_cancelled' }, { code: 'bus.ask_cancelled' }])
    expect([rig.calls.size, rig.clock.timerCount]).toEqual([0, 0])
  })
})

test('a failure carries code and text of anything that was thrown, capped and printable', () => {
  expect(failureOf(new TypeError('a\u0000b'), false)).toEqual({ code: 'bus.handler_failed', problem: 'a\\u0000b' })
  expect(failureOf(reject('x'), false)).toMatchObject({ code: 'bus.rejected' })
  expect(failureOf(new Error('😀'.repeat(5_000)), false).problem.isWellFormed()).toBe(true)
  for (const thrown of [undefined, null, Symbol('s'), Object.create(null)]) expect(failureOf(thrown, false)).toMatchObject({ code: 'bus.handler_failed', problem: expect.any(String) })
})

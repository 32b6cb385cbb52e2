import { describe, expect, test } from 'vitest'
import type { DeliverySink } from '../../src/bus/port.ts'
import { memory } from '../../src/adapters/memory/index.ts'
import { type Bus, TrunklineError, reject } from '../../src/index.ts'
import { BusRig, Gate, Moved, Placed, Reserve, rejection } from './bus-rig.ts'
import { FakeDelivery, FakeTransport, wireMessage } from './fake-transport.ts'

/** A started bus on a fake transport, and the sink of its one subscription. */
async function onFake(rig: BusRig, subscribe: (bus: Bus) => void): Promise<{ bus: Bus; inner: FakeTransport; sink: DeliverySink }> {
  const inner = new FakeTransport()
  const bus = rig.bus({ transport: inner })
  subscribe(bus)
  await bus.start()
  const [sink] = inner.sinks
  if (sink === undefined) throw new TypeError('there is one subscription')
  return { bus, inner, sink }
}

describe('attempts', () => {
  test('are counted from 1, with delays that grow by the policy, and end as a dead letter', async () => {
    await using rig = new BusRig()
    const seen: [number, number, number][] = []
    const bus = rig.bus()
    bus.on(Placed, { group: 'ledger', retry: { attemptsMax: 4, initialMs: 1_000, maxMs: 3_000 }, name: 'post' }, (_message, context) => {
      seen.push([context.attempt, context.attemptsMax, rig.clock.monotonicMs()])
      throw new TypeError('no')
    })
    await bus.start()
    await bus.publish(Placed, { orderId: 'o-1' }, { id: 'm-1' })
    await rig.clock.advance(20_000)
    expect(seen.map(([attempt, max]) => [attempt, max])).toEqual([[1, 4], [2, 4], [3, 4], [4, 4]])
    const retries = rig.kinds('delivery-retried')
    expect(retries).toMatchObject([1, 2, 3].map((attempt) => ({ group: 'shop.ledger', type: 'sales.order-placed', id: 'm-1', attempt, code: 'bus.handler_failed' })))
    // Each attempt begins exactly when the delay that was announced has passed.
    let dueMs = 0
    for (const [index, { delayMs }] of retries.entries()) {
      expect(delayMs).toBeGreaterThanOrEqual(100)
      expect(delayMs).toBeLessThanOrEqual([1_000, 2_000, 3_000][index] ?? 0)
      dueMs += delayMs
      expect(seen[index + 1]?.[2]).toBe(dueMs)
    }
    const { items } = await bus.deadLetters.list()
    expect(items).toMatchObject([{
      group: 'shop.ledger', kind: 'event', holdsKey: false, message: { id: 'm-1', body: Buffer.from('{"orderId":"o-1","total":0}') },
      record: { reason: 'bus.handler_failed', attempts: 4, handler: 'post', service: 'shop', instance: bus.instance, errors: [{ name: 'TypeError', message: 'no' }] },
    }])
    expect(bus.stats()).toMatchObject({ published: 1, handled: 0, retried: 3, deadLettered: 1 })
  })

  test('follow at once where that was asked for', async () => {
    await using rig = new BusRig()
    let count = 0
    const bus = rig.bus()
    bus.on(Placed, { group: 'g', retry: { attemptsMax: 3, immediateMax: 2 } }, () => {
      count++
      throw new Error('x')
    })
    await bus.start()
    await bus.publish(Placed, { orderId: 'o' })
    await rig.clock.settle()
    expect([count, rig.clock.monotonicMs(), rig.kinds('delivery-dead-lettered').length]).toEqual([3, 0, 1])
  })

  test('end at once with a permanent error, and with a decision of the user\'s policy', async () => {
    await using rig = new BusRig()
    const bus = rig.bus()
    bus.on(Placed, { group: 'permanent' }, () => {
      throw reject(new TypeError('unknown customer'))
    })
    bus.on(Placed, { group: 'decided', decide: ({ attempt, error }) => (attempt < 3 ? { kind: 'retry', delayMs: 7 } : error instanceof TypeError ? { kind: 'deadLetter' } : undefined) }, () => {
      throw new TypeError('x')
    })
    await bus.start()
    await bus.publish(Placed, { orderId: 'o' })
    await rig.clock.advance(14)
    expect(rig.kinds('delivery-dead-lettered')).toMatchObject([{ group: 'shop.permanent', attempts: 1, code: 'bus.rejected' }, { group: 'shop.decided', attempts: 3 }])
    expect(rig.kinds('delivery-retried').map(({ delayMs }) => delayMs)).toEqual([7, 7])
  })

  // B48: whatever a handler throws or returns, the delivery is settled.
  test.each<readonly [string, unknown]>([['undefined', undefined], ['null', null], ['text', 'x'], ['a frozen object', Object.freeze({})], ['an object without prototype', Object.create(null)], ['a symbol', Symbol('s')]])(
    'end as a dead letter when the handler throws %s or rejects with it',
    async (_name, thrown) => {
      await using rig = new BusRig()
      const bus = rig.bus({ defaults: { retry: { attemptsMax: 1 } } })
      // oxlint-disable-next-line typescript/only-throw-error -- that is the point
      bus.on(Placed, { group: 'sync' }, () => { throw thrown })
      bus.on(Placed, { group: 'async' }, () => Promise.reject(thrown))
      await bus.start()
      await bus.publish(Placed, { orderId: 'o' })
      await rig.clock.settle()
      expect((await bus.deadLetters.list()).items.map(({ record }) => [record.reason, record.errors.length])).toEqual([['bus.handler_failed', 1], ['bus.handler_failed', 1]])
    },
  )

  test('are not spent on what cannot be handled: it goes to the dead letters with its reason', async () => {
    await using rig = new BusRig()
    const { bus, sink } = await onFake(rig, (one) => one.on(Placed, { group: 'g' }, () => { throw new Error('never called') }))
    const reasons: [FakeDelivery, string][] = [
      [new FakeDelivery(wireMessage({ defect: 'no id' })), 'contract.message_foreign'],
      [new FakeDelivery(wireMessage({ type: 'sales.other' })), 'bus.type_unhandled'],
      [new FakeDelivery(wireMessage({ type: 'constructor' })), 'bus.type_unhandled'],
      [new FakeDelivery(wireMessage({ hops: 33 })), 'bus.hops_exceeded'],
      [new FakeDelivery(wireMessage({ deadline: '2001-01-01T00:00:00Z' })), 'bus.deadline_passed'],
      [new FakeDelivery(wireMessage({ version: 2 })), 'contract.version_unknown'],
      [new FakeDelivery(wireMessage({ body: Buffer.from('{') })), 'contract.body_malformed'],
      [new FakeDelivery(wireMessage({ data: {} })), 'contract.payload_invalid'],
      [new FakeDelivery(wireMessage({ body: Buffer.alloc(262_145, 0x20) })), 'contract.payload_too_large'],
    ]
    for (const [delivery] of reasons) sink(delivery)
    await rig.clock.settle()
    expect(reasons.map(([delivery]) => delivery.settled)).toEqual(reasons.map(([, reason]) => [`dead ${reason} 1`]))
    expect(bus.stats()).toMatchObject({ handled: 0, retried: 0, deadLettered: reasons.length })
  })

  test('of a message at the last hop and right before its deadline are made, and at the deadline no more', async () => {
    await using rig = new BusRig()
    const { sink } = await onFake(rig, (one) => one.on(Placed, { group: 'g' }, () => {}))
    const [inTime, tooLate] = [1, 0].map((leftMs) => new FakeDelivery(wireMessage({ hops: 32, deadline: new Date(rig.clock.nowMs() + leftMs).toISOString() })))
    for (const delivery of [inTime, tooLate]) if (delivery !== undefined) sink(delivery)
    await rig.clock.settle()
    expect(inTime?.settled).toEqual(['ack'])
    expect(tooLate?.settled).toEqual(['dead bus.deadline_passed 1'])
  })
})

describe('the time limit of a handler', () => {
  test('ends the attempt, aborts the signal, and hears of the late end', async () => {
    await using rig = new BusRig()
    const late = new Gate()
    const reasons: unknown[] = []
    const bus = rig.bus()
    bus.on(Placed, { group: 'g', timeoutMs: 1_000, retry: { attemptsMax: 1 } }, async (_message, { signal }) => {
      signal.addEventListener('abort', () => reasons.push(signal.reason))
      await late.opened
    })
    await bus.start()
    await bus.publish(Placed, { orderId: 'o' })
    await rig.clock.advance(999)
    expect([reasons, rig.kinds('delivery-dead-lettered')]).toEqual([[], []])
    await rig.clock.advance(11)
    expect(reasons).toMatchObject([{ code: 'bus.handler_timeout', details: { timeoutMs: 1_000, group: 'shop.g' } }])
    expect(rig.kinds('delivery-dead-lettered')).toMatchObject([{ code: 'bus.handler_timeout', attempts: 1 }])
    expect(rig.kinds('handler-late')).toEqual([])
    late.open()
    await rig.clock.settle()
    expect(rig.kinds('handler-late')).toMatchObject([{ group: 'shop.g', type: 'sales.order-placed' }])
    expect(bus.stats()).toMatchObject({ handled: 0, deadLettered: 1 })
  })

  test('gives a signal that is aborted already to a handler that asks late', async () => {
    await using rig = new BusRig()
    const late = new Gate()
    const aborted: boolean[] = []
    const bus = rig.bus()
    bus.on(Placed, { group: 'g', timeoutMs: 10, retry: { attemptsMax: 1 } }, async (_message, context) => {
      await late.opened
      aborted.push(context.signal.aborted)
    })
    await bus.start()
    await bus.publish(Placed, { orderId: 'o' })
    await rig.clock.advance(100)
    late.open()
    await rig.clock.settle()
    expect(aborted).toEqual([true])
  })
})

describe('limits and waiting', () => {
  test('never more handlers run than inFlightMax, and freed room is used at once', async () => {
    await using rig = new BusRig()
    const gates: Gate[] = []
    const bus = rig.bus()
    bus.on(Placed, { group: 'g', inFlightMax: 3 }, () => {
      const gate = new Gate()
      gates.push(gate)
      return gate.opened
    })
    await bus.start()
    for (let order = 0; order < 10; order++) await bus.publish(Placed, { orderId: `o-${order}` })
    for (let begun = 3; begun <= 10; begun++) {
      await rig.clock.settle()
      expect(gates).toHaveLength(begun)
      gates[begun - 3]?.open()
    }
    for (const gate of gates) gate.open()
    await rig.clock.settle()
    expect(bus.stats().handled).toBe(10)
  })

  test('a poison message that waits for its retry holds up nobody', async () => {
    await using rig = new BusRig()
    const seen: string[] = []
    const bus = rig.bus()
    bus.on(Placed, { group: 'g', inFlightMax: 1, retry: { initialMs: 60_000, attemptsMax: 2 } }, ({ data }) => {
      if (data.orderId.startsWith('poison')) throw new Error('x')
      seen.push(data.orderId)
    })
    await bus.start()
    for (let order = 0; order < 20; order++) await bus.publish(Placed, { orderId: order < 10 ? `poison-${order}` : `o-${order}` })
    await rig.clock.settle()
    expect(seen).toHaveLength(10)
    expect(rig.kinds('delivery-retried')).toHaveLength(10)
  })

  test('an adapter that fails to settle does not stop the others', async () => {
    await using rig = new BusRig()
    const { bus, sink } = await onFake(rig, (one) => one.on(Placed, { group: 'g', inFlightMax: 1 }, () => {}))
    const throwing = new FakeDelivery(wireMessage())
    throwing.ack = () => { throw new TypeError('in ack') }
    const rejecting = new FakeDelivery(wireMessage())
    rejecting.ack = () => Promise.reject(new TypeError('in ack'))
    const good = new FakeDelivery(wireMessage())
    for (const delivery of [throwing, rejecting, good]) sink(delivery)
    await rig.clock.settle()
    expect(good.settled).toEqual(['ack'])
    await bus.stop()
  })
})

describe('suspects', () => {
  test('run one at a time, each after it has been recorded that its attempt begins', async () => {
    await using rig = new BusRig()
    const running: string[] = []
    const gates = new Map<string, Gate>()
    const { sink } = await onFake(rig, (one) => one.on(Placed, { group: 'g' }, ({ id }, { attempt }) => {
      running.push(`${id} ${attempt}`)
      const gate = new Gate()
      gates.set(id, gate)
      return gate.opened
    }))
    const suspects = ['a', 'b'].map((id) => new FakeDelivery(wireMessage({ id }), { isSuspect: true, attempt: 2 }))
    for (const suspect of suspects) suspect.beginWith = () => Promise.resolve(3)
    const healthy = new FakeDelivery(wireMessage({ id: 'c' }))
    for (const delivery of [...suspects, healthy]) sink(delivery)
    await rig.clock.settle()
    expect(running.toSorted()).toEqual(['a 3', 'c 1'])
    expect(suspects.map(({ settled }) => settled)).toEqual([['begin'], []])
    gates.get('a')?.open()
    await rig.clock.settle()
    expect(running).toContain('b 3')
    expect(suspects.map(({ settled }) => settled)).toEqual([['begin', 'ack'], ['begin']])
    gates.get('b')?.open()
    gates.get('c')?.open()
    await rig.clock.settle()
  })

  test('that have used up their attempts are not run again', async () => {
    await using rig = new BusRig()
    let calls = 0
    const { sink } = await onFake(rig, (one) => one.on(Placed, { group: 'g', name: 'killer' }, () => calls++))
    const last = new FakeDelivery(wireMessage({ id: 'a' }), { isSuspect: true, attempt: 4 })
    // Four are known, and a fifth made it a suspect.
    const beyond = new FakeDelivery(wireMessage({ id: 'b' }), { isSuspect: true, attempt: 5 })
    const records: unknown[] = []
    beyond.deadLetter = (record) => {
      records.push(record)
      return Promise.resolve()
    }
    sink(last)
    sink(beyond)
    await rig.clock.settle()
    expect([last.settled, beyond.settled, calls]).toEqual([['begin', 'ack'], [], 1])
    expect(records).toMatchObject([{ reason: 'bus.attempts_exhausted', attempts: 5, handler: 'killer' }])
  })

  test('are let go again when their beginning cannot be recorded', async () => {
    await using rig = new BusRig()
    const { sink } = await onFake(rig, (one) => one.on(Placed, { group: 'g' }, () => {}))
    const broken = new FakeDelivery(wireMessage({ id: 'a' }), { isSuspect: true, attempt: 2 })
    broken.beginWith = () => Promise.reject(new Error('link lost'))
    const next = new FakeDelivery(wireMessage({ id: 'b' }), { isSuspect: true, attempt: 2 })
    sink(broken)
    sink(next)
    await rig.clock.settle()
    expect([broken.settled, next.settled]).toEqual([['begin'], ['begin', 'ack']])
  })

  test('come from instances that died with deliveries out, and raise only their own count', async () => {
    await using rig = new BusRig()
    const [dying, living] = [rig.bus(), rig.bus()]
    const attempts: string[] = []
    dying.on(Placed, { group: 'g' }, () => new Promise(() => {}))
    living.on(Placed, { group: 'g' }, ({ data }, { attempt }) => {
      attempts.push(`${data.orderId} ${attempt}`)
    })
    await dying.start()
    await dying.publish(Placed, { orderId: 'o-1' })
    await rig.clock.settle()
    await living.start()
    rig.broker.sever(dying.instance)
    await rig.clock.settle()
    await living.publish(Placed, { orderId: 'o-2' })
    await rig.clock.settle()
    // Nobody recorded that the first attempt had begun, so it is not in the count; the suspect's own attempts will be.
    expect(attempts).toEqual(['o-1 1', 'o-2 1'])
  })
})

describe('draining', () => {
  test('finishes what runs, gives back what waits, and lets handlers publish to the end', async () => {
    await using rig = new BusRig()
    const gate = new Gate()
    const seen: string[] = []
    const bus = rig.bus()
    const late = rig.bus({ service: { name: 'late' } })
    bus.on(Placed, { group: 'g', inFlightMax: 1 }, async ({ data }) => {
      seen.push(data.orderId)
      await gate.opened
      await bus.publish(Moved, { orderId: data.orderId })
    })
    late.on(Moved, { group: 'm' }, ({ data }) => {
      seen.push(`moved ${data.orderId}`)
    })
    await late.start()
    await bus.start()
    for (const orderId of ['1', '2', '3']) await bus.publish(Placed, { orderId })
    await rig.clock.settle()
    const stopped = bus.stop()
    await rig.clock.settle()
    expect(bus.state).toBe('draining')
    gate.open()
    await rig.clock.settle()
    await stopped
    expect(bus.state).toBe('stopped')
    const other = rig.bus()
    const taken: string[] = []
    other.on(Placed, { group: 'g' }, ({ data }, { attempt }) => {
      taken.push(`${data.orderId} ${attempt}`)
    })
    await other.start()
    await rig.clock.settle()
    expect([seen, taken]).toEqual([['1', 'moved 1'], ['2 1', '3 1']])
  })

  test('ends in time when a handler does not, tells it, and leaves its message to others', async () => {
    await using rig = new BusRig()
    const aborted: unknown[] = []
    const bus = rig.bus({ defaults: { drainTimeoutMs: 2_000 } })
    bus.on(Placed, { group: 'g' }, (_message, { signal }) => new Promise(() => {
      signal.addEventListener('abort', () => aborted.push(signal.reason))
    }))
    await bus.start()
    await bus.publish(Placed, { orderId: 'o' })
    await rig.clock.settle()
    const stopped = bus.stop()
    await rig.clock.advance(1_999)
    expect([bus.state, aborted]).toEqual(['draining', []])
    await rig.clock.advance(1)
    await stopped
    expect(aborted).toMatchObject([{ code: 'bus.not_running' }])
    const other = rig.bus()
    const taken: number[] = []
    other.on(Placed, { group: 'g' }, (_message, { attempt }) => {
      taken.push(attempt)
    })
    await other.start()
    await rig.clock.settle()
    // The attempt that never ended was not recorded, because it was no suspect's.
    expect(taken).toEqual([1])
  })
})

describe('an error that no redelivery mends', () => {
  const broken = (): never => {
    throw new TrunklineError('core.option_invalid', { option: 'x', expected: 'y', actual: 'z' })
  }

  test('halts its subscription and keeps the message, until it is resumed', async () => {
    await using rig = new BusRig()
    let isBroken = true
    const seen: string[] = []
    const bus = rig.bus()
    bus.on(Placed, { group: 'g' }, ({ data }, { attempt }) => {
      if (isBroken) broken()
      seen.push(`${data.orderId} ${attempt}`)
    })
    bus.on(Moved, { group: 'other' }, () => {
      seen.push('moved')
    })
    await bus.start()
    await bus.publish(Placed, { orderId: '1' })
    await rig.clock.settle()
    await bus.publish(Placed, { orderId: '2' })
    await bus.publish(Moved, { orderId: '1' })
    await rig.clock.advance(600_000)
    expect(seen).toEqual(['moved'])
    expect(bus.health()).toEqual({ state: 'down', reasons: ['the subscription shop.g is halted: core.option_invalid'] })
    expect(rig.kinds('subscription-halted')).toEqual([{ kind: 'subscription-halted', group: 'shop.g', code: 'core.option_invalid' }])
    isBroken = false
    await bus.resume('g')
    await rig.clock.settle()
    expect(seen).toEqual(['moved', '1 1', '2 1'])
    expect(bus.health()).toEqual({ state: 'up', reasons: [] })
    expect(bus.stats()).toMatchObject({ deadLettered: 0, retried: 0 })
    await bus.resume('g')
    expect(await rejection(bus.resume('nope'))).toMatchObject({ code: 'core.option_invalid', details: { option: 'group of bus.resume', expected: 'one of shop.g, shop.other', actual: '"nope"' } })
  })

  test('halts also while the subscription is only being made', async () => {
    await using rig = new BusRig()
    const inner = new FakeTransport()
    const delivery = new FakeDelivery(wireMessage())
    inner.subscribeWith = async (_subscription, sink) => {
      sink(delivery)
      await Promise.resolve()
    }
    const bus = rig.bus({ transport: inner })
    bus.on(Placed, { group: 'g' }, broken)
    await bus.start()
    expect(inner.calls).toEqual(['open', 'subscribe event shop.g', 'pause shop.g'])
    expect(delivery.settled).toEqual(['release'])
  })
})

describe('an asked command', () => {
  test('is acknowledged only after its answer is on its way, so that a death in between repeats both', async () => {
    await using rig = new BusRig()
    const sent = new Gate()
    const answers: string[] = []
    const { inner, sink } = await onFake(rig, (one) => one.handle(Reserve, ({ data }) => {
      if (data.sku === 'gone') throw Reserve.error('soldOut', { sku: data.sku })
      if (data.sku === 'broken') throw reject('no')
      return { left: 1 }
    }))
    inner.light = {
      address: 'inbox', onReply: () => {}, replyAddress: (token) => token,
      broadcast: () => Promise.resolve(), request: () => Promise.resolve(),
      onBroadcast: () => Promise.reject(new TypeError('not used')), onRequest: () => Promise.reject(new TypeError('not used')),
      reply: (replyTo, message) => {
        answers.push(`${replyTo} ${message.outcome ?? 'ok'} ${Buffer.from(message.body).toString()}`)
        return sent.opened
      },
    }
    const deliveries = ['a', 'gone', 'broken'].map((sku) => new FakeDelivery(wireMessage({ type: Reserve.type, data: { sku }, replyTo: `inbox/${sku}` })))
    for (const delivery of deliveries) sink(delivery)
    await rig.clock.settle()
    expect(answers.toSorted()).toEqual([
      'inbox/a ok {"left":1}', 'inbox/broken failed {"code":"bus.rejected","problem":"The handler gave the message up: no. Redrive it when the reason is gone."}', 'inbox/gone error.soldOut {"sku":"gone"}',
    ])
    // What was given up is kept before anybody hears of it.
    expect(deliveries.map(({ settled }) => settled)).toEqual([[], [], ['dead bus.rejected 1']])
    sent.open()
    await rig.clock.settle()
    expect(deliveries.map(({ settled }) => settled)).toEqual([['ack'], ['ack'], ['dead bus.rejected 1']])
  })

  test('is acknowledged also when its answer cannot be sent', async () => {
    await using rig = new BusRig()
    const { inner, sink } = await onFake(rig, (one) => one.handle(Reserve, () => ({ left: 1 })))
    const delivery = new FakeDelivery(wireMessage({ type: Reserve.type, data: { sku: 'a' }, replyTo: 'nowhere' }))
    sink(delivery)
    await rig.clock.settle()
    expect([inner.light, delivery.settled]).toEqual([undefined, ['ack']])
  })

  test('is answered before it is acknowledged, once, with what became of it in the end', async () => {
    await using rig = new BusRig()
    const bus = rig.bus({ transport: memory({ broker: rig.broker }) })
    let tries = 0
    bus.handle(Reserve, { retry: { attemptsMax: 2, initialMs: 100 } }, ({ data }) => {
      tries++
      if (data.sku === 'flaky' && tries === 1) throw new Error('again')
      if (data.sku === 'gone') throw Reserve.error('soldOut', { sku: 'gone' })
      if (data.sku === 'broken') throw new Error('never works')
      return { left: tries }
    })
    await bus.start()
    const flaky = bus.ask(Reserve, { sku: 'flaky' })
    await rig.clock.advance(200)
    expect(await flaky).toEqual({ left: 2 })
    const gone = rejection(bus.ask(Reserve, { sku: 'gone' }))
    await rig.clock.settle()
    expect(Reserve.errorIn(await gone)).toEqual({ type: 'stock.reserve', name: 'soldOut', data: { sku: 'gone' } })
    const failed = rejection(bus.ask(Reserve, { sku: 'broken' }))
    await rig.clock.advance(200)
    expect(await failed).toMatchObject({ code: 'bus.answer_failed', details: { code: 'bus.handler_failed', problem: 'never works' } })
    expect(bus.stats()).toMatchObject({ deadLettered: 1, handled: 2 })
  })

  test('that was only sent is dead-lettered with its declared error, since nobody would hear it', async () => {
    await using rig = new BusRig()
    const bus = rig.bus()
    bus.handle(Reserve, () => {
      throw Reserve.error('soldOut', { sku: 'a' })
    })
    await bus.start()
    await bus.send(Reserve, { sku: 'a' })
    await rig.clock.settle()
    expect(rig.kinds('delivery-dead-lettered')).toMatchObject([{ code: 'contract.declared_error', attempts: 1 }])
  })
})

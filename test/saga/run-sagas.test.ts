import { describe, expect, test } from 'vitest'
import { type SagaDefinition, type SagaObservation, processManager, runSagas, saga } from '../../src/index.ts'
import { z } from 'zod'
import { Gate } from '../bus/bus-rig.ts'
import { CalledOff, Charge, Charged, Declined, OrderState, Placed, Refund, Refunded, Release, Released, Reserve, Reserved, SagaRig, Shipped, SoldOut, order, orderId } from './saga-rig.ts'

function thrown(work: () => unknown): unknown {
  try {
    return work()
  } catch (error) {
    return error
  }
}

describe('a saga of steps', () => {
  test('goes from its start through its steps to its end', async () => {
    await using rig = new SagaRig()
    const { bus, sagas } = rig.process([order])
    const sent: string[] = []
    bus.handle(Reserve, async ({ data }) => {
      sent.push('reserve')
      await bus.publish(Reserved, { ...data, shelf: 'A1' })
    })
    bus.handle(Charge, async ({ data }) => {
      sent.push(`charge ${data.cents}`)
      await bus.publish(Charged, { orderId: data.orderId })
    })
    bus.on(Shipped, { group: 'mails' }, () => void sent.push('shipped'))
    await bus.start()
    await bus.publish(Placed, { orderId: 'o-1', cents: 500 })
    await rig.clock.advance(1_000)
    expect(sent).toEqual(['reserve', 'charge 500', 'shipped'])
    expect(rig.told).toEqual(['o-1 started', 'o-1 ended completed'])
    expect(sagas.stats()).toMatchObject({ started: 1, completed: 1, compensations: 0, quarantined: 0 })
  })

  test('keeps all of it in one flow', async () => {
    await using rig = new SagaRig()
    const { bus } = rig.process([order])
    const flows: string[] = []
    bus.handle(Reserve, async ({ data, correlationId, tenant, causationId }) => {
      flows.push(`${correlationId} ${tenant} ${causationId}`)
      await bus.publish(Reserved, { ...data, shelf: 'A1' })
    })
    bus.handle(Charge, ({ correlationId, tenant }) => void flows.push(`${correlationId} ${tenant}`))
    await bus.start()
    await bus.publish(Placed, { orderId: 'o-1', cents: 1 }, { id: 'first', tenant: 'acme' })
    await rig.clock.advance(1_000)
    expect(flows).toEqual(['first acme first', 'first acme'])
  })

  test('tells how long it took, and why it was undone', async () => {
    await using rig = new SagaRig()
    const { bus, sagas } = rig.process([order])
    bus.handle(Release, async ({ data }) => await bus.publish(Released, { orderId: data.orderId }))
    await bus.start()
    await bus.publish(Placed, { orderId: 'o-1', cents: 1 })
    await rig.clock.advance(5_000)
    await bus.publish(Reserved, { orderId: 'o-1', shelf: 'A' })
    await bus.publish(Declined, { orderId: 'o-1', why: 'no money' })
    await rig.clock.advance(1_000)
    const ended = rig.seen.find((one): one is Extract<SagaObservation, { kind: 'ended' }> => one.kind === 'ended')
    expect(ended).toMatchObject({ outcome: 'compensated', reason: 'charge: no money', isAgain: false })
    expect(ended?.durationMs).toBeGreaterThanOrEqual(5_000)
    expect(sagas.stats()).toMatchObject({ started: 1, compensated: 1, compensations: 1 })
  })
})

describe('messages', () => {
  test('of different tenants belong to different instances', async () => {
    await using rig = new SagaRig()
    const { bus, sagas } = rig.process([order])
    await bus.start()
    await bus.publish(Placed, { orderId: 'o-1', cents: 1 }, { tenant: 'acme' })
    await bus.publish(Placed, { orderId: 'o-1', cents: 2 }, { tenant: 'umbrella' })
    await rig.clock.advance(1_000)
    expect(await sagas.instance('order', 'acme:o-1').inspect()).toMatchObject({ state: { cents: 1 }, tenant: 'acme' })
    expect(await sagas.instance('order', 'umbrella:o-1').inspect()).toMatchObject({ state: { cents: 2 } })
  })

  test('that tell no instance, or several, are dead letters at once', async () => {
    await using rig = new SagaRig()
    const double = saga('double', { state: OrderState })
      .startedBy(Placed, { correlate: orderId, state: (placed) => placed })
      .step('one', { timeoutMs: 5_000 }, (step) => step.send(Reserve, () => ({ orderId: 'x' })).on(Reserved, { correlate: orderId }))
      .step('two', { timeoutMs: 5_000 }, (step) => step.send(Reserve, () => ({ orderId: 'x' })).on(Reserved, { correlate: ({ shelf }) => shelf }))
      .end()
    const { bus } = rig.process([double])
    await bus.start()
    await bus.publish(Placed, { orderId: '', cents: 1 }, { id: 'empty' }).catch(() => undefined)
    await bus.publish(Reserved, { orderId: 'o-1', shelf: 'o-2' })
    await bus.publish(SoldOut, { orderId: 'o-1', why: '' })
    await rig.clock.advance(1_000)
    expect(rig.kinds('delivery-dead-lettered').map(({ code, attempts }) => [code, attempts])).toEqual([['saga.correlation_ambiguous', 1]])
    expect(thrown(() => double.instanceOf({ id: '1', source: '/', type: Placed.type, data: { orderId: '' }, version: 1, body: {}, correlationId: '', tenant: undefined, parent: undefined }))).toMatchObject({ code: 'saga.correlation_missing' })
    expect(thrown(() => double.instanceOf({ id: '1', source: '/', type: Placed.type, data: { orderId: 'x'.repeat(129) }, version: 1, body: {}, correlationId: '', tenant: undefined, parent: undefined }))).toMatchObject({ code: 'saga.correlation_missing' })
    expect(thrown(() => double.instanceOf({ id: '1', source: '/', type: Placed.type, data: null, version: 1, body: {}, correlationId: '', tenant: undefined, parent: undefined }))).toMatchObject({ code: 'saga.correlation_missing' })
  })

  test('that come twice count once', async () => {
    await using rig = new SagaRig()
    const { bus } = rig.process([order])
    const reserved: string[] = []
    bus.handle(Reserve, ({ id }) => void reserved.push(id))
    await bus.start()
    await bus.publish(Placed, { orderId: 'o-1', cents: 1 }, { id: 'same' })
    await bus.publish(Placed, { orderId: 'o-1', cents: 1 }, { id: 'same' })
    await rig.clock.advance(1_000)
    expect(reserved).toHaveLength(1)
  })

  test('of different instances are handled at the same time, those of one instance one after the other', async () => {
    await using rig = new SagaRig()
    const { bus, sagas } = rig.process([order])
    await bus.start()
    await Promise.all(Array.from({ length: 20 }, (_, at) => bus.publish(Placed, { orderId: `o-${at % 10}`, cents: at })))
    await rig.clock.advance(1_000)
    expect(sagas.stats()).toMatchObject({ started: 10, transitions: 20 })
  })

  test('start a saga by command, too', async () => {
    await using rig = new SagaRig()
    const byCommand = saga('by-command', { state: z.object({}) }).startedBy(Reserve, { correlate: orderId, state: () => ({}) }).publish('tell', Shipped, () => ({ orderId: 'o-1' })).end()
    const { bus } = rig.process([byCommand])
    await bus.start()
    await bus.send(Reserve, { orderId: 'o-1' })
    await rig.clock.advance(1_000)
    expect(rig.told).toEqual(['o-1 started', 'o-1 ended completed'])
  })
})

describe('alarms', () => {
  test('that fall due while nothing runs for two days go off once when something does', async () => {
    await using rig = new SagaRig()
    const waiting = saga('waiting', { state: z.object({}) })
      .startedBy(Placed, { correlate: orderId, state: () => ({}) })
      .wait('rest', { afterMs: 3_600_000 }).send('end', Reserve, () => ({ orderId: 'o-1' })).end()
    const first = rig.process([waiting])
    await first.bus.start()
    await first.bus.publish(Placed, { orderId: 'o-1', cents: 1 })
    await rig.clock.advance(1_000)
    await rig.settling(first.bus.stop())
    await rig.clock.advance(2 * 86_400_000)
    const second = rig.process([waiting])
    const sent: string[] = []
    second.bus.handle(Reserve, ({ id }) => void sent.push(id))
    await second.bus.start()
    await rig.clock.advance(60_000)
    expect(sent).toHaveLength(1)
    expect(rig.told).toEqual(['o-1 started', 'o-1 ended completed'])
    expect(await second.store.scheduler.list()).toEqual([])
  })

  test('by calendar go off again and again until they are taken back', async () => {
    await using rig = new SagaRig()
    const daily = processManager('daily', {
      state: z.object({ n: z.int() }), inputs: [Placed, Charged], startedBy: [Placed], outputs: [Reserve], timers: ['day'],
      correlate: { 'sales.order-placed': orderId, 'money.charged': orderId }, initialState: () => ({ n: 0 }),
      decide: (input, { n }, to) => {
        if (input.type === 'sales.order-placed') return to.timer('day', { cron: '0 0 * * *' })
        return input.type === 'timer' ? to.send(Reserve, { orderId: `${n}` }) : to.end()
      },
      evolve: ({ n }, input) => ({ n: n + (input.type === 'timer' ? 1 : 0) }),
    })
    const { bus, store } = rig.process([daily])
    const days: string[] = []
    bus.handle(Reserve, ({ data }) => void days.push(data.orderId))
    await bus.start()
    await bus.publish(Placed, { orderId: 'o-1', cents: 1 })
    await rig.clock.advance(3 * 86_400_000)
    expect(days).toEqual(['0', '1', '2'])
    await bus.publish(Charged, { orderId: 'o-1' })
    await rig.clock.advance(3 * 86_400_000)
    expect(days).toHaveLength(3)
    expect(await store.scheduler.list()).toEqual([])
  })

  test('end with their step', async () => {
    await using rig = new SagaRig()
    const { bus, store } = rig.process([order])
    await bus.start()
    await bus.publish(Placed, { orderId: 'o-1', cents: 1 })
    await rig.clock.advance(1_000)
    expect(await store.scheduler.list()).toHaveLength(1)
    await bus.publish(SoldOut, { orderId: 'o-1', why: 'none' })
    await rig.clock.advance(1_000)
    expect(await store.scheduler.list()).toEqual([])
  })
})

describe('a saga within a saga', () => {
  test('runs in the same process, and its end is the step that waits for it', async () => {
    await using rig = new SagaRig()
    const child = saga('child', { state: z.object({ orderId: z.string() }) }).startedBy(Reserve, { correlate: orderId, state: (data) => data })
      .step('charge', { timeoutMs: 5_000 }, (step) => step.send(Charge, ({ orderId: of }) => ({ orderId: of, cents: 1 })).on(Charged, { correlate: orderId })).end()
    const parent = saga('parent', { state: z.object({ orderId: z.string(), end: z.string().default('') }) }).startedBy(Placed, { correlate: orderId, state: ({ orderId: of }) => ({ orderId: of }) })
      .step('run', { timeoutMs: 50_000 }, (step) => step.run(child, Reserve, ({ orderId: of }) => ({ orderId: `child of ${of}` }), { apply: (state, { outcome }) => ({ ...state, end: outcome }) })).end()
    const { bus, sagas } = rig.process([parent, child])
    bus.handle(Charge, async ({ data }) => await bus.publish(Charged, { orderId: data.orderId }))
    await bus.start()
    await bus.publish(Placed, { orderId: 'o-1', cents: 1 }, { tenant: 'acme' })
    await rig.clock.advance(2_000)
    expect(rig.told).toEqual(['acme:o-1 started', 'acme:child of o-1 started', 'acme:child of o-1 ended completed', 'acme:o-1 ended completed'])
    expect(await sagas.instance('parent', 'acme:o-1').inspect()).toMatchObject({ state: { end: 'completed' } })
  })
})

describe('a process', () => {
  test('is refused sagas that do not fit together', async () => {
    await using rig = new SagaRig()
    const bus = rig.bus()
    const store = rig.store()
    expect(thrown(() => runSagas({ bus, store, sagas: [] }))).toMatchObject({ code: 'saga.definition_invalid' })
    expect(thrown(() => runSagas({ bus, store, sagas: [order, order] }))).toMatchObject({ code: 'saga.definition_invalid' })
    await bus.start()
    expect(thrown(() => runSagas({ bus, store, sagas: [order] }))).toMatchObject({ code: 'bus.not_running' })
  })

  test('that an observer disturbs goes on', async () => {
    await using rig = new SagaRig()
    const { bus, sagas } = rig.process([order])
    const off = sagas.observe(() => {
      throw new TypeError('not now')
    })
    await bus.start()
    await bus.publish(Placed, { orderId: 'o-1', cents: 1 })
    await rig.clock.advance(1_000)
    off()
    expect(rig.told).toEqual(['o-1 started'])
  })

  test('that stops ends what it handles, and leaves what waits to the next one', async () => {
    await using rig = new SagaRig()
    const first = rig.process([order])
    const gate = new Gate()
    first.bus.handle(Reserve, async ({ data }) => {
      await gate.opened
      await first.bus.publish(Reserved, { ...data, shelf: 'A' })
    })
    await first.bus.start()
    await first.bus.publish(Placed, { orderId: 'o-1', cents: 1 })
    await rig.clock.advance(1_000)
    const stopping = first.bus.stop()
    gate.open()
    await rig.settling(stopping)
    const second = rig.process([order])
    second.bus.handle(Charge, async ({ data }) => await second.bus.publish(Charged, { orderId: data.orderId }))
    await second.bus.start()
    await rig.clock.advance(1_000)
    expect(rig.told).toEqual(['o-1 started', 'o-1 ended completed'])
  })

  test('in which a saga is broken runs the others', async () => {
    await using rig = new SagaRig()
    const broken: SagaDefinition = saga('broken', { state: OrderState })
      .startedBy(Placed, { correlate: orderId, state: (placed) => placed })
      .step('reserve', { timeoutMs: 50_000 }, (step) => step.send(Reserve, () => ({ orderId: 'x' })).on(Reserved, {
        correlate: orderId,
        apply: (state) => {
          if (state.orderId === 'o-1') throw new RangeError('oh dear')
          return state
        },
      })).end()
    const { bus, sagas } = rig.process([broken])
    await bus.start()
    for (const id of ['o-1', 'o-2']) {
      await bus.publish(Placed, { orderId: id, cents: 1 })
      await bus.publish(Reserved, { orderId: id, shelf: '' })
    }
    await rig.clock.advance(1_000)
    expect(rig.told.toSorted()).toEqual(['o-1 quarantined', 'o-1 started', 'o-2 ended completed', 'o-2 started'])
    expect(bus.stats().deadLettered).toBe(0)
    expect(sagas.stats().quarantined).toBe(1)
  })

  test('undoes what was called off while it was under way', async () => {
    await using rig = new SagaRig()
    const { bus } = rig.process([order])
    const undone: string[] = []
    bus.handle(Refund, async ({ data }) => {
      undone.push('refund')
      await bus.publish(Refunded, { orderId: data.orderId })
    })
    bus.handle(Release, async ({ data }) => {
      undone.push(`release ${data.shelf}`)
      await bus.publish(Released, { orderId: data.orderId })
    })
    await bus.start()
    await bus.publish(Placed, { orderId: 'o-1', cents: 1 })
    await bus.publish(Reserved, { orderId: 'o-1', shelf: 'A' })
    await rig.clock.advance(1_000)
    await bus.publish(CalledOff, { orderId: 'o-1', why: 'no' })
    await rig.clock.advance(1_000)
    expect(undone).toEqual(['refund', 'release A'])
    expect(rig.told.at(-1)).toBe('o-1 ended cancelled')
  })
})

import { describe, expect, test } from 'vitest'
import { rejection } from '../bus/bus-rig.ts'
import { listed } from '../outbox/store-rig.ts'
import { Charge, Placed, Release, Released, Reserve, Reserved, SagaRig, order } from './saga-rig.ts'

const note = { by: 'ann', reason: 'the phone rang' }

describe('an operator', () => {
  test('looks at an instance and at its history', async () => {
    await using rig = new SagaRig()
    const { bus, sagas } = rig.process([order])
    await bus.start()
    await bus.publish(Placed, { orderId: 'o-1', cents: 5 }, { id: 'placed' })
    await rig.clock.advance(1_000)
    const one = sagas.instance(order, 'o-1')
    expect(await one.inspect()).toMatchObject({
      saga: 'order', instance: 'o-1', version: 1, status: 'running', state: { orderId: 'o-1', cents: 5 }, waitsFor: ['reserve'], timers: [{ timer: 'step:reserve' }], correlationId: 'placed', revision: 4n,
    })
    const history = await listed(one.history())
    expect(history.map(({ kind }) => kind)).toEqual(['input-handled', 'started', 'state-changed', 'step-started', 'timer-set'])
    expect(history[0]).toMatchObject({ revision: 0n, causationId: 'placed' })
  })

  test('acts, and the history tells who and why', async () => {
    await using rig = new SagaRig()
    const { bus, sagas } = rig.process([order])
    const sent: string[] = []
    bus.handle(Reserve, () => void sent.push('reserve'))
    bus.handle(Charge, () => void sent.push('charge'))
    bus.handle(Release, async ({ data }) => {
      sent.push('release')
      await bus.publish(Released, { orderId: data.orderId })
    })
    await bus.start()
    await bus.publish(Placed, { orderId: 'o-1', cents: 5 })
    await rig.clock.advance(500)
    const one = sagas.instance('order', 'o-1')
    await one.retryStep(note)
    await rig.clock.advance(500)
    await one.skipStep({ ...note, id: 'once' }, 'reserve')
    await one.skipStep({ ...note, id: 'once' }, 'reserve')
    await rig.clock.advance(500)
    await bus.publish(Reserved, { orderId: 'o-1', shelf: 'A' })
    await rig.clock.advance(500)
    expect(sent).toEqual(['reserve', 'reserve', 'charge'])
    await one.cancel(note)
    await rig.clock.advance(500)
    const acted = (await listed(one.history())).flatMap((record) => (record.kind === 'operator-acted' ? [`${record.data.action} by ${record.data.by}: ${record.data.reason}`] : []))
    expect(acted).toEqual(['retry-step', 'skip-step', 'cancel'].map((action) => `${action} by ann: the phone rang`))
    expect((await one.inspect()).status).toBe('compensating')
  })

  test('is told what does not exist and what does not fit', async () => {
    await using rig = new SagaRig()
    const { bus, sagas } = rig.process([order])
    await bus.start()
    expect(await rejection(sagas.instance('order', 'nobody').inspect())).toMatchObject({ code: 'saga.instance_missing' })
    expect(await rejection(sagas.instance('order', 'nobody').cancel(note))).toMatchObject({ code: 'saga.instance_missing' })
    expect(await listed(sagas.instance('order', 'nobody').history())).toEqual([])
    await bus.publish(Placed, { orderId: 'o-1', cents: 5 })
    await rig.clock.advance(500)
    expect(await rejection(sagas.instance('order', 'o-1').resume(note))).toMatchObject({ code: 'saga.action_refused' })
    expect(() => sagas.instance('no-such-saga', 'o-1')).toThrow('no-such-saga')
  })
})

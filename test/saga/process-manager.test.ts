import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { processManager } from '../../src/index.ts'
import { CalledOff, Charge, Charged, Placed, Reserve, Reserved, SagaRig, Shipped, orderId } from './saga-rig.ts'

const fulfilment = processManager('fulfilment', {
  state: z.object({ orderId: z.string(), paid: z.boolean(), reserved: z.boolean() }),
  inputs: [Placed, Reserved, Charged, CalledOff],
  startedBy: [Placed],
  outputs: [Reserve, Charge, Shipped],
  timers: ['patience'],
  correlate: { 'sales.order-placed': orderId, 'stock.reserved': orderId, 'money.charged': orderId, 'sales.order-called-off': orderId },
  initialState: () => ({ orderId: '', paid: false, reserved: false }),
  decide: (input, state, to) => {
    switch (input.type) {
      case 'sales.order-placed': return [to.send(Reserve, { orderId: input.data.orderId }), to.send(Charge, input.data), to.timer('patience', { afterMs: 86_400_000 })]
      case 'stock.reserved': return state.paid ? [to.publish(Shipped, { orderId: state.orderId }), to.end()] : undefined
      case 'money.charged': return state.reserved ? [to.publish(Shipped, { orderId: state.orderId }), to.end()] : []
      case 'sales.order-called-off': return to.end('cancelled', input.data.why)
      case 'timer': return to.end('failed', input.timer)
    }
  },
  evolve: (state, input) => {
    if (input.type === 'sales.order-placed') return { ...state, orderId: input.data.orderId }
    return { ...state, paid: state.paid || input.type === 'money.charged', reserved: state.reserved || input.type === 'stock.reserved' }
  },
})

describe('a process manager', () => {
  test('decides on messages in whichever order they come', async () => {
    await using rig = new SagaRig()
    const { bus, sagas } = rig.process([fulfilment])
    const sent: string[] = []
    bus.handle(Reserve, () => void sent.push('reserve'))
    bus.handle(Charge, () => void sent.push('charge'))
    bus.on(Shipped, { group: 'mails' }, ({ data }) => void sent.push(`shipped ${data.orderId}`))
    await bus.start()
    await bus.publish(Placed, { orderId: 'o-1', cents: 500 })
    await rig.clock.advance(1_000)
    expect(sent.toSorted()).toEqual(['charge', 'reserve'])
    await bus.publish(Charged, { orderId: 'o-1' })
    await rig.clock.advance(1_000)
    expect(await rig.settling(sagas.instance('fulfilment', 'o-1').inspect())).toMatchObject({ status: 'running', state: { paid: true, reserved: false }, waitsFor: ['timer:patience'] })
    await bus.publish(Reserved, { orderId: 'o-1', shelf: 'A' })
    await rig.clock.advance(1_000)
    expect(sent.at(-1)).toBe('shipped o-1')
    expect(rig.told).toEqual(['o-1 started', 'o-1 ended completed'])
    expect(await rig.settling(sagas.instance(fulfilment, 'o-1').inspect())).toMatchObject({ status: 'ended', timers: [] })
  })

  test('is told when an alarm goes off, days later', async () => {
    await using rig = new SagaRig()
    const { bus } = rig.process([fulfilment])
    await bus.start()
    await bus.publish(Placed, { orderId: 'o-2', cents: 1 })
    await rig.clock.advance(86_399_000)
    expect(rig.told).toEqual(['o-2 started'])
    await rig.clock.advance(20_000)
    expect(rig.told).toEqual(['o-2 started', 'o-2 ended failed'])
  })
})

import { describe, expect, test } from 'vitest'
import { Charge, Charged, Placed, Reserve, Reserved, SagaRig, Shipped, order } from './saga-rig.ts'

describe('a saga of steps', () => {
  test('goes from its start through its steps to its end', async () => {
    await using rig = new SagaRig()
    const { bus } = rig.process([order])
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
  })
})

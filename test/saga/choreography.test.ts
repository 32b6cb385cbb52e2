import { describe, expect, test } from 'vitest'
import { choreography } from '../../src/index.ts'
import { Charge, Charged, Placed, Reserve, Reserved, SagaRig, Shipped } from './saga-rig.ts'

const flow = choreography('fast-track')
  .when(Placed, [Reserve, Charge], ({ orderId, cents }, to) => (cents === 0 ? to.send(Reserve, { orderId }) : [to.send(Reserve, { orderId }), to.send(Charge, { orderId, cents })]))
  .when(Charged, [Shipped], (data, to) => to.publish(Shipped, data))
  .when(Reserved, [Shipped], () => undefined)

describe('a choreography', () => {
  test('leads from event to event in one flow, without an instance', async () => {
    await using rig = new SagaRig()
    const bus = rig.bus()
    const store = rig.store()
    flow.run({ bus, store })
    const seen: string[] = []
    bus.handle(Reserve, ({ id, correlationId, causationId }) => void seen.push(`reserve ${correlationId} ${causationId} ${id.length}`))
    bus.handle(Charge, async ({ data: { orderId } }) => await bus.publish(Charged, { orderId }))
    bus.on(Shipped, { group: 'mails' }, ({ correlationId }) => void seen.push(`shipped ${correlationId}`))
    await bus.start()
    await bus.publish(Placed, { orderId: 'o-1', cents: 5 }, { id: 'first' })
    await rig.clock.advance(1_000)
    expect(seen.toSorted()).toEqual(['reserve first first 36', 'shipped first'])
  })

  test('is tested and drawn without a bus', () => {
    expect(flow.react(Placed.type, { orderId: 'o-1', cents: 0 })).toMatchObject([{ contract: { type: 'stock.reserve' }, data: { orderId: 'o-1' } }])
    expect(flow.react('sales.other-thing', {})).toEqual([])
    expect(flow.shape.reactions[0]).toEqual({ on: 'sales.order-placed', outputs: ['stock.reserve', 'money.charge'] })
  })

  test('is refused where it contradicts itself, and gives nothing that it has not declared', () => {
    const refused = (work: () => unknown): unknown => {
      try {
        return work()
      } catch (error) {
        return error
      }
    }
    expect(refused(() => flow.when(Placed, [], () => undefined))).toMatchObject({ code: 'saga.definition_invalid' })
    expect(refused(() => choreography('Two Words'))).toMatchObject({ code: 'saga.definition_invalid' })
    const stray = choreography('stray').when(Placed, [], () => ({ contract: Reserve, data: { orderId: 'o' } }))
    expect(refused(() => stray.react(Placed.type, { orderId: 'o', cents: 1 }))).toMatchObject({ code: 'saga.function_failed' })
  })
})

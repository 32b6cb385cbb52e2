import { describe, expect, test } from 'vitest'
import { Placed, rejection } from '../bus/bus-rig.ts'
import { StoreRig } from './store-rig.ts'

describe('an outbox with a limit', () => {
  test('takes nothing more while too much waits, and goes on when that has left', async () => {
    await using rig = new StoreRig()
    const producer = rig.store({ relay: false, outboxWaitingMax: 10 })
    await producer.open({ service: 'shop', clock: rig.clock })
    const publish = (): Promise<void> => producer.transaction(({ publish: out }) => out(Placed, { orderId: 'a' }))
    for (let count = 0; count < 11; count++) await publish()
    await rig.clock.advance(2_000)
    expect(await rejection(publish())).toMatchObject({ code: 'bus.overloaded', disposition: 'retry', details: { limit: 10 } })
    expect(await rejection(producer.outbox.in({}).publish(Placed, { orderId: 'a' }))).toMatchObject({ code: 'bus.overloaded' })
    // What publishes nothing is not held up.
    await producer.transaction(({ tx }) => tx.table('rows').set('a', 1))
    const relay = rig.bus({ outbox: rig.store().outbox, service: { name: 'relay' } })
    await relay.start()
    await rig.clock.advance(5_000)
    await publish()
    const closing = producer.close()
    await rig.clock.advance(10)
    await closing
  })

  test('has none unless it is told, and cannot be told nonsense', async () => {
    await using rig = new StoreRig()
    expect(() => rig.store({ outboxWaitingMax: 0 })).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
  })
})

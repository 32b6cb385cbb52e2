import { describe, expect, test } from 'vitest'
import { CalledOff, Placed, Released, Reserved, SagaRig, order } from './saga-rig.ts'

describe('instances in quarantine', () => {
  test('show in the health of every process, of those that start later, too, until an operator has acted', async () => {
    await using rig = new SagaRig()
    const { bus, sagas } = rig.process([order])
    await bus.start()
    expect(bus.health()).toMatchObject({ state: 'up' })
    await bus.publish(Placed, { orderId: 'o-1', cents: 1 })
    await bus.publish(Reserved, { orderId: 'o-1', shelf: 'A' })
    await rig.clock.advance(1_000)
    await bus.publish(CalledOff, { orderId: 'o-1', why: 'x' })
    // The refund is never answered, until its last attempt has failed.
    await rig.clock.advance(30 * 3_600_000)
    expect(bus.health()).toMatchObject({ state: 'degraded', reasons: [expect.stringContaining('1 of order is quarantined until an operator acts: o-1 (saga.compensation_failed)')] })
    const other = rig.process([order])
    await other.bus.start()
    expect(other.bus.health().reasons).toEqual(bus.health().reasons)
    await other.sagas.instance('order', 'o-1').skipStep({ by: 'ann', reason: 'paid back by hand' })
    await bus.publish(Released, { orderId: 'o-1' })
    await rig.clock.advance(1_000)
    expect(other.bus.health().state).toBe('up')
    // The first process looks again when it is asked.
    await rig.clock.advance(10_000)
    bus.health()
    await rig.clock.advance(1_000)
    expect(bus.health().state).toBe('up')
    expect(sagas.stats()).toMatchObject({ quarantined: 1 })
  })
})

import { describe, expect, test } from 'vitest'
import { type SagaDefinition, saga } from '../../src/index.ts'
import { rejection } from '../bus/bus-rig.ts'
import { listed } from '../outbox/store-rig.ts'
import { SagaVersionNoted } from '../../src/saga/versions.ts'
import { Charge, Charged, OrderState, Placed, Reserve, Reserved, SagaRig, orderId } from './saga-rig.ts'

const one = { orderId: 'o-1' }

function versioned(version: number, migrations: Record<number, { state: (old: unknown) => { orderId: string; cents: number } }> = {}): SagaDefinition {
  return saga('order', { state: OrderState, version, migrations })
    .startedBy(Placed, { correlate: orderId, state: (placed) => placed })
    .step('reserve', { timeoutMs: 100_000 }, (step) => step.send(Reserve, () => one).on(Reserved, { correlate: orderId }))
    .step(version === 1 ? 'charge' : 'charge-now', { timeoutMs: 100_000 }, (step) => step.send(Charge, () => ({ ...one, cents: version })).on(Charged, { correlate: orderId }))
    .end()
}

describe('versions of one saga', () => {
  test('run side by side, each instance by the one that it was started with', async () => {
    await using rig = new SagaRig()
    const sent: number[] = []
    const first = rig.process([versioned(1)])
    await first.bus.start()
    await first.bus.publish(Placed, { ...one, cents: 1 })
    await rig.clock.advance(1_000)
    await rig.settling(first.bus.stop())
    const both = rig.process([versioned(1), versioned(2)])
    both.bus.handle(Charge, ({ data }) => void sent.push(data.cents))
    await both.bus.start()
    await both.bus.publish(Placed, { orderId: 'o-2', cents: 1 })
    await both.bus.publish(Reserved, { ...one, shelf: '' })
    await both.bus.publish(Reserved, { orderId: 'o-2', shelf: '' })
    await rig.clock.advance(1_000)
    expect(new Set(sent)).toEqual(new Set([1, 2]))
    expect((await rig.settling(both.sagas.find())).map(({ instance, version }) => [instance, version])).toEqual([['o-1', 1], ['o-2', 2]])
  })

  test('are refused at the start where one with unfinished instances is missing, until these have ended', async () => {
    await using rig = new SagaRig()
    const first = rig.process([versioned(1)])
    await first.bus.start()
    await first.bus.publish(Placed, { ...one, cents: 1 })
    await rig.clock.advance(1_000)
    await rig.settling(first.bus.stop())
    const second = rig.process([versioned(2)])
    expect(await rig.settling(rejection(second.bus.start()))).toMatchObject({ code: 'saga.version_missing', details: { saga: 'order', versions: [1], known: [2] } })
    const both = rig.process([versioned(2), versioned(1)])
    await both.bus.start()
    await both.bus.publish(Reserved, { ...one, shelf: '' })
    await both.bus.publish(Charged, one)
    await rig.clock.advance(1_000)
    expect(rig.told.at(-1)).toBe('o-1 ended completed')
    await rig.settling(both.bus.stop())
    const third = rig.process([versioned(2)])
    await third.bus.start()
    const notes = await rig.settling(listed(third.store.events.read('saga_versions-order', [SagaVersionNoted])))
    expect(notes.map(({ data }) => `${data.version} ${data.state}`)).toEqual(['1 used', '2 used', '1 drained'])
  })

  test('may be left out where a migration leads on from them', async () => {
    await using rig = new SagaRig()
    const first = rig.process([versioned(1)])
    await first.bus.start()
    await first.bus.publish(Placed, { ...one, cents: 1 })
    await rig.clock.advance(1_000)
    await rig.settling(first.bus.stop())
    const second = rig.process([versioned(2, { 1: { state: () => ({ orderId: 'moved', cents: 2 }) } })])
    await second.bus.start()
    await second.bus.publish(Reserved, { ...one, shelf: '' })
    await rig.clock.advance(1_000)
    expect(await rig.settling(second.sagas.instance('order', 'o-1').inspect())).toMatchObject({ version: 2, waitsFor: ['charge-now'], state: { orderId: 'moved' } })
  })

  test('that a process does not have are left to one that has, however often the message comes', async () => {
    await using rig = new SagaRig()
    const old = rig.process([versioned(1)])
    await old.bus.start()
    const next = rig.process([versioned(1), versioned(2)])
    await next.bus.start()
    await next.bus.publish(Placed, { ...one, cents: 1 })
    await rig.clock.advance(1_000)
    await rig.settling(next.bus.stop())
    await old.bus.publish(Reserved, { ...one, shelf: '' })
    await rig.clock.advance(30_000)
    // Where the old process had taken the start, there is nothing that it does not know.
    if ((await rig.settling(old.sagas.instance('order', 'o-1').inspect())).version === 1) return
    expect(old.bus.stats().deadLettered).toBe(0)
    const again = rig.process([versioned(1), versioned(2)])
    await again.bus.start()
    await rig.clock.advance(30_000)
    expect(await rig.settling(again.sagas.instance('order', 'o-1').inspect())).toMatchObject({ waitsFor: ['charge-now'] })
  })
})

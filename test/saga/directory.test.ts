import { describe, expect, test } from 'vitest'
import { SagaSettledNoted } from '../../src/saga/directory.ts'
import { SagaDirectory } from '../../src/saga/directory.ts'
import { SagaFamily } from '../../src/saga/family.ts'
import { type SagaChange } from '../../src/index.ts'
import { listed } from '../outbox/store-rig.ts'
import { CalledOff, Charged, Placed, Released, Reserved, SagaRig, SoldOut, order } from './saga-rig.ts'

describe('instances of a saga', () => {
  test('are found by state, step, flow and time, the oldest in its state first', async () => {
    await using rig = new SagaRig()
    const { bus, sagas } = rig.process([order])
    await bus.start()
    for (const orderId of ['o-1', 'o-2', 'o-3', 'o-4']) {
      await bus.publish(Placed, { orderId, cents: 1 }, { correlationId: `flow-${orderId}` })
      await rig.clock.advance(1_000)
    }
    await bus.publish(Reserved, { orderId: 'o-2', shelf: 'A' })
    await bus.publish(Reserved, { orderId: 'o-3', shelf: 'A' })
    await rig.clock.advance(1_000)
    await bus.publish(CalledOff, { orderId: 'o-2', why: 'no' })
    await bus.publish(SoldOut, { orderId: 'o-4', why: 'none' })
    await bus.publish(Charged, { orderId: 'o-5' })
    await rig.clock.advance(1_000)
    const find = async (filter: Parameters<typeof sagas.find>[0] = {}): Promise<readonly string[]> => (await sagas.find({ saga: 'order', ...filter })).map(({ instance }) => instance)
    expect((await find()).toSorted()).toEqual(['o-1', 'o-2', 'o-3', 'o-4', 'o-5'])
    expect((await find())[0]).toBe('o-1')
    expect(await find({ status: 'running' })).toEqual(['o-1', 'o-3'])
    expect(await find({ status: 'compensating' })).toEqual(['o-2'])
    expect(await find({ status: 'ended', outcome: 'compensated' })).toEqual(['o-4'])
    expect(await find({ status: 'early' })).toEqual(['o-5'])
    expect(await find({ step: 'reserve' })).toEqual(['o-1'])
    expect((await find({ step: 'charge' })).toSorted()).toEqual(['o-2', 'o-3'])
    expect(await find({ correlationId: 'flow-o-3' })).toEqual(['o-3'])
    expect(await find({ limit: 1 })).toEqual(['o-1'])
    const states = await sagas.states('order')
    expect(states.map(({ status, step, count, oldest }) => `${status} ${step} ${count} ${oldest}`)).toEqual(expect.arrayContaining(['running reserve 1 o-1', 'running charge 1 o-3', 'compensating undo:charge 1 o-2']))
  })

  test('that need somebody are those in quarantine and those that stand still', async () => {
    await using rig = new SagaRig()
    const { bus, sagas } = rig.process([order])
    await bus.start()
    await bus.publish(Charged, { orderId: 'early' })
    await bus.publish(Placed, { orderId: 'fresh', cents: 1 })
    await rig.clock.advance(10_000)
    const stuck = async (olderThanMs?: number): Promise<readonly string[]> => (await sagas.stuck(olderThanMs === undefined ? {} : { olderThanMs })).map(({ instance }) => instance)
    expect(await stuck()).toEqual([])
    expect((await stuck(1_000)).toSorted()).toEqual(['early', 'fresh'])
    await bus.publish(Reserved, { orderId: 'fresh', shelf: 'A' })
    await rig.clock.advance(1_000)
    await bus.publish(CalledOff, { orderId: 'fresh', why: 'x' })
    // The refund is never answered, until its last attempt has failed.
    await rig.clock.advance(30 * 3_600_000)
    expect(await stuck(1_000_000_000)).toEqual(['fresh'])
  })

  test('are watched as they change, in every process', async () => {
    await using rig = new SagaRig()
    const { bus } = rig.process([order])
    const other = rig.process([order])
    await bus.start()
    await other.bus.start()
    await rig.clock.advance(1_000)
    const stop = new AbortController()
    const seen: SagaChange[] = []
    const watching = (async () => {
      for await (const change of other.sagas.changes('order', { signal: stop.signal })) seen.push(change)
    })()
    await rig.clock.advance(1_000)
    await bus.publish(Placed, { orderId: 'o-1', cents: 1 })
    await rig.clock.advance(1_000)
    stop.abort()
    await rig.settling(watching)
    expect(seen.map(({ kind }) => kind)).toEqual(['input-handled', 'started', 'state-changed', 'step-started', 'timer-set'])
    expect(seen[0]).toMatchObject({ saga: 'order', instance: 'o-1', revision: 0n })
  })

  test('that have ended long ago are not read again by the next process', async () => {
    await using rig = new SagaRig()
    const { bus, store } = rig.process([order])
    await bus.start()
    for (let at = 0; at < 700; at++) {
      await bus.publish(Placed, { orderId: `o-${at}`, cents: 1 })
      await bus.publish(SoldOut, { orderId: `o-${at}`, why: 'none' })
    }
    await bus.publish(Placed, { orderId: 'waits', cents: 1 })
    await rig.clock.advance(60_000)
    const family = new SagaFamily('shop', [order])
    const first = new SagaDirectory(family, store.events)
    expect(await first.find({ status: 'running' })).toHaveLength(1)
    const [note] = await (listed(store.events.read('saga_directories-order', [SagaSettledNoted])))
    expect(BigInt(note?.data.position ?? '0')).toBeGreaterThan(1_000n)
    const second = new SagaDirectory(family, store.events)
    await second.find({})
    expect(second.size).toBeLessThan(first.size)
    await bus.publish(Released, { orderId: 'nobody' })
  })
})

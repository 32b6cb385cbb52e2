import { describe, expect, test } from 'vitest'
import { memory } from '../../src/adapters/memory/index.ts'
import { Placed } from '../bus/bus-rig.ts'
import { StoreRig } from './store-rig.ts'

describe('the relay', () => {
  test('says in the health when the oldest message has waited for more than 10 s, and for more than 60 s', async () => {
    await using rig = new StoreRig()
    const store = rig.store()
    const transport = memory({ broker: rig.broker })
    const publish = transport.publish.bind(transport)
    let isRefusing = true
    transport.publish = (outbound, signal) => {
      if (isRefusing) throw new Error('the broker answers with something that nobody knows')
      return publish(outbound, signal)
    }
    const bus = rig.bus({ transport, outbox: store.outbox })
    await bus.start()
    await store.transaction((unit) => unit.publish(Placed, { orderId: 'a' }))
    await rig.clock.advance(9_000)
    expect(bus.health()).toMatchObject({ state: 'up', reasons: [] })
    await rig.clock.advance(4_000)
    expect(bus.health()).toMatchObject({ state: 'degraded', reasons: [expect.stringMatching(/1 messages wait in the outbox, the oldest for 1[0-3] s/)] })
    await rig.clock.advance(60_000)
    expect(bus.health().state).toBe('down')
    isRefusing = false
    await rig.clock.advance(20_000)
    expect(bus.health().state).toBe('up')
    expect((await store.outbox.stats()).waiting).toBe(0)
  })

  test('sets aside what was made before the instant that it is told, and publishes the rest', async () => {
    await using rig = new StoreRig()
    const before = rig.store({ relay: false })
    await before.open({ service: 'shop', clock: rig.clock })
    await before.transaction((unit) => unit.publish(Placed, { orderId: 'old' }))
    await rig.clock.advance(60_000)
    // As after a restore: what is in the outbox left it long ago, from another copy of the database.
    const restored = rig.store({ publishNotBefore: new Date(rig.clock.nowMs()) })
    const bus = rig.bus({ outbox: restored.outbox, service: { name: 'relay' } })
    const seen: string[] = []
    bus.on(Placed, { group: 'watch' }, ({ data }) => void seen.push(data.orderId))
    await bus.start()
    await restored.transaction((unit) => unit.publish(Placed, { orderId: 'new' }))
    await rig.clock.advance(5_000)
    expect(seen).toEqual(['new'])
    expect(await restored.outbox.dead()).toMatchObject([{ message: { key: 'old' }, record: { reason: 'outbox.too_old' } }])
    const closing = before.close()
    await rig.clock.advance(10)
    await closing
  })

  test('tries nothing and gives nothing up while the link is down, however long', async () => {
    await using rig = new StoreRig()
    const store = rig.store()
    const transport = memory({ broker: rig.broker })
    const open = transport.open.bind(transport)
    let report: ((state: 'up' | 'down', reason: string) => void) | undefined
    transport.open = (host) => {
      report = host.report
      return open(host)
    }
    const publish = transport.publish.bind(transport)
    let tries = 0
    transport.publish = (outbound, signal) => {
      tries++
      return publish(outbound, signal)
    }
    const bus = rig.bus({ transport, outbox: store.outbox })
    await bus.start()
    report?.('down', 'gone')
    await store.transaction((unit) => unit.publish(Placed, { orderId: 'a' }))
    await rig.clock.advance(600_000)
    expect([tries, (await store.outbox.stats()).dead]).toEqual([0, 0])
    report?.('up', 'back')
    await rig.clock.advance(2_000)
    expect([tries, (await store.outbox.stats()).waiting]).toEqual([1, 0])
  })
})

test('what is written in a transaction that somebody else commits leaves a moment after its commit, of which nobody tells', async () => {
  await using rig = new StoreRig()
  const store = rig.store()
  const bus = rig.bus({ outbox: store.outbox })
  const seen: string[] = []
  bus.on(Placed, { group: 'g' }, ({ data }) => void seen.push(data.orderId))
  await bus.start()
  // Nothing has come for long, so the relay looks seldom by itself.
  await rig.clock.advance(60_000)
  await store.transaction(async ({ tx }) => {
    await store.outbox.in(tx).publish(Placed, { orderId: 'a' })
  })
  await rig.clock.advance(30)
  expect(seen).toEqual(['a'])
})

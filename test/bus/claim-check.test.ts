import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { type BodyStore, type Middleware, claimCheck, event, silentLogger } from '../../src/index.ts'
import { StoreRig } from '../outbox/store-rig.ts'
import { BusRig, Placed } from './bus-rig.ts'

const Drawn = event('design.picture-drawn', { schema: z.object({ pixels: z.string() }), key: () => 'one' })
const pixels = 'x'.repeat(100_000)

const sized = (sizes: number[]): Middleware => ({
  name: 'size',
  publish: async ({ message }, next) => {
    sizes.push(message.body.length)
    await next(message)
  },
})

class Bodies implements BodyStore {
  readonly kept = new Map<string, Uint8Array>()

  put(id: string, body: Uint8Array): Promise<void> {
    this.kept.set(id, body)
    return Promise.resolve()
  }

  get(id: string): Promise<Uint8Array | undefined> {
    return Promise.resolve(this.kept.get(id))
  }
}

describe('a claim check', () => {
  test('keeps large bodies beside the broker, and the handler gets them as ever', async () => {
    await using rig = new BusRig()
    const bodies = new Bodies()
    const sizes: number[] = []
    const bus = rig.bus({
      middleware: [claimCheck({ bodies, overBytes: 1_000 }), sized(sizes)],
    })
    const seen: number[] = []
    bus.on([Drawn, Placed], { group: 'watch' }, (message) => void seen.push('pixels' in message.data ? message.data.pixels.length : message.data.total))
    await bus.start()
    await bus.publish(Drawn, { pixels })
    await bus.publish(Placed, { orderId: 'a', total: 1 })
    await rig.clock.advance(100)
    expect(seen.toSorted((left, right) => left - right)).toEqual([1, 100_000])
    expect(sizes[0]).toBeLessThan(300)
    expect([...bodies.kept.values()].map((body) => body.length)).toEqual([100_013])
  })

  test('tries again while the body is missing, and gives the message up in the end', async () => {
    await using rig = new BusRig()
    const bodies = new Bodies()
    const bus = rig.bus({ logger: silentLogger, middleware: [claimCheck({ bodies, overBytes: 1_000 })] })
    const seen: number[] = []
    bus.on(Drawn, { group: 'watch', retry: { attemptsMax: 3 } }, ({ data }) => void seen.push(data.pixels.length))
    await bus.start()
    await bus.publish(Drawn, { pixels })
    const [body] = [...bodies.kept]
    bodies.kept.clear()
    await rig.clock.advance(60_000)
    expect(seen).toEqual([])
    const [letter] = (await bus.deadLetters.list()).items
    expect(letter?.record).toMatchObject({ reason: 'outbox.body_missing', attempts: 3 })
    if (body !== undefined) bodies.kept.set(...body)
    await bus.deadLetters.redrive(letter?.id ?? '')
    await rig.clock.advance(1_000)
    expect(seen).toEqual([100_000])
  })

  test('is told apart where nobody can fetch the body, or the body is another', async () => {
    await using rig = new BusRig()
    const bodies = new Bodies()
    const publisher = rig.bus({ logger: silentLogger, middleware: [claimCheck({ bodies, overBytes: 1_000 })] })
    const [without, cheated] = [rig.bus({ logger: silentLogger, service: { name: 'without' } }), rig.bus({ logger: silentLogger, service: { name: 'cheated' }, middleware: [claimCheck({ bodies })] })]
    for (const bus of [without, cheated]) bus.on(Drawn, { group: 'watch' }, () => {})
    for (const bus of [without, cheated, publisher]) await bus.start()
    const publishing = publisher.publish(Drawn, { pixels })
    for (const id of bodies.kept.keys()) bodies.kept.set(id, Buffer.from('{"pixels":"y"}'))
    await publishing
    await rig.clock.advance(1_000)
    const { items } = await publisher.deadLetters.list()
    expect(items.map(({ group, record }) => `${group} ${record.reason}`).toSorted()).toEqual(['cheated.watch contract.message_foreign', 'without.watch contract.message_foreign'])
  })

  test('works over an outbox with the bodies of the store', async () => {
    await using rig = new StoreRig()
    const store = rig.store()
    const bus = rig.bus({ outbox: store.outbox, middleware: [claimCheck({ bodies: store.bodies, overBytes: 1_000 })] })
    const seen: number[] = []
    bus.on(Drawn, { group: 'watch', within: store }, ({ data }) => void seen.push(data.pixels.length))
    await bus.start()
    await store.transaction((unit) => unit.publish(Drawn, { pixels }))
    await rig.clock.advance(1_000)
    expect(seen).toEqual([100_000])
  })
})

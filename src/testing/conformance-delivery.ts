import { deepEqual, equal, ok } from 'node:assert/strict'
import type { Message } from '../core/envelope.ts'
import { BODY_BYTES_MAX } from '../core/limits.ts'
import { type ConformanceCase, casesOf } from './conformance-case.ts'
import { Moved, Reserve, Ticked, Tocked } from './conformance-contracts.ts'
import { type Stage, range, refusal, sorted, wireMessage } from './conformance-stage.ts'

/** What reaches whom, and how often. */
export const deliveryCases: readonly ConformanceCase[] = casesOf('delivery', ['canStore'], [
  {
    name: 'hands a published event to its handler, with everything that was said about it',
    async run(stage) {
      const seen: Message[] = []
      const bus = stage.bus('shop').on(Moved, { group: 'work' }, (message, context) => {
        equal(context.group, 'shop.work')
        equal(context.attempt, 1)
        equal(context.isRedriven, false)
        seen.push(message)
      })
      await bus.start()
      await bus.publish(Moved, { key: 'k1', n: 1 }, { id: 'my-id', correlationId: 'flow-1', causationId: 'cause-1', tenant: 'acme' })
      await stage.until('the event is handled', () => seen.length === 1)
      const { time, ...rest } = seen[0] ?? { time: '' }
      ok(Math.abs(Date.parse(time) - stage.nowMs) < 60_000)
      deepEqual(rest, {
        id: 'my-id', type: 'conformance.moved', version: 1, source: '/shop', key: 'k1', correlationId: 'flow-1', causationId: 'cause-1', tenant: 'acme',
        headers: {}, data: { key: 'k1', n: 1 },
      })
    },
  },
  {
    name: 'carries headers as they were given, also beyond ASCII',
    async run(stage) {
      const headers = { region: 'eu-west', note: 'Größe 100 %, "zitiert" — 漢字 🚚', 'with-dash': ' a b ', empty: '', 'x-custom': 'a,b;c=d%20' }
      const seen: Message[] = []
      const bus = stage.bus().on(Ticked, { group: 'work' }, (message) => seen.push(message))
      await bus.start()
      await bus.publish(Ticked, { n: 1 }, { headers, correlationId: 'Füße/π', traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' })
      await stage.until('the event is handled', () => seen.length === 1)
      deepEqual({ ...seen[0]?.headers }, headers)
      equal(seen[0]?.correlationId, 'Füße/π')
    },
  },
  {
    name: 'gives every group a copy',
    async run(stage) {
      const seen: string[] = []
      const shop = stage.bus('shop').on(Ticked, { group: 'first' }, () => seen.push('shop.first'))
      shop.on(Ticked, { group: 'second' }, () => seen.push('shop.second'))
      // The same group name in another service is another group.
      const stock = stage.bus('stock').on(Ticked, { group: 'first' }, () => seen.push('stock.first'))
      await Promise.all([shop.start(), stock.start()])
      await shop.publish(Ticked, { n: 1 })
      await stage.until('three groups have it', () => seen.length === 3)
      deepEqual(seen.toSorted(), ['shop.first', 'shop.second', 'stock.first'])
    },
  },
  {
    name: 'shares a group between its instances, each message once',
    async run(stage) {
      const seen: number[] = []
      const busy = new Set<number>()
      const gate = stage.gate()
      for (const instance of [1, 2]) {
        const bus = stage.bus().on(Ticked, { group: 'work', inFlightMax: 1 }, async ({ data }) => {
          busy.add(instance)
          await gate.opened
          seen.push(data.n)
        })
        await bus.start()
      }
      const publisher = await stage.publisher()
      await Promise.all(range(1, 40).map((n) => publisher.publish(Ticked, { n })))
      await stage.until('both instances have work', () => busy.size === 2)
      gate.open()
      await stage.until('all is handled', () => seen.length >= 40)
      deepEqual(sorted(seen), range(1, 40))
    },
  },
  {
    name: 'keeps events for a group while none of its instances runs',
    async run(stage) {
      const first = stage.bus().on(Ticked, { group: 'work' }, () => {})
      await first.start()
      await first.stop()
      const publisher = await stage.publisher()
      for (const n of range(1, 5)) await publisher.publish(Ticked, { n })
      const seen: number[] = []
      await stage.bus().on(Ticked, { group: 'work' }, ({ data }) => seen.push(data.n)).start()
      await stage.until('the group has caught up', () => seen.length >= 5)
      deepEqual(sorted(seen), range(1, 5))
    },
  },
  {
    name: 'starts a new group with what is published from then on',
    async run(stage) {
      const publisher = await stage.publisher()
      await publisher.publish(Ticked, { n: 1 })
      const seen: number[] = []
      await stage.bus().on(Ticked, { group: 'late' }, ({ data }) => seen.push(data.n)).start()
      await publisher.publish(Ticked, { n: 2 })
      await stage.until('the later event is handled', () => seen.includes(2))
      deepEqual(seen, [2])
    },
  },
  {
    name: 'starts a new group from the beginning where it asks for that',
    needs: ['canReplay'],
    async run(stage) {
      // A group of its own first, because a broker may drop what no group wants.
      const publisher = stage.bus('publisher').on(Ticked, { group: 'old' }, () => {})
      await publisher.start()
      for (const n of range(1, 5)) await publisher.publish(Ticked, { n })
      const seen: number[] = []
      await stage.bus().on(Ticked, { group: 'late', from: 'beginning' }, ({ data }) => seen.push(data.n)).start()
      await publisher.publish(Ticked, { n: 6 })
      await stage.until('the group has everything', () => seen.length >= 6)
      deepEqual(sorted(seen), range(1, 6))
    },
  },
  {
    name: 'accepts an event that no group wants',
    async run(stage) {
      const publisher = await stage.publisher()
      await publisher.publish(Tocked, { n: 1 })
      equal(publisher.health().state, 'up')
    },
  },
  {
    name: 'keeps a command that was sent before any service handled it',
    async run(stage) {
      const publisher = await stage.publisher()
      for (const n of range(1, 5)) await publisher.send(Reserve, { key: `k${n}`, n })
      await publisher.stop()
      const seen: number[] = []
      const bus = stage.bus('stock').handle(Reserve, ({ data }) => {
        seen.push(data.n)
        return { left: 1 }
      })
      await bus.start()
      await stage.until('the commands are handled', () => seen.length >= 5)
      deepEqual(sorted(seen), range(1, 5))
    },
  },
  {
    name: 'hands a command to one of all services that handle it',
    async run(stage) {
      const seen: number[] = []
      for (const service of ['stock', 'depot']) {
        const bus = stage.bus(service).handle(Reserve, async ({ data }) => {
          await stage.pause(1)
          seen.push(data.n)
          return { left: 1 }
        })
        await bus.start()
      }
      const publisher = await stage.publisher()
      await Promise.all(range(1, 30).map((n) => publisher.send(Reserve, { key: `k${n}`, n })))
      await stage.until('all is handled', () => seen.length >= 30)
      deepEqual(sorted(seen), range(1, 30))
    },
  },
  {
    name: 'hands several types to one group',
    async run(stage) {
      const seen: string[] = []
      const bus = stage.bus().on([Ticked, Tocked], { group: 'work' }, ({ type, data }) => seen.push(`${type} ${data.n}`))
      await bus.start()
      await Promise.all([bus.publish(Ticked, { n: 1 }), bus.publish(Tocked, { n: 2 }), bus.publish(Moved, { key: 'k', n: 3 })])
      await stage.until('both are handled', () => seen.length >= 2)
      deepEqual(seen.toSorted(), ['conformance.ticked 1', 'conformance.tocked 2'])
    },
  },
  {
    name: 'keeps namespaces apart',
    async run(stage) {
      const other = await stage.elsewhere()
      const here: number[] = []
      const there: number[] = []
      const bus = stage.bus('here').on(Ticked, { group: 'work' }, ({ data }) => here.push(data.n))
      const otherBus = other.bus('there').on(Ticked, { group: 'work' }, ({ data }) => there.push(data.n))
      await Promise.all([bus.start(), otherBus.start()])
      for (const n of range(1, 5)) {
        await bus.publish(Ticked, { n })
        await otherBus.publish(Ticked, { n: -n })
      }
      await stage.until('each has its own', () => here.includes(5) && there.includes(-5))
      deepEqual([sorted(here), sorted(there)], [range(1, 5), range(-5, -1)])
    },
  },
  {
    name: 'carries a body of the largest size and refuses one byte more',
    async run(stage) {
      const sizes: number[] = []
      const bus = stage.bus().on(Ticked, { group: 'work' }, ({ data }) => sizes.push((data.text ?? '').length))
      await bus.start()
      const room = BODY_BYTES_MAX - JSON.stringify({ n: 1, text: '' }).length
      await bus.publish(Ticked, { n: 1, text: 'x'.repeat(room) })
      await refusal(() => bus.publish(Ticked, { n: 1, text: 'x'.repeat(room + 1) }), 'contract.payload_too_large')
      await bus.publish(Ticked, { n: 2 })
      await stage.until('both are handled', () => sizes.length >= 2)
      deepEqual(sorted(sizes), [0, room])
    },
  },
  {
    name: 'delivers ten thousand events to each of three groups at the same time, without loss',
    run: tenThousand,
  },
  {
    name: 'never runs more handlers than the in-flight limit',
    async run(stage) {
      let running = 0
      let most = 0
      let handled = 0
      const bus = stage.bus().on(Ticked, { group: 'work', inFlightMax: 4 }, async () => {
        most = Math.max(most, ++running)
        await stage.pause(1)
        running--
        handled++
      })
      await bus.start()
      await Promise.all(range(1, 80).map((n) => bus.publish(Ticked, { n })))
      await stage.until('all is handled', () => handled >= 80)
      equal(most, 4)
    },
  },
  {
    name: 'hands over no more than the window while nothing is settled, and goes on when something is',
    async run(stage) {
      const port = await stage.port()
      await port.subscribe({ group: 'port.narrow', types: [Ticked.type], inFlightMax: 5 })
      const beside = await stage.port('beside')
      await beside.subscribe({ group: 'port.wide', types: [Ticked.type], inFlightMax: 100 })
      for (const n of range(1, 20)) await port.publish('event', wireMessage({ type: Ticked.type }, { n }))
      await stage.until('another group has everything', () => beside.deliveries.length >= 20)
      await stage.until('the window is full', () => port.deliveries.length >= 5)
      equal(port.deliveries.length, 5)
      for (let settled = 0; settled < 20; settled++) {
        await stage.until('the next one arrives', () => port.deliveries.length > settled)
        ok(port.deliveries.length <= settled + 5, `${port.deliveries.length - settled} deliveries are out in a window of 5`)
        await port.deliveries[settled]?.ack()
      }
      equal(port.deliveries.length, 20)
    },
  },
])

async function tenThousand(stage: Stage): Promise<void> {
  const count = 10_000
  const groups = ['first', 'second', 'third'] as const
  const seen = groups.map(() => new Set<number>())
  const total = groups.map(() => 0)
  const bus = stage.bus('shop', { defaults: { inFlightMax: 128, publishTimeoutMs: 60_000 } })
  for (const [at, group] of groups.entries()) {
    bus.on(Ticked, { group }, async ({ data }) => {
      // A turn of the event loop, so that many are in flight.
      await Promise.resolve()
      seen[at]?.add(data.n)
      total[at] = (total[at] ?? 0) + 1
    })
  }
  await bus.start()
  const publisher = await stage.publisher({ defaults: { publishTimeoutMs: 60_000 } })
  for (let from = 1; from <= count; from += 500) await Promise.all(range(from, from + 499).map((n) => publisher.publish(Ticked, { n })))
  await stage.until('every group has all', () => seen.every((group) => group.size === count), 60_000)
  // Nothing failed and no link broke, so nothing came twice.
  deepEqual(total, groups.map(() => count))
}

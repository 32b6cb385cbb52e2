import { deepEqual, equal } from 'node:assert/strict'
import type { Bus } from '../bus/bus.ts'
import type { BusEvent } from '../bus/bus-events.ts'
import { type ConformanceCase, casesOf } from './conformance-case.ts'
import { LooseTicked, Ticked, Tocked } from './conformance-contracts.ts'
import { range, sorted, userError } from './conformance-stage.ts'

/** Events for every instance, without durability. */
export const broadcastCases: readonly ConformanceCase[] = casesOf('broadcast', [], [
  {
    name: 'hands a broadcast to every instance, the sender among them',
    needs: ['canBroadcast'],
    async run(stage) {
      const seen: string[] = []
      const start = (name: string, service: string): Bus =>
        stage.bus(service).on(Ticked, { broadcast: true }, ({ data, id, headers }) => seen.push(`${name} ${data.n} ${id} ${headers['mark']}`))
      const buses = [start('a', 'shop'), start('b', 'shop'), start('c', 'stock')]
      await Promise.all(buses.map((bus) => bus.start()))
      await buses[0]?.broadcast(Ticked, { n: 1 }, { id: 'one', headers: { mark: 'ü' } })
      await stage.until('all have it', () => seen.length >= 3)
      deepEqual(seen.toSorted(), ['a 1 one ü', 'b 1 one ü', 'c 1 one ü'])
    },
  },
  {
    name: 'hands what is published durably to broadcast subscriptions as well',
    needs: ['canStore', 'canBroadcast'],
    async run(stage) {
      const seen: string[] = []
      for (const name of ['a', 'b']) {
        const bus = stage.bus().on([Ticked, Tocked], { broadcast: true }, ({ data }) => seen.push(`${name} ${data.n}`))
        await bus.start()
      }
      const publisher = await stage.publisher()
      await publisher.publish(Ticked, { n: 1 })
      await publisher.publish(Tocked, { n: 2 })
      await stage.until('both have both', () => seen.length >= 4)
      deepEqual(seen.toSorted(), ['a 1', 'a 2', 'b 1', 'b 2'])
    },
  },
  {
    name: 'keeps the order of one sender',
    needs: ['canBroadcast'],
    async run(stage) {
      const seen: number[] = []
      await stage.bus().on(Ticked, { broadcast: true }, ({ data }) => seen.push(data.n)).start()
      const publisher = await stage.publisher()
      for (const n of range(1, 100)) await publisher.broadcast(Ticked, { n })
      await stage.until('all have come', () => seen.length >= 100)
      deepEqual(seen, range(1, 100))
    },
  },
  {
    name: 'stores nothing for who is not there and nothing for groups',
    needs: ['canStore', 'canBroadcast'],
    async run(stage) {
      const seen: string[] = []
      const publisher = await stage.publisher()
      await publisher.broadcast(Ticked, { n: 1 })
      const bus = stage.bus().on(Ticked, { broadcast: true }, ({ data }) => seen.push(`broadcast ${data.n}`))
      bus.on(Ticked, { group: 'work' }, ({ data }) => seen.push(`group ${data.n}`))
      await bus.start()
      await publisher.broadcast(Ticked, { n: 2 })
      await stage.until('the broadcast has come', () => seen.includes('broadcast 2'))
      await publisher.publish(Ticked, { n: 3 })
      await stage.until('the event has come', () => seen.includes('group 3') && seen.includes('broadcast 3'))
      deepEqual(seen.toSorted(), ['broadcast 2', 'broadcast 3', 'group 3'])
    },
  },
  {
    name: 'tries a broadcast once, and counts what failed',
    needs: ['canBroadcast'],
    async run(stage) {
      const events: BusEvent[] = []
      const seen: number[] = []
      const bus = stage.bus().on(Ticked, { broadcast: true }, ({ data }) => {
        seen.push(data.n)
        if (data.n === 1) throw userError('once')
      })
      bus.observe((event) => events.push(event))
      await bus.start()
      const publisher = await stage.publisher()
      await publisher.broadcast(Ticked, { n: 1 })
      const careless = await stage.publisher()
      await careless.broadcast(LooseTicked, { n: 'not a number' })
      await careless.broadcast(LooseTicked, { n: 2 })
      await stage.until('the last one has come', () => seen.includes(2))
      await stage.until('two failures are counted', () => bus.stats().broadcastFailed === 2)
      deepEqual(sorted(seen), [1, 2])
      const codes = events.flatMap((event) => (event.kind === 'broadcast-failed' ? [event.code] : []))
      deepEqual(codes.toSorted(), ['bus.handler_failed', 'contract.payload_invalid'])
    },
  },
  {
    name: 'sends no more broadcasts to an instance that has stopped',
    needs: ['canBroadcast'],
    async run(stage) {
      const [first, second]: [number[], number[]] = [[], []]
      const leaving = stage.bus().on(Ticked, { broadcast: true }, ({ data }) => first.push(data.n))
      const staying = stage.bus().on(Ticked, { broadcast: true }, ({ data }) => second.push(data.n))
      await Promise.all([leaving.start(), staying.start()])
      await staying.broadcast(Ticked, { n: 1 })
      await stage.until('both have it', () => first.length === 1 && second.length === 1)
      await leaving.stop()
      await staying.broadcast(Ticked, { n: 2 })
      await stage.until('the other one has it', () => second.length === 2)
      equal(first.length, 1)
    },
  },
])

import { deepEqual, equal, match, ok } from 'node:assert/strict'
import type { BusEvent } from '../bus/bus-events.ts'
import { type ConformanceCase, casesOf } from './conformance-case.ts'
import { Quote, Reserve, Ticked, Tocked } from './conformance-contracts.ts'
import { range, refusal, sorted, wireMessage } from './conformance-stage.ts'

/** Starting, stopping, and saying how it feels. */
export const lifecycleCases: readonly ConformanceCase[] = casesOf('lifecycle', [], [
  {
    name: 'refuses every operation before it has started and after it has stopped',
    needs: ['canStore'],
    async run(stage) {
      const bus = stage.bus()
      const all = async (): Promise<void> => {
        await refusal(() => bus.publish(Ticked, { n: 1 }), 'bus.not_running', 'publish')
        await refusal(() => bus.send(Reserve, { key: 'k', n: 1 }), 'bus.not_running', 'send')
        await refusal(() => bus.ask(Quote, { n: 1 }), 'bus.not_running', 'ask')
        await refusal(() => bus.broadcast(Ticked, { n: 1 }), 'bus.not_running', 'broadcast')
        await refusal(() => bus.deadLetters.list(), 'bus.not_running', 'deadLetters')
      }
      await all()
      await bus.start()
      await refusal(async () => bus.on(Ticked, { group: 'late' }, () => {}), 'bus.not_running', 'on')
      await bus.publish(Ticked, { n: 1 })
      await bus.stop()
      await all()
    },
  },
  {
    name: 'starts once and stops once, however often it is told to',
    needs: ['canStore'],
    async run(stage) {
      const seen: number[] = []
      const states: string[] = []
      const bus = stage.bus().on(Ticked, { group: 'work' }, ({ data }) => seen.push(data.n))
      bus.observe((event: BusEvent) => {
        if (event.kind === 'state-changed') states.push(event.state)
      })
      await Promise.all([bus.start(), bus.start()])
      await bus.start()
      await bus.publish(Ticked, { n: 1 })
      await stage.until('it is handled', () => seen.length >= 1)
      await Promise.all([bus.stop(), bus.stop()])
      await bus.stop()
      deepEqual(seen, [1])
      deepEqual(states, ['starting', 'running', 'draining', 'stopped'])
      const never = stage.bus()
      await never.stop()
      await refusal(() => never.start(), 'bus.not_running', 'a start after the stop')
    },
  },
  {
    name: 'stops at the end of its block',
    async run(stage) {
      let leaked: { readonly state: string } | undefined
      {
        await using bus = stage.bus()
        leaked = bus
        await bus.start()
        equal(bus.state, 'running')
      }
      equal(leaked.state, 'stopped')
    },
  },
  {
    name: 'says how it feels, and every change of it',
    needs: ['canStore'],
    async run(stage) {
      const events: string[] = []
      const bus = stage.bus().on(Ticked, { group: 'work' }, () => {})
      bus.observe((event) => {
        if (event.kind === 'health-changed') events.push(event.health.state)
      })
      equal(bus.health().state, 'down')
      match(bus.health().reasons.join(), /idle/)
      await bus.start()
      deepEqual(bus.health(), { state: 'up', reasons: [] })
      await bus.stop()
      equal(bus.health().state, 'down')
      equal(events.at(-1), 'down')
      ok(events.includes('up'))
    },
  },
  {
    name: 'finishes running handlers when it stops; they can still publish',
    needs: ['canStore'],
    async run(stage) {
      const gate = stage.gate()
      const seen: number[] = []
      let isBusy = false
      const bus = stage.bus('shop').on(Ticked, { group: 'work' }, async ({ data }) => {
        isBusy = true
        await gate.opened
        await bus.publish(Tocked, { n: data.n + 1 })
      })
      await stage.bus('stock').on(Tocked, { group: 'work' }, ({ data }) => seen.push(data.n)).start()
      await bus.start()
      await bus.publish(Ticked, { n: 1 })
      await stage.until('the handler runs', () => isBusy)
      const stopping = bus.stop()
      await stage.until('it drains', () => bus.state === 'draining')
      gate.open()
      await stopping
      equal(bus.stats().handled, 1)
      await stage.until('what it published arrives', () => seen.length === 1)
      // It was acknowledged before the bus closed: nobody gets it again.
      const again: number[] = []
      const next = stage.bus('shop').on(Ticked, { group: 'work' }, ({ data }) => again.push(data.n))
      await next.start()
      await next.publish(Ticked, { n: 9 })
      await stage.until('a later event is handled', () => again.includes(9))
      deepEqual(again, [9])
    },
  },
  {
    name: 'drains under load without losing or repeating anything, and without spending an attempt',
    needs: ['canStore'],
    async run(stage) {
      const first: number[] = []
      const second: (readonly [number, number])[] = []
      const gate = stage.gate()
      let blocked = 0
      const leaving = stage.bus().on(Ticked, { group: 'work', inFlightMax: 8 }, async ({ data }) => {
        await stage.pause(1)
        if (first.length >= 40) {
          blocked++
          await gate.opened
        }
        first.push(data.n)
      })
      await leaving.start()
      const publisher = await stage.publisher()
      await Promise.all(range(1, 400).map((n) => publisher.publish(Ticked, { n })))
      await stage.until('as many handlers run as may', () => blocked === 8)
      // Time for what is prefetched to arrive behind them, and for the drain to give it back.
      await stage.pause(50)
      const stopping = leaving.stop()
      await stage.until('it drains', () => leaving.state === 'draining')
      await stage.pause(20)
      gate.open()
      await stopping
      const handled = first.length
      ok(handled < 400, 'the drain came before the end of the work')
      const staying = stage.bus().on(Ticked, { group: 'work', inFlightMax: 8 }, ({ data }, { attempt }) => second.push([data.n, attempt]))
      await staying.start()
      await stage.until('the rest is handled', () => handled + second.length >= 400)
      deepEqual(sorted([...first, ...second.map(([n]) => n)]), range(1, 400))
      equal(first.length, handled)
      deepEqual(second.filter(([, attempt]) => attempt !== 1), [])
    },
  },
  {
    name: 'stops in time although a handler never ends, and leaves its message to others',
    needs: ['canStore'],
    async run(stage) {
      let isBusy = false
      const reasons: unknown[] = []
      const stuck = stage.bus('shop', { defaults: { drainTimeoutMs: 60 } }).on(Ticked, { group: 'work' }, (_message, { signal }) => {
        isBusy = true
        signal.addEventListener('abort', () => reasons.push(signal.reason))
        return new Promise<never>(() => {})
      })
      await stuck.start()
      await stuck.publish(Ticked, { n: 1 })
      await stage.until('the handler runs', () => isBusy)
      await stuck.stop()
      equal(reasons.length, 1)
      const seen: number[] = []
      await stage.bus().on(Ticked, { group: 'work' }, ({ data }) => seen.push(data.n)).start()
      await stage.until('another instance has it', () => seen.length === 1)
    },
  },
  {
    name: 'answers questions while it drains and refuses new ones',
    needs: ['canRequest'],
    async run(stage) {
      const gate = stage.gate()
      let isBusy = false
      const answering = stage.bus('pricing').answer(Quote, async () => {
        isBusy = true
        await gate.opened
        return { text: 'done' }
      })
      await answering.start()
      const asking = await stage.publisher()
      const asked = asking.ask(Quote, { n: 1 }, { timeoutMs: stage.patienceMs })
      await stage.until('the handler runs', () => isBusy)
      const stopping = answering.stop()
      gate.open()
      deepEqual(await asked, { text: 'done' })
      await stopping
      await refusal(() => asking.ask(Quote, { n: 2 }, { timeoutMs: stage.patienceMs }), 'bus.no_responder')
    },
  },
  {
    name: 'gives up open asks when it stops',
    needs: ['canRequest'],
    async run(stage) {
      const gate = stage.gate()
      const answering = stage.bus('pricing').answer(Quote, async () => {
        await gate.opened
        return { text: '' }
      })
      await answering.start()
      const asking = await stage.publisher()
      const asked = refusal(() => asking.ask(Quote, { n: 1 }, { timeoutMs: stage.patienceMs }), 'bus.ask_cancelled')
      await asking.stop()
      await asked
    },
  },
  {
    name: 'stops deliveries while a subscription is paused and goes on after that',
    needs: ['canStore'],
    async run(stage) {
      const port = await stage.port()
      const subscription = await port.subscribe({ group: 'port.work', types: [Ticked.type] })
      const beside = await stage.port('beside')
      await beside.subscribe({ group: 'port.beside', types: [Ticked.type] })
      await port.publish('event', wireMessage({ type: Ticked.type }, { n: 1 }))
      await stage.until('the first one arrives', () => port.deliveries.length === 1 && beside.deliveries.length === 1)
      await subscription.pause()
      await subscription.pause()
      await port.publish('event', wireMessage({ type: Ticked.type }, { n: 2 }))
      await stage.until('another group has the second one', () => beside.deliveries.length === 2)
      equal(port.deliveries.length, 1)
      // What was handed over before the pause can be settled in it.
      await port.deliveries[0]?.ack()
      await subscription.resume()
      await stage.until('the second one arrives', () => port.deliveries.length === 2)
      deepEqual([port.deliveries[1]?.attempt, port.deliveries[1]?.isSuspect], [1, false])
      await port.deliveries[1]?.ack()
      await subscription.close()
      await subscription.close()
    },
  },
  {
    name: 'leaves what a closed subscription did not settle to the others of its group',
    needs: ['canStore'],
    async run(stage) {
      const [first, second] = [await stage.port('first'), await stage.port('second')]
      const subscription = await first.subscribe({ group: 'port.work', types: [Ticked.type], inFlightMax: 4 })
      for (const n of range(1, 4)) await first.publish('event', wireMessage({ type: Ticked.type, id: `m${n}` }, { n }))
      await stage.until('all are out', () => first.deliveries.length === 4)
      await second.subscribe({ group: 'port.work', types: [Ticked.type], inFlightMax: 4 })
      await first.deliveries[0]?.ack()
      await subscription.close()
      await stage.until('the other one has the rest', () => second.deliveries.length >= 3)
      deepEqual(second.deliveries.map(({ message }) => message.id).toSorted(), ['m2', 'm3', 'm4'])
    },
  },
])

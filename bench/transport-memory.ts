import { ServiceBroker } from 'moleculer'
import { decodeBody, encodeBody } from '../src/contract/body.ts'
import { defined } from '../src/contract/contract.ts'
import { Envelopes, messageOf, scopeOf } from '../src/bus/envelopes.ts'
import { runInScope } from '../src/bus/scope.ts'
import { systemClock } from '../src/core/clock.ts'
import { systemRandom } from '../src/core/random.ts'
import { createBus } from '../src/index.ts'
import { memory } from '../src/adapters/memory/index.ts'
import { type Case, Counter, type Ratio, type Result, measure, windowed } from './measure.ts'
import { Order, moleculerParams, order } from './payload.ts'

const COUNT = 60_000

/** Publish → handler → ack in one process, beside Moleculer's local call, and the cost of every stage. */
export async function memorySuite(rounds: number, progress: (text: string) => void): Promise<{ results: Map<string, Result>; ratios: Ratio[] }> {
  const counter = new Counter()
  const bus = createBus({ service: { name: 'bench' }, transport: memory() })
  bus.on(Order, { group: 'orders', inFlightMax: 256 }, counter.tick)
  await bus.start()
  const broker = new ServiceBroker({ logger: false })
  broker.createService({
    name: 'bench',
    actions: { plain: () => null, checked: { params: moleculerParams, handler: () => null } },
  })
  await broker.start()
  const cases: Case[] = [
    {
      name: 'memory: publish → handle',
      run: async () => {
        // As with a call, at most 256 are under way: each burst is handled before the next one is published.
        const startedMs = performance.now()
        for (let sent = 0; sent < COUNT; sent += 256) {
          const burst = Math.min(256, COUNT - sent)
          const handled = counter.expect(burst)
          for (let index = 0; index < burst; index++) void bus.publish(Order, order)
          await handled
        }
        return { perSecond: (COUNT / (performance.now() - startedMs)) * 1_000 }
      },
    },
    { name: 'Moleculer: local call', run: async () => ({ perSecond: await windowed(COUNT, 256, () => broker.call('bench.plain', order)) }) },
    { name: 'Moleculer: local call, params checked', run: async () => ({ perSecond: await windowed(COUNT, 256, () => broker.call('bench.checked', order)) }) },
    ...stages(),
  ]
  const results = await measure(cases, rounds, progress)
  await Promise.all([bus.stop(), broker.stop()])
  const rate = (name: string): number => results.get(name)?.perSecond ?? NaN
  return {
    results,
    ratios: [
      { name: 'memory publish → handle ÷ Moleculer local call', value: rate('memory: publish → handle') / rate('Moleculer: local call'), bound: 0.12, kind: 'at least' },
    ],
  }
}

/** Nanoseconds of each step that a message goes through whatever the transport. */
function stages(): Case[] {
  const contract = defined(Order)
  const envelopes = new Envelopes(systemClock, systemRandom, 'bench')
  const encoded = contract.encode(order)
  const wire = envelopes.make(contract, encoded, undefined)
  const scope = scopeOf(wire)
  const stage = (name: string, work: () => unknown): Case => ({
    name: `stage: ${name} [ns]`,
    run: async () => {
      const count = 100_000
      const startedMs = performance.now()
      for (let index = 0; index < count; index++) work()
      return { value: ((performance.now() - startedMs) / count) * 1e6 }
    },
  })
  return [
    stage('validate and encode', () => contract.encode(order)),
    stage('of which body to JSON bytes', () => encodeBody('bench', order)),
    stage('envelope with id', () => envelopes.make(contract, encoded, undefined)),
    stage('decode and validate', () => contract.decode(1, wire.body)),
    stage('of which JSON bytes to body', () => decodeBody('bench', wire.body)),
    stage('scope and message', () => messageOf(wire, order, scopeOf(wire))),
    stage('run in scope', () => runInScope(scope, Number)),
  ]
}

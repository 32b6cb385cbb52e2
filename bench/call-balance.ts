import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { ServiceBroker } from 'moleculer'
import { nats } from '../src/adapters/nats/index.ts'
import { discovery } from '../src/discovery/index.ts'
import { type BalanceOptions, createBus, silentLogger } from '../src/index.ts'
import { natsServer } from '../test/servers/nats-server.ts'
import { type Case, type Ratio, type Result, type Sample, measure, paced, windowed } from './measure.ts'
import { Quote, SLOW_SKU, order, type quote } from './payload.ts'

const INSTANCES = 10
/** What the slow one of them takes longer for each answer, in milliseconds. */
const SLOW_MS = 50
const PER_SECOND = 1_000
const COUNT = 4_000
const WINDOW = 64

/** How the library is asked to balance; `undefined` leaves it to the broker. */
const OURS: Readonly<Record<string, BalanceOptions | undefined>> = {
  'the broker balances': undefined,
  'round-robin': { by: 'round-robin' },
  'least-pending': { by: 'least-pending' },
  latency: { by: 'latency' },
  'round-robin, outliers after 20 ms': { by: 'round-robin', attemptTimeoutMs: 20 },
  'round-robin, hedged after 10 ms': { by: 'round-robin', hedgeAfterMs: 10 },
  'latency, hedged after 10 ms': { by: 'latency', hedgeAfterMs: 10 },
}
/** Those that look at how long answers take, and must route round the slow one. */
const GOOD = ['latency', 'round-robin, outliers after 20 ms', 'round-robin, hedged after 10 ms', 'latency, hedged after 10 ms']
const STRATEGIES = { 'round robin': 'RoundRobin', latency: 'Latency' } as const

/**
 * Questions over NATS to ten instances, one of which takes 50 ms longer for each answer: at a steady 1,000 a second, and with 64 unanswered at a time.
 *
 * The ten run in one process beside the caller's, each with its own connection, and Moleculer's ten in another one that idles meanwhile: what is measured is where
 * the calls go, and ten processes would wait for each other on two cores. Every policy has a caller of its own, which knows only what it has seen itself. The last
 * figure of a line is the share of answers that came from the slow one, in percent: it is exact where other load on the machine blurs the times.
 */
export async function balanceSuite(rounds: number, progress: (text: string) => void): Promise<{ results: Map<string, Result>; ratios: Ratio[] }> {
  const server = await natsServer()
  await server.start()
  const fleets = [await fleetOf('trunkline', server.url), await fleetOf('moleculer', server.url)]
  const callers = [...(await openOurs(server.url)), ...(await openMoleculer(server.url))]
  const results = await measure(callers.flatMap(casesOf), rounds, progress)
  await Promise.all(callers.map(({ close }) => close()))
  for (const { disconnect } of fleets) await disconnect()
  await server.stop()
  return { results, ratios: ratiosOf(results) }
}

function ratiosOf(results: ReadonlyMap<string, Result>): Ratio[] {
  const p50 = (name: string): number => results.get(steady(name))?.p50Ms ?? NaN
  const p99 = (name: string): number => results.get(steady(name))?.p99Ms ?? NaN
  const rate = (name: string): number => results.get(full(name))?.perSecond ?? NaN
  const felt = ['trunkline: the broker balances', 'Moleculer: round robin'].map((name) => ({ name: `${name}: p99 ÷ the slow answer, which it meets`, value: p99(name) / SLOW_MS, bound: 1, kind: 'at least' as const }))
  const share = (name: string): number => results.get(steady(name))?.value ?? NaN
  const good = GOOD.map((name) => `trunkline: ${name}`)
  return [
    ...felt,
    ...good.map((name) => ({ name: `${name}: p99 ÷ the slow answer`, value: p99(name) / SLOW_MS, bound: 0.5, kind: 'at most' as const })),
    ...good.map((name) => ({ name: `${name}: p99 ÷ Moleculer round robin`, value: p99(name) / p99('Moleculer: round robin'), bound: 0.5, kind: 'at most' as const })),
    { name: 'least-pending: answers of the slow one ÷ round-robin', value: share('trunkline: least-pending') / share('trunkline: round-robin'), bound: 0.4, kind: 'at most' },
    { name: 'latency: answers of the slow one ÷ round-robin', value: share('trunkline: latency') / share('trunkline: round-robin'), bound: 0.05, kind: 'at most' },
    { name: 'latency: p50 ÷ the broker balances', value: p50('trunkline: latency') / p50('trunkline: the broker balances'), bound: 1.3, kind: 'at most' },
    { name: 'latency: calls a second ÷ the broker balances', value: rate('trunkline: latency') / rate('trunkline: the broker balances'), bound: 1, kind: 'at least' },
    { name: 'latency: calls a second ÷ Moleculer round robin', value: rate('trunkline: latency') / rate('Moleculer: round robin'), bound: 1, kind: 'at least' },
  ]
}

function steady(name: string): string {
  return `${name}, ${PER_SECOND.toLocaleString('en')}/s`
}

function full(name: string): string {
  return `${name}, ${WINDOW} unanswered`
}

interface Caller {
  readonly name: string
  readonly ask: () => Promise<{ readonly sku: string }>
  readonly close: () => Promise<void>
}

function casesOf({ name, ask }: Caller): readonly Case[] {
  const counted = async (run: (one: () => Promise<void>) => Promise<Sample>): Promise<Sample> => {
    let slow = 0
    const sample = await run(async () => {
      const { sku } = await ask()
      if (sku === SLOW_SKU) slow++
    })
    return { ...sample, value: (slow / COUNT) * 100 }
  }
  return [
    { name: steady(name), run: () => counted(async (one) => ({ latenciesMs: await paced(COUNT, PER_SECOND, one) })) },
    {
      name: full(name),
      run: () =>
        counted(async (one) => {
          const latenciesMs: number[] = []
          return { perSecond: await windowed(COUNT, WINDOW, one, latenciesMs), latenciesMs }
        }),
    },
  ]
}

async function fleetOf(kind: 'trunkline' | 'moleculer', url: string): Promise<{ readonly disconnect: () => Promise<void> }> {
  const child = fork(join(import.meta.dirname, 'call-fleet.ts'), [JSON.stringify({ kind, url, instances: INSTANCES, slowMs: SLOW_MS })])
  await once(child, 'message')
  return {
    disconnect: async () => {
      const gone = once(child, 'exit')
      child.disconnect()
      await gone
    },
  }
}

async function openOurs(url: string): Promise<readonly Caller[]> {
  return await Promise.all(
    Object.entries(OURS).map(async ([name, balance]) => {
      const directory = discovery()
      const bus = createBus({ service: { name: 'shop' }, transport: nats({ servers: url }), discovery: directory, logger: silentLogger })
      await bus.start()
      await directory.waitFor('pricing', INSTANCES)
      const options = balance === undefined ? {} : { balance }
      return { name: `trunkline: ${name}`, ask: () => bus.ask(Quote, order, options), close: () => bus.stop() }
    }),
  )
}

async function openMoleculer(url: string): Promise<readonly Caller[]> {
  return await Promise.all(
    Object.entries(STRATEGIES).map(async ([name, strategy]) => {
      const broker = new ServiceBroker({ nodeID: `shop-${strategy}`, transporter: { type: 'NATS', options: { servers: url } }, logger: false, registry: { strategy } })
      await broker.start()
      await broker.waitForServices('pricing')
      const nodes = (): number => broker.registry.getNodeList({ onlyAvailable: true }).filter(({ id }) => id.startsWith('pricing-')).length
      while (nodes() < INSTANCES) await new Promise((resolve) => setTimeout(resolve, 20))
      return { name: `Moleculer: ${name}`, ask: async () => await broker.call<typeof quote, typeof order>('pricing.quote', order), close: () => broker.stop() }
    }),
  )
}

import { getPostgreSQLEventStore, postgreSQLEventStoreConsumer } from '@event-driven-io/emmett-postgresql'
import { postgres } from '../src/adapters/postgres/index.ts'
import { category, fact } from '../src/index.ts'
import { type Case, Counter, type Ratio, type Result, type Sample, measure, paced } from './measure.ts'
import { benchDatabase } from './outbox-database.ts'
import { OrderFact, order } from './payload.ts'

const OUR_COUNT = 20_000
const EMMETT_COUNT = 4_000
const CHUNK = 500
const BATCH = 500
const PACED_COUNT = 300

/** A reader that comes to a log of many events and handles all of them, beside Emmett's reactor; and how soon an event is handled. */
export async function followSuite(rounds: number, progress: (text: string) => void): Promise<{ results: Map<string, Result>; ratios: Ratio[] }> {
  const server = await benchDatabase()
  const ours = await openOurs(server.url)
  const emmett = await openEmmett(server.url)
  const results = await measure([...ours.cases, ...emmett.cases], rounds, progress)
  await Promise.all([ours.close(), emmett.close()])
  await server.close()
  const rate = (name: string): number => results.get(name)?.perSecond ?? NaN
  return {
    results,
    ratios: [
      { name: 'catch-up ÷ Emmett reactor', value: rate('trunkline: catch-up') / rate('Emmett: reactor, batch 500'), bound: 8, kind: 'at least' },
      { name: 'append → handler at 100/s, p50 [ms]', value: results.get('trunkline: append → handler at 100/s')?.p50Ms ?? NaN, bound: 10, kind: 'at most' },
    ],
  }
}

interface Opened {
  readonly cases: readonly Case[]
  readonly close: () => Promise<void>
}

async function openOurs(url: string): Promise<Opened> {
  const store = postgres({ connectionString: url })
  await store.open({ service: 'bench' })
  const facts = Array.from({ length: CHUNK }, () => fact(OrderFact, order))
  for (let from = 0; from < OUR_COUNT; from += CHUNK) await store.events.append(`backlog-${from}`, 'noStream', facts)
  let turn = 0
  const catchUp = async (): Promise<Sample> => {
    const counter = new Counter()
    const handled = counter.expect(OUR_COUNT)
    const startedMs = performance.now()
    const subscription = store.events.subscribe({ name: `reader-${++turn}`, contracts: [OrderFact], from: category('backlog'), batchMax: BATCH }, counter.tick)
    await handled
    const perSecond = (OUR_COUNT / (performance.now() - startedMs)) * 1_000
    await subscription.stop()
    return { perSecond }
  }
  const waiting = new Map<string, () => void>()
  const live = store.events.subscribe({ name: 'live', contracts: [OrderFact], from: category('live') }, ({ stream }) => waiting.get(stream)?.())
  const soon = async (): Promise<Sample> => ({
    latenciesMs: await paced(PACED_COUNT, 100, async () => {
      const name = `live-${++turn}`
      const handled = new Promise<void>((resolve) => waiting.set(name, resolve))
      await store.events.append(name, 'noStream', [fact(OrderFact, order)])
      await handled
      waiting.delete(name)
    }),
  })
  return {
    cases: [{ name: 'trunkline: catch-up', run: catchUp }, { name: 'trunkline: append → handler at 100/s', run: soon }],
    close: async () => {
      await live.stop()
      await store.close()
    },
  }
}

async function openEmmett(url: string): Promise<Opened> {
  const store = getPostgreSQLEventStore(url)
  await store.schema.migrate()
  const events = Array.from({ length: CHUNK }, () => ({ type: 'order-recorded', data: order }))
  for (let from = 0; from < EMMETT_COUNT; from += CHUNK) await store.appendToStream(`backlog-${from}`, events)
  let turn = 0
  const catchUp = async (): Promise<Sample> => {
    const counter = new Counter()
    const handled = counter.expect(EMMETT_COUNT)
    const consumer = postgreSQLEventStoreConsumer({ connectionString: url, pulling: { batchSize: BATCH } })
    consumer.reactor({ processorId: `reader-${++turn}`, eachMessage: () => counter.tick() })
    const startedMs = performance.now()
    const running = consumer.start()
    await handled
    const perSecond = (EMMETT_COUNT / (performance.now() - startedMs)) * 1_000
    await consumer.close()
    await running.catch(() => undefined)
    return { perSecond }
  }
  return { cases: [{ name: 'Emmett: reactor, batch 500', run: catchUp }], close: () => store.close() }
}

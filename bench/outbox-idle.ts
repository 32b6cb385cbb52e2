import { Client } from 'pg'
import { nats } from '../src/adapters/nats/index.ts'
import { postgres } from '../src/adapters/postgres/index.ts'
import { type Bus, createBus } from '../src/index.ts'
import { natsServer } from '../test/servers/nats-server.ts'
import type { Ratio, Result } from './measure.ts'
import { benchDatabase } from './outbox-database.ts'
import { Order } from './payload.ts'

const WORKERS = 10
const IDLE_MS = 40_000
/** Sessions tell the statistics what they did when they next do something, or after ten seconds; and relays calm down. */
const SETTLE_MS = 30_000

/** Transactions of the whole server while ten workers, each with relay, scheduler, inbox and a subscription, have nothing to do. */
export async function idleSuite(_rounds: number, progress: (text: string) => void): Promise<{ results: Map<string, Result>; ratios: Ratio[] }> {
  const [database, broker] = await Promise.all([benchDatabase(), natsServer()])
  await broker.start()
  const workers: readonly Bus[] = Array.from({ length: WORKERS }, () => {
    const store = postgres({ connectionString: database.url })
    return createBus({ service: { name: 'worker' }, transport: nats({ servers: broker.url }), outbox: store.outbox }).on(Order, { group: 'orders', within: store }, () => {})
  })
  for (const worker of workers) await worker.start()
  const client = new Client({ connectionString: database.url })
  await client.connect()
  const count = async (): Promise<number> => {
    const { rows } = await client.query<{ count: string }>("SELECT xact_commit + xact_rollback AS count FROM pg_stat_database WHERE datname = 'postgres'")
    return Number(rows[0]?.count)
  }
  progress(`${WORKERS} idle workers`)
  await pause(SETTLE_MS)
  const before = await count()
  await pause(IDLE_MS)
  const perSecond = ((await count()) - before) / (IDLE_MS / 1_000)
  await Promise.all(workers.map((worker) => worker.stop()))
  await client.end()
  await Promise.all([database.close(), broker.close()])
  const name = 'trunkline: 10 idle workers [tx/s]'
  return { results: new Map([[name, { name, value: perSecond }]]), ratios: [{ name: 'transactions a second of 10 idle workers', value: perSecond, bound: 1, kind: 'at most' }] }
}

function pause(delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, delayMs)
  })
}

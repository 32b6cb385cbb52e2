import { run as runGraphile, type Runner, makeWorkerUtils, Logger, type WorkerUtils } from 'graphile-worker'
import { Client } from 'pg'
import { PgBoss } from 'pg-boss'
import { postgres } from '../src/adapters/postgres/index.ts'
import { type Bus, createBus } from '../src/index.ts'
import { postgresServer } from '../test/servers/postgres-server.ts'
import { type Case, Counter, type Ratio, type Result, measure, windowed } from './measure.ts'
import { Order, Quote, Sighting, order, quote } from './payload.ts'

const ENQUEUE_COUNT = 3_000
const BULK_COUNT = 20_000
const BULK_SIZE = 500
const DRAIN_COUNT = 20_000
const DEFAULT_COUNT = 3_000
const PACED_COUNT = 300
const PACED_EVERY_MS = 10
const CALL_COUNT = 5_000
const IDLE_MS = 40_000
const IDLE_WORKERS = 10

/** The PostgreSQL transport beside pg-boss and graphile-worker, each as it comes and at its best, on one private server. */
export async function postgresSuite(rounds: number, progress: (text: string) => void): Promise<{ results: Map<string, Result>; ratios: Ratio[] }> {
  const server = await postgresServer()
  await server.start()
  const ours = await openOurs(server.url)
  const boss = await openBoss(server.url)
  const graphile = await openGraphile(server.url)
  const results = await measure([...ours.cases, ...boss.cases, ...graphile.cases], rounds, progress)
  await Promise.all([ours.close(), boss.close(), graphile.close()])
  progress(`${IDLE_WORKERS} idle workers, ${IDLE_MS / 1_000} s`)
  const idle = { name: 'trunkline: 10 idle workers [tx/s]', value: await idleRate(server.url) }
  results.set(idle.name, idle)
  await server.close()
  return { results, ratios: ratiosOf(results) }
}

function ratiosOf(results: ReadonlyMap<string, Result>): Ratio[] {
  const rate = (name: string): number => results.get(name)?.perSecond ?? NaN
  const p50 = (name: string): number => results.get(name)?.p50Ms ?? NaN
  const atLeast = (what: string, ourCase: string, peerCase: string): Ratio => ({ name: what, value: rate(ourCase) / rate(peerCase), bound: 1, kind: 'at least' })
  return [
    atLeast('enqueue one by one, 16 outstanding ÷ pg-boss send()', 'trunkline: publish, 16 outstanding', 'pg-boss: send(), 16 outstanding'),
    atLeast('enqueue one by one, 16 outstanding ÷ graphile-worker addJob()', 'trunkline: publish, 16 outstanding', 'graphile-worker: addJob(), 16 outstanding'),
    atLeast('enqueue, 500 outstanding ÷ pg-boss insert() of 500', 'trunkline: publish, 500 outstanding', 'pg-boss: insert(), 500 a call'),
    atLeast('enqueue, 500 outstanding ÷ graphile-worker addJobs() of 500', 'trunkline: publish, 500 outstanding', 'graphile-worker: addJobs(), 500 a call'),
    atLeast('process, defaults ÷ graphile-worker', 'trunkline: process, defaults', 'graphile-worker: process, defaults'),
    atLeast('process, best tuning ÷ pg-boss', 'trunkline: process, 1,000 in flight', 'pg-boss: process, batch 500, 4 workers'),
    atLeast('process, best tuning ÷ graphile-worker', 'trunkline: process, 1,000 in flight', 'graphile-worker: process, local queue 500'),
    {
      name: 'publish → handle at 100/s, p50 ÷ pg-boss with notify', kind: 'at most', bound: 1,
      value: p50('trunkline: publish → handle at 100/s') / p50('pg-boss: send → work at 100/s, notify'),
    },
    {
      name: 'publish → handle at 100/s, p50 ÷ graphile-worker', kind: 'at most', bound: 1,
      value: p50('trunkline: publish → handle at 100/s') / p50('graphile-worker: addJob → task at 100/s'),
    },
    { name: 'transactions a second of 10 idle workers', value: results.get('trunkline: 10 idle workers [tx/s]')?.value ?? NaN, bound: 1, kind: 'at most' },
  ]
}

interface Opened {
  readonly cases: readonly Case[]
  readonly close: () => Promise<void>
}

async function openOurs(url: string): Promise<Opened> {
  const busOf = (name: string): Bus => createBus({ service: { name }, transport: postgres({ connectionString: url }).transport })
  const publisher = busOf('publisher')
  // Groups whose instances are gone: what is published is stored for them.
  const declared = busOf('declared').on(Order, { group: 'orders' }, () => {})
  await declared.start()
  await declared.stop()
  const filled = busOf('filled').on(Sighting, { group: 'orders' }, () => {})
  await filled.start()
  await filled.stop()
  await publisher.start()
  const answering = busOf('answering').answer(Quote, () => quote)
  await answering.start()
  const client = new Client({ connectionString: url })
  await client.connect()
  /** Empties the backlog that a case has made. */
  const forget = async (): Promise<void> => void (await client.query('TRUNCATE trunkline.bus_delivery'))
  const enqueue = async (count: number, window: number): Promise<number> => {
    const perSecond = await windowed(count, window, () => publisher.publish(Sighting, order))
    await forget()
    return perSecond
  }
  const drain = async (count: number, inFlightMax: number | undefined): Promise<number> => {
    await windowed(count, 512, () => publisher.publish(Order, order))
    const counter = new Counter()
    const consumer = busOf('declared').on(Order, { group: 'orders', ...(inFlightMax === undefined ? {} : { inFlightMax }) }, counter.tick)
    const handled = counter.expect(count)
    const startedMs = performance.now()
    await consumer.start()
    await handled
    const perSecond = (count / (performance.now() - startedMs)) * 1_000
    await consumer.stop()
    return perSecond
  }
  const flow = async (count: number): Promise<number> => {
    const counter = new Counter()
    const consumer = busOf('declared').on(Order, { group: 'orders', inFlightMax: 512 }, counter.tick)
    await consumer.start()
    const handled = counter.expect(count)
    const startedMs = performance.now()
    await windowed(count, 512, () => publisher.publish(Order, order))
    await handled
    const perSecond = (count / (performance.now() - startedMs)) * 1_000
    await consumer.stop()
    return perSecond
  }
  const paced = async (): Promise<number[]> => {
    const sent = new Map<string, number>()
    const latenciesMs: number[] = []
    const consumer = busOf('declared').on(Order, { group: 'orders' }, ({ id }) => void latenciesMs.push(performance.now() - (sent.get(id) ?? NaN)))
    await consumer.start()
    await steadily(PACED_COUNT, async (index) => {
      sent.set(`${index}`, performance.now())
      await publisher.publish(Order, order, { id: `${index}` })
    })
    await until(() => latenciesMs.length >= PACED_COUNT)
    await consumer.stop()
    return latenciesMs
  }
  return {
    cases: [
      { name: 'trunkline: publish, 16 outstanding', run: async () => ({ perSecond: await enqueue(ENQUEUE_COUNT, 16) }) },
      { name: 'trunkline: publish, 500 outstanding', run: async () => ({ perSecond: await enqueue(BULK_COUNT, BULK_SIZE) }) },
      { name: 'trunkline: process, defaults', run: async () => ({ perSecond: await drain(DEFAULT_COUNT, undefined) }) },
      { name: 'trunkline: process, 1,000 in flight', run: async () => ({ perSecond: await drain(DRAIN_COUNT, 1_000) }) },
      { name: 'trunkline: publish → handle → ack, 512 outstanding', run: async () => ({ perSecond: await flow(BULK_COUNT) }) },
      { name: 'trunkline: publish → handle at 100/s', run: async () => ({ latenciesMs: await paced() }) },
      {
        name: 'trunkline: ask, 64 outstanding',
        run: async () => {
          const latenciesMs: number[] = []
          return { perSecond: await windowed(CALL_COUNT, 64, () => publisher.ask(Quote, order), latenciesMs), latenciesMs }
        },
      },
    ],
    close: async () => {
      await Promise.all([publisher.stop(), answering.stop()])
      await client.end()
    },
  }
}

async function openBoss(url: string): Promise<Opened> {
  const boss = new PgBoss({ connectionString: url, schema: 'boss', useListenNotify: true })
  boss.on('error', () => undefined)
  await boss.start()
  for (const name of ['kept', 'drained']) await boss.createQueue(name)
  await boss.createQueue('paced', { notify: true })
  const jobs = Array.from({ length: BULK_SIZE }, () => ({ data: order }))
  const fill = async (name: string, count: number): Promise<void> => {
    for (let at = 0; at < count; at += BULK_SIZE) await boss.insert(name, jobs)
  }
  return {
    cases: [
      {
        name: 'pg-boss: send(), 16 outstanding',
        run: async () => {
          const perSecond = await windowed(ENQUEUE_COUNT, 16, () => boss.send('kept', order))
          await boss.deleteAllJobs('kept')
          return { perSecond }
        },
      },
      {
        name: 'pg-boss: insert(), 500 a call',
        run: async () => {
          const startedMs = performance.now()
          await fill('kept', BULK_COUNT)
          const perSecond = (BULK_COUNT / (performance.now() - startedMs)) * 1_000
          await boss.deleteAllJobs('kept')
          return { perSecond }
        },
      },
      {
        name: 'pg-boss: process, batch 500, 4 workers',
        run: async () => {
          await fill('drained', DRAIN_COUNT)
          const counter = new Counter()
          const handled = counter.expect(DRAIN_COUNT)
          const startedMs = performance.now()
          await boss.work('drained', { batchSize: 500, localConcurrency: 4, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5 }, async (batch) => {
            for (const _job of batch) counter.tick()
          })
          await handled
          const perSecond = (DRAIN_COUNT / (performance.now() - startedMs)) * 1_000
          await boss.offWork('drained')
          await boss.deleteAllJobs('drained')
          return { perSecond }
        },
      },
      {
        name: 'pg-boss: send → work at 100/s, notify',
        run: async () => {
          const latenciesMs: number[] = []
          await boss.work<{ sentMs: number }>('paced', { batchSize: 500 }, async (batch) => {
            for (const job of batch) latenciesMs.push(performance.now() - job.data.sentMs)
          })
          await steadily(PACED_COUNT, async () => void (await boss.send('paced', { ...order, sentMs: performance.now() })))
          await until(() => latenciesMs.length >= PACED_COUNT)
          await boss.offWork('paced')
          return { latenciesMs }
        },
      },
    ],
    close: async () => await boss.stop({ graceful: false }),
  }
}

async function openGraphile(url: string): Promise<Opened> {
  const silent = new Logger(() => () => undefined)
  const utils: WorkerUtils = await makeWorkerUtils({ connectionString: url, logger: silent })
  await utils.migrate()
  const clear = async (): Promise<void> => void (await utils.withPgClient((client) => client.query('DELETE FROM graphile_worker._private_jobs')))
  const fill = async (count: number): Promise<void> => {
    const jobs = Array.from({ length: BULK_SIZE }, () => ({ identifier: 'task', payload: order }))
    for (let at = 0; at < count; at += BULK_SIZE) await utils.addJobs(jobs)
  }
  const start = (task: (payload: unknown) => void, isTuned: boolean): Promise<Runner> =>
    runGraphile({
      connectionString: url, logger: silent, noHandleSignals: true, taskList: { task },
      ...(isTuned ? { concurrency: 100, preset: { worker: { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 } } } : {}),
    })
  const drain = async (count: number, isTuned: boolean): Promise<number> => {
    await fill(count)
    const counter = new Counter()
    const handled = counter.expect(count)
    const startedMs = performance.now()
    const runner = await start(counter.tick, isTuned)
    await handled
    const perSecond = (count / (performance.now() - startedMs)) * 1_000
    await runner.stop()
    return perSecond
  }
  return {
    cases: [
      {
        name: 'graphile-worker: addJob(), 16 outstanding',
        run: async () => {
          const perSecond = await windowed(ENQUEUE_COUNT, 16, () => utils.addJob('task', order))
          await clear()
          return { perSecond }
        },
      },
      {
        name: 'graphile-worker: addJobs(), 500 a call',
        run: async () => {
          const startedMs = performance.now()
          await fill(BULK_COUNT)
          const perSecond = (BULK_COUNT / (performance.now() - startedMs)) * 1_000
          await clear()
          return { perSecond }
        },
      },
      { name: 'graphile-worker: process, defaults', run: async () => ({ perSecond: await drain(DEFAULT_COUNT, false) }) },
      { name: 'graphile-worker: process, local queue 500', run: async () => ({ perSecond: await drain(DRAIN_COUNT, true) }) },
      {
        name: 'graphile-worker: addJob → task at 100/s',
        run: async () => {
          const latenciesMs: number[] = []
          const runner = await start((payload) => void latenciesMs.push(performance.now() - sentMsOf(payload)), false)
          await steadily(PACED_COUNT, async () => void (await utils.addJob('task', { ...order, sentMs: performance.now() })))
          await until(() => latenciesMs.length >= PACED_COUNT)
          await runner.stop()
          return { latenciesMs }
        },
      },
    ],
    close: async () => await utils.release(),
  }
}

function sentMsOf(payload: unknown): number {
  return typeof payload === 'object' && payload !== null && 'sentMs' in payload && typeof payload.sentMs === 'number' ? payload.sentMs : NaN
}

/** Transactions of the whole server while workers with a group each have nothing to do. */
async function idleRate(url: string): Promise<number> {
  const workers = Array.from({ length: IDLE_WORKERS }, (_, index) =>
    createBus({ service: { name: `worker-${index}` }, transport: postgres({ connectionString: url, schema: 'idle' }).transport }).on(Order, { group: 'orders' }, () => {}))
  for (const worker of workers) await worker.start()
  const client = new Client({ connectionString: url })
  await client.connect()
  const count = async (): Promise<number> => {
    const { rows } = await client.query<{ count: string }>("SELECT xact_commit + xact_rollback AS count FROM pg_stat_database WHERE datname = 'postgres'")
    return Number(rows[0]?.count)
  }
  // What the server does by itself after the parts before counts as transactions too.
  await client.query('ALTER SYSTEM SET autovacuum = off')
  await client.query('SELECT pg_reload_conf()')
  // Sessions tell the statistics what they did when they next do something, or after ten seconds.
  await pause(12_000)
  const before = await count()
  await pause(IDLE_MS)
  const after = await count()
  await Promise.all(workers.map((worker) => worker.stop()))
  await client.end()
  return (after - before) / (IDLE_MS / 1_000)
}

/** Starts an operation every ten milliseconds. */
async function steadily(count: number, operation: (index: number) => Promise<void>): Promise<void> {
  const startedMs = performance.now()
  const running: Promise<void>[] = []
  for (let index = 0; index < count; index++) {
    running.push(operation(index))
    await pause(Math.max(0, startedMs + (index + 1) * PACED_EVERY_MS - performance.now()))
  }
  await Promise.all(running)
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await pause(2)
}

function pause(delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, delayMs)
  })
}

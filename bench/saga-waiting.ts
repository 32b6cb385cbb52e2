import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { postgres } from '../src/adapters/postgres/index.ts'
import { type Case, type Ratio, type Result, measure } from './measure.ts'
import { CONNECTIONS, benchDatabase, plainPool } from './outbox-database.ts'
import { fillWaiting } from './saga-waiting-work.ts'

const INSTANCES = 100_000
const FEW = 100
const SCRIPT = fileURLToPath(new URL('saga-waiting-process.ts', import.meta.url))

interface Started {
  readonly startMs: number
  readonly heapBytes: number
  readonly firstMs: number
}

/**
 * What 100,000 instances that wait, each with an alarm, cost the process that runs them: the same program is started over a database with a
 * hundred and over one that holds them all, each time as a fresh process, and handles a message for one of them.
 */
export async function waitingSuite(rounds: number, progress: (text: string) => void): Promise<{ results: Map<string, Result>; ratios: Ratio[] }> {
  const [empty, full] = [await benchDatabase(), await benchDatabase()]
  progress(`making ${INSTANCES} instances`)
  const startedMs = performance.now()
  await fillWaiting(postgres({ connectionString: full.url, poolMax: CONNECTIONS }), INSTANCES, progress)
  const fillSeconds = (performance.now() - startedMs) / 1_000
  await fillWaiting(postgres({ connectionString: empty.url, poolMax: CONNECTIONS }), FEW, progress)
  const pool = plainPool(full.url, 1)
  const { rows } = await pool.query<{ instances: string; alarms: string }>("SELECT (SELECT count(*) FROM trunkline.stream WHERE category = 'saga_waiting') AS instances, (SELECT count(*) FROM trunkline.timer) AS alarms")
  await pool.end()
  const [made] = rows
  if (Number(made?.instances) !== INSTANCES || Number(made?.alarms) !== INSTANCES) throw new Error(`there are ${made?.instances} instances with ${made?.alarms} alarms, and not ${INSTANCES}`)
  const cases = (name: string, url: string): readonly Case[] => {
    let last: Started | undefined
    let turn = 0
    return [
      {
        name: `start [ms], ${name}`,
        run: async () => {
          last = await Promise.resolve(started(url, `o-${turn++}`))
          return { value: last.startMs }
        },
      },
      { name: `heap [KiB], ${name}`, run: async () => await Promise.resolve({ value: (last?.heapBytes ?? NaN) / 1_024 }) },
      { name: `first message handled after [ms], ${name}`, run: async () => await Promise.resolve({ value: last?.firstMs ?? NaN }) },
    ]
  }
  const results = await measure([...cases('100 wait', empty.url), ...cases('100,000 wait', full.url)], rounds, progress)
  await Promise.all([empty.close(), full.close()])
  const value = (name: string): number => results.get(name)?.value ?? NaN
  const bytes = ((value('heap [KiB], 100,000 wait') - value('heap [KiB], 100 wait')) * 1_024) / (INSTANCES - FEW)
  results.set('made', { name: 'instances made with their alarms', perSecond: INSTANCES / fillSeconds, perSecondMin: INSTANCES / fillSeconds, perSecondMax: INSTANCES / fillSeconds })
  return {
    results,
    ratios: [
      { name: 'memory of the process for each waiting instance [bytes]', value: bytes, bound: 16, kind: 'at most' },
      { name: 'start, 100,000 wait ÷ 100 wait', value: value('start [ms], 100,000 wait') / value('start [ms], 100 wait'), bound: 1.5, kind: 'at most' },
    ],
  }
}

function started(url: string, orderId: string): Started {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--disable-warning=ExperimentalWarning', '--expose-gc', SCRIPT], { encoding: 'utf8', env: { ...process.env, TRUNKLINE_BENCH_URL: url, TRUNKLINE_BENCH_ORDER: orderId } })
  if (status !== 0) throw new Error(stderr)
  return JSON.parse(stdout)
}

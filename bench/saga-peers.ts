import { DBOS } from '@dbos-inc/dbos-sdk'
import { postgres } from '../src/adapters/postgres/index.ts'
import { type Ratio, type Result, type Sample, measure, windowed } from './measure.ts'
import { CONNECTIONS, benchDatabase } from './outbox-database.ts'
import { RestateCrew } from './saga-restate.ts'
import { STEPS, SagaCrew } from './saga-work.ts'

const COUNT = 500

/**
 * Sagas of three steps a second, 16 at a time.
 *
 * Trunkline sends a command for each step to another service, through outbox and broker, and waits for its event with a durable alarm. DBOS and Restate run
 * the steps as functions inside the workflow's own process, as is usual there, and keep what each has given: nothing is sent, nothing is awaited. DBOS has 16
 * connections to the same server as Trunkline; Restate has a log of its own, with its defaults, on the same disk.
 */
export async function sagaPeersSuite(rounds: number, progress: (text: string) => void): Promise<{ results: Map<string, Result>; ratios: Ratio[] }> {
  const server = await benchDatabase()
  const crew = await SagaCrew.start(postgres({ connectionString: server.url, poolMax: CONNECTIONS }), CONNECTIONS)
  const dbos = await openDbos(server.url)
  const restate = await RestateCrew.start()
  const ours = async (): Promise<Sample> => ({ perSecond: ((await crew.run(COUNT)).perSecond ?? NaN) / STEPS })
  const results = await measure(
    [
      { name: 'trunkline: sagas of three steps', run: ours },
      { name: 'DBOS: workflows of three steps', run: async () => ({ perSecond: await windowed(COUNT, CONNECTIONS, dbos.run) }) },
      { name: 'Restate: workflows of three steps', run: async () => ({ perSecond: await windowed(COUNT, CONNECTIONS, (index) => restate.call(index)) }) },
    ],
    rounds, progress,
  )
  await Promise.all([crew.close(), dbos.close(), restate.close()])
  await server.close()
  const rate = (name: string): number => results.get(name)?.perSecond ?? NaN
  return {
    results,
    ratios: [
      { name: 'sagas of three steps ÷ DBOS', value: rate('trunkline: sagas of three steps') / rate('DBOS: workflows of three steps'), bound: 3, kind: 'at least' },
      { name: 'sagas of three steps ÷ Restate', value: rate('trunkline: sagas of three steps') / rate('Restate: workflows of three steps'), bound: 1, kind: 'at least' },
    ],
  }
}

async function openDbos(url: string): Promise<{ readonly run: (index: number) => Promise<unknown>; readonly close: () => Promise<void> }> {
  const own = new URL(url)
  own.pathname = '/dbos'
  DBOS.setConfig({ name: 'bench', systemDatabaseUrl: own.href, systemDatabasePoolSize: CONNECTIONS, logLevel: 'error' })
  const step = (name: string, orderId: string, cents: number): Promise<object> => DBOS.runStep(() => Promise.resolve({ orderId, cents }), { name })
  const workflow = DBOS.registerWorkflow(
    async (orderId: string, cents: number) => {
      await step('reserve', orderId, cents)
      await step('charge', orderId, cents)
      await step('ship', orderId, cents)
    },
    { name: 'fulfilment' },
  )
  await DBOS.launch()
  return { run: (index) => workflow(`o-${index}`, index), close: () => DBOS.shutdown() }
}

import { getPostgreSQLEventStore } from '@event-driven-io/emmett-postgresql'
import { Pool } from 'pg'
import { postgresBackend } from '../src/adapters/postgres/index.ts'
import { systemClock } from '../src/core/clock.ts'
import { silentLogger } from '../src/core/logger.ts'
import { systemRandom } from '../src/core/random.ts'
import { postgresServer } from '../test/servers/postgres-server.ts'
import { type Case, measure, type Ratio, type Result, windowed } from './measure.ts'
import { orderEvent } from './store-events.ts'

const WRITERS = 16
const COUNT = 6_000
const READ_COUNT = 20_000

// What one would write by hand for the same promise: the version is checked and the event inserted by one prepared statement.
const RAW_TABLES = `CREATE TABLE raw_stream (name text PRIMARY KEY, revision bigint NOT NULL);
CREATE TABLE raw_event (position bigserial PRIMARY KEY, stream text NOT NULL, revision bigint NOT NULL, id text NOT NULL, type text NOT NULL,
  stored_at timestamptz NOT NULL DEFAULT now(), data bytea NOT NULL, UNIQUE (stream, revision))`
const RAW_APPEND = `WITH s AS (INSERT INTO raw_stream AS r (name, revision) VALUES ($1, 0) ON CONFLICT (name)
  DO UPDATE SET revision = r.revision + 1 WHERE r.revision = $2 RETURNING name, revision)
INSERT INTO raw_event (stream, revision, id, type, data) SELECT name, revision, $3, $4, $5 FROM s RETURNING position`

/** Appends with a check of the version, one stream per writer; then reading everything again. */
export async function appendSuite(rounds: number, progress: (text: string) => void): Promise<{ results: Map<string, Result>; ratios: Ratio[] }> {
  const server = await postgresServer({ config: ['shared_buffers = 512MB', 'max_wal_size = 4GB'] })
  await server.start()
  const pool = new Pool({ connectionString: server.url, max: WRITERS })
  pool.on('error', () => undefined)
  await pool.query(RAW_TABLES)
  const store = postgresBackend({ connectionString: server.url, poolMax: WRITERS })
  await store.open({
    clock: systemClock, random: systemRandom, logger: silentLogger, service: 'bench', instance: 'bench', isOwnTransport: false, report: () => undefined,
  })
  const emmett = getPostgreSQLEventStore(server.url)
  let runs = 0
  const streams = (): { readonly next: (index: number) => { readonly stream: string; readonly before: bigint } } => {
    const run = ++runs
    const revisions = new Map<number, bigint>()
    return {
      next: (writer) => {
        const before = revisions.get(writer) ?? -1n
        revisions.set(writer, before + 1n)
        return { stream: `order-${run}-${writer}`, before }
      },
    }
  }
  const rawAppend = async (stream: string, before: bigint): Promise<void> => {
    const { message } = orderEvent()
    const { rowCount } = await pool.query({ name: 'append', text: RAW_APPEND, values: [stream, String(before), message.id, message.type, message.body] })
    if (rowCount !== 1) throw new Error('the version was another one')
  }
  const ourAppend = async (stream: string, before: bigint): Promise<void> => {
    await store.log.append(stream, before < 0n ? 'noStream' : before, [orderEvent()])
  }
  const peerAppend = async (stream: string, before: bigint): Promise<void> => {
    const { message } = orderEvent()
    const data = { orderId: message.id, customer: 'customer-0001', lines: 'x'.repeat(180), totalCents: 12_345 }
    await emmett.appendToStream(stream, [{ type: message.type, data }], { expectedStreamVersion: before < 0n ? 'STREAM_DOES_NOT_EXIST' : before + 1n })
  }
  const appends = (name: string, writers: number, append: (stream: string, before: bigint) => Promise<void>): Case => ({
    name,
    run: async () => {
      const { next } = streams()
      const free = Array.from({ length: writers }, (_each, writer) => writer)
      return {
        perSecond: await windowed(writers === 1 ? COUNT / 6 : COUNT, writers, async () => {
          const writer = free.pop() ?? 0
          const { stream, before } = next(writer)
          await append(stream, before)
          free.push(writer)
        }),
      }
    },
  })
  const results = await measure([
    appends('raw statement: append, 16 writers', WRITERS, rawAppend),
    appends('trunkline: append, 16 writers', WRITERS, ourAppend),
    appends('emmett: append, 16 writers', WRITERS, peerAppend),
    appends('raw statement: append, 1 writer', 1, rawAppend),
    appends('trunkline: append, 1 writer', 1, ourAppend),
    {
      name: 'trunkline: append 10 together, 16 writers [events]',
      run: async () => {
        const run = ++runs
        let made = 0
        return { perSecond: 10 * (await windowed(COUNT / 10, WRITERS, async () => void (await store.log.append(`many-${run}-${made++}`, 'noStream', Array.from({ length: 10 }, orderEvent))))) }
      },
    },
    {
      name: 'raw statement: read by position, 500 a page',
      run: async () => {
        const startedMs = performance.now()
        let [count, cursor] = [0, '0']
        while (count < READ_COUNT) {
          const { rows } = await pool.query({ name: 'read', text: 'SELECT position, stream, revision, id, type, data FROM raw_event WHERE position > $1 ORDER BY position LIMIT 500', values: [cursor] })
          count += rows.length
          cursor = rows.at(-1)?.position ?? cursor
          if (rows.length < 500) cursor = '0'
        }
        return { perSecond: (count / (performance.now() - startedMs)) * 1_000 }
      },
    },
    {
      name: 'trunkline: follow from the beginning, 500 a page',
      run: async () => {
        const startedMs = performance.now()
        let count = 0
        while (count < READ_COUNT) {
          const abort = new AbortController()
          for await (const page of store.log.follow({ kind: 'all' }, undefined, { pageMax: 500, signal: abort.signal })) {
            count += page.events.length
            if (page.isEnd || count >= READ_COUNT) abort.abort()
          }
        }
        return { perSecond: (count / (performance.now() - startedMs)) * 1_000 }
      },
    },
  ], rounds, progress)
  await emmett.close()
  await store.close()
  await pool.end()
  await server.close()
  const rate = (name: string): number => results.get(name)?.perSecond ?? NaN
  return {
    results,
    ratios: [
      { name: 'append, 16 writers ÷ one raw statement', value: rate('trunkline: append, 16 writers') / rate('raw statement: append, 16 writers'), bound: 0.8, kind: 'at least' },
      { name: 'append, 16 writers ÷ Emmett', value: rate('trunkline: append, 16 writers') / rate('emmett: append, 16 writers'), bound: 2, kind: 'at least' },
      { name: 'follow ÷ raw read', value: rate('trunkline: follow from the beginning, 500 a page') / rate('raw statement: read by position, 500 a page'), bound: 0.4, kind: 'at least' },
    ],
  }
}

import { Pool } from 'pg'
import { postgresBackend, type PostgresBackend } from '../src/adapters/postgres/index.ts'
import { systemClock } from '../src/core/clock.ts'
import { silentLogger } from '../src/core/logger.ts'
import { seededRandom, systemRandom } from '../src/core/random.ts'
import { postgresServer } from '../test/servers/postgres-server.ts'
import { percentile, type Ratio, type Result } from './measure.ts'
import { orderEvent } from './store-events.ts'

const WRITERS = 16
const STREAMS = 40
const RUN_MS = 6_000
const POLL_MS = 2
const PAGE = 500

/** A reader of the log, by one method. */
class Reader {
  readonly name: string
  readonly #seenAtMs = new Map<string, number>()
  readonly #last = new Map<string, bigint>()
  inversions = 0

  constructor(name: string) {
    this.name = name
  }

  see(stream: string, revision: bigint): void {
    const place = `${stream}@${revision}`
    if (this.#seenAtMs.has(place)) return
    this.#seenAtMs.set(place, performance.now())
    if (revision < (this.#last.get(stream) ?? -1n)) this.inversions++
    this.#last.set(stream, revision)
  }

  /** How many of the committed events it has not seen. */
  missing(committedAtMs: ReadonlyMap<string, number>): number {
    return [...committedAtMs.keys()].filter((place) => !this.#seenAtMs.has(place)).length
  }

  latenciesMs(committedAtMs: ReadonlyMap<string, number>): readonly number[] {
    return [...committedAtMs].flatMap(([place, atMs]) => Math.max(0, (this.#seenAtMs.get(place) ?? NaN) - atMs)).filter((ms) => !Number.isNaN(ms))
  }
}

/** Three ways to read a log in order while 16 writers commit, roll back and dawdle, over the same rows in the same run. */
export async function orderSuite(_rounds: number, progress: (text: string) => void): Promise<{ results: Map<string, Result>; ratios: Ratio[] }> {
  const server = await postgresServer({ config: ['max_wal_size = 4GB'] })
  await server.start()
  const store = postgresBackend({ connectionString: server.url, poolMax: WRITERS + 4 })
  await store.open({
    clock: systemClock, random: systemRandom, logger: silentLogger, service: 'bench', instance: 'bench', isOwnTransport: false, report: () => undefined,
  })
  const pool = new Pool({ connectionString: server.url, max: 4 })
  pool.on('error', () => undefined)
  await pool.query(`CREATE TABLE business (id bigserial PRIMARY KEY); CREATE TABLE stranger (id int);
    ALTER TABLE trunkline.event ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id(); CREATE INDEX event_xid ON trunkline.event (xid, position)`)
  const stranger = await pool.connect()
  await stranger.query('BEGIN; INSERT INTO stranger VALUES (1)')
  const abort = new AbortController()
  const [raw, gate, proof] = [new Reader('position beyond the last one seen'), new Reader('xid below the oldest one running'), new Reader('holder proof (trunkline)')]
  const reading = [byPosition(pool, raw, abort.signal), byTransaction(pool, gate, abort.signal), byProof(store, proof, abort.signal)]
  progress(`${WRITERS} writers for ${RUN_MS / 1_000} s`)
  const committedAtMs = await write(store)
  progress('readers catch up')
  await pause(1_000)
  const stalled = new Map([raw, gate, proof].map((reader) => [reader, reader.missing(committedAtMs)]))
  await stranger.query('COMMIT')
  stranger.release()
  await pause(1_000)
  abort.abort()
  await Promise.all(reading)
  await store.close()
  await pool.end()
  await server.close()
  return report([raw, gate, proof], stalled, committedAtMs)
}

function report(readers: readonly Reader[], stalled: ReadonlyMap<Reader, number>, committedAtMs: ReadonlyMap<string, number>): { results: Map<string, Result>; ratios: Ratio[] } {
  const results = new Map<string, Result>()
  const put = (name: string, figures: Partial<Result>): void => void results.set(name, { name, ...figures })
  put('events committed', { value: committedAtMs.size })
  for (const reader of readers) {
    const lost = reader.missing(committedAtMs)
    const latencies = reader.latenciesMs(committedAtMs)
    put(`${reader.name}: never seen`, { value: lost })
    put(`${reader.name}: held up by a stranger's transaction`, { value: (stalled.get(reader) ?? 0) - lost })
    put(`${reader.name}: out of order in a stream`, { value: reader.inversions })
    put(`${reader.name}: commit → seen`, { p50Ms: percentile(latencies, 0.5), p99Ms: percentile(latencies, 0.99) })
  }
  const value = (name: string): number => results.get(name)?.value ?? NaN
  const [raw, gate, proof] = readers.map(({ name }) => name)
  return {
    results,
    ratios: [
      { name: 'holder proof: events never seen', value: value(`${proof}: never seen`), bound: 0, kind: 'at most' },
      { name: "holder proof: events held up by a stranger's transaction", value: value(`${proof}: held up by a stranger's transaction`), bound: 0, kind: 'at most' },
      { name: 'holder proof: events out of order', value: value(`${proof}: out of order in a stream`), bound: 0, kind: 'at most' },
      // Without these the run was too gentle to tell anything.
      { name: 'by position: events never seen', value: value(`${raw}: never seen`), bound: 1, kind: 'at least' },
      { name: "by transaction: events held up by a stranger's transaction", value: value(`${gate}: held up by a stranger's transaction`), bound: 1, kind: 'at least' },
    ],
  }
}

/** Of all transactions 15 % roll back, 20 % are slow to commit, 30 % write elsewhere before they append. */
async function write(store: PostgresBackend): Promise<ReadonlyMap<string, number>> {
  const committedAtMs = new Map<string, number>()
  const endMs = performance.now() + RUN_MS
  await Promise.all(Array.from({ length: WRITERS }, async (_writer, index) => {
    const random = seededRandom(index + 1)
    while (performance.now() < endMs) {
      const stream = `order-${Math.floor(random.next() * STREAMS)}`
      const [isRolledBack, isSlow, isEarly] = [random.next() < 0.15, random.next() < 0.2, random.next() < 0.3]
      const waitMs = random.next() * 30
      await store.transact(async (tx) => {
        if (isEarly) {
          await tx.handle.query('INSERT INTO business DEFAULT VALUES')
          await pause(waitMs / 3)
        }
        const { revision } = await tx.append(stream, 'any', [orderEvent()])
        if (isSlow) await pause(waitMs)
        if (isRolledBack) throw new Error('rolled back')
        return revision
      }).then((revision) => committedAtMs.set(`${stream}@${revision}`, performance.now()), () => undefined)
    }
  }))
  return committedAtMs
}

async function byPosition(pool: Pool, reader: Reader, signal: AbortSignal): Promise<void> {
  let cursor = '0'
  while (!signal.aborted) {
    const { rows } = await pool.query({
      name: 'by-position', values: [cursor, PAGE],
      text: 'SELECT e.position, s.name, e.revision FROM trunkline.event e JOIN trunkline.stream s ON s.id = e.stream_id WHERE e.position > $1 ORDER BY e.position LIMIT $2',
    })
    for (const row of rows) reader.see(row.name, BigInt(row.revision))
    cursor = rows.at(-1)?.position ?? cursor
    if (rows.length < PAGE) await pause(POLL_MS)
  }
}

async function byTransaction(pool: Pool, reader: Reader, signal: AbortSignal): Promise<void> {
  let cursor = ['0', '0']
  while (!signal.aborted) {
    const { rows } = await pool.query({
      name: 'by-transaction', values: [...cursor, PAGE],
      text: `SELECT e.xid, e.position, s.name, e.revision FROM trunkline.event e JOIN trunkline.stream s ON s.id = e.stream_id
        WHERE (e.xid, e.position) > ($1::xid8, $2::bigint) AND e.xid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY e.xid, e.position LIMIT $3`,
    })
    for (const row of rows) reader.see(row.name, BigInt(row.revision))
    const last = rows.at(-1)
    if (last !== undefined) cursor = [last.xid, last.position]
    if (rows.length < PAGE) await pause(POLL_MS)
  }
}

async function byProof(store: PostgresBackend, reader: Reader, signal: AbortSignal): Promise<void> {
  for await (const page of store.log.follow({ kind: 'all' }, undefined, { pageMax: PAGE, signal })) {
    for (const { stream, revision } of page.events) reader.see(stream, revision)
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

import { getPostgreSQLEventStore } from '@event-driven-io/emmett-postgresql'
import type { Pool } from 'pg'
import { postgres } from '../src/adapters/postgres/index.ts'
import { fact } from '../src/index.ts'
import { type Case, type Ratio, type Result, measure, windowed } from './measure.ts'
import { CONNECTIONS, benchDatabase, plainPool } from './outbox-database.ts'
import { OrderFact, order } from './payload.ts'

const COUNT = 3_000

/** Appending one event to a stream of its own revision, at 16 connections, beside Emmett and one raw statement. */
export async function appendSuite(rounds: number, progress: (text: string) => void): Promise<{ results: Map<string, Result>; ratios: Ratio[] }> {
  const server = await benchDatabase()
  const pool = plainPool(server.url)
  const store = postgres({ connectionString: server.url, poolMax: CONNECTIONS })
  await store.open({ service: 'bench' })
  const emmett = getPostgreSQLEventStore(server.url)
  await emmett.schema.migrate()
  const cases: readonly Case[] = [
    {
      name: 'trunkline: append',
      run: () => appending((stream, revision) => store.events.append(stream, revision < 0 ? 'noStream' : BigInt(revision), [fact(OrderFact, order)])),
    },
    ...(await rawCases(pool)),
    {
      name: 'Emmett: appendToStream',
      run: () => appending((stream, revision) => emmett.appendToStream(stream, [{ type: 'order-placed', data: order }], { expectedStreamVersion: revision < 0 ? 'STREAM_DOES_NOT_EXIST' : BigInt(revision + 1) })),
    },
  ]
  const results = await measure(cases, rounds, progress)
  await emmett.close()
  await store.close()
  await pool.end()
  await server.close()
  const rate = (name: string): number => results.get(name)?.perSecond ?? NaN
  return {
    results,
    ratios: [
      { name: 'append at 16 connections ÷ Emmett', value: rate('trunkline: append') / rate('Emmett: appendToStream'), bound: 2, kind: 'at least' },
      { name: 'append at 16 connections ÷ one raw statement', value: rate('trunkline: append') / rate('pg: append as one statement'), bound: 0.8, kind: 'at least' },
    ],
  }
}

let turn = 0

/** Each of the sixteen has a stream of its own, and expects the revision that it left. */
async function appending(append: (stream: string, revision: number) => Promise<unknown>): Promise<{ readonly perSecond: number }> {
  const revisions = Array.from({ length: CONNECTIONS }, () => -1)
  const free = [...revisions.keys()]
  const base = `order-${++turn}`
  return {
    perSecond: await windowed(COUNT, CONNECTIONS, async () => {
      const own = free.pop() ?? 0
      await append(`${base}-${own}`, revisions[own] ?? -1)
      revisions[own] = (revisions[own] ?? -1) + 1
      free.push(own)
    }),
  }
}

async function rawCases(pool: Pool): Promise<readonly Case[]> {
  await pool.query(`CREATE TABLE raw_stream (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE, revision bigint NOT NULL);
CREATE TABLE raw_event (position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, stream_id bigint NOT NULL, revision bigint NOT NULL,
  stored_at timestamptz NOT NULL DEFAULT clock_timestamp(), attributes text NOT NULL, body bytea NOT NULL, UNIQUE (stream_id, revision))`)
  const text = `WITH s AS (INSERT INTO raw_stream AS s (name, revision) VALUES ($1, 0) ON CONFLICT (name) DO UPDATE SET revision = s.revision + 1 WHERE s.revision = $2::bigint
  RETURNING id, revision) INSERT INTO raw_event (stream_id, revision, attributes, body) SELECT id, revision, $3, $4 FROM s RETURNING position, revision`
  return [
    {
      name: 'pg: append as one statement',
      run: () => appending((stream, revision) => {
        const attributes = JSON.stringify([`${stream}-${revision}`.padEnd(36, '0'), 'bench', 'bench.order-recorded', 1, new Date().toISOString(), 'application/json'])
        return pool.query({ name: 'append', text, values: [stream, revision, attributes, Buffer.from(JSON.stringify(order))] })
      }),
    },
  ]
}

import type { Pool } from 'pg'
import { type PgHandle, postgres } from '../src/adapters/postgres/index.ts'
import { type Drafted, draft, type Store } from '../src/index.ts'
import { BUSINESS_TABLE, BUSINESS_TEXT, CONNECTIONS, benchDatabase, plainPool, transaction } from './outbox-database.ts'
import { type Case, type Ratio, type Result, measure, windowed } from './measure.ts'
import { KeyedOrder, Order, order } from './payload.ts'

const COUNT = 4_000
const KEYS = 5_000
const INSERT = { name: 'business', text: BUSINESS_TEXT }
const VALUES = [order.customer, order.sku, order.total]

/** What a message in the outbox adds to a business transaction, at 16 connections. */
export async function commitSuite(rounds: number, progress: (text: string) => void): Promise<{ results: Map<string, Result>; ratios: Ratio[] }> {
  const server = await benchDatabase()
  const pool = plainPool(server.url)
  await pool.query(`${BUSINESS_TABLE}; ${HAND_TABLE}`)
  const ours = await openOurs(server.url, pool)
  const results = await measure([...rawCases(pool), ...ours.cases], rounds, progress)
  await ours.close()
  await pool.end()
  await server.close()
  const rate = (name: string): number => results.get(name)?.perSecond ?? NaN
  const against = (name: string, ourCase: string, bound: number): Ratio => ({ name, value: rate(ourCase) / rate('pg: business row'), bound, kind: 'at least' })
  return {
    results,
    ratios: [
      against('outbox.in(pg client), order by key ÷ business row alone', 'trunkline: outbox.in(client), keyed', 0.7),
      against('outbox.in(pg client), no order ÷ business row alone', 'trunkline: outbox.in(client), no key', 0.7),
      against('outbox.in(pg client).commit, order by key ÷ business row alone', 'trunkline: outbox.in(client).commit, keyed', 0.7),
      against('outbox.statement, order by key ÷ business row alone', 'trunkline: outbox.statement, keyed', 0.7),
      against('outbox.statement, no order ÷ business row alone', 'trunkline: outbox.statement, no key', 0.7),
      against('store.transaction, order by key ÷ business row alone', 'trunkline: store.transaction, keyed', 0.7),
      against('store.transaction, no order ÷ business row alone', 'trunkline: store.transaction, no key', 0.7),
    ],
  }
}

interface Opened {
  readonly cases: readonly Case[]
  readonly close: () => Promise<void>
}

async function openOurs(url: string, pool: Pool): Promise<Opened> {
  const store = postgres({ connectionString: url, poolMax: CONNECTIONS })
  await store.open({ service: 'bench' })
  const emptied = async (perSecond: number): Promise<{ readonly perSecond: number }> => {
    await pool.query('TRUNCATE trunkline.outbox')
    return { perSecond }
  }
  const keyed = (index: number): typeof order => ({ ...order, orderId: `o-${index % KEYS}` })
  return {
    cases: [
      {
        name: 'trunkline: outbox.in(client), keyed',
        run: async () => await emptied(await windowed(COUNT, CONNECTIONS, (index) => transaction(pool, async (client) => {
          await client.query(INSERT, VALUES)
          await store.outbox.in(client).publish(KeyedOrder, keyed(index))
        }))),
      },
      {
        name: 'trunkline: outbox.in(client), no key',
        run: async () => await emptied(await windowed(COUNT, CONNECTIONS, () => transaction(pool, async (client) => {
          await client.query(INSERT, VALUES)
          await store.outbox.in(client).publish(Order, order)
        }))),
      },
      { name: 'trunkline: outbox.in(client).commit, keyed', run: async () => await emptied(await windowed(COUNT, CONNECTIONS, (index) => committed(pool, store, [draft(KeyedOrder, keyed(index))]))) },
      {
        name: 'trunkline: outbox.statement, keyed',
        run: async () => await emptied(await windowed(COUNT, CONNECTIONS, (index) => pool.query(store.outbox.statement(NAMED, [draft(KeyedOrder, keyed(index))])))),
      },
      {
        name: 'trunkline: outbox.statement, no key',
        run: async () => await emptied(await windowed(COUNT, CONNECTIONS, () => pool.query(store.outbox.statement(NAMED, [draft(Order, order)])))),
      },
      {
        name: 'trunkline: store.transaction, keyed',
        run: async () => await emptied(await windowed(COUNT, CONNECTIONS, (index) => store.transaction(async (unit) => {
          await unit.tx.query(NAMED)
          unit.publish(KeyedOrder, keyed(index))
        }))),
      },
      {
        name: 'trunkline: store.transaction, no key',
        run: async () => await emptied(await windowed(COUNT, CONNECTIONS, () => store.transaction(async (unit) => {
          await unit.tx.query(NAMED)
          unit.publish(Order, order)
        }))),
      },
      {
        name: 'trunkline: store.transaction, business row alone',
        run: async () => ({ perSecond: await windowed(COUNT, CONNECTIONS, () => store.transaction((unit) => unit.tx.query(NAMED))) }),
      },
    ],
    close: () => store.close(),
  }
}

/** A transaction by hand whose last statement writes the messages and commits. */
async function committed(pool: Pool, store: Store<PgHandle>, messages: readonly Drafted[]): Promise<void> {
  const client = await pool.connect()
  let isDone = false
  try {
    await client.query('BEGIN')
    await client.query(INSERT, VALUES)
    await store.outbox.in(client).commit(messages)
    isDone = true
  } finally {
    client.release(!isDone)
  }
}

const NAMED = { ...INSERT, values: VALUES }
const HAND_TABLE = 'CREATE TABLE hand_outbox (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key text, attributes text NOT NULL, body bytea NOT NULL)'
const HAND = { name: 'hand', text: 'INSERT INTO hand_outbox (key, attributes, body) VALUES ($1, $2, $3)' }
const HAND_CTE = {
  name: 'hand-cte',
  text: `WITH b AS (${BUSINESS_TEXT}) INSERT INTO hand_outbox (key, attributes, body) VALUES ($4, $5, $6)`,
}

/** The same by hand: the row alone, with a row in an outbox, and both as one statement. */
function rawCases(pool: Pool): readonly Case[] {
  const emptied = async (perSecond: number): Promise<{ readonly perSecond: number }> => {
    await pool.query('TRUNCATE hand_outbox')
    return { perSecond }
  }
  const row = (index: number): unknown[] => [`o-${index % KEYS}`, JSON.stringify(['id', 'bench', 'bench.order-placed', 1, index]), Buffer.from(JSON.stringify(order))]
  return [
    { name: 'pg: business row', run: async () => ({ perSecond: await windowed(COUNT, CONNECTIONS, () => transaction(pool, (client) => client.query(INSERT, VALUES))) }) },
    {
      name: 'pg: business row + outbox row',
      run: async () => await emptied(await windowed(COUNT, CONNECTIONS, (index) => transaction(pool, async (client) => {
        await client.query(INSERT, VALUES)
        await client.query(HAND, row(index))
      }))),
    },
    { name: 'pg: both as one statement', run: async () => await emptied(await windowed(COUNT, CONNECTIONS, (index) => pool.query(HAND_CTE, [...VALUES, ...row(index)]))) },
  ]
}

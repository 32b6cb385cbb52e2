import { AckPolicy, headers, connect } from 'nats'
import type { Pool } from 'pg'
import { nats } from '../src/adapters/nats/index.ts'
import { postgres } from '../src/adapters/postgres/index.ts'
import { createBus } from '../src/index.ts'
import { natsServer } from '../test/servers/nats-server.ts'
import { type Case, type Ratio, type Result, measure, paced } from './measure.ts'
import { BUSINESS_TABLE, BUSINESS_TEXT, benchDatabase, plainPool, transaction } from './outbox-database.ts'
import { Order, order } from './payload.ts'

const COUNT = 500
const PER_SECOND = 100
const INSERT = { name: 'business', text: BUSINESS_TEXT, values: [order.customer, order.sku, order.total] }

/** From the beginning of a transaction with an outbox row to the effect of its message in an inbox transaction, at 100 a second. */
export async function pathSuite(rounds: number, progress: (text: string) => void): Promise<{ results: Map<string, Result>; ratios: Ratio[] }> {
  const [database, broker] = await Promise.all([benchDatabase(), natsServer()])
  await broker.start()
  const pool = plainPool(database.url)
  await pool.query(BUSINESS_TABLE)
  const ours = await openOurs(database.url, broker.url)
  const hand = await openHand(broker.url, pool)
  const results = await measure([...ours.cases, ...hand.cases], rounds, progress)
  await Promise.all([ours.close(), hand.close()])
  await pool.end()
  await Promise.all([database.close(), broker.close()])
  const [mine, theirs] = [results.get('trunkline: commit → handled at 100/s'), results.get('by hand: commit → handled at 100/s')]
  return {
    results,
    ratios: [
      { name: 'commit → broker → handled at 100/s, p50 ÷ by hand', value: (mine?.p50Ms ?? NaN) / (theirs?.p50Ms ?? NaN), bound: 1.5, kind: 'at most' },
      { name: 'commit → broker → handled at 100/s, p99 ÷ by hand', value: (mine?.p99Ms ?? NaN) / (theirs?.p99Ms ?? NaN), bound: 3, kind: 'at most' },
    ],
  }
}

interface Opened {
  readonly cases: readonly Case[]
  readonly close: () => Promise<void>
}

async function openOurs(databaseUrl: string, brokerUrl: string): Promise<Opened> {
  const store = postgres({ connectionString: databaseUrl })
  const waiting = new Map<string, () => void>()
  const bus = createBus({ service: { name: 'bench' }, transport: nats({ servers: brokerUrl }), outbox: store.outbox })
  bus.on(Order, { group: 'orders', within: store }, async ({ data }, { tx }) => {
    await tx.query(INSERT)
    waiting.get(data.orderId)?.()
  })
  await bus.start()
  let turn = 0
  return {
    cases: [
      {
        name: 'trunkline: commit → handled at 100/s',
        run: async () => ({
          latenciesMs: await paced(COUNT, PER_SECOND, async () => {
            const orderId = `o-${++turn}`
            const handled = new Promise<void>((resolve) => waiting.set(orderId, resolve))
            await store.transaction(async (unit) => {
              await unit.tx.query(INSERT)
              unit.publish(Order, { ...order, orderId })
            })
            await handled
            waiting.delete(orderId)
          }),
        }),
      },
    ],
    close: () => bus.stop(),
  }
}

/** The shortest path by hand: the process that commits also relays, and is woken by its own commits. */
async function openHand(url: string, pool: Pool): Promise<Opened> {
  await pool.query(`CREATE TABLE hand_outbox (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, message_id text NOT NULL, body bytea NOT NULL);
CREATE TABLE hand_inbox (id text PRIMARY KEY)`)
  const connection = await connect({ servers: url })
  const manager = await connection.jetstreamManager()
  await manager.streams.add({ name: 'HAND', subjects: ['hand.>'] })
  await manager.consumers.add('HAND', { durable_name: 'orders', ack_policy: AckPolicy.Explicit, max_ack_pending: 1_000 })
  const js = connection.jetstream()
  const waiting = new Map<string, () => void>()
  const messages = await (await js.consumers.get('HAND', 'orders')).consume({ max_messages: 256 })
  void (async () => {
    for await (const message of messages) {
      const id = message.headers?.get('Nats-Msg-Id') ?? ''
      JSON.parse(message.string())
      void transaction(pool, async (client) => {
        const { rowCount } = await client.query({ name: 'enter', text: 'INSERT INTO hand_inbox (id) VALUES ($1) ON CONFLICT DO NOTHING', values: [id] })
        if (rowCount === 1) await client.query(INSERT)
        waiting.get(id)?.()
      }).then(() => message.ack())
    }
  })()
  let isRelaying = false
  let isWoken = false
  const relay = async (): Promise<void> => {
    isWoken = true
    if (isRelaying) return
    isRelaying = true
    while (isWoken) {
      isWoken = false
      await transaction(pool, async (client) => {
        const { rows } = await client.query<{ id: string; message_id: string; body: Buffer }>({ name: 'claim', text: 'SELECT id, message_id, body FROM hand_outbox ORDER BY id LIMIT 500 FOR UPDATE SKIP LOCKED' })
        if (rows.length === 0) return
        await Promise.all(rows.map((row) => {
          const set = headers()
          set.set('Nats-Msg-Id', row.message_id)
          return js.publish('hand.orders', row.body, { headers: set })
        }))
        await client.query({ name: 'remove', text: 'DELETE FROM hand_outbox WHERE id = ANY($1::bigint[])', values: [rows.map(({ id }) => id)] })
      })
    }
    isRelaying = false
  }
  let turn = 0
  return {
    cases: [
      {
        name: 'by hand: commit → handled at 100/s',
        run: async () => ({
          latenciesMs: await paced(COUNT, PER_SECOND, async () => {
            const orderId = `o-${++turn}`
            const handled = new Promise<void>((resolve) => waiting.set(orderId, resolve))
            await transaction(pool, async (client) => {
              await client.query(INSERT)
              await client.query({ name: 'outbox', text: 'INSERT INTO hand_outbox (message_id, body) VALUES ($1, $2)', values: [orderId, Buffer.from(JSON.stringify({ ...order, orderId }))] })
            })
            void relay()
            await handled
            waiting.delete(orderId)
          }),
        }),
      },
    ],
    close: async () => {
      messages.stop()
      await connection.close()
    },
  }
}

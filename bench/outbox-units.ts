import { AckPolicy, type JsMsg, connect } from 'nats'
import type { Pool } from 'pg'
import { nats } from '../src/adapters/nats/index.ts'
import { type PgHandle, postgres } from '../src/adapters/postgres/index.ts'
import { type Bus, type Unit, createBus } from '../src/index.ts'
import { natsServer } from '../test/servers/nats-server.ts'
import { type Case, Counter, type Ratio, type Result, type Sample, measure, windowed } from './measure.ts'
import { BUSINESS_TABLE, BUSINESS_TEXT, CONNECTIONS, benchDatabase, plainPool, transaction } from './outbox-database.ts'
import { Order, order } from './payload.ts'

const COUNT = 6_000
const SINGLE_COUNT = 3_000
const INSERT = { name: 'business', text: BUSINESS_TEXT, values: [order.customer, order.sku, order.total] }

/** Messages of JetStream handled as units of work in PostgreSQL: one transaction each, and many that share one. */
export async function unitsSuite(rounds: number, progress: (text: string) => void): Promise<{ results: Map<string, Result>; ratios: Ratio[] }> {
  const [database, broker] = await Promise.all([benchDatabase(), natsServer()])
  await broker.start()
  const pool = plainPool(database.url)
  await pool.query(`${BUSINESS_TABLE}; CREATE TABLE hand_inbox (id text PRIMARY KEY, digest bytea NOT NULL)`)
  const hand = await openHand(broker.url, pool)
  const publisher = createBus({ service: { name: 'bench' }, transport: nats({ servers: broker.url }) })
  await publisher.start()
  const ours = ourCases(database.url, broker.url, publisher)
  const results = await measure([...ours, ...hand.cases], rounds, progress)
  await publisher.stop()
  await hand.close()
  await pool.end()
  await Promise.all([database.close(), broker.close()])
  const rate = (name: string): number => results.get(name)?.perSecond ?? NaN
  return {
    results,
    ratios: [
      { name: 'units of work, 100 a transaction ÷ one each, 16 in flight', value: rate('trunkline: units, 100 a transaction') / rate('trunkline: units, 16 in flight'), bound: 5, kind: 'at least' },
      { name: 'units of work, 100 a transaction ÷ one each by hand, 16 in flight', value: rate('trunkline: units, 100 a transaction') / rate('by hand: transaction each, 16 in flight'), bound: 5, kind: 'at least' },
      { name: 'units of work, 16 in flight ÷ by hand', value: rate('trunkline: units, 16 in flight') / rate('by hand: transaction each, 16 in flight'), bound: 0.85, kind: 'at least' },
    ],
  }
}

/** The backlog is there before the consumer comes. */
function ourCases(databaseUrl: string, brokerUrl: string, publisher: Bus): readonly Case[] {
  let turn = 0
  const drain = async (count: number, options: { readonly inFlightMax: number; readonly batch?: { readonly sizeMax: number } }): Promise<Sample> => {
    const counter = new Counter()
    let startedMs = 0
    const service = { name: `units-${++turn}` }
    const make = (): Bus => createBus({ service, transport: nats({ servers: brokerUrl }) }).on(
      Order, { group: 'orders', within: postgres({ connectionString: databaseUrl, poolMax: CONNECTIONS }), ...options },
      async (_message: unknown, { tx }: Unit<PgHandle>) => {
        if (startedMs === 0) startedMs = performance.now()
        await tx.query(INSERT)
        counter.tick()
      },
    )
    const declaring = make()
    // A group gets what comes after it was made.
    await declaring.start()
    await declaring.stop()
    await windowed(count, 256, () => publisher.publish(Order, order))
    const handled = counter.expect(count)
    const bus = make()
    await bus.start()
    await handled
    const perSecond = (count / (performance.now() - startedMs)) * 1_000
    await bus.stop()
    return { perSecond }
  }
  return [
    { name: 'trunkline: units, 16 in flight', run: () => drain(SINGLE_COUNT, { inFlightMax: CONNECTIONS }) },
    { name: 'trunkline: units, 100 a transaction', run: () => drain(COUNT, { inFlightMax: 256, batch: { sizeMax: 100 } }) },
  ]
}

async function openHand(url: string, pool: Pool): Promise<{ readonly cases: readonly Case[]; readonly close: () => Promise<void> }> {
  const connection = await connect({ servers: url })
  const manager = await connection.jetstreamManager()
  await manager.streams.add({ name: 'HAND', subjects: ['hand.>'] })
  const js = connection.jetstream()
  let turn = 0
  const drain = async (inFlight: number, handle: (messages: readonly JsMsg[]) => Promise<void>, sizeMax: number): Promise<Sample> => {
    const name = `orders-${++turn}`
    const subject = `hand.${name}`
    await manager.consumers.add('HAND', { durable_name: name, filter_subject: subject, ack_policy: AckPolicy.Explicit, max_ack_pending: 1_000 })
    const count = sizeMax > 1 ? COUNT : SINGLE_COUNT
    await windowed(count, 256, () => js.publish(subject, Buffer.from(JSON.stringify(order))))
    const messages = await (await js.consumers.get('HAND', name)).consume({ max_messages: Math.max(inFlight * 2, sizeMax * 2) })
    const startedMs = performance.now()
    const waiting: JsMsg[] = []
    let left = count
    let busy = 0
    await new Promise<void>((resolve, reject) => {
      const handOut = (): void => {
        while (busy < inFlight && waiting.length > 0) {
          const batch = waiting.splice(0, sizeMax)
          busy++
          handle(batch).then(() => {
            for (const message of batch) message.ack()
            busy--
            left -= batch.length
            if (left === 0) resolve()
            else handOut()
          }, reject)
        }
      }
      void (async () => {
        for await (const message of messages) {
          waiting.push(message)
          handOut()
        }
      })()
    })
    const perSecond = (count / (performance.now() - startedMs)) * 1_000
    messages.stop()
    await manager.consumers.delete('HAND', name)
    return { perSecond }
  }
  const one = (batch: readonly JsMsg[]): Promise<void> => transaction(pool, async (client) => {
    for (const message of batch) {
      JSON.parse(message.string())
      const entry = [`${message.subject}-${message.seq}`, Buffer.alloc(32)]
      const { rowCount } = await client.query({ name: 'enter', text: 'INSERT INTO hand_inbox (id, digest) VALUES ($1, $2) ON CONFLICT DO NOTHING', values: entry })
      if (rowCount === 1) await client.query(INSERT)
    }
  })
  return {
    cases: [{ name: 'by hand: transaction each, 16 in flight', run: () => drain(CONNECTIONS, one, 1) }],
    close: () => connection.close(),
  }
}

import { type ConfirmChannel, connect } from 'amqplib'
import type { Pool } from 'pg'
import { postgres } from '../src/adapters/postgres/index.ts'
import { rabbitmq } from '../src/adapters/rabbitmq/index.ts'
import { createBus } from '../src/index.ts'
import { rabbitmqServer } from '../test/servers/rabbitmq-server.ts'
import { type Case, type Ratio, type Result, measure } from './measure.ts'
import { type HandRow, drained, drainedByHand, stageBacklog } from './outbox-backlog.ts'
import { benchDatabase, plainPool } from './outbox-database.ts'

const QUEUE = 'bench.kept'

/** How fast a relay empties an outbox into a quorum queue of RabbitMQ, beside one written by hand. */
export async function relayRabbitmqSuite(rounds: number, progress: (text: string) => void): Promise<{ results: Map<string, Result>; ratios: Ratio[] }> {
  const [database, broker] = await Promise.all([benchDatabase(), rabbitmqServer()])
  await broker.start()
  const pool = plainPool(database.url)
  await stageBacklog(database.url, pool)
  const store = postgres({ connectionString: database.url })
  const bus = createBus({ service: { name: 'bench' }, transport: rabbitmq({ url: broker.url }), outbox: store.outbox })
  await bus.start()
  const connection = await connect(broker.url, { noDelay: true })
  const channel = await connection.createConfirmChannel()
  const results = await measure(await cases(channel, pool), rounds, progress)
  await bus.stop()
  await connection.close()
  await pool.end()
  await Promise.all([database.close(), broker.close()])
  const rate = (name: string): number => results.get(name)?.perSecond ?? NaN
  const ratio = (name: string, ourCase: string): Ratio => ({ name, value: rate(ourCase) / rate('by hand: claim 500, publish, delete'), bound: 0.9, kind: 'at least' })
  return {
    results,
    ratios: [ratio('relay into RabbitMQ ÷ relay by hand', 'trunkline: relay, no keys'), ratio('relay into RabbitMQ, order by key ÷ relay by hand', 'trunkline: relay, keyed')],
  }
}

/** One queue is bound for both, so that the broker does the same work. */
async function cases(channel: ConfirmChannel, pool: Pool): Promise<readonly Case[]> {
  await channel.assertQueue(QUEUE, { durable: true, arguments: { 'x-queue-type': 'quorum' } })
  await channel.assertExchange('hand', 'topic', { durable: true })
  await channel.bindQueue(QUEUE, 'trunkline.events', '#')
  await channel.bindQueue(QUEUE, 'hand', '#')
  const publish = ({ message_id, attributes, body }: HandRow): void => {
    const [, source, type, version, time] = JSON.parse(attributes) as readonly unknown[]
    const headers = { 'cloudEvents:specversion': '1.0', 'cloudEvents:source': source, 'cloudEvents:time': time, 'cloudEvents:dataversion': version }
    channel.publish('hand', 'orders', body, { persistent: true, mandatory: true, messageId: message_id, type: String(type), contentType: 'application/json', headers })
  }
  const purged = async (sample: { readonly perSecond?: number }): Promise<{ readonly perSecond?: number }> => {
    await channel.purgeQueue(QUEUE)
    return sample
  }
  return [
    { name: 'trunkline: relay, no keys', run: async () => await purged(await drained(pool, 'plain')) },
    { name: 'trunkline: relay, keyed', run: async () => await purged(await drained(pool, 'keyed')) },
    {
      name: 'by hand: claim 500, publish, delete',
      run: async () => await purged(await drainedByHand(pool, async (rows) => {
        for (const row of rows) publish(row)
        await channel.waitForConfirms()
      })),
    },
  ]
}

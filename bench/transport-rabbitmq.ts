import { type ChannelModel, type ConfirmChannel, type Options, connect } from 'amqplib'
import rascal from 'rascal'
import { rabbitmq } from '../src/adapters/rabbitmq/index.ts'
import { createBus } from '../src/index.ts'
import { rabbitmqServer } from '../test/servers/rabbitmq-server.ts'
import { type Case, Counter, type Ratio, type Result, measure, paced, windowed } from './measure.ts'
import { Order, order } from './payload.ts'

const COUNT = 15_000
const RASCAL_COUNT = 3_000
const PACED_COUNT = 1_500

/** The library over a quorum queue, beside raw amqplib (with `noDelay`, its default is slower) and Rascal as it comes, with prefetch 256. */
export async function rabbitmqSuite(rounds: number, progress: (text: string) => void): Promise<{ results: Map<string, Result>; ratios: Ratio[] }> {
  const server = await rabbitmqServer()
  await server.start()
  const ours = await openOurs(server.url)
  const raw = await openRaw(server.url, ours.options, ours.body)
  const rascal = await openRascal(server.url, ours.options)
  const results = await measure([...ours.cases, ...raw.cases, ...rascal.cases], rounds, progress)
  await Promise.all([ours.close(), raw.close(), rascal.close()])
  await server.stop()
  const rate = (name: string): number => results.get(name)?.perSecond ?? NaN
  return {
    results,
    ratios: [
      { name: 'publish (confirm 256) → handle → ack (prefetch 256) ÷ raw amqplib', value: rate('trunkline: publish → handle → ack') / rate('amqplib: publish → consume → ack'), bound: 0.85, kind: 'at least' },
      { name: 'publish → handle → ack ÷ Rascal', value: rate('trunkline: publish → handle → ack') / rate('Rascal: publish → subscribe → ack'), bound: 8, kind: 'at least' },
      { name: 'p99 at 500/s [ms]', value: results.get('trunkline: publish → handle at 500/s')?.p99Ms ?? NaN, bound: 5, kind: 'at most' },
    ],
  }
}

interface Opened {
  readonly cases: readonly Case[]
  readonly close: () => Promise<void>
}

async function openOurs(url: string): Promise<Opened & { readonly options: Options.Publish; readonly body: Buffer }> {
  const counter = new Counter()
  const waiting: (() => void)[] = []
  const bus = createBus({ service: { name: 'bench' }, transport: rabbitmq({ url }) })
  bus.on(Order, { group: 'orders', inFlightMax: 256 }, () => {
    counter.tick()
    waiting.shift()?.()
  })
  await bus.start()
  const sample = await sampled(url, () => bus.publish(Order, order))
  return {
    ...sample,
    cases: [
      { name: 'trunkline: publish → handle → ack', run: async () => ({ perSecond: await endToEnd(counter, COUNT, () => bus.publish(Order, order)) }) },
      {
        name: 'trunkline: publish → handle at 500/s',
        run: async () => ({
          latenciesMs: await paced(PACED_COUNT, 500, async () => {
            const handled = new Promise<void>((resolve) => waiting.push(resolve))
            await bus.publish(Order, order)
            await handled
          }),
        }),
      },
    ],
    close: () => bus.stop(),
  }
}

async function endToEnd(counter: Counter, count: number, publish: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now()
  const handled = counter.expect(count)
  await windowed(count, 256, publish)
  await handled
  return (count / (performance.now() - startedMs)) * 1_000
}

/** Reads one message as the library puts it on the wire: its properties, headers and body. */
async function sampled(url: string, publish: () => Promise<void>): Promise<{ readonly options: Options.Publish; readonly body: Buffer }> {
  const connection = await connect(url)
  const channel = await connection.createChannel()
  const { queue } = await channel.assertQueue('', { exclusive: true })
  await channel.bindQueue(queue, 'trunkline.events', '#')
  await publish()
  for (;;) {
    const message = await channel.get(queue, { noAck: true })
    if (message === false) continue
    await connection.close()
    const { headers, contentType, messageId, type, timestamp, appId, correlationId, contentEncoding } = message.properties
    const optional = { contentType, messageId, type, timestamp, appId, correlationId, contentEncoding }
    const present: Record<string, unknown> = Object.fromEntries(Object.entries(optional).filter(([, value]) => value !== undefined))
    return { options: { ...present, headers, persistent: true, mandatory: true }, body: message.content }
  }
}

async function openRaw(url: string, options: Options.Publish, body: Buffer): Promise<Opened> {
  const publishing = await open(url)
  const consuming = await open(url)
  const counter = new Counter()
  const waiting: (() => void)[] = []
  await publishing.channel.assertExchange('raw', 'topic', { durable: true })
  await publishing.channel.assertQueue('raw.orders', { durable: true, arguments: { 'x-queue-type': 'quorum' } })
  await publishing.channel.bindQueue('raw.orders', 'raw', 'orders')
  await consuming.channel.prefetch(256)
  await consuming.channel.consume('raw.orders', (message) => {
    if (message === null) return
    JSON.parse(message.content.toString())
    consuming.channel.ack(message)
    counter.tick()
    waiting.shift()?.()
  })
  const publish = (): Promise<void> =>
    new Promise((resolve, reject) => {
      // The library's timestamps and ids are fresh for every message, so these are too.
      const fresh = { ...options, messageId: nextId(), headers: { ...options.headers } }
      publishing.channel.publish('raw', 'orders', Buffer.from(JSON.stringify(order)), fresh, (error: unknown) => (error instanceof Error ? reject(error) : resolve()))
    })
  if (body.length !== Buffer.byteLength(JSON.stringify(order))) throw new Error('the bodies differ')
  return {
    cases: [
      { name: 'amqplib: publish → consume → ack', run: async () => ({ perSecond: await endToEnd(counter, COUNT, publish) }) },
      {
        name: 'amqplib: publish → consume at 500/s',
        run: async () => ({
          latenciesMs: await paced(PACED_COUNT, 500, async () => {
            const handled = new Promise<void>((resolve) => waiting.push(resolve))
            await publish()
            await handled
          }),
        }),
      },
    ],
    close: async () => {
      await Promise.all([publishing.connection.close(), consuming.connection.close()])
    },
  }
}

async function open(url: string): Promise<{ readonly connection: ChannelModel; readonly channel: ConfirmChannel }> {
  const connection = await connect(url, { noDelay: true })
  return { connection, channel: await connection.createConfirmChannel() }
}

let ids = 0

function nextId(): string {
  return (++ids).toString(36).padStart(36, '0')
}

async function openRascal(url: string, options: Options.Publish): Promise<Opened> {
  const counter = new Counter()
  const broker = await rascal.BrokerAsPromised.create({
    vhosts: {
      '/': {
        connection: { url },
        exchanges: { rascal: { type: 'topic' } },
        queues: { 'rascal.orders': { options: { durable: true, arguments: { 'x-queue-type': 'quorum' } } } },
        bindings: ['rascal[orders] -> rascal.orders'],
        publications: { orders: { exchange: 'rascal', routingKey: 'orders', confirm: true } },
        subscriptions: { orders: { queue: 'rascal.orders', prefetch: 256 } },
      },
    },
  })
  const subscription = await broker.subscribe('orders')
  subscription.on('message', (_message: unknown, _content: unknown, ack: () => void) => {
    ack()
    counter.tick()
  })
  const publish = async (): Promise<void> => {
    const publication = await broker.publish('orders', order, { options: { persistent: true, mandatory: true, headers: { ...options.headers } } })
    await new Promise<void>((resolve, reject) => {
      publication.on('success', () => resolve())
      publication.on('error', reject)
    })
  }
  return {
    cases: [{ name: 'Rascal: publish → subscribe → ack', run: async () => ({ perSecond: await endToEnd(counter, RASCAL_COUNT, publish) }) }],
    close: () => broker.shutdown(),
  }
}

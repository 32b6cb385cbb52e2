import { type Channel, type ChannelModel, type ConsumeMessage, connect } from 'amqplib'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { rabbitmq } from '../../src/adapters/rabbitmq/index.ts'
import { bucketOf } from '../../src/contract/names.ts'
import { type Bus, type Message, createBus } from '../../src/index.ts'
import { type RabbitmqServer, rabbitmqServer } from '../servers/rabbitmq-server.ts'
import { until } from '../servers/until.ts'
import { KEY, Placed, PlacedTwice, Quote, TRACE } from './contracts.ts'
import { Peer } from './peer.ts'
import { type EventParts, readStrictly, writtenBySdk } from './sdk.ts'

const PREFIX = 'cloudEvents:'

let server: RabbitmqServer
let raw: ChannelModel
let channel: Channel
let spaces = 0
const buses: Bus[] = []
const peers: Peer[] = []

beforeAll(async () => {
  server = await rabbitmqServer()
  await server.start()
  raw = await connect(server.url)
  channel = await raw.createChannel()
})

afterAll(async () => {
  for (const peer of peers) peer.close()
  await Promise.all(buses.map((bus) => bus.stop()))
  await raw.close()
  await server.close()
})

const nextSpace = (): string => `wire${++spaces}`

function busOf(namespace: string): Bus {
  const bus = createBus({ service: { name: 'shop' }, transport: rabbitmq({ url: server.url, namespace }) })
  buses.push(bus)
  return bus
}

function peerOf(role: string, namespace: string): Peer {
  const peer = new Peer('rabbitmq_peer.py', [`${server.port}`, role, namespace])
  peers.push(peer)
  return peer
}

/** The first message that an exchange routes while `work` runs. */
async function taken(exchange: string, work: () => Promise<void>): Promise<ConsumeMessage> {
  const { queue } = await channel.assertQueue('', { exclusive: true })
  await channel.bindQueue(queue, exchange, '#')
  const first = new Promise<ConsumeMessage>((resolve, reject) => {
    const consumed = channel.consume(queue, (message) => {
      if (message !== null) resolve(message)
    }, { noAck: true })
    consumed.catch(reject)
  })
  await work()
  return await first
}

/** The rule of docs/wire-format.md: attributes are headers with a prefix, the content type is a property. */
function asHttp({ properties }: ConsumeMessage): Record<string, string> {
  const headers: Record<string, string> = { 'content-type': String(properties.contentType) }
  for (const [name, value] of Object.entries(properties.headers ?? {})) if (name.startsWith(PREFIX)) headers[`ce-${name.slice(PREFIX.length)}`] = String(value)
  return headers
}

function publishRaw(namespace: string, parts: EventParts, prefix = PREFIX): void {
  const { headers, body } = writtenBySdk(parts)
  const named = headers.filter(([name]) => name.startsWith('ce-')).map(([name, value]) => [prefix + name.slice('ce-'.length), value])
  const contentType = headers.find(([name]) => name === 'content-type')?.[1] ?? ''
  channel.publish(`${namespace}.events`, routingKey(parts.type, parts.partitionkey), body, { contentType, headers: Object.fromEntries(named) })
}

function routingKey(type: string, key: string | undefined): string {
  if (key === undefined) return `${type}.-.-`
  const bucket = bucketOf(key)
  return `${type}.${bucket >> 3}.${bucket & 7}`
}

test('the CloudEvents SDK reads every attribute of our messages, strictly', async () => {
  const namespace = nextSpace()
  const bus = busOf(namespace)
  await bus.start()
  const message = await taken(`${namespace}.events`, () =>
    bus.publish(PlacedTwice, { orderId: KEY, totalCents: 5 }, {
      id: 'id ü%', correlationId: 'flow 1', causationId: 'cause', tenant: 'acme', traceparent: TRACE, deadlineAtMs: 4_102_444_800_000, headers: { note: ' naïve 100% ' },
    }))
  expect(readStrictly(asHttp(message), message.content.toString())).toEqual({
    specversion: '1.0', id: 'id ü%', source: '/shop', type: 'sales.order-placed', time: expect.stringMatching(/^\d{4}-.*Z$/), datacontenttype: 'application/json', dataversion: '2',
    partitionkey: KEY, correlationid: 'flow 1', causationid: 'cause', tenant: 'acme', traceparent: TRACE, deadline: '2100-01-01T00:00:00.000Z', data: { orderId: KEY, totalCents: 5 },
  })
  expect(message.fields.routingKey).toBe(routingKey('sales.order-placed', KEY))
  expect(message.properties).toMatchObject({ contentType: 'application/json', messageId: 'id ü%', deliveryMode: 2, headers: { note: ' naïve 100% ' } })
})

test('messages of the CloudEvents SDK reach our handlers with their types, with either prefix', async () => {
  const namespace = nextSpace()
  const seen: Message[] = []
  const bus = busOf(namespace)
  bus.on(PlacedTwice, { group: 'ledger' }, (message) => seen.push(message))
  await bus.start()
  publishRaw(namespace, { id: 'sdk ü%', source: 'https://example.com/shop?x=1', type: 'sales.order-placed', partitionkey: KEY, correlationid: 'flow', tenant: 'acme', data: { orderId: KEY, total: 7 } })
  publishRaw(namespace, { id: 'sdk 2', source: '/sdk', type: 'sales.order-placed', dataversion: '2', data: { orderId: 'o', totalCents: 8 } }, 'cloudEvents_')
  await until(() => seen.length === 2)
  expect(seen.toSorted((left, right) => (left.id < right.id ? -1 : 1))).toMatchObject([
    { id: 'sdk 2', version: 2, data: { orderId: 'o', totalCents: 8 }, key: undefined, correlationId: 'sdk 2' },
    { id: 'sdk ü%', source: 'https://example.com/shop?x=1', version: 1, key: KEY, correlationId: 'flow', tenant: 'acme', data: { orderId: KEY, totalCents: 7 } },
  ])
})

test('what is no such message goes to the dead letters with its bytes', async () => {
  const namespace = nextSpace()
  const bus = busOf(namespace)
  bus.on(Placed, { group: 'ledger' }, () => {})
  await bus.start()
  channel.publish(`${namespace}.events`, 'sales.order-placed.-.-', Buffer.from([0xff, 0x00]))
  publishRaw(namespace, { id: 'newer', source: '/sdk', type: 'sales.order-placed', dataversion: '9', data: {} })
  publishRaw(namespace, { id: 'xml', source: '/sdk', type: 'sales.order-placed', datacontenttype: 'application/xml', data: '<order/>' })
  const letters = await until(async () => {
    const { items } = await bus.deadLetters.list()
    return items.length === 3 ? items : undefined
  }, { everyMs: 100 })
  expect(letters?.map(({ record }) => record.reason).toSorted()).toEqual(['contract.message_foreign', 'contract.message_foreign', 'contract.version_unknown'])
  expect(letters?.map(({ message }) => Buffer.from(message.body).toString('latin1')).toSorted()).toEqual(['<order/>', '{}', '\u00ff\u0000'])
})

test('a Python program publishes to our handlers', async () => {
  const namespace = nextSpace()
  const seen: Message[] = []
  const bus = busOf(namespace)
  bus.on(Placed, { group: 'ledger' }, (message) => seen.push(message))
  await bus.start()
  expect(await peerOf('publish', namespace).line()).toBe('CONFIRMED')
  await until(() => seen.length === 1)
  expect(seen).toMatchObject([{
    id: 'python 1', source: '/python/shop', type: 'sales.order-placed', version: 1, key: 'Köln 7/😀', correlationId: 'flow-7', headers: { note: 'naïve 100%' }, data: { orderId: 'Köln 7/😀', total: 1250 },
  }])
})

test('a Python program reads our events, and finds the same bucket', async () => {
  const namespace = nextSpace()
  const bus = busOf(namespace)
  await bus.start()
  const peer = peerOf('read', namespace)
  expect(await peer.line()).toBe('READY')
  await bus.publish(Placed, { orderId: KEY, total: 3 }, { id: 'm 1', headers: { note: 'ü' } })
  const bucket = bucketOf(KEY)
  expect(await peer.json()).toEqual({
    routingKey: routingKey('sales.order-placed', KEY),
    contentType: 'application/json',
    messageId: 'm 1',
    attributes: { specversion: '1.0', id: 'm 1', source: '/shop', type: 'sales.order-placed', time: expect.any(String), partitionkey: KEY },
    headers: { note: 'ü' },
    data: { orderId: KEY, total: 3 },
    bucket: `${bucket >> 3}.${bucket & 7}`,
  })
})

test('a Python program asks our queries', async () => {
  const namespace = nextSpace()
  const bus = busOf(namespace)
  bus.answer(Quote, ({ data }) => ({ cents: data.sku.length }))
  await bus.start()
  expect(await peerOf('ask', namespace).json()).toMatchObject({ attributes: { specversion: '1.0', source: '/shop', type: 'pricing.quote' }, data: { cents: 5 } })
})

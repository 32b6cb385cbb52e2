import { type Msg, type NatsConnection, connect, headers as natsHeaders } from 'nats'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { nats } from '../../src/adapters/nats/index.ts'
import { bucketOf } from '../../src/contract/names.ts'
import { type Bus, type BusOptions, type Message, createBus } from '../../src/index.ts'
import { natsServer } from '../servers/nats-server.ts'
import type { ServerProcess } from '../servers/server-process.ts'
import { until } from '../servers/until.ts'
import { KEY, Placed, PlacedTwice, Quote, TRACE } from './contracts.ts'
import { Peer } from './peer.ts'
import { type EventParts, readStrictly, writtenBySdk } from './sdk.ts'

let server: ServerProcess
let raw: NatsConnection
let spaces = 0
const buses: Bus[] = []
const peers: Peer[] = []

beforeAll(async () => {
  server = await natsServer()
  await server.start()
  raw = await connect({ servers: server.url })
})

afterAll(async () => {
  for (const peer of peers) peer.close()
  await Promise.all(buses.map((bus) => bus.stop()))
  await raw.close()
  await server.close()
})

const nextSpace = (): string => `wire${++spaces}`

function busOf(namespace: string, name = 'shop', options: Partial<BusOptions> = {}): Bus {
  const bus = createBus({ service: { name }, transport: nats({ servers: server.url, namespace }), ...options })
  buses.push(bus)
  return bus
}

function peerOf(role: string, namespace: string): Peer {
  const peer = new Peer('nats_peer.py', [`${server.port}`, role, namespace])
  peers.push(peer)
  return peer
}

/** The first message that comes by on a subject. */
async function taken(subject: string, work: () => Promise<void>): Promise<Msg> {
  const subscription = raw.subscribe(subject, { max: 1 })
  await raw.flush()
  await work()
  for await (const message of subscription) return message
  throw new TypeError('nothing came by')
}

/** The rule of docs/wire-format.md: attributes are named alike, values are percent-encoded, the content type is an attribute. */
function asHttp(message: Msg): Record<string, string> {
  const headers: Record<string, string> = {}
  for (const name of message.headers?.keys() ?? []) headers[name === 'ce-datacontenttype' ? 'content-type' : name] = decodeURIComponent(message.headers?.get(name) ?? '')
  return headers
}

function publishRaw(namespace: string, parts: EventParts): void {
  const { headers, body } = writtenBySdk(parts)
  const sent = natsHeaders()
  for (const [name, value] of headers) sent.set(name === 'content-type' ? 'ce-datacontenttype' : name, encodeURIComponent(value))
  const bucket = bucketOf(parts.partitionkey ?? parts.id)
  raw.publish(`${namespace}.e.${bucket >> 3}.${bucket & 7}.${parts.type}`, body, { headers: sent })
}

test('the CloudEvents SDK reads every attribute of our messages, strictly', async () => {
  const namespace = nextSpace()
  const bus = busOf(namespace)
  await bus.start()
  const message = await taken(`${namespace}.e.>`, () =>
    bus.publish(PlacedTwice, { orderId: KEY, totalCents: 5 }, {
      id: 'id ü%', correlationId: 'flow 1', causationId: 'cause', tenant: 'acme', traceparent: TRACE, deadlineAtMs: 4_102_444_800_000, headers: { note: ' naïve 100% ' },
    }))
  expect(readStrictly(asHttp(message), Buffer.from(message.data).toString())).toEqual({
    specversion: '1.0', id: 'id ü%', source: '/shop', type: 'sales.order-placed', time: expect.stringMatching(/^\d{4}-.*Z$/), datacontenttype: 'application/json', dataversion: '2',
    partitionkey: KEY, correlationid: 'flow 1', causationid: 'cause', tenant: 'acme', traceparent: TRACE, deadline: '2100-01-01T00:00:00.000Z', data: { orderId: KEY, totalCents: 5 },
  })
  const bucket = bucketOf(KEY)
  expect(message.subject).toBe(`${namespace}.e.${bucket >> 3}.${bucket & 7}.sales.order-placed`)
  expect(message.headers?.get('note')).toBe('%20na%C3%AFve%20100%25%20')
})

test('messages of the CloudEvents SDK reach our handlers with their types', async () => {
  const namespace = nextSpace()
  const seen: Message[] = []
  const bus = busOf(namespace)
  bus.on(PlacedTwice, { group: 'ledger' }, (message) => seen.push(message))
  await bus.start()
  publishRaw(namespace, { id: 'sdk ü%', source: 'https://example.com/shop?x=1', type: 'sales.order-placed', partitionkey: KEY, correlationid: 'flow', tenant: 'acme', data: { orderId: KEY, total: 7 } })
  publishRaw(namespace, { id: 'sdk 2', source: '/sdk', type: 'sales.order-placed', dataversion: '2', data: { orderId: 'o', totalCents: 8 } })
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
  raw.publish(`${namespace}.e.0.0.sales.order-placed`, Buffer.from([0xff, 0x00]))
  publishRaw(namespace, { id: 'newer', source: '/sdk', type: 'sales.order-placed', dataversion: '9', data: {} })
  publishRaw(namespace, { id: 'xml', source: '/sdk', type: 'sales.order-placed', datacontenttype: 'application/xml', data: '<order/>' })
  const letters = await until(async () => {
    const { items } = await bus.deadLetters.list()
    return items.length === 3 ? items : undefined
  })
  expect(letters?.map(({ record }) => record.reason).toSorted()).toEqual(['contract.message_foreign', 'contract.message_foreign', 'contract.version_unknown'])
  expect(letters?.map(({ message }) => Buffer.from(message.body).toString('latin1')).toSorted()).toEqual(['<order/>', '{}', '\u00ff\u0000'])
})

test('a Python program publishes to our handlers', async () => {
  const namespace = nextSpace()
  const seen: Message[] = []
  const bus = busOf(namespace)
  bus.on(Placed, { group: 'ledger', order: 'key' }, (message) => seen.push(message))
  await bus.start()
  expect(await peerOf('publish', namespace).json()).toMatchObject({ stream: `${namespace.toUpperCase()}_EVENTS`, seq: 1 })
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
    subject: `${namespace}.e.${bucket >> 3}.${bucket & 7}.sales.order-placed`,
    attributes: { specversion: '1.0', id: 'm 1', source: '/shop', type: 'sales.order-placed', time: expect.any(String), datacontenttype: 'application/json', partitionkey: KEY },
    headers: { note: 'ü', 'Nats-Msg-Id': '/shop#m 1', 'Nats-Expected-Stream': `${namespace.toUpperCase()}_EVENTS` },
    data: { orderId: KEY, total: 3 },
    bucket: `${bucket >> 3}.${bucket & 7}`,
  })
})

test('a Python program asks our queries and answers ours, declared errors included', async () => {
  const [namespace, other] = [nextSpace(), nextSpace()]
  const bus = busOf(namespace)
  bus.answer(Quote, ({ data }) => ({ cents: data.sku.length }))
  await bus.start()
  expect(await peerOf('ask', namespace).json()).toEqual({ subject: expect.stringMatching(/^_INBOX\./), attributes: {}, headers: {}, data: { cents: 5 } })

  const asker = busOf(other, 'asker')
  await asker.start()
  const peer = peerOf('answer', other)
  expect(await peer.line()).toBe('READY')
  const error: unknown = await asker.ask(Quote, { sku: 'pear' }).catch((thrown: unknown) => thrown)
  expect(Quote.errorIn(error)).toEqual({ type: 'pricing.quote', name: 'unknownSku', data: { sku: 'pear' } })
  expect(await peer.json()).toMatchObject({ subject: `${other}.q.pricing.quote`, attributes: { source: '/asker', type: 'pricing.quote', deadline: expect.stringMatching(/Z$/) }, data: { sku: 'pear' } })
})

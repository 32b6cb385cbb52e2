import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { storedLines } from '../../src/adapters/nats/nats-message.ts'
import { NatsNames } from '../../src/adapters/nats/nats-names.ts'
import { publishOptionsOf } from '../../src/adapters/rabbitmq/rabbitmq-message.ts'
import { COMMAND } from '../../src/adapters/rabbitmq/rabbitmq-queues.ts'
import { RabbitNames, patternOf, routingKeyOf } from '../../src/adapters/rabbitmq/rabbitmq-names.ts'
import { bucketOf } from '../../src/contract/names.ts'
import { isUserHeader, writeAttributes } from '../../src/contract/wire.ts'
import type { WireMessage } from '../../src/core/envelope.ts'
import * as limits from '../../src/core/limits.ts'

const document = readFileSync(join(import.meta.dirname, '../../docs/wire-format.md'), 'utf8')

/** The event of the document's examples. */
const message: WireMessage = {
  id: '019a0b5e-7c11-7000-8000-000000000001', source: '/shop', type: 'sales.order-placed', version: 2, time: '2026-01-02T03:04:05.678Z', contentType: 'application/json', key: 'Köln 9',
  correlationId: '019a0b5e-7c10-7000-8000-000000000001', causationId: '019a0b5e-7c10-7000-8000-000000000001', deadline: undefined, tenant: 'acme', traceparent: undefined,
  tracestate: undefined, hops: 1, replyTo: undefined, outcome: undefined, headers: { note: 'naïve 100%' }, body: Buffer.from('{"orderId":"Köln 9","totalCents":1250}'), defect: undefined,
}

/** The text of the block that is marked so. */
function block(mark: string): string {
  const found = new RegExp(`^\`\`\`\\w+ ${mark}\\n(.*?)^\`\`\`$`, 'ms').exec(document)
  if (found?.[1] === undefined) throw new TypeError(`the document has no block ${mark}`)
  return found[1]
}

const rows = (pattern: RegExp): readonly (readonly string[])[] => [...document.matchAll(pattern)].map((row) => row.slice(1))

test('the NATS example is what we send, byte by byte', () => {
  // What only the stream reads stands before it.
  const head = `NATS/1.0\r\n${storedLines(message).replace(/^Nats-Msg-Id: .*\r\n/, '')}\r\n`
  expect(block('nats').replaceAll('\n', '\r\n')).toBe(head)
  const size = Buffer.byteLength(head)
  expect(block('nats-line')).toBe(`HPUB ${new NatsNames('trunkline').subjectOf('event', message)} _INBOX.1 ${size} ${size + message.body.length}\n`)
  expect(document).toContain(`with ${size} bytes of headers and ${message.body.length} bytes of body`)
  expect(block('body')).toBe(`${Buffer.from(message.body).toString()}\n`)
})

test('the RabbitMQ example is what we send', () => {
  const { persistent, contentType, messageId, headers } = publishOptionsOf(message, true)
  expect(JSON.parse(block('rabbitmq'))).toEqual({ content_type: contentType, delivery_mode: persistent === true ? 2 : 1, message_id: messageId, headers })
  expect(document).toContain(`exchange \`${new RabbitNames('trunkline').events}\`, routing key \`${routingKeyOf(message)}\``)
})

test('the table of attributes names every attribute that we write, and which ones are needed', () => {
  const written: string[] = ['datacontenttype']
  const full: WireMessage = { ...message, deadline: 'd', traceparent: 't', tracestate: 's', replyTo: 'r', outcome: 'o' }
  writeAttributes(full, (name) => written.push(name))
  const table = rows(/^\| (`[a-z`, ]+`) \| (yes|no) \|/gm).flatMap(([names, needed]) => (names ?? '').split(', ').map((name) => [name.replaceAll('`', ''), needed] as const))
  expect(table.map(([name]) => name).toSorted()).toEqual(written.toSorted())
  expect(table.filter(([, needed]) => needed === 'yes').map(([name]) => name)).toEqual(['specversion', 'id', 'source', 'type'])
})

test('the buckets are those that we compute', () => {
  const table = rows(/^\| `(.+?)` \| `([0-9a-f]{8})` \| (\d+) \| `(\d\.\d)` \|$/gm)
  expect(table).toHaveLength(5)
  for (const [key = '', hash = '', bucket, digits] of table) {
    expect([key, bucketOf(key)]).toEqual([key, Number(bucket)])
    expect(Number.parseInt(hash, 16) % limits.KEY_BUCKETS).toBe(Number(bucket))
    expect(digits).toBe(`${bucketOf(key) >> 3}.${bucketOf(key) & 7}`)
  }
})

test('subjects, exchanges and queues are those of the adapters', () => {
  const [nats, rabbit] = [new NatsNames('<ns>'), new RabbitNames('<ns>')]
  const type = '<type>'
  for (const text of [
    nats.broadcast(type), nats.request(type), nats.typeFilter('event', type), nats.streams.events.replace('<NS>', '<NS>'), nats.streams.commands,
    rabbit.events, rabbit.commands, rabbit.light, rabbit.query(type), rabbit.group('command', type, type), patternOf(type),
  ]) expect(document).toContain(`\`${text}\``)
  expect(routingKeyOf({ ...message, key: undefined })).toBe('sales.order-placed.-.-')
  expect(nats.subjectOf('command', { ...message, key: undefined, id: 'order-1' })).toBe('<ns>.c.5.5.sales.order-placed')
  for (const [name, value] of Object.entries(COMMAND)) expect(document).toContain(`\`${name}\` ${name === 'x-delivery-limit' ? String(value) : `\`${String(value)}\``}`)
})

test('the limits are those of the library', () => {
  expect(document).toContain(`at most ${limits.BODY_BYTES_MAX.toLocaleString('en')} bytes and ${limits.BODY_DEPTH_MAX} levels deep`)
  expect(document).toContain(`at most ${limits.TYPE_LENGTH_MAX} characters`)
  expect(document).toContain(`1 to ${limits.ID_LENGTH_MAX} characters`)
  expect(document).toContain(`1 to ${limits.KEY_BYTES_MAX} UTF-8 bytes`)
  expect(document).toContain(`beyond \`${limits.HOPS_MAX}\` the message is given up`)
  for (const name of ['nats-x', 'ce-x', 'cloudevents', 'trunkline-x', 'x-death', 'x-delay', 'cc', 'bcc', 'expiration']) expect(isUserHeader(name)).toBe(false)
})

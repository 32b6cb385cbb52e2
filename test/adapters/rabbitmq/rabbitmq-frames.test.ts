import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { PassThrough } from 'node:stream'
import { expect, test } from 'vitest'
import type { RabbitChannel, RabbitPublishOptions } from '../../../src/adapters/rabbitmq/rabbitmq-client.ts'
import { PublishFrames } from '../../../src/adapters/rabbitmq/rabbitmq-frames.ts'

/** amqplib's own connection and channel, over a stream that nobody answers. */
interface Inside {
  readonly Connection: new (stream: PassThrough) => { frameMax: number; channels: unknown[] }
  readonly ConfirmChannel: new (connection: unknown) => RabbitChannel & { ch: number; toClosed(stack: string): void; readonly unconfirmed: readonly unknown[] }
}

const required = createRequire(import.meta.url)
const inside = join(dirname(required.resolve('amqplib')), 'lib')
const { Connection, ConfirmChannel }: Inside = { ...required(join(inside, 'connection.js')), ...required(join(inside, 'channel_model.js')) }

function opened(): { readonly channel: InstanceType<Inside['ConfirmChannel']>; readonly frames: PublishFrames; readonly written: () => readonly Buffer[] } {
  const connection = new Connection(new PassThrough())
  connection.frameMax = 131_072
  const channel = new ConfirmChannel(connection)
  channel.ch = 258
  const buffer = new PassThrough({ objectMode: true })
  connection.channels[258] = { channel, buffer }
  const frames = PublishFrames.of(channel)
  if (frames === undefined) throw new Error('amqplib looks different now')
  const written = (): readonly Buffer[] => {
    const chunks: Buffer[] = []
    for (let chunk: unknown = buffer.read(); chunk !== null; chunk = buffer.read()) if (Buffer.isBuffer(chunk)) chunks.push(chunk)
    return chunks
  }
  return { channel, frames, written }
}

const USUAL: RabbitPublishOptions = { persistent: true, mandatory: true, contentType: 'application/json', messageId: 'm-1', headers: { 'cloudEvents:id': 'm-1', 'cloudEvents:type': 'sales.order-placed' } }

const same: readonly (readonly [name: string, exchange: string, routingKey: string, content: Buffer, options: RabbitPublishOptions])[] = [
  ['a usual message', 'trunkline.events', 'sales.order-placed.-.-', Buffer.from('{"a":1}'), USUAL],
  ['an empty body', 'e', 'k', Buffer.alloc(0), USUAL],
  ['empty texts', '', '', Buffer.from('x'), { persistent: false, mandatory: false, contentType: '', messageId: '', headers: {} }],
  ['no delivery mode', 'e', 'k', Buffer.from('x'), { contentType: 't', messageId: 'm', headers: {} }],
  ['texts outside ASCII', 'é', 'ключ', Buffer.from('ü'), { ...USUAL, messageId: 'мм', headers: { 'näme': 'a ✓ 𝄞 b', empty: '' } }],
  ['half a surrogate pair', 'e', 'k', Buffer.from('x'), { ...USUAL, headers: { a: 'x\ud83dy' } }],
  ['the longest short texts', 'e'.repeat(255), 'é'.repeat(127), Buffer.from('x'), { ...USUAL, headers: { ['n'.repeat(255)]: 'v'.repeat(3_000) } }],
]

test.each(same)('%s is written byte for byte as amqplib writes it', async (_name, exchange, routingKey, content, options) => {
  const theirs = opened()
  theirs.channel.publish(exchange, routingKey, content, options)
  const ours = opened()
  expect(ours.frames.publish(exchange, routingKey, content, options)).toBe(true)
  await Promise.resolve()
  expect(Buffer.concat(ours.written()).toString('hex')).toBe(Buffer.concat(theirs.written()).toString('hex'))
  expect(ours.channel.unconfirmed).toStrictEqual(theirs.channel.unconfirmed)
})

const others: readonly (readonly [name: string, exchange: string, content: Buffer, options: RabbitPublishOptions])[] = [
  ['a header that is no text', 'e', Buffer.from('x'), { ...USUAL, headers: { count: 3 } }],
  ['a header without value', 'e', Buffer.from('x'), { ...USUAL, headers: { none: undefined } }],
  ['no headers', 'e', Buffer.from('x'), { contentType: 't', messageId: 'm' }],
  ['another option', 'e', Buffer.from('x'), { ...USUAL, replyTo: 'r' }],
  ['a name that is too long', 'e'.repeat(256), Buffer.from('x'), USUAL],
  ['a name that is too long in UTF-8', 'é'.repeat(128), Buffer.from('x'), USUAL],
  ['a header name that is too long', 'e', Buffer.from('x'), { ...USUAL, headers: { ['n'.repeat(256)]: 'v' } }],
  ['a large body', 'e', Buffer.alloc(20_000), USUAL],
]

test.each(others)('%s is left to amqplib, and nothing of it is written', async (_name, exchange, content, options) => {
  const { channel, frames, written } = opened()
  expect(frames.publish(exchange, 'k', content, options)).toBe(false)
  await Promise.resolve()
  expect(written()).toStrictEqual([])
  expect(channel.unconfirmed).toStrictEqual([])
})

test('what is published in one go is one write, and the next go is another', async () => {
  const { frames, written } = opened()
  for (let index = 0; index < 5; index++) frames.publish('e', 'k', Buffer.from(`${index}`), USUAL)
  await Promise.resolve()
  expect(written().length).toBe(1)
  frames.publish('e', 'k', Buffer.from('x'), USUAL)
  await Promise.resolve()
  expect(written().length).toBe(1)
})

test('more than a block is written whole and in order', async () => {
  const theirs = opened()
  const ours = opened()
  for (let index = 0; index < 200; index++) {
    const content = Buffer.from(`${index}`.padStart(1 + ((index * 37) % 2_000), '.'))
    theirs.channel.publish('e', `k${index}`, content, USUAL)
    expect(ours.frames.publish('e', `k${index}`, content, USUAL)).toBe(true)
  }
  await Promise.resolve()
  expect(Buffer.concat(ours.written()).equals(Buffer.concat(theirs.written()))).toBe(true)
})

test('a message of amqplib stays behind those that were published before it', async () => {
  const { channel, frames, written } = opened()
  const large = { ...USUAL, replyTo: 'r' }
  frames.publish('e', 'first', Buffer.from('x'), USUAL)
  expect(frames.publish('e', 'second', Buffer.from('x'), large)).toBe(false)
  channel.publish('e', 'second', Buffer.from('x'), large)
  frames.publish('e', 'third', Buffer.from('x'), USUAL)
  await Promise.resolve()
  const text = Buffer.concat(written()).toString('latin1')
  const places = ['first', 'second', 'third'].map((word) => text.indexOf(word))
  expect(places.every((place) => place > 0)).toBe(true)
  expect(places).toStrictEqual(places.toSorted((left, right) => left - right))
})

test('a channel that closed writes nothing more', async () => {
  const { channel, frames, written } = opened()
  frames.publish('e', 'k', Buffer.from('x'), USUAL)
  channel.toClosed('test')
  await Promise.resolve()
  expect(written()).toStrictEqual([])
  expect(frames.publish('e', 'k', Buffer.from('x'), USUAL)).toBe(false)
  expect(() => channel.publish('e', 'k', Buffer.from('x'), USUAL)).toThrow(/closed/i)
})

test('a channel of another client is left alone', () => {
  const { channel } = opened()
  const publish = (): boolean => true
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a channel that has only what is documented
  expect(PublishFrames.of({ publish } as unknown as RabbitChannel)).toBeUndefined()
  channel.ch = 7
  expect(PublishFrames.of(channel)).toBeUndefined()
})

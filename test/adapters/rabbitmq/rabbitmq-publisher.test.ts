import { expect, test } from 'vitest'
import { RabbitPublisher, type Parcel } from '../../../src/adapters/rabbitmq/rabbitmq-publisher.ts'
import { systemClock, type Clock } from '../../../src/core/clock.ts'
import { FakeChannel } from './rabbitmq-fake-channel.ts'

const ticks: (() => void)[] = []
const clock: Clock = {
  ...systemClock,
  setTimer: (_delayMs, callback) => {
    ticks.push(callback)
    return { cancel: () => undefined }
  },
}

function parcel(id: string, more: Partial<Parcel> = {}): Parcel {
  return { exchange: 'e', routingKey: 'k', content: Buffer.from(id), options: { messageId: id }, type: 'sales.order-placed', id, signal: undefined, repair: undefined, ...more }
}

async function opened(): Promise<{ readonly publisher: RabbitPublisher; readonly channel: FakeChannel; readonly log: string[]; readonly send: (one: Parcel) => Promise<void> }> {
  const publisher = new RabbitPublisher(clock, () => Promise.resolve())
  const channel = new FakeChannel()
  await publisher.build(channel)
  const log: string[] = []
  const send = (one: Parcel): Promise<void> =>
    publisher.send(one).then(
      () => void log.push(`${one.id} stored`),
      (error: unknown) => void log.push(`${one.id} ${error instanceof Error && 'code' in error ? String(error.code) : ''}`),
    )
  return { publisher, channel, log, send }
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('reads confirms that come late, out of order, together and negative', async () => {
  const { channel, log, send } = await opened()
  for (const id of ['a', 'b', 'c', 'd', 'e']) void send(parcel(id))
  channel.emit('ack', { deliveryTag: 2, multiple: false })
  channel.emit('ack', { deliveryTag: 2, multiple: false })
  channel.emit('nack', { deliveryTag: 4, multiple: false })
  channel.emit('ack', { deliveryTag: 4, multiple: true })
  channel.emit('ack', { deliveryTag: 99, multiple: false })
  channel.emit('ack', 'nonsense')
  await settled()
  expect(log.toSorted()).toEqual(['a stored', 'b stored', 'c stored', 'd bus.publish_refused'])
})

test('sends what was not confirmed again on the next channel, in order and before what came later', async () => {
  const { publisher, channel, log, send } = await opened()
  for (const id of ['a', 'b', 'c']) void send(parcel(id))
  channel.emit('ack', { deliveryTag: 2, multiple: false })
  publisher.lost('gone', false)
  void send(parcel('d'))
  channel.emit('ack', { deliveryTag: 1, multiple: false })
  const next = new FakeChannel()
  await publisher.build(next)
  expect(next.published.map(({ options }) => options?.messageId)).toEqual(['a', 'c', 'd'])
  next.emit('ack', { deliveryTag: 3, multiple: true })
  await settled()
  expect(log).toEqual(['b stored', 'a stored', 'c stored', 'd stored'])
})

test('refuses the one message that the broker closes channels over, and sends the others', async () => {
  const { publisher, channel, log, send } = await opened()
  for (const id of ['a', 'poison', 'b']) void send(parcel(id))
  expect(channel.published.length).toBe(3)
  let on = channel
  for (let round = 0; round < 10 && log.length < 3; round++) {
    publisher.lost('too large', true)
    on = new FakeChannel()
    await publisher.build(on)
    for (let tag = 1; on.published[tag - 1] !== undefined && on.published[tag - 1]?.options?.messageId !== 'poison'; tag++) {
      on.emit('ack', { deliveryTag: tag, multiple: false })
    }
    await settled()
  }
  expect(log.toSorted()).toEqual(['a stored', 'b stored', 'poison bus.publish_refused'])
})

test('repairs and sends again what was returned, and gives up where that does not help', async () => {
  const { channel, log, send } = await opened()
  let repairs = 0
  const repair = (): Promise<void> => {
    repairs++
    return Promise.resolve()
  }
  void send(parcel('a', { repair }))
  void send(parcel('b'))
  const bounce = (id: string, tag: number): void => {
    channel.emit('return', { fields: { exchange: 'e', routingKey: 'k' }, properties: { messageId: id } })
    channel.emit('ack', { deliveryTag: tag, multiple: false })
  }
  bounce('a', 1)
  bounce('b', 2)
  await settled()
  channel.emit('ack', { deliveryTag: 3, multiple: false })
  await settled()
  expect([repairs, log]).toEqual([1, ['b bus.publish_refused', 'a stored']])
  void send(parcel('c', { repair }))
  for (let tag = 4; tag < 8; tag++) {
    bounce('c', tag)
    await settled()
  }
  expect(log.at(-1)).toBe('c bus.publish_refused')
})

test('gives up what its caller gave up, and everything when it is closed', async () => {
  const { publisher, log, send } = await opened()
  publisher.lost('gone', false)
  const given = new AbortController()
  void send(parcel('a', { signal: given.signal }))
  void send(parcel('b'))
  given.abort()
  for (const tick of ticks.splice(0)) tick()
  await settled()
  expect(log).toEqual(['a bus.connection_lost'])
  publisher.close()
  void send(parcel('c'))
  await settled()
  expect(log).toEqual(['a bus.connection_lost', 'b bus.connection_lost', 'c bus.connection_lost'])
})

test('refuses what amqplib cannot encode, and keeps what a closing channel did not take', async () => {
  const { publisher, channel, log, send } = await opened()
  channel.throwOnPublish = new RangeError('the headers are too large')
  void send(parcel('a'))
  channel.throwOnPublish = new Error('Channel closing')
  void send(parcel('b'))
  publisher.lost('gone', false)
  const next = new FakeChannel()
  await publisher.build(next)
  next.emit('ack', { deliveryTag: 1, multiple: false })
  await settled()
  expect(log).toEqual(['a bus.publish_refused', 'b stored'])
})

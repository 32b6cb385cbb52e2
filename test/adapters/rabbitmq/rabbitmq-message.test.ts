import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { RabbitMessage, RabbitPublishOptions } from '../../../src/adapters/rabbitmq/rabbitmq-client.ts'
import { contentOf, copyOptionsOf, countOf, deliveriesBefore, messageOf, publishOptionsOf, textOf } from '../../../src/adapters/rabbitmq/rabbitmq-message.ts'
import { wire } from './rabbitmq-fixture.ts'

function delivered(options: RabbitPublishOptions, content: Buffer, redelivered = false): RabbitMessage {
  return { content, fields: { deliveryTag: 1, redelivered, exchange: 'e', routingKey: 'sales.order-placed.-.-' }, properties: options }
}

test('every message is the same after the way out and back', () => {
  const text = fc.string({ minLength: 1, maxLength: 20, unit: fc.constantFrom('a', 'é', '-', '%', '"', ' ', '😀') })
  const optional = fc.option(text, { nil: undefined })
  const messages = fc.record({
    id: text,
    source: text,
    key: optional,
    correlationId: optional,
    causationId: optional,
    deadline: optional,
    traceparent: optional,
    replyTo: optional,
    outcome: optional,
    tenant: fc.constantFrom(undefined, 'acme'),
    version: fc.integer({ min: 1, max: 1_000_000 }),
    hops: fc.nat(32),
    // No reserved name begins with a q.
    headers: fc.option(fc.dictionary(fc.stringMatching(/^q[a-z]{2,7}-q$/), text, { minKeys: 1, maxKeys: 3, noNullPrototype: true }), { nil: undefined }),
    body: fc.uint8Array({ maxLength: 30 }),
  })
  fc.assert(
    fc.property(messages, (parts) => {
      const message = wire('sales.order-placed', parts)
      const back = messageOf(delivered(publishOptionsOf(message, true), contentOf(message.body)))
      expect({ ...back, body: [...back.body] }).toEqual({ ...message, body: [...message.body] })
    }),
  )
})

test('an id that is too long for a property travels as an attribute alone', () => {
  const id = 'é'.repeat(200)
  const options = publishOptionsOf(wire('sales.order-placed', { id }), true)
  expect(options.messageId).toBe('')
  expect(messageOf(delivered(options, Buffer.from('{}'))).id).toBe(id)
})

test('a message without an id gets one that is the same at every delivery and after every move', () => {
  const options = { headers: { Odd: 1 } }
  const first = messageOf(delivered(options, Buffer.from('{}')))
  const counted = { headers: { Odd: 1, 'x-delivery-count': 3, 'x-death': [] } }
  expect(messageOf(delivered(counted, Buffer.from('{}'), true)).id).toBe(first.id)
  expect(messageOf(delivered(copyOptionsOf(delivered(options, Buffer.from('{}')), { 'trunkline-attempts': '2' }), Buffer.from('{}'))).id).toBe(first.id)
  expect(messageOf(delivered({ headers: { Odd: 2 } }, Buffer.from('{}'))).id).not.toBe(first.id)
  expect(first.defect).toContain('not a CloudEvents 1.0 message')
})

test('a copy keeps what the publisher gave and nothing that would route, expire or count it', () => {
  const raw = delivered(
    {
      headers: { Odd: 1, CC: ['x'], BCC: ['y'], 'x-death': [], 'x-first-death-queue': 'q', 'x-delivery-count': 2, 'trunkline-attempts': '1', 'trunkline-dead-id': 'd', 'trunkline-hold-id': 'h' },
      contentType: 'application/json', correlationId: 'c', timestamp: 5, appId: 'app',
    },
    Buffer.from('{}'),
  )
  expect(copyOptionsOf({ ...raw, properties: { ...raw.properties, type: 7 } }, { 'trunkline-attempts': '2' })).toEqual({
    persistent: true,
    mandatory: true,
    headers: { Odd: 1, 'trunkline-attempts': '2' },
    contentType: 'application/json',
    correlationId: 'c',
    timestamp: 5,
    appId: 'app',
  })
})

test('field values that are no text are read as what they mean, or not at all', () => {
  expect([1, true, 2n, { '!': 'timestamp', value: 1_700_000_000 }].map(textOf)).toEqual(['1', 'true', '2', '2023-11-14T22:13:20.000Z'])
  for (const odd of [undefined, null, {}, [], Buffer.from('x'), { '!': 'timestamp', value: 1e300 }, { '!': 'decimal', value: {} }]) expect(textOf(odd)).toBeUndefined()
})

test('forged counts count nothing, and a count needs a redelivery', () => {
  for (const forged of ['x', -1, 1.5, '1e400', {}]) expect(countOf({ 'trunkline-attempts': forged }, 'trunkline-attempts')).toBe(0)
  const headers = { 'x-delivery-count': 2, 'x-acquired-count': 3 }
  expect([deliveriesBefore(delivered({ headers }, Buffer.alloc(0))), deliveriesBefore(delivered({ headers }, Buffer.alloc(0), true))]).toEqual([0, 3])
})

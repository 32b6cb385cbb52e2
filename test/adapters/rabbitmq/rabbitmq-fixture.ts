import amqplib from 'amqplib'
import type { DeadLetterPlane, DeadLetterRecord, Delivery, Subscription, Transport, TransportHost, TransportState, TransportSubscription } from '../../../src/bus/port.ts'
import { systemClock } from '../../../src/core/clock.ts'
import type { WireMessage } from '../../../src/core/envelope.ts'
import { silentLogger } from '../../../src/core/logger.ts'
import { systemRandom } from '../../../src/core/random.ts'
import { rabbitmq, type RabbitmqOptions } from '../../../src/adapters/rabbitmq/index.ts'
import { until } from '../../servers/until.ts'

let counter = 0

/** A name that no other test of this run uses. */
export function freshName(prefix: string): string {
  return `${prefix}${process.pid}-${++counter}`
}

/** A transport that is open, and everything it reported. */
export interface OpenTransport extends AsyncDisposable {
  readonly transport: Transport
  readonly states: { readonly state: TransportState; readonly reason: string }[]
}

/** Opens a transport the way the bus does. */
export async function openTransport(options: RabbitmqOptions, more: Partial<TransportHost> = {}): Promise<OpenTransport> {
  const transport = rabbitmq(options)
  const states: { state: TransportState; reason: string }[] = []
  await transport.open({
    clock: systemClock,
    random: systemRandom,
    logger: silentLogger,
    service: 'shop',
    instance: systemRandom.id(Date.now()),
    report: (state, reason) => {
      states.push({ state, reason })
    },
    ...more,
  })
  return { transport, states, [Symbol.asyncDispose]: () => transport.close() }
}

/** A message as the bus would make it. */
export function wire(type: string, more: Partial<WireMessage> = {}): WireMessage {
  return {
    id: systemRandom.id(Date.now()),
    source: '/shop',
    type,
    version: 1,
    time: '2026-01-02T03:04:05.000Z',
    contentType: 'application/json',
    key: undefined,
    correlationId: undefined,
    causationId: undefined,
    deadline: undefined,
    tenant: undefined,
    traceparent: undefined,
    tracestate: undefined,
    hops: 0,
    replyTo: undefined,
    outcome: undefined,
    headers: undefined,
    body: Buffer.from('{"n":1}'),
    defect: undefined,
    ...more,
  }
}

/** Publishes an event and resolves when it is stored. */
export async function emit(transport: Transport, type: string, more: Partial<WireMessage> = {}): Promise<WireMessage> {
  const message = wire(type, more)
  await transport.publish({ kind: 'event', message }, undefined)
  return message
}

/** What an unordered event group of the given types wants. */
export function groupOf(group: string, types: readonly string[], more: Partial<Subscription> = {}): Subscription {
  return { group, kind: 'event', types, order: 'none', from: 'new', inFlightMax: 16, handlerTimeoutMs: 30_000, ...more }
}

/** A subscription whose deliveries are kept until the test settles them. */
export interface Inbox {
  readonly subscription: TransportSubscription
  readonly deliveries: Delivery[]
  /** Resolves with the delivery at the given position, once it has come. */
  at(index: number): Promise<Delivery>
}

/** Subscribes and keeps everything; `settle` is called for each delivery where it is given. */
export async function inboxOf(transport: Transport, subscription: Subscription, settle?: (delivery: Delivery) => unknown): Promise<Inbox> {
  const deliveries: Delivery[] = []
  const running = await transport.subscribe(subscription, (delivery) => {
    deliveries.push(delivery)
    void settle?.(delivery)
  })
  return {
    subscription: running,
    deliveries,
    at: async (index) => {
      const found = await until(() => deliveries[index], { what: `delivery ${index} of ${subscription.group}` })
      if (found === undefined) throw new Error('until resolves with something truthy')
      return found
    },
  }
}

/** The body's text. */
export function bodyOf(delivery: { readonly message: WireMessage }): string {
  return Buffer.from(delivery.message.body).toString()
}

/** Does something with a raw connection to the broker. */
export async function withRaw<T>(url: string, work: (channel: amqplib.ConfirmChannel, connection: amqplib.ChannelModel) => Promise<T>): Promise<T> {
  const connection = await amqplib.connect(url)
  connection.on('error', () => undefined)
  try {
    const channel = await connection.createConfirmChannel()
    channel.on('error', () => undefined)
    return await work(channel, connection)
  } finally {
    await connection.close().catch(() => undefined)
  }
}

/** The transport's dead letters, which it has. */
export function deadLettersOf(transport: Transport): DeadLetterPlane {
  if (transport.deadLetters === undefined) throw new Error('the transport has dead letters')
  return transport.deadLetters
}

/** Messages ready in a queue. */
export function readyIn(url: string, queue: string): Promise<number> {
  return withRaw(url, async (channel) => (await channel.checkQueue(queue)).messageCount)
}

/** A record as the bus makes it. */
export const record: DeadLetterRecord = {
  reason: 'bus.handler_failed',
  errors: [{ name: 'Error', message: 'out of stock' }],
  attempts: 3,
  handler: 'reserve',
  service: 'shop',
  instance: 'i-1',
  at: '2026-01-02T03:04:05.000Z',
}

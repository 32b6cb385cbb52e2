import { TrunklineError } from '../../core/errors.ts'

// The slice of amqplib that the adapter uses, so that its types never reach our own declarations.

/** A table of AMQP field values. */
export type RabbitTable = Readonly<Record<string, unknown>>

/** Properties of a message that came in. */
export interface RabbitProperties {
  readonly headers?: RabbitTable | undefined
  readonly contentType?: unknown
  readonly contentEncoding?: unknown
  readonly correlationId?: unknown
  readonly replyTo?: unknown
  readonly messageId?: unknown
  readonly timestamp?: unknown
  readonly type?: unknown
  readonly appId?: unknown
}

/** A message that came in. */
export interface RabbitMessage {
  readonly content: Buffer
  readonly fields: {
    readonly deliveryTag: number
    /** Absent where the message was fetched and not pushed. */
    readonly consumerTag?: string | undefined
    readonly redelivered: boolean
    readonly exchange: string
    readonly routingKey: string
  }
  readonly properties: RabbitProperties
}

/** How a message is sent. */
export interface RabbitPublishOptions {
  readonly persistent?: boolean
  readonly mandatory?: boolean
  readonly contentType?: string
  readonly contentEncoding?: string
  readonly headers?: RabbitTable
  readonly messageId?: string
  readonly correlationId?: string
  readonly replyTo?: string
  readonly timestamp?: number
  readonly type?: string
  readonly appId?: string
}

/** How a queue is declared. */
export interface RabbitQueueOptions {
  readonly durable?: boolean
  readonly exclusive?: boolean
  readonly autoDelete?: boolean
  readonly arguments?: RabbitTable
}

/** What is known of a declared queue. */
export interface RabbitQueueState {
  readonly messageCount: number
  readonly consumerCount: number
}

/** An open amqplib channel. */
export interface RabbitChannel {
  on(event: string, listener: (payload: unknown) => void): unknown
  close(): Promise<void>
  assertQueue(queue: string, options?: RabbitQueueOptions): Promise<RabbitQueueState>
  checkQueue(queue: string): Promise<RabbitQueueState>
  deleteQueue(queue: string, options?: { readonly ifEmpty?: boolean; readonly ifUnused?: boolean }): Promise<unknown>
  bindQueue(queue: string, exchange: string, pattern: string): Promise<unknown>
  unbindQueue(queue: string, exchange: string, pattern: string): Promise<unknown>
  assertExchange(exchange: string, type: string, options?: { readonly durable?: boolean; readonly alternateExchange?: string }): Promise<unknown>
  bindExchange(destination: string, source: string, pattern: string): Promise<unknown>
  publish(exchange: string, routingKey: string, content: Buffer, options?: RabbitPublishOptions): boolean
  consume(
    queue: string,
    onMessage: (message: RabbitMessage | null) => void,
    options?: { readonly noAck?: boolean; readonly exclusive?: boolean; readonly arguments?: RabbitTable },
  ): Promise<{ readonly consumerTag: string }>
  cancel(consumerTag: string): Promise<unknown>
  get(queue: string): Promise<RabbitMessage | false>
  ack(message: RabbitMessage, allUpTo?: boolean): void
  nack(message: RabbitMessage, allUpTo?: boolean, requeue?: boolean): void
  prefetch(count: number): Promise<unknown>
}

/**
 * An open amqplib connection (`ChannelModel`), typed by what the adapter uses. Give connections
 * without amqplib's own `recovery`: the adapter supervises them itself.
 */
export interface RabbitConnection {
  on(event: string, listener: (payload: unknown) => void): unknown
  close(): Promise<void>
  createChannel(): Promise<RabbitChannel>
  createConfirmChannel(): Promise<RabbitChannel>
}

/** Where and how one connection is opened, in amqplib's words. */
export interface RabbitAddress {
  readonly protocol: 'amqp' | 'amqps'
  readonly hostname: string
  readonly port: number
  readonly vhost: string
  readonly username: string
  readonly password: string
  /** Seconds. */
  readonly heartbeat: number
}

/** Socket and TLS options of one connection. */
export type RabbitSocketOptions = Readonly<Record<string, unknown>>

/** amqplib's `connect`. */
export type RabbitConnect = (address: RabbitAddress, socket: RabbitSocketOptions) => Promise<RabbitConnection>

/**
 * Loads amqplib, which is an optional peer dependency.
 *
 * @throws `core.peer_missing` where it is not installed.
 */
export async function loadAmqplib(): Promise<RabbitConnect> {
  try {
    const amqplib = await import('amqplib')
    return (address, socket) => amqplib.connect(address, socket)
  } catch (cause) {
    throw new TrunklineError('core.peer_missing', { package: 'amqplib', install: 'npm install amqplib' }, { cause })
  }
}

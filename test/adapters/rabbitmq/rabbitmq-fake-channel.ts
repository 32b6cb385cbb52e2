import { EventEmitter } from 'node:events'
import type { RabbitChannel, RabbitMessage, RabbitPublishOptions } from '../../../src/adapters/rabbitmq/rabbitmq-client.ts'

/** A channel that remembers what was done on it; the test plays the broker. */
export class FakeChannel extends EventEmitter implements RabbitChannel {
  readonly published: { readonly exchange: string; readonly routingKey: string; readonly options: RabbitPublishOptions | undefined }[] = []
  readonly acked: { readonly tag: number; readonly multiple: boolean }[] = []
  readonly nacked: number[] = []
  throwOnPublish: Error | undefined

  publish(exchange: string, routingKey: string, _content: Buffer, options?: RabbitPublishOptions): boolean {
    if (this.throwOnPublish !== undefined) throw this.throwOnPublish
    this.published.push({ exchange, routingKey, options })
    return true
  }

  ack(message: RabbitMessage, allUpTo = false): void {
    this.acked.push({ tag: message.fields.deliveryTag, multiple: allUpTo })
  }

  nack(message: RabbitMessage): void {
    this.nacked.push(message.fields.deliveryTag)
  }

  close(): Promise<void> {
    return Promise.resolve()
  }

  assertQueue(): Promise<{ readonly messageCount: number; readonly consumerCount: number }> {
    return Promise.resolve({ messageCount: 0, consumerCount: 0 })
  }

  checkQueue(): Promise<{ readonly messageCount: number; readonly consumerCount: number }> {
    return this.assertQueue()
  }

  consume(): Promise<{ readonly consumerTag: string }> {
    return Promise.resolve({ consumerTag: 'c' })
  }

  get(): Promise<RabbitMessage | false> {
    return Promise.resolve(false)
  }

  deleteQueue(): Promise<unknown> {
    return Promise.resolve()
  }

  bindQueue(): Promise<unknown> {
    return Promise.resolve()
  }

  unbindQueue(): Promise<unknown> {
    return Promise.resolve()
  }

  assertExchange(): Promise<unknown> {
    return Promise.resolve()
  }

  bindExchange(): Promise<unknown> {
    return Promise.resolve()
  }

  cancel(): Promise<unknown> {
    return Promise.resolve()
  }

  prefetch(): Promise<unknown> {
    return Promise.resolve()
  }
}

/** A message as it came in. */
export function incoming(deliveryTag: number): RabbitMessage {
  return { content: Buffer.from('{}'), fields: { deliveryTag, redelivered: false, exchange: '', routingKey: 'q', consumerTag: 'c' }, properties: { headers: {} } }
}

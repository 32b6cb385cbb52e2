import type amqplib from 'amqplib'
import { expectTypeOf, test } from 'vitest'
import type { RabbitChannel, RabbitConnection } from '../../../src/adapters/rabbitmq/index.ts'

test('amqplib’s connections and channels fit the slice that the adapter uses', () => {
  expectTypeOf<amqplib.ChannelModel>().toExtend<RabbitConnection>()
  expectTypeOf<amqplib.ConfirmChannel>().toExtend<RabbitChannel>()
})

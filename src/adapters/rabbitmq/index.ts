export { rabbitmq, rabbitmqCapabilities } from './rabbitmq-transport.ts'
export type {
  RabbitmqConnectionOptions,
  RabbitmqConnectOptions,
  RabbitmqOptions,
  RabbitmqServerOptions,
  RabbitmqSharedOptions,
  RabbitmqTls,
} from './rabbitmq-options.ts'
export type {
  RabbitChannel,
  RabbitConnection,
  RabbitMessage,
  RabbitProperties,
  RabbitPublishOptions,
  RabbitQueueOptions,
  RabbitQueueState,
  RabbitTable,
} from './rabbitmq-client.ts'

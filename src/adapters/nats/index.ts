export { nats, natsCapabilities } from './nats-transport.ts'
export type { NatsConnectionOptions, NatsOptions, NatsSecret, NatsServerOptions, NatsSharedOptions, NatsTlsOptions } from './nats-options.ts'
export type { NatsClientSubscription, NatsConnection, NatsMessage, NatsServerInfo, NatsStatus } from './nats-client.ts'

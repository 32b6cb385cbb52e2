export { eventStoreDb, eventStoreDbBackend, type EventStoreDbStoreOptions } from './eventstoredb-composed.ts'
export { EsdbBackend } from './eventstoredb-backend.ts'
export { eventStoreDbCapabilities, eventStoreDbTransport } from './eventstoredb-transport.ts'
export { eventStoreDbLogCapabilities } from './eventstoredb-log.ts'
export type {
  EventStoreDbClientOptions, EventStoreDbOptions, EventStoreDbServerOptions, EventStoreDbSharedOptions, EventStoreDbTlsOptions,
} from './eventstoredb-options.ts'
export type {
  EsdbAppended, EsdbCallOptions, EsdbClient, EsdbConnect, EsdbConsumer, EsdbCredentials, EsdbDelivered, EsdbExpected, EsdbFilter, EsdbGroupSettings,
  EsdbPosition, EsdbProposed, EsdbReading, EsdbRecorded, EsdbResolved, EsdbSubscription,
} from './eventstoredb-client.ts'

import { type Store, storeOf } from '../../outbox/store.ts'
import { type StoreOptions, partedOptions } from '../../outbox/store-options.ts'
import { EsdbBackend } from './eventstoredb-backend.ts'
import { planOf } from './eventstoredb-connect.ts'
import type { EventStoreDbClientOptions, EventStoreDbOptions, EventStoreDbServerOptions } from './eventstoredb-options.ts'

/** What `eventStoreDb` takes: how to reach the servers, and how its store works. */
export type EventStoreDbStoreOptions = (EventStoreDbServerOptions & StoreOptions) | (EventStoreDbClientOptions & StoreOptions)

/**
 * EventStoreDB as one value: events, units of work, outbox, scheduler and transport. A unit of work appends events to at most one stream. Nothing is
 * connected before the bus that has it starts, or `open`.
 *
 * @throws `core.option_invalid`, `core.option_unknown`.
 */
export function eventStoreDb(options: EventStoreDbStoreOptions): Store<undefined> {
  const { store, database } = partedOptions(options)
  return storeOf(eventStoreDbBackend(database), store)
}

/** The backend of such a store. @throws `core.option_invalid`. */
export function eventStoreDbBackend(options: EventStoreDbOptions): EsdbBackend {
  return new EsdbBackend(planOf(options))
}

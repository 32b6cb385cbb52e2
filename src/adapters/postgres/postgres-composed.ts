import { type Store, storeOf } from '../../outbox/store.ts'
import { type StoreOptions, partedOptions } from '../../outbox/store-options.ts'
import { postgresBackend } from './postgres-backend.ts'
import type { PgHandle } from './postgres-handle.ts'
import type { PostgresAddressOptions, PostgresPoolOptions } from './postgres-options.ts'

/** What `postgres` takes: how to reach the database, and how its store works. */
export type PostgresStoreOptions = (PostgresAddressOptions & StoreOptions) | (PostgresPoolOptions & StoreOptions)

/**
 * PostgreSQL as one value: events, units of work, outbox, scheduler and transport over one database. Nothing is connected before the bus that has
 * it starts, or `open`.
 *
 * @throws `core.option_invalid`, `core.option_unknown`.
 */
export function postgres(options: PostgresStoreOptions): Store<PgHandle> {
  const { store, database } = partedOptions(options)
  // One time says when the work of a dead process is taken over: by the relay, and by the other instances of a group.
  return storeOf(postgresBackend(store.leaseMs === undefined ? database : { ...database, leaseMs: store.leaseMs }), store)
}

import { type Store, storeOf } from '../../outbox/store.ts'
import type { StoreOptions } from '../../outbox/store-options.ts'
import { MemoryBackend } from './memory-store.ts'
import { MemoryDatabase } from './memory-store-database.ts'
import type { MemoryTransaction } from './memory-store-transaction.ts'

/** What `memoryStore` takes. */
export interface MemoryStoreOptions extends StoreOptions {
  /** Shared by several stores in one process, as several services share a database. Default: one of its own. */
  readonly database?: MemoryDatabase
}

/** A store in memory: everything that a database offers, gone with the process. For tests and laptops. */
export function memoryStore(options: MemoryStoreOptions = {}): Store<MemoryTransaction> {
  const { database, ...rest } = options
  return storeOf(new MemoryBackend(database ?? new MemoryDatabase()), rest)
}

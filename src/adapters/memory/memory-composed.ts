import { type Store, storeOf } from '../../outbox/store.ts'
import { type StoreOptions, partedOptions } from '../../outbox/store-options.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../../core/option-names.ts'
import { MemoryBackend } from './memory-store.ts'
import { MemoryDatabase } from './memory-store-database.ts'
import type { MemoryTransaction } from './memory-store-transaction.ts'

/** What `memoryStore` takes. */
export interface MemoryStoreOptions extends StoreOptions {
  /** Shared by several stores in one process, as several services share a database. Default: one of its own. */
  readonly database?: MemoryDatabase
}

const NAMES: OptionNames = optionNames<Pick<MemoryStoreOptions, 'database'>>({ database: true })

/**
 * A store in memory: everything that a database offers, gone with the process. For tests and laptops.
 *
 * @throws `core.option_invalid`, `core.option_unknown`.
 */
export function memoryStore(options: MemoryStoreOptions = {}): Store<MemoryTransaction> {
  const { store, database } = partedOptions(options)
  refuseUnknown('memoryStore', database, NAMES)
  return storeOf(new MemoryBackend(options.database ?? new MemoryDatabase()), store)
}
